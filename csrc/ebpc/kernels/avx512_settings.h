// Which template serves which setting.

#pragma once

#include "ebpc/kernels/avx512_plane_group.h"
#include "ebpc/parameters.h"

namespace ebpc {
namespace {

/// Calls `visit` with a null pointer to the PlaneGroup for these settings.
template <class Visitor>
auto visit_group(const Parameters& p, int bytes_per_word, Visitor&& visit) {
  const auto with_word = [&]<class Word>(Word*) {
    const int widest_code = 1 + plane_bits(p);
    if (widest_code <= 8) return visit(static_cast<PlaneGroup<Word, 8>*>(nullptr));
    if (widest_code <= 16) return visit(static_cast<PlaneGroup<Word, 16>*>(nullptr));
    if (widest_code <= 32) return visit(static_cast<PlaneGroup<Word, 32>*>(nullptr));
    return visit(static_cast<PlaneGroup<Word, 64>*>(nullptr));
  };
  switch (bytes_per_word) {
    case 1:
      return with_word(static_cast<std::uint8_t*>(nullptr));
    case 2:
      return with_word(static_cast<std::uint16_t*>(nullptr));
    default:
      return with_word(static_cast<std::uint32_t*>(nullptr));
  }
}

/// Blocks of 64 with a re-used base, whose codes do not fit into 64 bits, stay portable.
inline bool codes_too_wide(const Parameters& p) { return 1 + plane_bits(p) > 64; }

}  // namespace
}  // namespace ebpc
