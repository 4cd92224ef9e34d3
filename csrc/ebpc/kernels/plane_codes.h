// The prefix code of bit planes (JETCAS 2019, table I): all that kernels look up is made of these
// functions, most of it when they are compiled.

#pragma once

#include <bit>
#include <cstdint>

#include "ebpc/parameters.h"
#include "ebpc/plane_stream.h"

namespace ebpc {

/// The widths that the code depends on.
struct PlaneCodeSizes {
  int plane_bits;  // of a plane
  int index_bits;  // of a place in it
  int run_bits;    // of the length of a run of zero planes

  static constexpr PlaneCodeSizes of(const Parameters& p) {
    return {ebpc::plane_bits(p), log2_ceil(static_cast<std::uint32_t>(p.block_size)),
            log2_ceil(static_cast<std::uint32_t>(p.word_bits))};
  }
};

/// Words of 8 bits in blocks of 8 with the base sent.
inline constexpr PlaneCodeSizes common_code_sizes{7, 3, 3};

/// A code in the low `bits` bits.
struct CodeBits {
  std::uint64_t code = 0;
  int bits = 0;
};

/// The code of a run of zero XORed planes.
constexpr CodeBits code_of_zeros(unsigned planes, const PlaneCodeSizes& s,
                                 const PlaneCodes& prefixes = ebpc_codes) {
  if (planes == 1) return {prefixes.single_zero.code, prefixes.single_zero.bits};
  return {std::uint64_t{prefixes.zero_run.code} << s.run_bits | (planes - 2),
          prefixes.zero_run.bits + s.run_bits};
}

/// The code of one XORed plane that is not zero, its first bit most significant.
constexpr CodeBits code_of_plane(std::uint64_t x, bool plane_is_zero, const PlaneCodeSizes& s) {
  if (x == (std::uint64_t{1} << s.plane_bits) - 1) return {prefix_all_ones, short_prefix_bits};
  if (plane_is_zero) return {prefix_plane_zero, short_prefix_bits};
  const auto index = static_cast<std::uint64_t>(s.plane_bits - std::bit_width(x));
  const std::uint64_t without_lowest = x & (x - 1);
  const int indexed_bits = short_prefix_bits + s.index_bits;
  if (without_lowest == 0) {
    return {std::uint64_t{prefix_single_one} << s.index_bits | index, indexed_bits};
  }
  if (without_lowest == (x ^ without_lowest) << 1) {
    return {std::uint64_t{prefix_two_ones} << s.index_bits | index, indexed_bits};
  }
  return {std::uint64_t{1} << s.plane_bits | x, 1 + s.plane_bits};
}

/// What the first code of a stream stands for.
struct FirstCode {
  int bits = 0;                // of the code
  std::uint64_t planes = 1;    // that it stands for; all but the first are zero
  std::uint64_t x = 0;         // the first XORed plane, its first bit most significant
  bool is_raw = false;         // uncompressed
  bool is_indexed = false;     // one or two ones
  bool plane_is_zero = false;  // before the XOR, which repeats the plane before; x is not known
  bool is_valid = true;        // else, an index is past the end of the plane
};

/// The first code of at least as many bits as the longest one that is not raw, left-justified. X of
/// an uncompressed plane is taken of what is there.
constexpr FirstCode first_code(std::uint64_t window, const PlaneCodeSizes& s) {
  const auto low = [](int bits) { return (std::uint64_t{1} << bits) - 1; };
  const auto field = [window](int from, int bits) {
    return bits == 0 ? 0 : window << from >> (64 - bits);
  };
  FirstCode code;
  if (field(0, 1) == 1) {
    code.bits = 1 + s.plane_bits;
    code.x = s.plane_bits < 64 ? field(1, s.plane_bits) : window << 1;
    code.is_raw = true;
  } else if (field(0, ebpc_codes.single_zero.bits) == ebpc_codes.single_zero.code) {
    code.bits = ebpc_codes.single_zero.bits;
  } else if (field(0, ebpc_codes.zero_run.bits) == ebpc_codes.zero_run.code) {
    code.bits = ebpc_codes.zero_run.bits + s.run_bits;
    code.planes = field(ebpc_codes.zero_run.bits, s.run_bits) + 2;
  } else if (const std::uint64_t prefix = field(0, short_prefix_bits); prefix == prefix_all_ones) {
    code.bits = short_prefix_bits;
    code.x = s.plane_bits < 64 ? low(s.plane_bits) : ~std::uint64_t{0};
  } else if (prefix == prefix_plane_zero) {
    code.bits = short_prefix_bits;
    code.plane_is_zero = true;
  } else {
    const int ones = prefix == prefix_two_ones ? 2 : 1;
    const int after =
        s.plane_bits - ones - static_cast<int>(field(short_prefix_bits, s.index_bits));
    code.bits = short_prefix_bits + s.index_bits;
    code.is_indexed = true;
    code.is_valid = after >= 0;
    if (code.is_valid) code.x = low(ones) << after;
  }
  return code;
}

/// The same of the first bits alone, given as a number.
constexpr FirstCode first_code_of(unsigned code, int bits, const PlaneCodeSizes& s) {
  return first_code(std::uint64_t{code} << (64 - bits), s);
}

}  // namespace ebpc
