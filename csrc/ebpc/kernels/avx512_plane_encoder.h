// The plane stream with AVX-512 for every setting: 64 bit planes at once, each in a lane of the
// width that its longest code needs.

#pragma once

#include <algorithm>
#include <array>

#include "ebpc/kernels/avx512_bits.h"
#include "ebpc/kernels/avx512_lanes.h"
#include "ebpc/kernels/avx512_plane_group.h"
#include "ebpc/parameters.h"

namespace ebpc {
namespace {

/// Codes the plane stream, or only counts its bits. Base words and planes must have less than 64
/// bits, so all settings but blocks of 64 with a re-used base.
template <class Group, bool counting>
class PlaneEncoder {
 public:
  using Word = typename Group::Word;

  /// Words that one step takes at most.
  static constexpr std::size_t step_words = Group::blocks * Group::slots;

  PlaneEncoder(const Parameters& p, Word flip, std::uint8_t* out)
      : writer_(out),
        flip_(flip),
        word_bits_(p.word_bits),
        block_size_(p.block_size),
        plane_bits_(plane_bits(p)),
        index_bits_(log2_ceil(static_cast<std::uint32_t>(p.block_size))),
        run_bits_(log2_ceil(static_cast<std::uint32_t>(p.word_bits))),
        base_bits_(p.base == Base::sent ? p.word_bits : 0),
        has_top_plane_(p.word_bits == Group::planes) {
    const int planes = std::min(word_bits_ + 1, Group::planes);
    used_ = Group::every_block(low_bits(planes) << (Group::planes - planes));
    first_ = Group::every_block(std::uint64_t{1} << (Group::planes - 1));
    last_ = Group::every_block(std::uint64_t{1} << (Group::planes - planes));
    block_qwords_ = (planes * Group::lane_bits + 63) / 64;
    for (int i = 0; i < 64; ++i) {
      const int word = i / Group::word_bytes;
      const int place = word / Group::slots * block_size_ + word % Group::slots - first_slot();
      spread_[static_cast<std::size_t>(i)] =
          static_cast<std::uint8_t>(place * Group::word_bytes + i % Group::word_bytes);
    }
  }

  /// Codes whole groups of `words`, each word XORed with `flip` and words[-1] being the one before.
  /// Returns how many words were coded.
  std::size_t encode(const Word* words, std::size_t count) {
    const auto step = static_cast<std::size_t>(Group::blocks * block_size_);
    std::size_t done = 0;
    for (; done + step <= count; done += step) code(words + done, Group::blocks);
    return done;
  }

  /// Codes the last words, which zero words follow. Returns the bits of the stream.
  std::uint64_t finish(const Word* words, std::size_t count) {
    const int blocks = (static_cast<int>(count) + block_size_ - 1) / block_size_;
    if (blocks > 0) code(words, blocks);
    if constexpr (counting) return bits_;
    writer_.put(top_.code, top_.bits);
    writer_.finish();
    return writer_.bits();
  }

 private:
  using L = Lanes<Group::lane_bits>;
  using W = Lanes<8 * Group::word_bytes>;
  using Vectors = VectorArray<Group::vectors>;
  using Tops = std::array<std::uint64_t, Group::blocks>;

  /// What the planes are, a bit for each lane.
  struct Kinds {
    std::uint64_t zero = 0;
    std::uint64_t all_ones = 0;
    std::uint64_t plane_zero = 0;
    std::uint64_t indexed = 0;  // a single one or two
  };

  /// The place of a block's first word: blocks stand at the end of their slots.
  int first_slot() const { return Group::slots - block_size_; }

  /// The deltas of one vector's slots; `carries` gets the bits in which their top planes differ
  /// from the planes below.
  __m512i deltas(const Word* words, int vector, std::uint64_t& carries) const {
    const int origin = vector * (64 / Group::word_bytes);
    __m512i word;
    __m512i before;
    if constexpr (Group::block_vectors == 1) {
      word = load_vector(words);
      before = load_vector(words - 1);
      if (block_size_ != Group::slots) {
        word = _mm512_permutexvar_epi8(load_vector(spread_.data()), word);
        before = _mm512_permutexvar_epi8(load_vector(spread_.data()), before);
      }
    } else {
      word = load_vector(words + origin - first_slot());
      before = load_vector(words + origin - first_slot() - 1);
    }
    // The slots that have a delta, of every block.
    const int unused = Group::slots - plane_bits_;
    std::uint64_t slots = ~std::uint64_t{0} >> (64 - Group::slots) >> unused << unused;
    if constexpr (Group::block_vectors == 1) {
      for (int bits = Group::slots; bits < 64; bits *= 2) slots |= slots << (bits & 63);
    }
    slots >>= origin & 63;
    const auto mask = static_cast<typename W::Mask>(slots);
    const __m512i delta = W::sub(mask, word, before);
    // A subtraction overflows where (word ^ before) & (word ^ delta) is negative.
    const __m512i overflow = _mm512_ternarylogic_epi64(word, before, delta, 0x18);
    carries = W::sign(overflow) & mask;
    return delta;
  }

