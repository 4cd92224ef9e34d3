// The setting that most use, for which some kernels have a way of their own.

#pragma once

#include "ebpc/parameters.h"

namespace ebpc {
namespace {

/// Words of 8 bits in blocks of 8 behind a sent base.
constexpr bool is_common_setting(const Parameters& p, int bytes_per_word) {
  return bytes_per_word == 1 && p.word_bits == 8 && p.block_size == 8 && p.base == Base::sent;
}

}  // namespace
}  // namespace ebpc
