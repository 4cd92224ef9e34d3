// Codes a transmission into both streams, as FORMAT.md says it and in its order: what the kernels
// are tested against, what statistics watch, and for planes of 64 bits what kernels write.

#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <span>

#include "ebpc/kernels/kernel.h"
#include "ebpc/plane_encoder.h"
#include "ebpc/words.h"
#include "ebpc/zero_stream.h"

namespace ebpc {

/// Encoding and counting are this one function, with another sink.
template <class Sink, class Observer = Unobserved>
StreamBits code_transmission(const Parameters& p, WordSpan words, Sink zero_sink, Sink plane_sink,
                             Observer observer = {}) {
  return visit_word_type(words.bytes_per_word, p.is_signed, [&]<class Word>(Word*) -> StreamBits {
    ZeroEncoder zeros(p, zero_sink, observer);
    PlaneEncoder planes(p, ebpc_codes, plane_sink, observer);
    // Non-zero words: those that did not fill a block, and new ones after them.
    std::array<Word, max_block_size - 1 + 64> packed;
    Word* end = packed.data();
    const Word* data = static_cast<const Word*>(words.data);
    const auto zero = static_cast<Word>(p.zero);
    for (std::size_t first = 0; first < words.count; first += 64) {
      const int length = static_cast<int>(std::min<std::size_t>(64, words.count - first));
      std::uint64_t mask = nonzero_mask(data + first, length, zero);
      zeros.push(mask, length);
      for (; mask != 0; mask &= mask - 1) {
        *end++ = data[first + static_cast<std::size_t>(std::countr_zero(mask))];
      }
      const auto left = planes.push_blocks(std::span<const Word>(packed.data(), end));
      end = std::shift_left(packed.data(), end, left.data() - packed.data());
    }
    zeros.finish();
    planes.finish(std::span<const Word>(packed.data(), end));
    return {zero_sink.bits(), plane_sink.bits()};
  });
}

/// Codes all words, zeros too, as blocks of a plane stream.
template <class Sink>
std::uint64_t code_all_words(const Parameters& p, const PlaneCodes& codes, WordSpan words,
                             Sink sink) {
  return visit_word_type(words.bytes_per_word, p.is_signed, [&]<class Word>(Word*) {
    PlaneEncoder planes(p, codes, sink);
    planes.finish(planes.push_blocks(std::span(static_cast<const Word*>(words.data), words.count)));
    return sink.bits();
  });
}

}  // namespace ebpc
