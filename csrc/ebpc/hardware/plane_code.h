// The prefix code of bit planes (JETCAS 2019, table I) as combinational logic: one symbol from a
// plane, and one symbol from the front of a stream. No registers.

#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>

#include "ebpc/hardware/bit_packer.h"
#include "ebpc/hardware/register.h"
#include "ebpc/parameters.h"
#include "ebpc/plane_stream.h"

namespace ebpc::hardware {

/// What one symbol says about the planes it stands for.
struct PlaneSymbol {
  int length;               // bits of the symbol
  int planes = 1;           // planes that it covers
  std::uint64_t dbx = 0;    // what to XOR to the plane below
  bool plane_zero = false;  // the plane itself is zero, whatever is below
};

/// One symbol of a block, and how many planes it stands for.
struct CodedPlanes {
  Code code;
  int planes;
};

/// A W-bit pattern as an integer: subtractors are one bit wider than the words.
constexpr std::uint64_t extended(std::uint64_t word, int word_bits, bool is_signed) {
  const bool negative = is_signed && (word >> (word_bits - 1) & 1) != 0;
  return negative ? word | ~low_ones(word_bits) : word;
}

class PlaneCode {
 public:
  explicit PlaneCode(const Parameters& p)
      : word_bits_(p.word_bits),
        plane_bits_(ebpc::plane_bits(p)),
        index_bits_(log2_ceil(static_cast<std::uint32_t>(p.block_size))),
        run_bits_(log2_ceil(static_cast<std::uint32_t>(p.word_bits))) {}

  int plane_bits() const { return plane_bits_; }  // N - 1

  /// The longest symbol of `p`, in bits.
  int longest() const {
    return std::max(
        {1 + plane_bits_, short_prefix_bits + index_bits_, ebpc_codes.zero_run.bits + run_bits_});
  }

  Code zero_planes(int count) const {
    if (count == 1) return {ebpc_codes.single_zero.code, ebpc_codes.single_zero.bits};
    return concatenate({ebpc_codes.zero_run.code, ebpc_codes.zero_run.bits},
                       {static_cast<std::uint64_t>(count - 2), run_bits_});
  }

  /// The symbol of a plane (DBP) whose XOR with the plane below (DBX) is not zero.
  Code plane(std::uint64_t dbx, std::uint64_t dbp) const {
    const std::uint64_t without_lowest_one = dbx & (dbx - 1);
    const auto first_one = static_cast<std::uint64_t>(plane_bits_ - std::bit_width(dbx));
    const Code index{first_one, index_bits_};
    if (dbx == low_ones(plane_bits_)) return {prefix_all_ones, short_prefix_bits};
    if (dbp == 0) return {prefix_plane_zero, short_prefix_bits};
    if (without_lowest_one == 0) {
      return concatenate({prefix_single_one, short_prefix_bits}, index);
    }
    if (dbx == (without_lowest_one | without_lowest_one >> 1) &&
        std::has_single_bit(without_lowest_one)) {
      return concatenate({prefix_two_ones, short_prefix_bits}, index);
    }
    return concatenate({1, 1}, {dbx, plane_bits_});
  }

  /// Symbol coder: the symbol of a block's planes from p on.
  CodedPlanes code_planes(const RegisterArray& deltas, int p) const {
    const auto plane = [&](int q) {  // DBP: bit q of every delta, the first delta leftmost
      std::uint64_t bits = 0;
      for (int i = 0; i < plane_bits_; ++i) bits = bits << 1 | (deltas.get(i) >> q & 1);
      return bits;
    };
    const std::uint64_t below = p == 0 ? 0 : plane(p - 1);
    int zeros = 0;  // planes from p on: in hardware, a priority encoder over W + 1 NOR gates
    while (p + zeros <= word_bits_ && plane(p + zeros) == below) ++zeros;
    if (zeros > 0) return {zero_planes(zeros), zeros};
    return {this->plane(plane(p) ^ below, plane(p)), 1};
  }

  /// The symbol at the front of a left-justified window. Where the window ends within a symbol and
  /// has zeros after, the length is more than the bits that are there: the code is prefix-free.
  PlaneSymbol symbol(std::uint64_t window) const {
    if (window >> 63 == 1) {
      return {.length = 1 + plane_bits_, .dbx = field(window, 1, plane_bits_)};
    }
    if (field(window, 0, ebpc_codes.single_zero.bits) == ebpc_codes.single_zero.code) {
      return {.length = ebpc_codes.single_zero.bits};
    }
    if (field(window, 0, ebpc_codes.zero_run.bits) == ebpc_codes.zero_run.code) {
      const std::uint64_t count = field(window, ebpc_codes.zero_run.bits, run_bits_) + 2;
      return {.length = ebpc_codes.zero_run.bits + run_bits_, .planes = static_cast<int>(count)};
    }
    const std::uint64_t leftmost = std::uint64_t{1} << (plane_bits_ - 1);
    const auto index = field(window, short_prefix_bits, index_bits_);
    switch (field(window, 0, short_prefix_bits)) {
      case prefix_all_ones:
        return {.length = short_prefix_bits, .dbx = low_ones(plane_bits_)};
      case prefix_plane_zero:
        return {.length = short_prefix_bits, .plane_zero = true};
      case prefix_two_ones:
        return {.length = short_prefix_bits + index_bits_,
                .dbx = (leftmost | leftmost >> 1) >> index};
      default:
        return {.length = short_prefix_bits + index_bits_, .dbx = leftmost >> index};
    }
  }

 private:
  /// `count` bits (at least 1) of a left-justified window, from bit `first` of it.
  static std::uint64_t field(std::uint64_t window, int first, int count) {
    return window << first >> (64 - count);
  }

  const int word_bits_;
  const int plane_bits_;
  const int index_bits_;
  const int run_bits_;
};

}  // namespace ebpc::hardware
