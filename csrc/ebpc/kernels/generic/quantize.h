// Values to words in plain loops, which the compiler turns into the kernel's instructions.

#pragma once

#include <algorithm>
#include <bit>
#include <cstddef>
#include <cstdint>

#include "ebpc/kernels/generic/vectors.h"
#include "ebpc/quantization.h"
#include "ebpc/words.h"

namespace ebpc::EBPC_KERNEL {

template <class Word, bool to_nearest>
QuantizedValues quantize_words(const Quantization& q, const float* values, std::size_t count,
                               Word* words) {
  const auto zero_point = static_cast<std::int32_t>(q.zero_point);
  const auto lowest = static_cast<std::int32_t>(q.smallest_word - q.zero_point);
  const auto highest = static_cast<std::int32_t>(q.largest_word - q.zero_point);
  // One step beyond the ends: what saturates is still seen, and all else is small enough for an
  // int, and to be rounded by a sum in which no fraction has a place.
  const auto low = static_cast<float>(lowest - 1);
  const auto high = static_cast<float>(highest + 1);
  constexpr float without_fraction = 0x1.8p23F;
  constexpr std::uint32_t infinite = 0x7F800000;
  QuantizedValues result;
  constexpr std::size_t at_once = 4096;  // for which counters of 32 bits will do
  for (std::size_t first = 0; first < count; first += at_once) {
    const std::size_t end = std::min(count, first + at_once);
    std::uint32_t below = 0;
    std::uint32_t above = 0;
    std::uint32_t largest = 0;
    for (std::size_t i = first; i < end; ++i) {
      largest = std::max(largest, std::bit_cast<std::uint32_t>(values[i]) & 0x7FFFFFFF);
      float quotient = values[i] / q.scale;
      quotient = quotient > low ? quotient : low;  // also for NaN, which no int stands for
      quotient = quotient < high ? quotient : high;
      if constexpr (to_nearest) quotient = (quotient + without_fraction) - without_fraction;
      const auto step = static_cast<std::int32_t>(quotient);
      below += step < lowest;
      above += step > highest;
      words[i] = static_cast<Word>(std::clamp(step, lowest, highest) + zero_point);
    }
    result += {below, above, largest < infinite};
  }
  return result;
}

inline QuantizedValues quantize(const Quantization& q, const float* values, MutableWordSpan words) {
  // The bits of signed and unsigned words are the same.
  return visit_word_type(words.bytes_per_word, false, [&]<class Word>(Word*) {
    auto* const out = static_cast<Word*>(words.data);
    return q.to_nearest ? quantize_words<Word, true>(q, values, words.count, out)
                        : quantize_words<Word, false>(q, values, words.count, out);
  });
}

}  // namespace ebpc::EBPC_KERNEL
