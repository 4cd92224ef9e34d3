// Intel's intrinsics, and what g++ needs beside them.

#pragma once

// g++ 12 takes the undefined operands inside of intrinsics for mistakes (GCC bug 105593).
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wuninitialized"
#ifndef __clang__
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>
#pragma GCC diagnostic pop

#include <cstdint>

namespace ebpc::avx512 {
namespace {

/// The bits of a mask as a number, taken out by an instruction that compilers don't see through:
/// g++ (12, and later ones) may spill a mask as it is, as 1, 2 or 4 bytes, and load it as 4 or 8,
/// of which the rest was never written.
inline std::uint64_t bits_of(__mmask8 mask) {
  std::uint64_t bits;
  asm("kmovb %1, %k0" : "=r"(bits) : "k"(mask));
  return bits;
}
inline std::uint64_t bits_of(__mmask16 mask) {
  std::uint64_t bits;
  asm("kmovw %1, %k0" : "=r"(bits) : "k"(mask));
  return bits;
}
inline std::uint64_t bits_of(__mmask32 mask) {
  std::uint64_t bits;
  asm("kmovd %1, %k0" : "=r"(bits) : "k"(mask));
  return bits;
}
inline std::uint64_t bits_of(__mmask64 mask) { return mask; }

}  // namespace
}  // namespace ebpc::avx512
