// Vectors in plain C++, as GCC and Clang have them for every CPU: arrays on which the arithmetic
// operators work element by element. And the sizes of words and lanes that templates are made for.
//
// Files that include this one are compiled once for each instruction set. All is in an unnamed
// namespace so that the linker cannot give one of them the code of another, and for the same reason
// no inline function of the standard library is called: the compiler may emit it.

#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "ebpc/parameters.h"

// The namespace of what a file is compiled for; CMakeLists.txt gives it together with the file's
// instructions. Within it all is in an unnamed one: nothing that is compiled for more than every
// CPU has may stand in for what another file defines under the same name.
#ifndef EBPC_KERNEL
#define EBPC_KERNEL generic
#endif

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

/// Swaps bits i and i + distance of every qword for all i in `mask`.
template <int distance>
[[gnu::always_inline]] inline Qwords swap_bits(Qwords x, std::uint64_t mask) {
  const Qwords difference = (x ^ x >> distance) & mask;
  return x ^ difference ^ difference << distance;
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

/// The ones of every byte.
[[gnu::always_inline]] inline Qwords count_ones_of_bytes(Qwords x) {
  x -= x >> 1 & 0x5555555555555555;
  x = (x & 0x3333333333333333) + (x >> 2 & 0x3333333333333333);
  return (x + (x >> 4)) & 0x0F0F0F0F0F0F0F0F;
}

/// The unsigned integer of so many bits.
template <int bits>
using Lane = std::conditional_t<
    bits == 8, std::uint8_t,
    std::conditional_t<bits == 16, std::uint16_t,
                       std::conditional_t<bits == 32, std::uint32_t, std::uint64_t>>>;

/// Calls `visit` with a null pointer to Group<Word, bits>: for words of so many bytes, with the
/// narrowest lanes that hold `lane_bits`, up to 64.
template <template <class, int> class Group, class Visitor>
auto visit_group(int bytes_per_word, int lane_bits, Visitor&& visit) {
  const auto with_word = [&]<class Word>(Word*) {
    if (lane_bits <= 8) return visit(static_cast<Group<Word, 8>*>(nullptr));
    if (lane_bits <= 16) return visit(static_cast<Group<Word, 16>*>(nullptr));
    if (lane_bits <= 32) return visit(static_cast<Group<Word, 32>*>(nullptr));
    return visit(static_cast<Group<Word, 64>*>(nullptr));
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

/// The setting that most use, for which some kernels have a way of their own: words of 8 bits in
/// blocks of 8 after a sent base.
constexpr bool is_common_setting(const Parameters& p, int bytes_per_word) {
  return bytes_per_word == 1 && p.word_bits == 8 && p.block_size == 8 && p.base == Base::sent;
}

}  // namespace
}  // namespace ebpc::EBPC_KERNEL
