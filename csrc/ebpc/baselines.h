// All methods by name: the code of this library and those that it is compared with. Each encodes,
// decodes and counts by the rules of FORMAT.md.

#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "ebpc/kernels/kernel.h"
#include "ebpc/parameters.h"
#include "ebpc/words.h"

namespace ebpc {

enum class Method {
  none,      // words as they are
  zvc,       // zero-value compression: a mask, then the non-zero words (Rhu et al., HPCA 2018)
  zero_rle,  // zero run-length coding (Eyeriss; Chen et al., JSSC 2017), non-zero words in full
  csc,   // compressed sparse columns: 4-bit relative index and word (EIE; Han et al., ISCA 2016)
  bpc,   // bit-plane compression of all words with the codes of ISCA 2016
  ebpc,  // the code of this library
};

inline constexpr std::array<std::string_view, 6> method_names{"none", "zvc", "zero_rle",
                                                              "csc",  "bpc", "ebpc"};

/// Throws Error(argument) that lists the names if there is no method of that name.
Method method_named(std::string_view name);

/// Bits of one transmission by `method`: `zero` says where words are, `plane` holds them. Throws as
/// ebpc::count_bits; a parameter that the method has no use for is ignored, if it is in its range.
StreamBits count_bits(Method method, const Parameters& p, WordSpan words);

/// Codes all words as one transmission into two streams, which hold the bits that count_bits says.
/// As ebpc::encode.
StreamBits encode(Method method, const Parameters& p, WordSpan words,
                  std::vector<std::uint8_t>& zero_stream, std::vector<std::uint8_t>& plane_stream);

/// Decodes one transmission of `words.count` words. As ebpc::decode.
void decode(Method method, const Parameters& p, std::span<const std::uint8_t> zero_stream,
            std::uint64_t zero_bits, std::span<const std::uint8_t> plane_stream,
            std::uint64_t plane_bits, MutableWordSpan words);

/// Throws Error(format) if streams of so few bits cannot be a transmission of `words` words: for a
/// caller that has still to allocate them. (`csc` does not code zero words at the end, so there its
/// streams say nothing of their number.)
void require_bits_for_words(Method method, const Parameters& p, StreamBits bits,
                            std::uint64_t words);

}  // namespace ebpc
