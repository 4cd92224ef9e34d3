// From words to the codes of their bit planes with AVX-512, for every setting: 64 planes at once,
// each in a lane of the width that its longest code needs.

#pragma once

#include <algorithm>
#include <array>

#include "ebpc/kernels/avx512_bits.h"
#include "ebpc/kernels/avx512_code_appender.h"
#include "ebpc/kernels/avx512_lanes.h"
#include "ebpc/kernels/avx512_plane_group.h"
#include "ebpc/parameters.h"

namespace ebpc {
namespace {

/// Codes of up to 8 bits by a number below `size`: right-justified, left-justified, their lengths.
/// Where nothing is coded, all are 0.
template <std::size_t size>
struct ShortCodes {
  alignas(64) std::array<std::uint8_t, size> right{};
  alignas(64) std::array<std::uint8_t, size> left{};
  alignas(64) std::array<std::uint8_t, size> bits{};

  constexpr void set(unsigned index, unsigned code, int length) {
    right[index] = static_cast<std::uint8_t>(code);
    left[index] = static_cast<std::uint8_t>(code << (8 - length));
    bits[index] = static_cast<std::uint8_t>(length);
  }
};

/// The codes of runs of zero planes by their length, 1 to 33, for each log2 of W.
constexpr auto zero_plane_codes = [] {
  std::array<ShortCodes<64>, 6> tables{};
  for (unsigned run_bits = 1; run_bits < tables.size(); ++run_bits) {
    tables[run_bits].set(1, 1, 2);
    for (unsigned planes = 2; planes <= 1 + (1U << run_bits); ++planes) {
      tables[run_bits].set(planes, (1U << run_bits) | (planes - 2), static_cast<int>(3 + run_bits));
    }
  }
  return tables;
}();

/// The codes of planes of up to 7 bits by their XORed plane, unless the plane itself is zero; for
/// each number of bits, and of bits of an index.
constexpr auto narrow_plane_codes = [] {
  std::array<std::array<ShortCodes<128>, 4>, 8> tables{};
  for (int plane_bits = 1; plane_bits <= 7; ++plane_bits) {
    for (int index_bits = 1; index_bits <= 3; ++index_bits) {
      ShortCodes<128>& table =
          tables[static_cast<std::size_t>(plane_bits)][static_cast<std::size_t>(index_bits)];
      if (plane_bits > 1 << index_bits) continue;
      const unsigned all_ones = (1U << plane_bits) - 1;
      for (unsigned x = 1; x < all_ones; ++x) {
        const auto first_one = static_cast<unsigned>(plane_bits - std::bit_width(x));
        const unsigned rest = x & (x - 1);
        if (rest == 0) {
          table.set(x, 3U << index_bits | first_one, 5 + index_bits);
        } else if (x == (rest | rest >> 1) && (rest & (rest - 1)) == 0) {
          table.set(x, 2U << index_bits | first_one, 5 + index_bits);
        } else {
          table.set(x, 1U << plane_bits | x, 1 + plane_bits);
        }
      }
      table.set(all_ones, 0, 5);
    }
  }
  return tables;
}();

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

