// From words to bit planes with AVX-512, for every setting: 64 planes at once, each in a lane of
// the width that its longest code needs.

#pragma once

#include <algorithm>
#include <array>

#include "ebpc/kernels/avx512/bits.h"
#include "ebpc/kernels/generic/vectors.h"
#include "ebpc/parameters.h"

namespace ebpc::avx512 {
namespace {

/// A group of blocks whose bit planes make 64 lanes of `lane_bits`: 8, 4 or 2 blocks of 8-, 16- or
/// 32-bit words. All its index tables follow from these two numbers.
template <class WordType, int lane_bits_>
struct EncodeGroup {
  using Word = WordType;
  using Lane = avx512::Lane<lane_bits_>;
  static constexpr int lane_bits = lane_bits_;
  static constexpr int word_bytes = sizeof(Word);
  static constexpr int planes = 8 * word_bytes;  // of a block, without that of the deltas' carry
  static constexpr int blocks = 64 / planes;     // of a group
  static constexpr int lane_bytes = lane_bits / 8;
  static constexpr int vectors = lane_bytes;  // 64 lanes
  static constexpr int slots = lane_bits;     // places for words in a block
  static constexpr int block_vectors = std::max(1, word_bytes* lane_bits / 64);
  static constexpr int vector_blocks = std::max(1, 64 / (word_bytes * lane_bits));
  static constexpr int vector_lanes = 64 / lane_bytes;
  static constexpr int block_qwords = planes * lane_bits / 64;

  using Indices = std::array<std::uint8_t, 64>;

  /// Bytes of words to bytes of equal weight, those of 8 words in each 64-bit lane.
  static constexpr Indices gather_bytes = [] {
    Indices indices{};
    constexpr int words_of_8 = 8 / word_bytes / vector_blocks;  // of one block in a vector
    for (int i = 0; i < 64; ++i) {
      const int word_in_8 = i % 8;
      const int qword = i / 8;
      const int eight = qword % words_of_8;
      const int byte = qword / words_of_8 % word_bytes;
      const int block = qword / words_of_8 / word_bytes;
      const int word = (block * words_of_8 + eight) * 8 + word_in_8;
      indices[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(word * word_bytes + byte);
    }
    return indices;
  }();

  /// 8 bits of 8 planes in each 64-bit lane, as gather_bytes and the transposition leave them, to
  /// whole planes. Where a block takes several vectors, an index counts through the bytes of all
  /// vectors of the block, and `part` is the one that is made.
  static constexpr auto gather_planes = [] {
    std::array<std::array<std::uint8_t, 64>, block_vectors> indices{};
    constexpr int words_of_8 = 8 / word_bytes / vector_blocks;
    for (int part = 0; part < block_vectors; ++part) {
      for (int i = 0; i < 64; ++i) {
        const int lane = i / lane_bytes;
        const int block = lane / planes;
        const int plane = (part * vector_lanes + lane) % planes;
        const int eight = lane_bytes - 1 - i % lane_bytes;
        const int vector = eight / words_of_8 % block_vectors;
        const int qword = (block * word_bytes + plane / 8) * words_of_8 + eight % words_of_8;
        indices[static_cast<std::size_t>(part)][static_cast<std::size_t>(i)] =
            static_cast<std::uint8_t>(vector * 64 + qword * 8 + plane % 8);
      }
    }
    return indices;
  }();

  /// The same lanes of every block; `block_lanes` are those of the first one.
  static constexpr std::uint64_t every_block(std::uint64_t block_lanes) {
    std::uint64_t lanes = 0;
    for (int block = 0; block < blocks; ++block) lanes |= block_lanes << (block * planes);
    return lanes;
  }
};

/// The settings as the encoder needs them, and which lanes of a group they give to planes.
template <class Group>
struct PlaneSettings {
  explicit PlaneSettings(const Parameters& p)
      : word_bits(p.word_bits),
        block_size(p.block_size),
        plane_bits(ebpc::plane_bits(p)),
        index_bits(log2_ceil(static_cast<std::uint32_t>(p.block_size))),
        run_bits(log2_ceil(static_cast<std::uint32_t>(p.word_bits))),
        base_bits(p.base == Base::sent ? p.word_bits : 0),
        has_top_plane(p.word_bits == Group::planes) {
    const int planes = std::min(word_bits + 1, Group::planes);
    used = Group::every_block(low_bits(planes));
    first = Group::every_block(1);
    last = Group::every_block(std::uint64_t{1} << (planes - 1));
    if (has_top_plane) to_top = room_for_base = last;
    if (base_bits > 0) {
      // bits that the last 64 bits of a block's lanes
      constexpr int lanes = 64 / Group::lane_bits;
      int zero = 0;
      while ((lanes - zero) * std::max(1 + plane_bits, 5 + index_bits) + 3 + run_bits + base_bits >
             64)
        ++zero;
      room_for_base |= Group::every_block(low_bits(zero) << (Group::planes - zero));
    }
  }