  /// The bit planes of a group, from last to first. Returns whether top planes differ from those
  /// below, and how.
  bool planes_of(const Word* words, Vectors& dbp, Tops& tops) const {
    constexpr int parts = Group::block_vectors;
    std::uint64_t any = 0;
    for (int first = 0; first < Group::vectors; first += parts) {
      VectorArray<parts> columns;
      std::array<std::uint64_t, parts> carries;
      const Word* source =
          words + (parts == 1 ? first * Group::vector_blocks : first / parts) * block_size_;
      for (int part = 0; part < parts; ++part) {
        __m512i delta = deltas(source, part, carries[at(part)]);
        any |= carries[at(part)];
        if constexpr (Group::word_bytes > 1) {
          delta = _mm512_permutexvar_epi8(load_vector(Group::gather_bytes.data()), delta);
        }
        // The identity times a matrix of 8 deltas' bytes transposes them.
        columns[part] = _mm512_gf2p8affine_epi64_epi8(
            _mm512_set1_epi64(static_cast<long long>(0x8040201008040201)), delta, 0);
      }
      for (int part = 0; part < parts; ++part) {
        dbp[Group::vectors - 1 - first - part] = gather(columns, part);
      }
      for (int block = 0; block < Group::vector_blocks; ++block) {
        std::uint64_t bits = 0;
        for (int part = 0; part < parts; ++part) {
          bits |= carries[at(part)] << (part * (64 / Group::word_bytes) & 63);
        }
        tops[at(first / parts * Group::vector_blocks + block)] =
            bits >> (block * Group::slots & 63) & low_bits(Group::slots);
      }
    }
    return has_top_plane_ && any != 0;
  }

