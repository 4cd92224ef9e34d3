// What the hardware model supports of the format's parameters.

#pragma once

#include "ebpc/parameters.h"

namespace ebpc::hardware {

/// The largest N, so that no register of the model needs more than 64 bits.
inline constexpr int widest_block = 32;

/// Bits of the decoder's word count, as in the published hardware (LOG_MAX_WORDS).
inline constexpr int word_count_bits = 24;

/// Gives p back. Throws Error(argument) unless it is valid, sends the base (the published
/// hardware's only mode) and has N <= widest_block.
const Parameters& checked(const Parameters& p);

}  // namespace ebpc::hardware
