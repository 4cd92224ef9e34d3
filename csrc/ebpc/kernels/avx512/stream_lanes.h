// Bit streams in the 64-bit lanes of vectors, each with an address of its own.

#pragma once

#include <array>
#include <utility>

#include "ebpc/kernels/avx512/bits.h"
#include "ebpc/kernels/generic/jobs.h"

namespace ebpc::avx512 {
namespace {

/// Bits of a window that are valid from any bit of its first byte on.
constexpr int valid_window_bits = 57;

/// The 64-bit lanes of a vector, one by one, by way of memory: a store and loads take less time
/// than instructions that take a vector to pieces one lane after the other.
class LaneValues {
 public:
  explicit LaneValues(__m512i vector) { store_512(values_.data(), vector); }
  std::uint64_t operator[](std::size_t lane) const { return values_[lane]; }

 private:
  alignas(64) std::array<std::uint64_t, 8> values_;
};

/// Calls f(0), f(1), ... for `count` vectors, unrolled. Within a vector, each step waits for the
/// one before; short pieces of it for all vectors in turn keep the CPU busy.
template <int count, class F>
[[gnu::always_inline]] inline void for_each_vector(F&& f) {
  [&]<int... i>(std::integer_sequence<int, i...>) {
    (f(i), ...);
  }(std::make_integer_sequence<int, count>());
}

/// The 128 bits from eight addresses' bytes on, in the order of the streams.
struct Windows {
  __m512i high;  // the first 64 bits
  __m512i low;
};

/// Loads from the bytes with the bits at `bit`, bit addresses. A load for each lane and insertions
/// take a third of the time of two gathers.
[[gnu::always_inline]] inline Windows load_wide_windows(__m512i bit) {
  const LaneValues from(_mm512_srli_epi64(bit, 3));
  const auto load = [&](std::size_t lane) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from[lane]));
  };
  __m512i even = _mm512_castsi128_si512(load(0));
  __m512i odd = _mm512_castsi128_si512(load(1));
  even = _mm512_inserti32x4(even, load(2), 1);
  odd = _mm512_inserti32x4(odd, load(3), 1);
  even = _mm512_inserti32x4(even, load(4), 2);
  odd = _mm512_inserti32x4(odd, load(5), 2);
  even = _mm512_inserti32x4(even, load(6), 3);
  odd = _mm512_inserti32x4(odd, load(7), 3);
  return {swap_bytes(_mm512_unpacklo_epi64(even, odd)),
          swap_bytes(_mm512_unpackhi_epi64(even, odd))};
}

/// The first 64 of these bits.
[[gnu::always_inline]] inline __m512i load_windows(__m512i bit) {
  return load_wide_windows(bit).high;
}

/// Stores the low bytes of each lane at its own address.
template <class T>
[[gnu::always_inline]] inline void store_lanes(__m512i addresses, __m512i values) {
  const LaneValues to(addresses);
  const LaneValues from(values);
  for (std::size_t i = 0; i < 8; ++i) {
    const auto value = static_cast<T>(from[i]);
    std::memcpy(reinterpret_cast<void*>(to[i]), &value, sizeof value);
  }
}

constexpr std::size_t index(int i) { return static_cast<std::size_t>(i); }

}  // namespace
}  // namespace ebpc::avx512
