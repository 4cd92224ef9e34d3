// How bit planes lie in vectors, for every size of words and of blocks.
//
// A vector has an element of 64 bits, a qword, for each of several blocks. Of a block, its planes
// are one qword after the other, with some planes each, the first one in the most significant
// lane. A lane has a bit for every place that a block may have for a word ("slot"), the first one
// most significant; blocks that have fewer words stand at the end.

#pragma once

#include "ebpc/bit_stream.h"
#include "ebpc/kernels/generic/vectors.h"
#include "ebpc/kernels/plane_codes.h"
#include "ebpc/parameters.h"

namespace ebpc::EBPC_KERNEL {
namespace {

/// Transposes 8 x 8 bits about the other diagonal: bit p of byte i goes to bit 7 - i of byte 7 - p,
/// and the same brings it back.
[[gnu::always_inline]] inline Qwords antitranspose(Qwords x) {
  x = swap_bits<9>(x, 0x0055005500550055);
  x = swap_bits<18>(x, 0x0000333300003333);
  return swap_bits<36>(x, 0x000000000F0F0F0F);
}

template <class WordType, int lane_bits_>
struct PlaneGroup {
  using Word = WordType;
  static constexpr int lane_bits = lane_bits_;
  using L = Lane<lane_bits>;
  using Lanes = Vector<L>;

  static constexpr std::size_t blocks = vector_qwords;  // side by side
  static constexpr int slots = lane_bits;
  static constexpr int lanes = 64 / lane_bits;     // of a qword
  static constexpr int planes = 8 * sizeof(Word);  // of a block, without that of the deltas' carry
  static constexpr int qwords = planes / lanes;    // of a block
  static constexpr int groups = slots / 8;         // of slots, 8 in each
  static constexpr std::uint64_t last_lane = low_bits(lane_bits);

  // Where blocks of XORed planes are read to, lanes have their most significant byte first.
  static constexpr std::size_t lane_bytes = lane_bits / 8;
  static constexpr std::size_t block_bytes = planes * lane_bytes;
  static constexpr L lane_of(std::uint64_t plane, int /*plane_bits*/, bool /*base_sent*/) {
    return static_cast<L>(
        std::endian::native == std::endian::big ? plane : byte_swap(plane) >> (64 - lane_bits));
  }

  /// 8 planes in the bytes of `columns`, each of which has 8 slots, to lanes.
  [[gnu::always_inline]] static void spread(const Qwords (&columns)[groups], Qwords* planes) {
    if constexpr (lane_bits == 8) {
      planes[0] = columns[0];
    } else if constexpr (lane_bits == 16) {
      planes[0] = spread_half(columns[0] >> 32) << 8 | spread_half(columns[1] >> 32);
      planes[1] = spread_half(columns[0] & 0xFFFFFFFF) << 8 | spread_half(columns[1] & 0xFFFFFFFF);
    } else {
      for (int q = 0; q < 8 / lanes; ++q) {
        planes[q] = Qwords{};
        for (int lane = 0; lane < lanes; ++lane) {
          for (int group = 0; group < groups; ++group) {
            const Qwords byte = columns[group] >> byte_in_column(q, lane) & 0xFF;
            planes[q] |= byte << byte_in_lanes(lane, group);
          }
        }
      }
    }
  }

  /// The reverse.
  [[gnu::always_inline]] static void gather(const Qwords* planes, Qwords (&columns)[groups]) {
    if constexpr (lane_bits == 8) {
      columns[0] = planes[0];
    } else if constexpr (lane_bits == 16) {
      columns[0] = gather_half(planes[0] >> 8) << 32 | gather_half(planes[1] >> 8);
      columns[1] = gather_half(planes[0]) << 32 | gather_half(planes[1]);
    } else {
      for (int group = 0; group < groups; ++group) {
        columns[group] = Qwords{};
        for (int q = 0; q < 8 / lanes; ++q) {
          for (int lane = 0; lane < lanes; ++lane) {
            const Qwords byte = planes[q] >> byte_in_lanes(lane, group) & 0xFF;
            columns[group] |= byte << byte_in_column(q, lane);
          }
        }
      }
    }
  }

  /// What is in the lane before.
  [[gnu::always_inline]] static Qwords lane_before(const Qwords* x, int q) {
    if constexpr (lane_bits == 64) {
      return q > 0 ? x[q - 1] : Qwords{};
    } else {
      const Qwords moved = x[q] >> lane_bits;
      return q > 0 ? moved | x[q - 1] << (64 - lane_bits) : moved;
    }
  }