  struct Planes {
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
  [[gnu::always_inline]] Planes split(const Word* words) const {
    constexpr int parts = Group::block_vectors;
    Planes planes;
    planes.overflow = _mm512_setzero_si512();
    for (int first = 0; first < Group::vectors; first += parts) {
      VectorArray<parts> columns;
      for (int part = 0; part < parts; ++part) {
        const Delta delta = delta_of(words_of(words, first), part);
        planes.overflow = _mm512_or_si512(planes.overflow, delta.overflow);
        __m512i bytes = delta.value;
        if constexpr (Group::word_bytes > 1) {
          bytes = _mm512_permutexvar_epi8(load_vector(Group::gather_bytes.data()), bytes);
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
  static bool has_tops(const Planes& planes) {
    return _mm512_test_epi64_mask(planes.overflow, sign_bits()) != 0;
  }

  /// The lanes whose XOR is not zero.
  static std::uint64_t nonzero(const Planes& planes) {
    std::uint64_t lanes = 0;
    for (int i = 0; i < Group::vectors; ++i) {
      lanes |= bits_of(L::is_nonzero(planes.dbx[i])) << (i * Group::vector_lanes & 63);
    }
    return lanes;
  }

  /// Whether any of them, or of the `planes` last planes with lanes (up to those of a vector), has
  /// an XOR that is not zero.
  bool has_any_of_last(const Planes& planes) const {
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
      word = load_vector(words);
      before = load_vector(words - 1);
      if (first_slot_ != 0) {  // blocks stand at the end of their slots
        word = _mm512_permutexvar_epi8(load_vector(spread_.data()), word);
        before = _mm512_permutexvar_epi8(load_vector(spread_.data()), before);
      }
    } else {
      word = load_vector(words + part * (64 / Group::word_bytes) - first_slot_);
      before = load_vector(words + part * (64 / Group::word_bytes) - first_slot_ - 1);
    }
    const auto slots = slots_[at(part)];
    const __m512i delta = W::sub(slots, word, before);
    // A subtraction overflows where (word ^ before) & (word ^ delta) is negative.
    return {delta, W::keep(slots, _mm512_ternarylogic_epi64(word, before, delta, 0x18))};
  }

  template <int parts>
  static __m512i gather(const VectorArray<parts>& columns, int part) {
    if constexpr (Group::lane_bits == 8) return columns[part];
    const __m512i indices = load_vector(Group::gather_planes[at(part)].data());
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

  static constexpr std::size_t at(int i) { return static_cast<std::size_t>(i); }

  int block_size_;
  int first_slot_;
  __m512i last_planes_;  // in the vector that has them
  std::uint64_t below_;  // lanes with a plane below in the same block
  std::array<typename W::Mask, Group::block_vectors> slots_;
  std::array<std::uint8_t, 64> spread_;  // bytes of blocks to their slots
};

/// Gives planes their codes.
template <class Group>
class PlaneCoder {
 public:
  using Planes = typename PlaneSplitter<Group>::Planes;

  explicit PlaneCoder(const PlaneSettings<Group>& s)
      : last_(s.last),
        used_(s.used),
        is_7_bits_(s.plane_bits == 7),
        zero_codes_(zero_plane_codes[at(s.run_bits)]),
        narrow_codes_(narrow_plane_codes[at(s.plane_bits % 8)][at(s.index_bits % 4)]),
        all_ones_(lanes(low_bits(s.plane_bits))),
        uncompressed_(lanes(std::uint64_t{1} << s.plane_bits)),
        uncompressed_bits_(lanes(static_cast<std::uint64_t>(1 + s.plane_bits))),
        single_(lanes((std::uint64_t{3} << s.index_bits) +
                      static_cast<std::uint64_t>(s.plane_bits - 1))),
        pair_(lanes((std::uint64_t{2} << s.index_bits) +
                    static_cast<std::uint64_t>(s.plane_bits - 2))),
        indexed_bits_(lanes(static_cast<std::uint64_t>(5 + s.index_bits))) {}

  /// The codes of a group, those of each 64 bits of lanes joined. Runs of zero planes up to the
  /// last lanes in `to_top` go on for one more plane.
  [[gnu::always_inline]] std::array<Codes, Group::vectors> codes(const Planes& planes,
                                                                 std::uint64_t nonzero,
                                                                 std::uint64_t to_top) const {
    const __m512i runs = zero_runs(nonzero, to_top);
    std::array<Codes, Group::vectors> codes;
    if constexpr (Group::lane_bits == 8) {
      codes[0] = narrow_codes(planes.dbx[0], planes.dbp[0], nonzero, runs);
    } else {
      alignas(64) std::array<std::uint8_t, 64> run_codes;
      alignas(64) std::array<std::uint8_t, 64> run_bits;
      store_vector(run_codes.data(),
                   _mm512_permutexvar_epi8(runs, load_vector(zero_codes_.right.data())));
      store_vector(run_bits.data(),
                   _mm512_permutexvar_epi8(runs, load_vector(zero_codes_.bits.data())));
      for (int i = 0; i < Group::vectors; ++i) {
        codes[at(i)] =
            wide_codes(planes.dbx[i], planes.dbp[i],
                       static_cast<typename L::Mask>(nonzero >> (i * Group::vector_lanes & 63)),
                       L::widen(run_codes.data() + i * Group::vector_lanes),
                       L::widen(run_bits.data() + i * Group::vector_lanes));
      }
    }
    return codes;
  }

 private:
  using L = Lanes<Group::lane_bits>;

  static constexpr int odd_lane = 64;

  /// For each lane that ends a run of zero planes the run's length, and odd_lane more in odd ones;
  /// zero elsewhere.
  [[gnu::always_inline]] __m512i zero_runs(std::uint64_t nonzero, std::uint64_t to_top) const {
    const std::uint64_t ends = ~nonzero & (nonzero >> 1 | last_) & used_;
    // By prefix maximum, the number of the last non-zero plane up to each lane, from 1 on.
    __m512i number = _mm512_maskz_mov_epi8(nonzero, load_vector(plane_numbers.data()));
    if constexpr (Group::planes == 8) {
      number = _mm512_max_epu8(number, _mm512_slli_epi64(number, 8));
      number = _mm512_max_epu8(number, _mm512_slli_epi64(number, 16));
      number = _mm512_max_epu8(number, _mm512_slli_epi64(number, 32));
    } else {
      number = _mm512_max_epu8(number, _mm512_bslli_epi128(number, 1));
      number = _mm512_max_epu8(number, _mm512_bslli_epi128(number, 2));
      number = _mm512_max_epu8(number, _mm512_bslli_epi128(number, 4));
      number = _mm512_max_epu8(number, _mm512_bslli_epi128(number, 8));
      if constexpr (Group::planes == 32) {
        // The last of the lower 16 lanes for all of the upper ones.
        const __m512i lower =
            _mm512_shuffle_epi8(_mm512_permutex_epi64(number, 0b01010101), _mm512_set1_epi8(7));
        number = _mm512_max_epu8(number, _mm512_maskz_mov_epi8(0xFFFF0000FFFF0000, lower));
      }
    }
    const __m512i places = load_vector(run_ends.data());
    const __m512i end = _mm512_mask_add_epi8(places, to_top, places, one_8_);
    return _mm512_maskz_sub_epi8(ends, end, number);
  }

  [[gnu::always_inline]] Codes narrow_codes(__m512i dbx, __m512i dbp, __mmask64 nonzero,
                                            __m512i runs) const {
    constexpr std::uint64_t odd = 0xAAAAAAAAAAAAAAAA;
    const __mmask64 not_all_ones = L::differ(nonzero, dbx, all_ones_);
    const __mmask64 plane_zero = L::is_zero(not_all_ones, dbp);
    __m512i codes = look_up(narrow_codes_.right, dbx);
    if (!is_7_bits_) {
      codes = _mm512_mask_blend_epi8(odd, codes, look_up(narrow_codes_.left, dbx));
    }
    __m512i bits = look_up(narrow_codes_.bits, dbx);
    // 00001, in odd lanes left-justified
    codes = _mm512_mask_mov_epi8(codes, plane_zero, plane_zero_);
    bits = _mm512_mask_mov_epi8(bits, plane_zero, five_);
    codes =
        _mm512_or_si512(codes, _mm512_permutex2var_epi8(load_vector(zero_codes_.right.data()), runs,
                                                        load_vector(zero_codes_.left.data())));
    bits =
        _mm512_or_si512(bits, _mm512_permutexvar_epi8(runs, load_vector(zero_codes_.bits.data())));
    return join_codes<8>(codes, bits);
  }

  [[gnu::always_inline]] Codes wide_codes(__m512i dbx, __m512i dbp, typename L::Mask nonzero,
                                          __m512i run_codes, __m512i run_bits) const {
    const auto not_all_ones = L::differ(nonzero, dbx, all_ones_);
    const auto plane_zero = L::is_zero(not_all_ones, dbp);
    const auto other = static_cast<typename L::Mask>(not_all_ones & ~plane_zero);
    const __m512i minus_one = L::sub(dbx, one_);
    const __m512i below_one = _mm512_andnot_si512(dbx, minus_one);  // ones below the lowest one
    const __m512i rest = _mm512_and_si512(dbx, minus_one);          // without the lowest one
    const __m512i lowest = _mm512_xor_si512(dbx, rest);
    const auto single = L::is_zero(other, rest);
    const auto pair = L::equal(other, rest, L::add(lowest, lowest));
    const __m512i behind = L::popcount(below_one);
    __m512i codes = L::keep(other, _mm512_or_si512(dbx, uncompressed_));
    codes = L::blend(single, codes, L::sub(single_, behind));
    codes = L::blend(pair, codes, L::sub(pair_, behind));
    codes = L::blend(plane_zero, codes, one_);
    __m512i bits = L::keep(nonzero, five_);
    bits = L::blend(other, bits, uncompressed_bits_);
    bits = L::blend(static_cast<typename L::Mask>(single | pair), bits, indexed_bits_);
    codes = _mm512_or_si512(codes, run_codes);
    bits = _mm512_or_si512(bits, run_bits);
    // join_codes wants odd lanes, or all of 64 bits, left-justified.
    const auto left = static_cast<typename L::Mask>(Group::lane_bits == 64 ? ~std::uint64_t{0}
                                                                           : 0xAAAAAAAAAAAAAAAA);
    codes = L::shift_left(left, codes, L::sub(lane_bits_, bits));
    return join_codes<Group::lane_bits>(codes, bits);
  }

  static __m512i look_up(const std::array<std::uint8_t, 128>& table, __m512i indices) {
    return _mm512_permutex2var_epi8(load_vector(table.data()), indices,
                                    load_vector(table.data() + 64));
  }

  static constexpr std::size_t at(int i) { return static_cast<std::size_t>(i); }

  static constexpr auto plane_numbers = [] {
    std::array<std::uint8_t, 64> numbers{};
    for (int i = 0; i < 64; ++i) {
      numbers[at(i)] = static_cast<std::uint8_t>(i % Group::planes + 1);
    }
    return numbers;
  }();
  static constexpr auto run_ends = [] {
    std::array<std::uint8_t, 64> ends = plane_numbers;
    for (std::size_t i = 1; i < 64; i += 2) ends[i] = static_cast<std::uint8_t>(ends[i] + odd_lane);
    return ends;
  }();

  static __m512i lanes(std::uint64_t x) { return kept(L::set(x)); }

  std::uint64_t last_;
  std::uint64_t used_;
  bool is_7_bits_;
  const ShortCodes<64>& zero_codes_;
  const ShortCodes<128>& narrow_codes_;
  __m512i all_ones_;
  __m512i uncompressed_;
  __m512i uncompressed_bits_;
  __m512i single_;
  __m512i pair_;
  __m512i indexed_bits_;
  __m512i one_ = lanes(1);
  __m512i five_ = lanes(5);
  __m512i lane_bits_ = lanes(Group::lane_bits);
  __m512i one_8_ = kept(_mm512_set1_epi8(1));
  __m512i plane_zero_ = kept(_mm512_set1_epi16(0x0801));
};

}  // namespace
}  // namespace ebpc
