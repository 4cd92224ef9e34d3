// The memory of plane streams while they are parsed.

#pragma once

#include "ebpc/kernels/avx512_plane_syntax.h"

namespace ebpc {
namespace {

/// The memory of some streams of up to longest_job words that are parsed in turn. It lies in one
/// piece: first the bases of all streams, then for each stream its planes and its bytes.
template <class Group, int slots>
class PlaneMemory {
 public:
  using Word = typename Group::Word;

  explicit PlaneMemory(const Parameters& p)
      : max_blocks_((longest_job + static_cast<std::size_t>(p.block_size) - 1) /
                    static_cast<std::size_t>(p.block_size)),
        lanes_bytes_(round_up((max_blocks_ + 1) * Group::block_bytes + written_behind)),
        stream_bytes_(round_up(max_plane_stream_bits(p, longest_job) / 8 + 1 + read_behind)) {}

  std::size_t max_blocks() const { return max_blocks_; }
  std::size_t size() const { return lanes(slots); }

  /// The greatest size for any setting: blocks of two words of 32 bits take the most memory.
  static constexpr std::size_t most_bytes() {
    constexpr std::size_t block_bits = 32 + 33 * 6;
    constexpr std::size_t rounding = 2048;
    return base(slots, 1) + rounding +
           index(slots) * (longest_job / 2 * (32 + block_bits / 8 + 1) + rounding);
  }

  /// Where the base of a block goes, by the number in the position.
  static constexpr std::size_t base(int slot, std::uint64_t block) {
    return (index(slot) * most_blocks + block) * sizeof(Word);
  }
  std::size_t lanes(int slot) const {
    return round_up(base(slots, 1) + 64) + index(slot) * (lanes_bytes_ + stream_bytes_);
  }
  std::size_t stream(int slot) const { return lanes(slot) + lanes_bytes_; }

  /// Puts a base there, with which `window` begins.
  [[gnu::always_inline]] static void put_base(std::uint8_t* memory, std::size_t slot,
                                              std::uint64_t block, std::uint64_t window,
                                              int base_shift) {
    const auto word = static_cast<Word>(window >> base_shift);
    std::memcpy(memory + base(static_cast<int>(slot), block), &word, sizeof word);
  }

 private:
  // By a row of planes, and by a symbol and the zeros behind it up to the end of a block; or by
  // pairs of codes.
  static constexpr std::size_t written_behind = 32 * Group::lane_bytes + 2 * 64;
  static constexpr std::size_t read_behind = 64;

  std::size_t max_blocks_;
  std::size_t lanes_bytes_;
  std::size_t stream_bytes_;
};

}  // namespace
}  // namespace ebpc