  /// The lanes of qword q that have one of the first `count` planes.
  static constexpr std::uint64_t first_planes(int count, int q) {
    const int used = count - q * lanes;
    if (used >= lanes) return ~std::uint64_t{0};
    return used <= 0 ? 0 : ~(~std::uint64_t{0} >> (used * lane_bits & 63));
  }

 private:
  static constexpr int byte_in_column(int q, int lane) { return 8 * (7 - q * lanes - lane); }
  static constexpr int byte_in_lanes(int lane, int group) {
    return (lanes - 1 - lane) * lane_bits + 8 * (groups - 1 - group);
  }

  /// The lower four bytes to the lower halves of lanes of 16 bits.
  static Qwords spread_half(Qwords x) {
    x = (x | x << 16) & 0x0000FFFF0000FFFF;
    return (x | x << 8) & 0x00FF00FF00FF00FF;
  }

  /// The lower halves of lanes of 16 bits to the lower four bytes.
  static Qwords gather_half(Qwords x) {
    x &= 0x00FF00FF00FF00FF;
    x = (x | x >> 8) & 0x0000FFFF0000FFFF;
    return (x | x >> 16) & 0xFFFFFFFF;
  }
};

// ---- Words to bit planes, several blocks side by side, and what kind of symbol each plane
// becomes: what writing and counting of a plane stream have in common.

/// Finds the planes of blocks of packed words for one setting, and their kinds.
template <class GroupType>
class PlaneFinder {
 public:
  using Group = GroupType;
  using Word = typename Group::Word;
  using L = typename Group::L;
  using Lanes = typename Group::Lanes;

  explicit PlaneFinder(const Parameters& p)
      : word_bits(p.word_bits),
        block_size(p.block_size),
        plane_bits(ebpc::plane_bits(p)),
        index_bits(log2_ceil(static_cast<std::uint32_t>(p.block_size))),
        run_bits(log2_ceil(static_cast<std::uint32_t>(p.word_bits))),
        base_bits(p.base == Base::sent ? p.word_bits : 0),
        has_top_plane(p.word_bits == Group::planes),
        planes(has_top_plane ? Group::planes : p.word_bits + 1),
        flip_(all_elements(has_top_plane && !p.is_signed ? sign : Word{0})),
        all_ones_(every_lane(low_bits(plane_bits))) {
    for (int i = 0; i < keep_size; ++i) {
      const bool has_delta = i % Group::slots >= Group::slots - plane_bits;
      keep_[i] = has_delta ? static_cast<Word>(~Word{0}) : Word{0};
    }
  }

  const int word_bits;
  const int block_size;
  const int plane_bits;
  const int index_bits;
  const int run_bits;
  const int base_bits;
  const bool has_top_plane;  // a plane W that has no lane, since words fill their type
  const int planes;          // of a block that have a lane

  static Lanes every_lane(std::uint64_t x) { return all_elements(static_cast<L>(x)); }

  /// The planes of as many blocks as a vector has.
  struct Planes {
    Qwords planes[Group::qwords];
    bool any_top;  // whether a top plane differs from the one below it, in any block
  };

  /// words[-1] is the word before.
  [[gnu::always_inline]] Planes find(const Word* words) const {
    alignas(vector_bytes) Word deltas[step_slots];
    Planes found;
    const bool overflow =
        block_size == Group::slots ? find_deltas(words, deltas) : place_deltas(words, deltas);
    found.any_top = overflow && has_top_plane;
    alignas(vector_bytes) std::uint8_t bytes[sizeof(Word)][step_slots];
    for (std::size_t i = 0; i < step_slots; ++i) {
      for (std::size_t k = 0; k < sizeof(Word); ++k) {
        bytes[k][i] = static_cast<std::uint8_t>(deltas[i] >> (8 * k));
      }
    }
    for (std::size_t k = 0; k < sizeof(Word); ++k) {
      Qwords columns[Group::groups];
      for (int group = 0; group < Group::groups; ++group) {
        columns[group] = antitranspose(load_columns(bytes[k] + 8 * group));
      }
      Group::spread(columns, found.planes + k * 8 / Group::lanes);
    }
    return found;
  }

  /// Lanes of ones for the kinds of planes. Where one applies, those below it do not count.
  struct Kinds {
    Lanes zero;        // X is
    Lanes all_ones;    // X is
    Lanes plane_zero;  // the plane before the XOR is
    Lanes indexed;     // X has a single one, or two side by side
    Lanes single_one;
    Lanes lowest;  // one of X
  };

