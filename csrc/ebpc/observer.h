// What the encoders tell of their work, for statistics that are those of the code itself.

#pragma once

#include <cstdint>

namespace ebpc {

/// How a bit plane is coded (JETCAS 2019, table I).
enum class PlaneSymbol : std::uint8_t {
  uncompressed,
  single_zero,  // one zero plane
  zero_run,     // two or more zero planes
  all_ones,
  plane_zero,  // the plane is zero before the XOR
  two_ones,    // two, side by side
  single_one,
};
inline constexpr int plane_symbol_count = 7;

/// An observer that the compiler removes.
struct Unobserved {
  void zero_run(std::uint32_t /*length*/) {}   // a symbol of the zero stream
  void nonzero_words(int /*count*/) {}         // the next words; a burst may come in parts
  void delta(std::int64_t /*delta*/) {}        // of a block's words
  void symbol(PlaneSymbol, int /*planes*/) {}  // for so many planes
  void block() {}                              // at its end
};

}  // namespace ebpc
