// The sizes of words and lanes that templates are made for, and which of them serves a setting.

#pragma once

#include <cstdint>
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
/// blocks of 8 behind a sent base.
constexpr bool is_common_setting(const Parameters& p, int bytes_per_word) {
  return bytes_per_word == 1 && p.word_bits == 8 && p.block_size == 8 && p.base == Base::sent;
}

}  // namespace
}  // namespace ebpc::EBPC_KERNEL