  [[gnu::always_inline]] Kinds classify(Qwords plane, Qwords dbx) const {
    const Lanes x = vector_cast<L>(dbx);
    const Lanes without_lowest = x & (x - 1);
    Kinds kinds;
    kinds.zero = is_zero(x);
    kinds.all_ones = is_equal(x, all_ones_);
    kinds.plane_zero = is_zero(vector_cast<L>(plane));
    kinds.lowest = x ^ without_lowest;
    kinds.single_one = is_zero(without_lowest);
    kinds.indexed = kinds.single_one | is_equal(without_lowest, kinds.lowest + kinds.lowest);
    return kinds;
  }

  /// X of the top plane of one block.
  std::uint64_t top_dbx(const Word* words) const {
    std::uint64_t dbx = 0;
    for (int i = block_size - plane_bits; i < block_size; ++i) {
      const auto delta = static_cast<Word>(words[i] - words[i - 1]);
      dbx = dbx << 1 |
            (overflow_of(words[i], words[i - 1], delta, flip_[0]) & sign) >> (8 * sizeof(Word) - 1);
    }
    return dbx;
  }

  /// The code of the top plane, whose X is not zero. `below` has the plane below it in its last
  /// lane.
  CodeBits top_code(std::uint64_t dbx, std::uint64_t below) const {
    return code_of_plane(dbx, dbx == (below & Group::last_lane),
                         {plane_bits, index_bits, run_bits});
  }

 private:
  static constexpr Word sign = static_cast<Word>(Word{1} << (8 * sizeof(Word) - 1));
  static constexpr std::size_t step_slots = Group::blocks * Group::slots;
  static constexpr std::size_t vector_words = vector_bytes / sizeof(Word);
  static constexpr int keep_size = Group::slots > vector_words ? Group::slots
                                                               : static_cast<int>(vector_words);

  /// The sign bit is set where bit W of a delta differs from bit W - 1. Unsigned words with the top
  /// bit flipped are signed ones with the same deltas.
  template <class V>
  [[gnu::always_inline]] static V overflow_of(V word, V before, V delta, V flip) {
    return static_cast<V>((word ^ before) & (word ^ flip ^ delta));
  }

  /// Deltas of blocks that fill their slots. Returns whether any overflows.
  [[gnu::always_inline]] bool find_deltas(const Word* words, Word* deltas) const {
    Vector<Word> overflow{};
    for (std::size_t i = 0; i < step_slots; i += vector_words) {
      const Vector<Word> word = load_vector(words + i);
      const Vector<Word> before = load_vector(words + i - 1);
      const Vector<Word> keep = load_vector(keep_ + i % keep_size);
      const Vector<Word> delta = (word - before) & keep;
      overflow |= overflow_of(word, before, delta, flip_) & keep;
      store_vector(deltas + i, delta);
    }
    return is_any(vector_cast<std::uint64_t>(overflow & sign));
  }

  /// The same for blocks of any size.
  bool place_deltas(const Word* words, Word* deltas) const {
    Word overflow = 0;
    const int first = Group::slots - plane_bits;
    for (std::size_t b = 0; b < Group::blocks; ++b, deltas += Group::slots, words += block_size) {
      for (int i = 0; i < first; ++i) deltas[i] = 0;
      const Word* const end = words + block_size - Group::slots;
      for (int i = first; i < Group::slots; ++i) {
        deltas[i] = static_cast<Word>(end[i] - end[i - 1]);
        overflow |= overflow_of(end[i], end[i - 1], deltas[i], flip_[0]);
      }
    }
    return (overflow & sign) != 0;
  }

  /// 8 slots of each block.
  [[gnu::always_inline]] static Qwords load_columns(const std::uint8_t* bytes) {
    if constexpr (Group::slots == 8 && std::endian::native == std::endian::little) {
      return vector_cast<std::uint64_t>(load_vector(bytes));
    } else {
      Qwords x{};  // g++ 12 and its thread sanitizer do not see that the loop fills it
      for (std::size_t i = 0; i < Group::blocks; ++i)
        x[i] = load_little_endian(bytes + i * Group::slots);
      return x;
    }
  }

  const Vector<Word> flip_;
  const Lanes all_ones_;
  alignas(vector_bytes) Word keep_[keep_size];  // ones in slots that have a delta
};

}  // namespace
}  // namespace ebpc::EBPC_KERNEL
