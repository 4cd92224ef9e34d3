// The parameters of the code (JETCAS 2019, section III) and the widths that follow from them.

#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>

namespace ebpc {

/// Whether every block starts with its first word in full, or continues from the last word of the
/// block before (JETCAS 2019, end of section III-B).
enum class Base : std::uint8_t { sent = 0, reused = 1 };

inline constexpr int min_word_bits = 2;
inline constexpr int max_word_bits = 32;
inline constexpr int min_block_size = 2;
inline constexpr int max_block_size = 64;
inline constexpr int min_max_zero_run = 2;
inline constexpr int max_max_zero_run = 1 << 16;

struct Parameters {
  int word_bits = 8;       // W: bits of one word, 2 to 32
  bool is_signed = true;   // words are two's complement; otherwise never negative
  int block_size = 8;      // N: non-zero words in one bit-plane block, 2 to 64
  int max_zero_run = 16;   // R: longest zero run of one symbol, a power of two, 2 to 2^16
  Base base = Base::sent;  // where a block's deltas start
  /// The word that counts as zero: the zero stream marks it, the plane stream has all others, the
  /// word 0 among them. It is what a map holds for the real number 0, which of affine quantized
  /// maps is their zero point. In the range of words.
  std::int64_t zero = 0;

  friend bool operator==(const Parameters&, const Parameters&) = default;
};

/// The least and the largest word.
constexpr std::int64_t min_word(const Parameters& p) {
  return p.is_signed ? -(std::int64_t{1} << (p.word_bits - 1)) : 0;
}
constexpr std::int64_t max_word(const Parameters& p) {
  return (std::int64_t{1} << (p.is_signed ? p.word_bits - 1 : p.word_bits)) - 1;
}

/// The smallest k with 2^k >= x, for x >= 1.
constexpr int log2_ceil(std::uint32_t x) { return x <= 1 ? 0 : std::bit_width(x - 1); }

/// Bits of the length field of a zero run symbol.
constexpr int zero_run_bits(const Parameters& p) {
  return log2_ceil(static_cast<std::uint32_t>(p.max_zero_run));
}

/// Deltas of a block, and so the bits of one bit plane: N - 1 after a base, N where it is re-used.
constexpr int plane_bits(const Parameters& p) {
  return p.base == Base::sent ? p.block_size - 1 : p.block_size;
}

/// Bit planes of a block: deltas of W-bit words have W + 1 bits.
constexpr int plane_count(const Parameters& p) { return p.word_bits + 1; }

/// An upper bound on the bits of the zero stream of `words` words.
std::uint64_t max_zero_stream_bits(const Parameters& p, std::uint64_t words);

/// An upper bound on the bits of the plane stream of `words` words, all of them non-zero.
std::uint64_t max_plane_stream_bits(const Parameters& p, std::uint64_t words);

/// Throws Error(argument) that names the first parameter that is out of its range, what it may be
/// and what it is.
void validate(const Parameters& p);

}  // namespace ebpc
