// Counts the bits of the plane stream that planes_8x8.h writes: that needs no codes, only which
// planes have which kind of symbol.

#pragma once

#include <bit>

#include "ebpc/kernels/avx2/planes_8x8.h"

namespace ebpc::avx2 {
namespace {

/// The bits of a block's base and planes 0 to 7, those of five bits taken as 8, by the mask of the
/// zero X; plane 8 included if its X is zero.
struct BlockBitsTable {
  std::uint8_t below_zero_sign[256];
  std::uint8_t below_nonzero_sign[256];
};

constexpr BlockBitsTable block_bits = [] {
  BlockBitsTable table{};
  for (unsigned zero_planes = 0; zero_planes < 256; ++zero_planes) {
    const int nonzero_bits = 8 * std::popcount(~zero_planes & 0xFF);
    const int sign_bits = (zero_planes & 1) != 0 ? 0 : 2;  // a run's, or its own
    table.below_zero_sign[zero_planes] = static_cast<std::uint8_t>(
        fast_word_bits + nonzero_bits + std::popcount(zeros_below_zero_sign.used[zero_planes]) +
        sign_bits);
    table.below_nonzero_sign[zero_planes] = static_cast<std::uint8_t>(
        fast_word_bits + nonzero_bits + std::popcount(zeros_below_nonzero_sign.used[zero_planes]));
  }
  return table;
}();

/// The lengths of the codes that write_blocks makes of blocks of packed words. Blocks that
/// fill up the last vector have words that are all equal.
std::uint64_t count_blocks(const std::uint8_t* packed, std::size_t block_count, __m256i flip) {
  std::uint64_t bits = 0;
  std::size_t b = 0;
  for (; b < block_count; b += blocks_per_vector) {
    const auto blocks = FourBlocks::from(packed + b * fast_block_size, flip);
    const auto mask_of = [](__m256i bytes) {
      return static_cast<std::uint32_t>(_mm256_movemask_epi8(bytes));
    };
    const auto kinds = PlaneKinds::of(blocks.planes);
    const std::uint32_t zero_planes = mask_of(kinds.x_zero);
    const std::uint32_t sign_x = mask_of(blocks.sign_x);
    bits -= 3 * static_cast<std::uint64_t>(_mm_popcnt_u32(mask_of(kinds.five_bits())));
    for (int place = 0; place < 32; place += 8) {
      bits += block_bits.below_zero_sign[zero_planes >> place & 0xFF];
    }
    if (sign_x == 0) continue;
    const std::uint32_t sign_plane = mask_of(blocks.sign_plane);
    for (int place = 0; place < 32; place += 8) {
      const std::uint32_t x = sign_x >> place & 0xFF;
      const std::uint32_t zeros = zero_planes >> place & 0xFF;
      if (x == 0) continue;
      bits -= block_bits.below_zero_sign[zeros];
      bits += block_bits.below_nonzero_sign[zeros];
      bits += static_cast<std::uint64_t>(sign_code(x, sign_plane >> place & 0xFF, zeros).bits);
    }
  }
  const std::size_t filled_up = b - block_count;
  return bits - filled_up * block_bits.below_zero_sign[0xFF];
}

/// What PlaneCounter is for other settings.
class PlaneCounter8x8 {
 public:
  using Word = std::uint8_t;
  static constexpr std::size_t blocks = blocks_per_vector;
  static constexpr int slots = fast_block_size;

  explicit PlaneCounter8x8(const Parameters& p) : flip_(sign_flip(p)) {}

  void put(const std::uint8_t* packed, std::size_t block_count) {
    bits_ += count_blocks(packed, block_count, flip_);
  }

  std::uint64_t bits() const { return bits_; }

 private:
  __m256i flip_;
  std::uint64_t bits_ = 0;
};

}  // namespace
}  // namespace ebpc::avx2
