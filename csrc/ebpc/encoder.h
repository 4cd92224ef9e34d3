// Codes a transmission into both streams: what the portable kernel writes and counts, and what
// statistics watch.

#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "ebpc/kernels/kernel.h"
#include "ebpc/plane_stream.h"
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
    const Word* data = static_cast<const Word*>(words.data);
    for (std::size_t first = 0; first < words.count; first += 64) {
      const int length = static_cast<int>(std::min<std::size_t>(64, words.count - first));
      std::uint64_t mask = nonzero_mask(data + first, length);
      zeros.push(mask, length);
      for (; mask != 0; mask &= mask - 1) {
        planes.push(data[first + static_cast<std::size_t>(std::countr_zero(mask))]);
      }
    }
    zeros.finish();
    planes.finish();
    return {zero_sink.bits(), plane_sink.bits()};
  });
}

}  // namespace ebpc