  int word_bits;
  int block_size;
  int plane_bits;
  int index_bits;
  int run_bits;
  int base_bits;
  bool has_top_plane;        // besides those in lanes
  std::uint64_t used;        // lanes with planes, in all blocks
  std::uint64_t first;       // lanes of the first plane of each block
  std::uint64_t last;        // lanes of the last one
  std::uint64_t to_top = 0;  // the same, if a top plane follows
  std::uint64_t room_for_base = 0;
};

/// Cuts the words of groups into bit planes.
template <class Group>
class PlaneSplitter {
 public:
  using Word = typename Group::Word;
  using Vectors = VectorArray<Group::vectors>;

  struct SplitPlanes {
    Vectors dbp;
    Vectors dbx;
    __m512i overflow;  // a word's sign is set where a delta's top plane differs from the one below
  };

  /// The top planes of a group's blocks, which have no lanes: for each, its XOR with the plane
  /// below and itself. The first slot is the least significant bit.
  struct Tops {
    std::array<typename Group::Lane, Group::blocks> dbx;
    std::array<typename Group::Lane, Group::blocks> dbp;
  };

  explicit PlaneSplitter(const PlaneSettings<Group>& s) : block_size_(s.block_size) {
    first_slot_ = Group::slots - s.block_size;
    below_ = ~s.first;
    last_planes_ =
        L::keep(static_cast<typename L::Mask>(
                    s.room_for_base >> ((Group::block_vectors - 1) * Group::vector_lanes & 63)),
                _mm512_set1_epi64(-1));
    for (int i = 0; i < 64 && first_slot_ != 0; ++i) {
      const int word = i / Group::word_bytes;
      const int place = word / Group::slots * block_size_ + word % Group::slots - first_slot_;
      spread_[at(i)] = static_cast<std::uint8_t>(place * Group::word_bytes + i % Group::word_bytes);
    }
    // The slots that have a delta, of every block.
    const int unused = Group::slots - s.plane_bits;
    std::uint64_t slots = ~std::uint64_t{0} >> (64 - Group::slots) >> unused << unused;
    if constexpr (Group::block_vectors == 1) {
      for (int bits = Group::slots; bits < 64; bits *= 2) slots |= slots << (bits & 63);
    }
    for (int part = 0; part < Group::block_vectors; ++part) {
      slots_[at(part)] =
          static_cast<typename W::Mask>(slots >> (part * (64 / Group::word_bytes) & 63));
    }
  }

  /// words[-1] is the word before.
  [[gnu::always_inline]] SplitPlanes split(const Word* words) const {
    constexpr int parts = Group::block_vectors;
    SplitPlanes planes;
    planes.overflow = _mm512_setzero_si512();
    for (int first = 0; first < Group::vectors; first += parts) {
      VectorArray<parts> columns;
      for (int part = 0; part < parts; ++part) {
        const Delta delta = delta_of(words_of(words, first), part);
        planes.overflow = _mm512_or_si512(planes.overflow, delta.overflow);
        __m512i bytes = delta.value;
        if constexpr (Group::word_bytes > 1) {
          bytes = _mm512_permutexvar_epi8(load_512(Group::gather_bytes.data()), bytes);
        }
        // The identity times a matrix of 8 deltas' bytes transposes them.
        columns[part] = _mm512_gf2p8affine_epi64_epi8(
            _mm512_set1_epi64(static_cast<long long>(0x8040201008040201)), bytes, 0);
        if constexpr (Group::planes == 8 && Group::lane_bits == 8) {
          // With two bits in a row it XORs neighbouring planes on the way.
          planes.dbx[0] = _mm512_gf2p8affine_epi64_epi8(
              _mm512_set1_epi64(static_cast<long long>(0xC06030180C060301)), bytes, 0);
        }
      }
      for (int part = 0; part < parts; ++part) planes.dbp[first + part] = gather(columns, part);
    }
    if constexpr (Group::planes != 8 || Group::lane_bits != 8) {
      for (int i = 0; i < Group::vectors; ++i) {
        const auto below = static_cast<typename L::Mask>(below_ >> (i * Group::vector_lanes & 63));
        planes.dbx[i] = _mm512_xor_si512(
            planes.dbp[i], L::shift_up(below, planes.dbp[i], planes.dbp[std::max(i - 1, 0)]));
      }
    }
    return planes;
  }

