// Floating-point values to fixed-point words, as a network's accelerator would hold them.

#pragma once

#include <cstddef>
#include <cstdint>

namespace ebpc {

/// A value becomes round(value / scale) + zero_point, and the nearest of the words' ends where that
/// is beyond them.
struct Quantization {
  float scale = 1;              // positive and finite
  std::int64_t zero_point = 0;  // from smallest_word to largest_word
  std::int64_t smallest_word = -128;
  std::int64_t largest_word = 127;
  bool to_nearest = true;  // ties to even; else towards zero
};

struct QuantizedValues {
  std::uint64_t below = 0;  // that became the smallest word, and are less
  std::uint64_t above = 0;
  bool finite = true;  // else there was an infinite value or a NaN, and all words are undefined

  QuantizedValues& operator+=(const QuantizedValues& other) {
    below += other.below;
    above += other.above;
    finite &= other.finite;
    return *this;
  }
};

}  // namespace ebpc
