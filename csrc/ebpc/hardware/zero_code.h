// The code of the zero stream as combinational logic. No registers.

#pragma once

#include <cstdint>

#include "ebpc/hardware/bit_packer.h"
#include "ebpc/parameters.h"

namespace ebpc::hardware {

class ZeroCode {
 public:
  explicit ZeroCode(const Parameters& p)
      : max_zero_run_(p.max_zero_run), run_bits_(1 + zero_run_bits(p)) {}

  /// The code of one word, with the run of `zeros` words in front of it where that ends. Empty
  /// while a run goes on.
  Code code(std::uint64_t zeros, bool nonzero, bool last) const {
    // A run is `0` and the length - 1.
    if (nonzero) return zeros == 0 ? Code{1, 1} : Code{(zeros - 1) << 1 | 1, run_bits_ + 1};
    const bool run_ends = last || zeros + 1 == static_cast<std::uint64_t>(max_zero_run_);
    return run_ends ? Code{zeros, run_bits_} : Code{};
  }

  /// The most bits that so many words in a row give: a run ends at the first, then every other word
  /// is zero, and the last one ends the transmission if it is.
  int longest(int words) const { return (words / 2 + 1) * run_bits_ + (words + 1) / 2; }

 private:
  const int max_zero_run_;
  const int run_bits_;
};

}  // namespace ebpc::hardware
