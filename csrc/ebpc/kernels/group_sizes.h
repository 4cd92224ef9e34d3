// The sizes of words and lanes that templates are made for, and which of them serves a setting.

#pragma once

#include <cstdint>
#include <type_traits>

namespace ebpc {
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

}  // namespace
}  // namespace ebpc
