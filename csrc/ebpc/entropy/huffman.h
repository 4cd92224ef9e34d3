// Huffman codes of bounded length, and how they are written: FORMAT.md describes both.

#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "ebpc/decode_status.h"

namespace ebpc {

/// The longest code of a symbol. Five of them fit into a word of 64 bits that begins within a byte.
inline constexpr int max_code_bits = 11;
inline constexpr std::size_t max_symbols = 256;

using SymbolCounts = std::array<std::uint32_t, max_symbols>;

/// The lengths of a code's words. A code of one symbol has none: it takes no bits.
struct HuffmanCode {
  unsigned first = 0;  // symbol that has a code, and the last one
  unsigned last = 0;
  std::array<std::uint8_t, max_symbols> lengths{};  // 0 where a symbol has no code

  bool single() const { return first == last; }
};

/// A code for symbols that occur so often, at least one of them: the shortest but for its bound.
HuffmanCode huffman_code(std::span<const std::uint32_t> counts);

/// Writes the lengths, padded to a byte; returns their bytes. Up to max_code_table_bytes.
std::size_t write_code(const HuffmanCode& code, std::uint8_t* out);
inline constexpr std::size_t max_code_table_bytes = 2 + (max_symbols * 9 + 7) / 8;

/// Reads what write_code writes and moves `at` after it. The code is complete: every window of
/// bits begins with the code of a symbol. A failure's bit is counted from `at`.
DecodeStatus read_code(const std::uint8_t*& at, const std::uint8_t* end, HuffmanCode& code);

/// Entries [symbol]: the code in the upper bits, left-justified, and its length in the low byte.
std::array<std::uint64_t, max_symbols> codes_of(const HuffmanCode& code);

/// By the next max_code_bits bits of a stream: the symbol in the upper byte, its code's length in
/// the lower.
struct DecodeTable {
  static constexpr std::size_t at_once =
      16;  // entries that are written, the last ones after the end
  std::array<std::uint16_t, (std::size_t{1} << max_code_bits) + at_once> entries;

  void fill(const HuffmanCode& code);
};

/// What the symbols take in the best code that there is, in 1/256 bits; less than the code takes.
std::uint64_t entropy_of(std::span<const std::uint32_t> counts, std::uint64_t total);

}  // namespace ebpc
