// What the fuzzers share: parameters and words out of a fuzzer's bytes, and how they say no.
//
// An input begins with 12 bytes, which make_seeds.py writes too:
//   0  word_bits - 2       3  bit 0: base reused, bit 1: signed words, bits 2 and up: free
//   1  block_size - 2      4  16 bits: the number of words
//   2  log2(R) - 1         6  16 bits: the bytes of the zero stream
//                          8  32 bits: the zero word, in the lowest word_bits
// all of them taken modulo what there is.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>
#include <vector>

#include "ebpc/parameters.h"
#include "ebpc/words.h"

namespace ebpc::fuzz {

using Bytes = std::vector<std::uint8_t>;

/// Stops the fuzzer, which keeps the input.
inline void expect(bool holds, const char* what) {
  if (holds) return;
  std::fprintf(stderr, "expected: %s\n", what);
  std::abort();
}

struct Input {
  static constexpr std::size_t header_bytes = 12;

  Parameters p;
  std::uint8_t free_bits = 0;
  std::size_t count = 0;
  std::span<const std::uint8_t> zero_stream;  // the rest, cut in two
  std::span<const std::uint8_t> plane_stream;
  std::span<const std::uint8_t> rest;

  /// False if there are too few bytes.
  bool read(const std::uint8_t* data, std::size_t size) {
    if (size < header_bytes) return false;
    p = {2 + data[0] % 31, (data[3] & 2) != 0, 2 + data[1] % 63, 1 << (1 + data[2] % 16),
         (data[3] & 1) != 0 ? Base::reused : Base::sent};
    const std::uint32_t zero =
        data[8] | data[9] << 8 | data[10] << 16 | std::uint32_t{data[11]} << 24;
    p.zero = extended_word(zero, p.word_bits, p.is_signed);
    free_bits = data[3] >> 2;
    count = data[4] | data[5] << 8;
    rest = {data + header_bytes, size - header_bytes};
    const auto zero_bytes = static_cast<std::size_t>(data[6] | data[7] << 8);
    zero_stream = rest.first(zero_bytes % (rest.size() + 1));
    plane_stream = rest.subspan(zero_stream.size());
    return true;
  }

  /// The rest as words in memory, each cut to word_bits.
  Bytes words(int bytes_per_word) const {
    const auto size = static_cast<std::size_t>(bytes_per_word);
    Bytes memory(rest.size() / size * size);
    const int unused = 32 - p.word_bits;
    visit_word_type(bytes_per_word, p.is_signed, [&]<class Word>(Word*) {
      for (std::size_t i = 0; i < memory.size(); i += size) {
        std::uint32_t bits = 0;
        for (std::size_t k = 0; k < size; ++k) bits |= std::uint32_t{rest[i + k]} << (8 * k);
        const auto word =
            p.is_signed ? static_cast<Word>(static_cast<std::int32_t>(bits << unused) >> unused)
                        : static_cast<Word>(bits << unused >> unused);
        std::memcpy(&memory[i], &word, size);
      }
    });
    return memory;
  }
};

}  // namespace ebpc::fuzz
