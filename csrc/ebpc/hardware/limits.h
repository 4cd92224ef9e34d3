// What the hardware model supports of the format's parameters.

#pragma once

#include <cstdint>

#include "ebpc/parameters.h"

namespace ebpc::hardware {

/// The most bits of a plane, so that no register of the model needs more than 64 bits: the largest
/// N is 32 with the base sent and 31 with the base re-used.
inline constexpr int widest_plane = 31;

/// Bits of the decoder's word count, as in the published hardware (LOG_MAX_WORDS).
inline constexpr int word_count_bits = 24;

/// Gives p back. Throws Error(argument) unless it is valid and plane_bits(p) <= widest_plane.
const Parameters& checked(const Parameters& p);

/// The zero word as the hardware has it: its low W bits.
inline std::uint32_t zero_pattern(const Parameters& p) {
  return static_cast<std::uint32_t>(p.zero) & ~std::uint32_t{0} >> (32 - p.word_bits);
}

}  // namespace ebpc::hardware
