// The codec on whole transmissions: raw streams without a container, and bits counted for a ratio.

#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ebpc/kernels/kernel.h"
#include "ebpc/parameters.h"
#include "ebpc/words.h"

namespace ebpc {

/// Codes all words as one transmission. Returns the bits of both streams; they are stored most
/// significant bit first, padded with zeros to whole bytes, into vectors resized to exactly those.
///
/// Throws Error(argument) if a parameter is out of range or a word does not fit into p.word_bits.
StreamBits encode(const Parameters& p, WordSpan words, std::vector<std::uint8_t>& zero_stream,
                  std::vector<std::uint8_t>& plane_stream);

/// Decodes one transmission of `words.count` words, by the portable kernel's decoder.
///
/// Throws Error(argument) if a parameter is out of range and Error(format) if the streams, of
/// exactly that many bits, are not a transmission of that many words; nothing outside of them is
/// read. Raw streams carry no checksum: a damaged one may decode to other words.
void decode(const Parameters& p, std::span<const std::uint8_t> zero_stream, std::uint64_t zero_bits,
            std::span<const std::uint8_t> plane_stream, std::uint64_t plane_bits,
            MutableWordSpan words);

/// The bits of both streams that `encode` gives, without writing them. Throws as `encode`.
StreamBits count_bits(const Parameters& p, WordSpan words);

/// Throws Error(argument) if p is out of range, does not go with words of bytes_per_word bytes, or
/// a word needs more than p.word_bits bits.
void check_words(const Parameters& p, WordSpan words);

}  // namespace ebpc