  template <int parts>
  static __m512i gather(const VectorArray<parts>& columns, int part) {
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

  /// Makes codes of the planes, each with a mask of the bits that it has; zero planes not yet.
  Kinds classify(const Vectors& dbp, Vectors& codes, Vectors& valid) const {
    const __m512i one = L::set(1);
    Kinds kinds;
    for (int i = 0; i < Group::vectors; ++i) {
      const int shift = i * Group::vector_lanes & 63;
      const __m512i plane = dbp[i];
      const __m512i above = dbp[std::min(i + 1, Group::vectors - 1)];
      const __m512i below =
          L::keep(static_cast<typename L::Mask>(~first_ >> shift), L::shift_down(plane, above));
      const __m512i dbx = _mm512_xor_si512(plane, below);
      const __m512i minus_one = L::sub(dbx, one);
      const __m512i trailing = _mm512_andnot_si512(dbx, minus_one);  // ones below the lowest one
      const __m512i rest = _mm512_and_si512(dbx, minus_one);         // without the lowest one
      const __m512i next_bit = L::add(L::add(trailing, trailing), L::set(2));
      const auto single_one = L::is_zero(rest);
      const auto two_ones = L::equal(rest, next_bit);
      const auto plane_zero = L::is_zero(plane);
      const auto all_ones = L::equal(dbx, L::set(low_bits(plane_bits_)));
      kinds.zero |= std::uint64_t{L::is_zero(dbx)} << shift;
      kinds.all_ones |= std::uint64_t{all_ones} << shift;
      kinds.plane_zero |= std::uint64_t{plane_zero} << shift;
      kinds.indexed |= std::uint64_t{static_cast<typename L::Mask>(single_one | two_ones)} << shift;
      if constexpr (!counting) {
        const __m512i behind = L::popcount(trailing);
        const auto at_left = static_cast<std::uint64_t>(plane_bits_ - 1);
        const __m512i code_one =
            L::sub(L::set((std::uint64_t{3} << index_bits_) + at_left), behind);
        const __m512i code_two =
            L::sub(L::set((std::uint64_t{2} << index_bits_) + at_left - 1), behind);
        __m512i code = _mm512_or_si512(dbx, L::set(std::uint64_t{1} << plane_bits_));
        code = L::blend(single_one, code, code_one);
        code = L::blend(two_ones, code, code_two);
        code = L::blend(plane_zero, code, one);
        codes[i] = L::blend(all_ones, code, _mm512_setzero_si512());
        __m512i bits = L::set(low_bits(1 + plane_bits_));
        bits = L::blend(static_cast<typename L::Mask>(single_one | two_ones), bits,
                        L::set(low_bits(5 + index_bits_)));
        valid[i] = L::blend(static_cast<typename L::Mask>(plane_zero | all_ones), bits,
                            L::set(low_bits(5)));
      }
    }
    kinds.zero &= used_;
    kinds.all_ones &= used_ & ~kinds.zero;
    kinds.plane_zero &= used_ & ~(kinds.zero | kinds.all_ones);
    kinds.indexed &= used_ & ~(kinds.zero | kinds.all_ones | kinds.plane_zero);
    return kinds;
  }

  /// Lanes that are the first plane of a run of zero planes, or the last.
  std::uint64_t run_starts(std::uint64_t zero) const { return zero & (~(zero >> 1) | first_); }
  std::uint64_t run_ends(std::uint64_t zero) const { return zero & (~(zero << 1) | last_); }

  void code(const Word* words, int blocks) {
    Vectors dbp;
    Vectors codes;
    Vectors valid;
    Tops tops;
    const bool has_tops = planes_of(words, dbp, tops);
    const Kinds kinds = classify(dbp, codes, valid);
    if constexpr (counting) {
      count_group(kinds, dbp, has_tops ? &tops : nullptr, blocks);
    } else {
      write_group(words, kinds, dbp, codes, valid, has_tops ? &tops : nullptr, blocks);
    }
  }

  void count_group(const Kinds& kinds, const Vectors& dbp, const Tops* tops, int blocks) {
    const std::uint64_t coded = ~std::uint64_t{0} << ((64 - blocks * Group::planes) & 63);
    const std::uint64_t ends = run_ends_below_top(kinds.zero, tops, blocks) & coded;
    const int singles = std::popcount(ends & run_starts(kinds.zero));
    const int runs = std::popcount(ends) - singles;
    if (has_top_plane_ && tops == nullptr) {
      const int runs_to_top = std::popcount(last_ & kinds.zero & coded);
      bits_ +=
          static_cast<std::uint64_t>(runs_to_top * (3 + run_bits_) + (blocks - runs_to_top) * 2);
    } else if (has_top_plane_) {
      for (int block = 0; block < blocks; ++block) {
        bits_ += static_cast<std::uint64_t>(top_symbol(kinds.zero, dbp, tops, block).bits);
      }
    }
    const int fives = std::popcount((kinds.all_ones | kinds.plane_zero) & coded);
    const int indexed = std::popcount(kinds.indexed & coded);
    const int others = std::popcount(used_ & ~kinds.zero & coded) - fives - indexed;
    bits_ += static_cast<std::uint64_t>(blocks * base_bits_ + others * (1 + plane_bits_) +
                                        indexed * (5 + index_bits_) + fives * 5 + singles * 2 +
                                        runs * (3 + run_bits_));
  }

  void write_group(const Word* words, const Kinds& kinds, const Vectors& dbp, const Vectors& codes,
                   const Vectors& valid, const Tops* tops, int blocks) {
    // The k-th start belongs to the k-th end, so compressing the places of the starts and expanding
    // them to the ends subtracts all at once.
    const std::uint64_t starts = run_starts(kinds.zero);
    const std::uint64_t ends = run_ends_below_top(kinds.zero, tops, blocks);
    const __m512i iota = load_vector(places.data());
    const __m512i run_start =
        _mm512_maskz_expand_epi8(run_ends(kinds.zero), _mm512_maskz_compress_epi8(starts, iota));
    const __m512i run_code =
        _mm512_add_epi8(_mm512_sub_epi8(run_start, iota),
                        _mm512_set1_epi8(static_cast<char>((1 << run_bits_) - 1)));
    const __m512i run_valid =
        _mm512_maskz_set1_epi8(ends, static_cast<char>(low_bits(3 + run_bits_)));
    alignas(64) std::array<std::uint8_t, 64> run_codes;
    alignas(64) std::array<std::uint8_t, 64> run_valids;
    store_vector(run_codes.data(),
                 _mm512_mask_blend_epi8(ends & starts, run_code, _mm512_set1_epi8(1)));
    store_vector(run_valids.data(),
                 _mm512_mask_blend_epi8(ends & starts, run_valid, _mm512_set1_epi8(3)));

    alignas(64) std::array<std::uint64_t, 8 * Group::vectors> code_qwords;
    alignas(64) std::array<std::uint64_t, 8 * Group::vectors> valid_qwords;
    for (int i = 0; i < Group::vectors; ++i) {
      const int lane = i * Group::vector_lanes;
      const auto zero = static_cast<typename L::Mask>((kinds.zero | ~used_) >> lane);
      store_vector(code_qwords.data() + 8 * i,
                   L::blend(zero, codes[i], L::widen(run_codes.data() + lane)));
      store_vector(valid_qwords.data() + 8 * i,
                   L::blend(zero, valid[i], L::widen(run_valids.data() + lane)));
    }
    StreamWriter writer = writer_;
    for (int block = 0; block < blocks; ++block) {
      put_top_and_base(writer, words[block * block_size_]);
      const int first = 8 * Group::vectors - 1 - block * Group::block_qwords;
      for (int i = first; i > first - block_qwords_; --i) {
        writer.put(_pext_u64(code_qwords[at(i)], valid_qwords[at(i)]),
                   std::popcount(valid_qwords[at(i)]));
      }
      if (has_top_plane_) top_ = top_symbol(kinds.zero, dbp, tops, block);
    }
    writer_ = writer;
  }

  /// The lanes that end a run of zero planes, but for runs that go on in the top plane.
  std::uint64_t run_ends_below_top(std::uint64_t zero, const Tops* tops, int blocks) const {
    std::uint64_t ends = run_ends(zero);
    if (!has_top_plane_) return ends;
    if (tops == nullptr) return ends & ~last_;
    for (int block = 0; block < blocks; ++block) {
      if ((*tops)[at(block)] == 0) ends &= ~(std::uint64_t{1} << last_lane(block));
    }
    return ends;
  }

  struct Symbol {
    std::uint64_t code = 0;
    int bits = 0;
  };

  /// What stands for the top plane, which has no lane of its own, and zero planes right below it.
  Symbol top_symbol(std::uint64_t zero, const Vectors& dbp, const Tops* tops, int block) const {
    const int lane = last_lane(block);
    if (tops == nullptr || (*tops)[at(block)] == 0) {
      const int zeros = std::min(std::countr_one(zero >> lane), Group::planes);
      if (zeros == 0) return {1, 2};
      return {(std::uint64_t{1} << run_bits_) + static_cast<std::uint64_t>(zeros - 1),
              3 + run_bits_};
    }
    // The first slot is the most significant bit of a plane.
    std::uint64_t dbx = 0;
    for (int slot = 0; slot < Group::slots; ++slot) {
      dbx = dbx << 1 | ((*tops)[at(block)] >> slot & 1);
    }
    typename Group::Lane plane_below;
    std::memcpy(&plane_below,
                reinterpret_cast<const std::uint8_t*>(dbp.vectors) + lane * Group::lane_bytes,
                sizeof plane_below);
    const std::uint64_t rest = dbx & (dbx - 1);
    const auto first_one = static_cast<std::uint64_t>(plane_bits_ - std::bit_width(dbx));
    if (dbx == low_bits(plane_bits_)) return {0, 5};
    if (dbx == plane_below) return {1, 5};
    if (rest == 0) return {std::uint64_t{3} << index_bits_ | first_one, 5 + index_bits_};
    if (dbx == (rest | rest >> 1) && std::has_single_bit(rest)) {
      return {std::uint64_t{2} << index_bits_ | first_one, 5 + index_bits_};
    }
    return {std::uint64_t{1} << plane_bits_ | dbx, 1 + plane_bits_};
  }

  /// The top plane of a block and the base of the next are neighbours in the stream.
  void put_top_and_base(StreamWriter& writer, Word first_word) {
    const std::uint64_t base =
        static_cast<std::make_unsigned_t<Word>>(first_word ^ flip_) & low_bits(base_bits_);
    if constexpr (Group::lane_bits == 64) {
      writer.put(top_.code, top_.bits);
      writer.put(base, base_bits_);
    } else {
      writer.put(top_.code << base_bits_ | base, top_.bits + base_bits_);
    }
  }

  static int last_lane(int block) { return 64 - (block + 1) * Group::planes; }

  static constexpr std::size_t at(int i) { return static_cast<std::size_t>(i); }

  static constexpr auto places = [] {
    std::array<std::uint8_t, 64> places{};
    for (std::size_t i = 0; i < 64; ++i) places[i] = static_cast<std::uint8_t>(i);
    return places;
  }();

  StreamWriter writer_;
  Word flip_;
  int word_bits_;
  int block_size_;
  int plane_bits_;
  int index_bits_;
  int run_bits_;
  int base_bits_;
  bool has_top_plane_;
  int block_qwords_;                     // of a block's lanes, those with planes
  std::uint64_t used_;                   // lanes with planes, in all blocks
  std::uint64_t first_;                  // lanes of the first plane of each block
  std::uint64_t last_;                   // lanes of the last one
  std::array<std::uint8_t, 64> spread_;  // bytes of blocks to their slots
  Symbol top_;                           // the top plane's, not yet written
  std::uint64_t bits_ = 0;               // counted
};

}  // namespace
}  // namespace ebpc