  /// Whether any of them has an XOR that is not zero.
  static bool has_tops(const SplitPlanes& planes) {
    return _mm512_test_epi64_mask(planes.overflow, sign_bits()) != 0;
  }

  /// The lanes whose XOR is not zero.
  static std::uint64_t nonzero(const SplitPlanes& planes) {
    std::uint64_t lanes = 0;
    for (int i = 0; i < Group::vectors; ++i) {
      lanes |= bits_of(L::is_nonzero(planes.dbx[i])) << (i * Group::vector_lanes & 63);
    }
    return lanes;
  }

  /// Whether any of them, or of the `planes` last planes with lanes (up to those of a vector), has
  /// an XOR that is not zero.
  bool has_any_of_last(const SplitPlanes& planes) const {
    __m512i any = _mm512_and_si512(planes.overflow, sign_bits());
    for (int i = Group::block_vectors - 1; i < Group::vectors; i += Group::block_vectors) {
      any = _mm512_or_si512(any, _mm512_and_si512(planes.dbx[i], last_planes_));
    }
    return _mm512_test_epi64_mask(any, any) != 0;
  }

  Tops tops(const Word* words) const {
    Tops tops;
    constexpr std::size_t mask_bytes = sizeof(typename W::Mask);
    for (int first = 0; first < Group::vectors; first += Group::block_vectors) {
      for (int part = 0; part < Group::block_vectors; ++part) {
        const Delta delta = delta_of(words_of(words, first), part);
        const typename W::Mask dbx = W::sign(delta.overflow);
        const typename W::Mask dbp = dbx ^ W::sign(delta.value);
        const std::size_t place = at(first + part) * mask_bytes;
        std::memcpy(reinterpret_cast<std::uint8_t*>(tops.dbx.data()) + place, &dbx, mask_bytes);
        std::memcpy(reinterpret_cast<std::uint8_t*>(tops.dbp.data()) + place, &dbp, mask_bytes);
      }
    }
    return tops;
  }

 private:
  using L = Lanes<Group::lane_bits>;
  using W = Lanes<8 * Group::word_bytes>;

  struct Delta {
    __m512i value;
    __m512i overflow;  // negative where the delta's top bit differs from the one below
  };

  static __m512i sign_bits() {
    constexpr auto word = std::uint64_t{1} << (8 * Group::word_bytes - 1);
    return kept(Lanes<8 * Group::word_bytes>::set(word));
  }

  /// The words of the blocks of which vector `first` has the first planes.
  const Word* words_of(const Word* words, int first) const {
    return words + first * Group::vector_blocks / Group::block_vectors * block_size_;
  }

  /// The deltas of one vector's slots.
  [[gnu::always_inline]] Delta delta_of(const Word* words, int part) const {
    __m512i word;
    __m512i before;
    if constexpr (Group::block_vectors == 1) {
      word = load_512(words);
      before = load_512(words - 1);
      if (first_slot_ != 0) {  // blocks stand at the end of their slots
        word = _mm512_permutexvar_epi8(load_512(spread_.data()), word);
        before = _mm512_permutexvar_epi8(load_512(spread_.data()), before);
      }
    } else {
      word = load_512(words + part * (64 / Group::word_bytes) - first_slot_);
      before = load_512(words + part * (64 / Group::word_bytes) - first_slot_ - 1);
    }
    const auto slots = slots_[at(part)];
    const __m512i delta = W::sub(slots, word, before);
    // A subtraction overflows where (word ^ before) & (word ^ delta) is negative.
    return {delta, W::keep(slots, _mm512_ternarylogic_epi64(word, before, delta, 0x18))};
  }

  template <int parts>
  static __m512i gather(const VectorArray<parts>& columns, int part) {
    if constexpr (Group::lane_bits == 8) return columns[part];
    const __m512i indices = load_512(Group::gather_planes[at(part)].data());
    if constexpr (parts == 1) {
      return _mm512_permutexvar_epi8(indices, columns[0]);
    } else {
      __m512i planes = _mm512_permutex2var_epi8(columns[0], indices, columns[1]);
      if constexpr (parts == 4) {
        planes = _mm512_mask_blend_epi8(_mm512_movepi8_mask(indices), planes,
                                        _mm512_permutex2var_epi8(columns[2], indices, columns[3]));
      }
      return planes;
    }
  }

  int block_size_;
  int first_slot_;
  __m512i last_planes_;  // in the vector that has them
  std::uint64_t below_;  // lanes with a plane below in the same block
  std::array<typename W::Mask, Group::block_vectors> slots_;
  std::array<std::uint8_t, 64> spread_;  // bytes of blocks to their slots
};

}  // namespace
}  // namespace ebpc::avx512
