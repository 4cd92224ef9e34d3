// Vectors in plain C++, as GCC and Clang have them for every CPU: arrays on which the arithmetic
// operators work element by element.
//
// Files that include this one are compiled once for each instruction set. All is in an unnamed
// namespace so that the linker cannot give one of them the code of another, and for the same reason
// no inline function of the standard library is called: the compiler may emit it.

#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "ebpc/kernels/generic/group_sizes.h"

namespace ebpc::EBPC_KERNEL {
namespace {

#ifdef __AVX2__
constexpr std::size_t vector_bytes = 32;
#else
constexpr std::size_t vector_bytes = 16;
#endif

template <class Element>
struct VectorOf {
  typedef Element type __attribute__((vector_size(vector_bytes)));
};

template <class Element>
using Vector = typename VectorOf<Element>::type;

/// Elements of 64 bits, each of them for one block of words, are what most of the work is done on:
/// blocks are worked on side by side without ever moving anything between elements.
using Qwords = Vector<std::uint64_t>;
constexpr std::size_t vector_qwords = vector_bytes / sizeof(std::uint64_t);

/// The same bits as a vector of other elements.
template <class Element, class From>
[[gnu::always_inline]] inline Vector<Element> vector_cast(From from) {
  static_assert(sizeof from == vector_bytes);
  return reinterpret_cast<Vector<Element>>(from);
}

/// Elements of ones where a vector's element is zero.
template <class V>
[[gnu::always_inline]] inline V is_zero(V x) {
  return reinterpret_cast<V>(x == V{});
}

template <class V>
[[gnu::always_inline]] inline V is_equal(V a, V b) {
  return reinterpret_cast<V>(a == b);
}

/// Whether any bit is set.
[[gnu::always_inline]] inline bool is_any(Qwords x) {
  std::uint64_t all = 0;
  for (std::size_t i = 0; i < vector_qwords; ++i) all |= x[i];
  return all != 0;
}

template <class Element>
[[gnu::always_inline]] inline Vector<Element> load_vector(const Element* from) {
  Vector<Element> x;
  std::memcpy(&x, from, sizeof x);
  return x;
}

template <class Element, class From>
[[gnu::always_inline]] inline void store_vector(Element* to, From x) {
  static_assert(sizeof x == vector_bytes);
  std::memcpy(to, &x, sizeof x);
}

/// The same value in every element.
template <class Element>
[[gnu::always_inline]] inline Vector<Element> all_elements(Element x) {
  return Vector<Element>{} + x;
}

/// The lowest bit of every lane of `bits` bits.
template <int bits>
constexpr std::uint64_t lane_ones =
    bits == 64 ? 1 : ~std::uint64_t{0} / ((std::uint64_t{1} << (bits & 63)) - 1);

constexpr std::size_t min(std::size_t a, std::size_t b) { return a < b ? a : b; }

constexpr std::uint64_t low_bits(int count) {
  return count >= 64 ? ~std::uint64_t{0} : (std::uint64_t{1} << count) - 1;
}

[[gnu::always_inline]] inline int count_ones(std::uint64_t x) {
#ifdef __POPCNT__
  return __builtin_popcountll(x);
#else
  x -= x >> 1 & 0x5555555555555555;
  x = (x & 0x3333333333333333) + (x >> 2 & 0x3333333333333333);
  x = (x + (x >> 4)) & 0x0F0F0F0F0F0F0F0F;
  return static_cast<int>(x * 0x0101010101010101 >> 56);
#endif
}

}  // namespace
}  // namespace ebpc::EBPC_KERNEL
