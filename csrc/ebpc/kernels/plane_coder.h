// The plane stream for every setting, several blocks side by side: words become bit planes in
// lanes, lanes become codes, and these are merged block by block. Counting does without the last.
//
// A vector has an element of 64 bits for each of its blocks. Of a block, this is one qword after
// the other, with some planes each, the first one in the most significant lane. A lane has a bit
// for every place that a block may have for a word ("slot"), the first one most significant; blocks
// that have fewer words stand at the end.
//
// Plain C++, compiled once for every instruction set that includes it: vectors.h says how.

#pragma once

#include "ebpc/kernels/planes.h"
#include "ebpc/kernels/stream_writer.h"
#include "ebpc/parameters.h"

namespace ebpc {
namespace {

/// The qwords at `from` and every `stride` bytes behind it, byte 0 least significant.
[[gnu::always_inline]] inline Qwords gather_qwords(const std::uint8_t* from, std::size_t stride) {
  Qwords x;
  for (std::size_t i = 0; i < vector_qwords; ++i) x[i] = load_little_endian(from + i * stride);
  return x;
}

/// The parameters and what follows from them.
struct PlaneSettings {
  explicit PlaneSettings(const Parameters& p, int bytes_per_word)
      : word_bits(p.word_bits),
        block_size(p.block_size),
        plane_bits(ebpc::plane_bits(p)),
        index_bits(log2_ceil(static_cast<std::uint32_t>(p.block_size))),
        run_bits(log2_ceil(static_cast<std::uint32_t>(p.word_bits))),
        base_bits(p.base == Base::sent ? p.word_bits : 0),
        has_top_plane(p.word_bits == 8 * bytes_per_word),
        flip_sign(!p.is_signed && has_top_plane) {}

  int word_bits;
  int block_size;
  int plane_bits;
  int index_bits;
  int run_bits;
  int base_bits;
  bool has_top_plane;  // a plane that has no lane, since words fill their type
  bool flip_sign;      // so that unsigned words are signed ones with the same deltas
};

template <class WordType, int lane_bits_>
class PlaneCoder {
 public:
  using Word = WordType;
  static constexpr int lane_bits = lane_bits_;
  using Group = PlaneGroup<Word, lane_bits>;
  static constexpr int slots = Group::slots;
  static constexpr std::size_t blocks = Group::blocks;  // side by side

  explicit PlaneCoder(const Parameters& p) : s_(p, sizeof(Word)) {
    const int planes = s_.word_bits + 1 < all_planes ? s_.word_bits + 1 : all_planes;
    unused_planes_ = all_planes - planes;
    for (int q = 0; q < qwords; ++q) used_[q] = Group::first_planes(planes, q);
    for (int i = 0; i < keep_size; ++i) {
      keep_[i] = i % slots < slots - s_.plane_bits ? Word{0} : static_cast<Word>(~Word{0});
    }
    const int raw = 1 + s_.plane_bits;
    const int indexed = 5 + s_.index_bits;
    const auto length = [&](int bits) { return static_cast<L>(by_masks() ? low_bits(bits) : static_cast<std::uint64_t>(bits)); };
    raw_length_ = length(raw);
    indexed_length_ = length(indexed);
    five_length_ = length(5);
    one_length_ = raw == 8 && indexed == 8;
    raw_prefix_ = s_.plane_bits < lane_bits ? static_cast<L>(std::uint64_t{1} << s_.plane_bits) : L{0};
    all_ones_ = static_cast<L>(low_bits(s_.plane_bits));
    two_ones_ = static_cast<L>((std::uint64_t{2} << s_.index_bits) + static_cast<std::uint64_t>(s_.plane_bits - 2));
    one_less_two_ = static_cast<L>((std::uint64_t{1} << s_.index_bits) + 1);
    zero_runs_[0] = {0, 0};
    zero_runs_[1] = {0b01, 2};
    for (int run = 2; run <= s_.word_bits + 1; ++run) {
      zero_runs_[run] = {(std::uint64_t{1} << s_.run_bits) + static_cast<std::uint64_t>(run - 2), 3 + s_.run_bits};
    }
  }

  /// Words of whole steps.
  std::size_t step_words() const { return blocks * static_cast<std::size_t>(s_.block_size); }

  /// Counts the bits of blocks; words[-1] is the word before them. The last step may be filled up
  /// with blocks of words that are equal to the one before.
  std::uint64_t count(const Word* words, std::size_t block_count) {
    std::uint64_t bits = 0;
    std::size_t b = 0;
    while (b < block_count) {
      Counts counts{};
      constexpr std::size_t limit = lane_bits == 8 ? 255 / qwords * blocks : 4096;
      const std::size_t end = block_count - b < limit ? block_count : b + limit;
      for (; b < end; b += blocks) {
        count_step(words + b * static_cast<std::size_t>(s_.block_size), counts, bits);
      }
      bits += weigh(counts);
    }
    // Blocks that fill up the last step are a run of zero planes.
    bits -= (b - block_count) * static_cast<std::uint64_t>(3 + s_.run_bits);
    return bits + block_count * static_cast<std::uint64_t>(s_.base_bits);
  }

  /// Codes blocks; words as for count.
  StreamWriter encode(const Word* words, std::size_t block_count, StreamWriter out) {
    for (std::size_t b = 0; b < block_count; b += blocks) {
      const std::size_t count = block_count - b < blocks ? block_count - b : blocks;
      out = code_step(words + b * static_cast<std::size_t>(s_.block_size), count, out);
    }
    return out;
  }

  StreamWriter finish(StreamWriter out) {
    out.put_wide(top_.code, top_.bits);
    return out;
  }

 private:
  using L = typename Group::L;
  using Lanes = typename Group::Lanes;
  static constexpr int lanes = Group::lanes;
  static constexpr int all_planes = Group::planes;
  static constexpr int qwords = Group::qwords;
  static constexpr int groups = Group::groups;
  static constexpr std::size_t step_slots = blocks * slots;
  static constexpr std::size_t vector_words = vector_bytes / sizeof(Word);
  static constexpr int keep_size = static_cast<int>(vector_words > slots ? vector_words : slots);
  static constexpr std::uint64_t last_lane = low_bits(lane_bits);

  struct Code {
    std::uint64_t code;
    int bits;
  };

  /// Bit planes of the blocks of one step.
  struct Planes {
    Qwords planes[qwords];
    bool any_top;  // whether a top plane differs from the one below, in any block
  };

  struct Kinds {
    Lanes zero;
    Lanes all_ones;
    Lanes plane_zero;  // may be zero or all ones as well
    Lanes one;         // may be zero or five bits as well
    Lanes indexed;     // a single one or two; as `one`
    Lanes lowest;
  };

  /// Lanes counted by what they are.
  struct Counts {
    Lanes nonzero;
    Lanes five;
    Lanes indexed;
    Lanes starts;   // of runs of zero planes
    Lanes seconds;  // planes of such runs
  };

  Planes planes_of(const Word* words) const {
    alignas(vector_bytes) Word deltas[step_slots];
    const bool any_top = s_.block_size == slots ? find_deltas(words, deltas) : place_deltas(words, deltas);
    alignas(vector_bytes) std::uint8_t bytes[sizeof(Word)][step_slots];
    for (std::size_t i = 0; i < step_slots; ++i) {
      for (std::size_t k = 0; k < sizeof(Word); ++k) {
        bytes[k][i] = static_cast<std::uint8_t>(deltas[i] >> (8 * k));
      }
    }
    Planes p;
    p.any_top = any_top && s_.has_top_plane;
    for (std::size_t k = 0; k < sizeof(Word); ++k) {
      Qwords columns[groups];
      for (std::size_t g = 0; g < groups; ++g) {
        columns[g] = antitranspose(gather_qwords(bytes[k] + 8 * g, slots));
      }
      Group::spread(columns, p.planes + k * 8 / lanes);
    }
    return p;
  }

  /// Deltas of blocks that fill their slots.
  bool find_deltas(const Word* words, Word* deltas) const {
    const Word flip = s_.flip_sign ? sign : Word{0};
    Vector<Word> overflow{};
    for (std::size_t i = 0; i < step_slots; i += vector_words) {
      const Vector<Word> word = load_vector(words + i);
      const Vector<Word> before = load_vector(words + i - 1);
      const Vector<Word> keep = load_vector(keep_ + i % keep_size);
      const Vector<Word> delta = (word - before) & keep;
      overflow |= (word ^ before) & (word ^ flip ^ delta) & keep;
      store_vector(deltas + i, delta);
    }
    return any(vector_cast<std::uint64_t>(overflow & all_elements(sign)));
  }

  /// The same for blocks of any size.
  bool place_deltas(const Word* words, Word* deltas) const {
    const Word flip = s_.flip_sign ? sign : Word{0};
    Word overflow = 0;
    const int first = slots - s_.plane_bits;
    for (std::size_t b = 0; b < blocks; ++b, deltas += slots, words += s_.block_size) {
      for (int i = 0; i < first; ++i) deltas[i] = 0;
      for (int i = first; i < slots; ++i) {
        const Word word = words[i - (slots - s_.block_size)];
        const Word before = words[i - (slots - s_.block_size) - 1];
        deltas[i] = static_cast<Word>(word - before);
        overflow |= static_cast<Word>((word ^ before) & (word ^ flip ^ deltas[i]));
      }
    }
    return (overflow & sign) != 0;
  }

  static bool any(Qwords x) {
    std::uint64_t all = 0;
    for (std::size_t i = 0; i < vector_qwords; ++i) all |= x[i];
    return all != 0;
  }

  Kinds classify(Qwords plane, Qwords dbx) const {
    const Lanes x = vector_cast<L>(dbx);
    const Lanes rest = x & (x - 1);  // without the lowest one
    Kinds kinds;
    kinds.lowest = x ^ rest;
    kinds.zero = is_zero(x);
    kinds.all_ones = is_equal(x, all_elements(all_ones_));
    kinds.plane_zero = is_zero(vector_cast<L>(plane));
    kinds.one = is_zero(rest);
    kinds.indexed = kinds.one | is_equal(rest, kinds.lowest + kinds.lowest);
    return kinds;
  }

  void count_step(const Word* words, Counts& counts, std::uint64_t& bits) const {
    const Planes p = planes_of(words);
    Qwords starts[qwords];
    Qwords zero[qwords];
    for (int q = 0; q < qwords; ++q) {
      const Kinds kinds = classify(p.planes[q], p.planes[q] ^ Group::lane_before(p.planes, q));
      const Lanes five = (kinds.all_ones | kinds.plane_zero) & ~kinds.zero;
      zero[q] = vector_cast<std::uint64_t>(kinds.zero) & used_[q];
      starts[q] = zero[q] & ~Group::lane_before(zero, q);
      counts.nonzero -= ~kinds.zero;
      counts.five -= five;
      counts.indexed -= kinds.indexed & ~(kinds.zero | five);
      counts.starts -= vector_cast<L>(starts[q]);
      counts.seconds -= vector_cast<L>(zero[q] & Group::lane_before(starts, q));
    }
    if (!s_.has_top_plane) return;
    Qwords top_zero = Qwords{} + last_lane;
    if (p.any_top) [[unlikely]] {
      for (std::size_t b = 0; b < blocks; ++b) {
        const Word* const block = words + b * static_cast<std::size_t>(s_.block_size);
        const std::uint64_t dbx = top_dbx(block);
        if (dbx == 0) continue;
        top_zero[b] = 0;
        bits += static_cast<std::uint64_t>(symbol(dbx, dbx ^ (p.planes[qwords - 1][b] & last_lane)).bits);
      }
    }
    counts.starts -= vector_cast<L>(~zero[qwords - 1] & top_zero);
    counts.seconds -= vector_cast<L>(starts[qwords - 1] & top_zero);
  }

  std::uint64_t weigh(const Counts& counts) const {
    const auto sum = [](Lanes x) {
      std::uint64_t sum = 0;
      for (std::size_t i = 0; i < vector_bytes / sizeof(L); ++i) sum += x[i];
      return static_cast<std::int64_t>(sum);
    };
    const std::int64_t five = sum(counts.five);
    const std::int64_t indexed = sum(counts.indexed);
    const std::int64_t raw = sum(counts.nonzero) - five - indexed;
    const std::int64_t runs = sum(counts.seconds);
    const std::int64_t singles = sum(counts.starts) - runs;
    return static_cast<std::uint64_t>(raw * (1 + s_.plane_bits) + indexed * (5 + s_.index_bits) + five * 5 +
                                      singles * 2 + runs * (3 + s_.run_bits));
  }

  /// X of the top plane.
  std::uint64_t top_dbx(const Word* block) const {
    const Word flip = s_.flip_sign ? sign : Word{0};
    std::uint64_t dbx = 0;
    for (int i = s_.block_size - s_.plane_bits; i < s_.block_size; ++i) {
      const auto delta = static_cast<Word>(block[i] - block[i - 1]);
      const auto overflow = static_cast<Word>((block[i] ^ block[i - 1]) & (block[i] ^ flip ^ delta));
      dbx = dbx << 1 | (overflow & sign) >> (8 * sizeof(Word) - 1);
    }
    return dbx;
  }

  /// The code of an X that is not zero.
  Code symbol(std::uint64_t dbx, std::uint64_t plane) const {
    const std::uint64_t rest = dbx & (dbx - 1);
    const std::uint64_t lowest = dbx ^ rest;
    if (dbx == low_bits(s_.plane_bits)) return {0b00000, 5};
    if (plane == 0) return {0b00001, 5};
    const auto behind = static_cast<std::uint64_t>(__builtin_ctzll(dbx));
    if (rest == 0) return {(std::uint64_t{3} << s_.index_bits) + static_cast<std::uint64_t>(s_.plane_bits - 1) - behind, 5 + s_.index_bits};
    if (rest == lowest << 1) return {(std::uint64_t{2} << s_.index_bits) + static_cast<std::uint64_t>(s_.plane_bits - 2) - behind, 5 + s_.index_bits};
    return {std::uint64_t{1} << s_.plane_bits | dbx, 1 + s_.plane_bits};
  }

  /// Codes of one step, before they are merged.
  struct Codes {
    alignas(vector_bytes) std::uint64_t codes[qwords][blocks];
    alignas(vector_bytes) std::uint64_t lengths[qwords][blocks];  // bits of each, in the same lanes
    alignas(vector_bytes) std::uint64_t zero_planes[blocks];     // lanes of counts
    alignas(vector_bytes) std::uint64_t inner_runs[blocks];      // not zero if there are any
    alignas(vector_bytes) std::uint64_t fives[blocks];           // not zero if there are any
  };

  /// For one-hot lanes: the place of the one.
  static Lanes place_of(Lanes lowest) {
    Lanes x = lowest - 1;
    if constexpr (lane_bits == 8) {
      x = x - (x >> 1 & L(0x55));
      x = (x & L(0x33)) + (x >> 2 & L(0x33));
      return (x + (x >> 4)) & L(0x0F);
    } else {
      const Qwords ones = vector_cast<std::uint64_t>(x);
      Qwords n = ones - (ones >> 1 & 0x5555555555555555);
      n = (n & 0x3333333333333333) + (n >> 2 & 0x3333333333333333);
      n = (n + (n >> 4)) & 0x0F0F0F0F0F0F0F0F;
      Lanes sum = vector_cast<L>(n);
      for (int shift = 8; shift < lane_bits; shift *= 2) sum += sum >> shift;
      return sum & L(0x7F);
    }
  }

  void make_codes(const Planes& p, Codes& out) const {
    Qwords zero[qwords];
    Lanes zero_planes{};
    Qwords inner_runs{};
    Lanes fives{};
    for (int q = 0; q < qwords; ++q) {
      const Qwords dbx = p.planes[q] ^ Group::lane_before(p.planes, q);
      const Kinds kinds = classify(p.planes[q], dbx);
      const Lanes five = (kinds.all_ones | kinds.plane_zero) & ~kinds.zero;
      zero[q] = vector_cast<std::uint64_t>(kinds.zero);
      const Lanes indexed = (two_ones_ + (kinds.one & one_less_two_)) - place_of(kinds.lowest);
      const Lanes raw = vector_cast<L>(dbx) | raw_prefix_;
      Lanes code = (indexed & kinds.indexed) | (raw & ~kinds.indexed);
      code = (code & ~five) | (five & ~kinds.all_ones & 1);
      code &= ~kinds.zero;
      Lanes length = (kinds.indexed & indexed_length_) | (~kinds.indexed & raw_length_);
      length = (length & ~five) | (five & five_length_);
      length &= ~kinds.zero;
      zero_planes -= kinds.zero;
      inner_runs |= ~zero[q] & Group::lane_before(zero, q);
      fives |= five;
      store_vector(out.codes[q], code);
      store_vector(out.lengths[q], length);
    }
    store_vector(out.zero_planes, zero_planes);
    store_vector(out.inner_runs, inner_runs);
    store_vector(out.fives, fives);
  }

  StreamWriter code_step(const Word* words, std::size_t count, StreamWriter out) {
    const Planes p = planes_of(words);
    Codes codes;
    make_codes(p, codes);
    Code top = top_;
    for (std::size_t b = 0; b < count; ++b, words += s_.block_size) {
      put_base(words[0], top, out);
      int zeros;
      if (codes.inner_runs[b] == 0) [[likely]] {
        put_lanes(codes, b, out);
        zeros = static_cast<int>(codes.zero_planes[b] * lane_ones<lane_bits> >> (64 - lane_bits));
      } else {
        zeros = put_lanes_and_runs(codes, b, out);
      }
      zeros -= unused_planes_;
      if (p.any_top) [[unlikely]] {
        const std::uint64_t dbx = top_dbx(words);
        if (dbx != 0) {
          out.put(zero_runs_[zeros].code, zero_runs_[zeros].bits);
          top = symbol(dbx, dbx ^ (p.planes[qwords - 1][b] & last_lane));
          continue;
        }
      }
      top = zero_runs_[zeros + s_.has_top_plane];
    }
    top_ = top;
    return out;
  }

  /// The end of a block and the base of the next one.
  void put_base(Word word, Code top, StreamWriter& out) const {
    const std::uint64_t base = word & low_bits(s_.base_bits);
    if constexpr (lane_bits == 64) {
      out.put_wide(top.code, top.bits);
      out.put(base, s_.base_bits);
    } else if constexpr (sizeof(Word) == 4) {
      out.put_wide(top.code << s_.base_bits | base, top.bits + s_.base_bits);
    } else {
      out.put(top.code << s_.base_bits | base, top.bits + s_.base_bits);
    }
  }

  /// The codes of planes up to the last one that is not zero.
  void put_lanes(const Codes& codes, std::size_t b, StreamWriter& out) const {
    // As many as fit into 64 bits whatever they are.
    constexpr int at_once = lane_bits == 8 ? 4 : lane_bits == 16 ? 2 : 1;
    if constexpr (lane_bits == 8) {
      if (one_length_ && codes.fives[b] == 0) [[likely]] {
        put_bytes(codes, b, out);
        return;
      }
    }
#ifdef __BMI2__
    if (by_masks()) {
      for (int q = 0; q < qwords; ++q) {
        const std::uint64_t mask = codes.lengths[q][b];
        out.put_wide(__builtin_ia32_pext_di(codes.codes[q][b], mask), __builtin_popcountll(mask));
      }
      return;
    }
#endif
    for (int q = 0; q < qwords; ++q) {
      std::uint64_t code_lanes = codes.codes[q][b];
      std::uint64_t length_lanes = codes.lengths[q][b];
      for (int lane = 0; lane < lanes; lane += at_once) {
        std::uint64_t code = 0;
        int bits = 0;
        for (int i = 0; i < at_once; ++i) {
          const int count = static_cast<int>(length_lanes >> (64 - lane_bits));
          std::uint64_t one = code_lanes >> (64 - lane_bits);
          if (s_.plane_bits == lane_bits) one |= std::uint64_t{count == 1 + lane_bits} << (lane_bits & 63);
          code = code << count | one;
          bits += count;
          code_lanes <<= lane_bits & 63;
          length_lanes <<= lane_bits & 63;
        }
        if constexpr (lane_bits < 64) {
          out.put(code, bits);
        } else {
          out.put_wide(code, bits);
        }
      }
    }
  }

  /// The same where all codes have 8 bits.
  void put_bytes(const Codes& codes, std::size_t b, StreamWriter& out) const {
    int bits = static_cast<int>(64 * qwords - (codes.zero_planes[b] * lane_ones<lane_bits> >> 56) * 8);
    for (int q = 0; q < qwords; ++q, bits -= 64) {
      if constexpr (qwords > 1) {
        if (bits <= 0) break;
        const int count = bits < 64 ? bits : 64;
        out.put_wide(codes.codes[q][b] >> (64 - count), count);
      } else {
        out.put_wide(codes.codes[q][b] >> (-bits & 63), bits);
      }
    }
  }

  /// The same where there are zero planes between others. Returns how many are at the end.
  int put_lanes_and_runs(const Codes& codes, std::size_t b, StreamWriter& out) const {
    int zeros = 0;
    for (int q = 0; q < qwords; ++q) {
      std::uint64_t code_lanes = codes.codes[q][b];
      std::uint64_t length_lanes = codes.lengths[q][b];
      for (int lane = 0; lane < lanes; ++lane) {
        const std::uint64_t length = length_lanes >> (64 - lane_bits);
        const int count = by_masks() ? count_ones(length) : static_cast<int>(length);
        std::uint64_t code = code_lanes >> (64 - lane_bits);
        if (count == 0) {
          ++zeros;
        } else {
          out.put(zero_runs_[zeros].code, zero_runs_[zeros].bits);
          zeros = 0;
          if (s_.plane_bits == lane_bits) code |= std::uint64_t{count == 1 + lane_bits} << (lane_bits & 63);
          out.put_wide(code, count);
        }
        code_lanes <<= lane_bits & 63;
        length_lanes <<= lane_bits & 63;
      }
    }
    return zeros;
  }

  /// Whether the lengths of codes are masks of so many bits, to gather all at once.
  bool by_masks() const {
#ifdef __BMI2__
    return s_.plane_bits < lane_bits;
#else
    return false;
#endif
  }

  static constexpr Word sign = static_cast<Word>(Word{1} << (8 * sizeof(Word) - 1));

  PlaneSettings s_;
  int unused_planes_;
  std::uint64_t used_[qwords];
  alignas(vector_bytes) Word keep_[keep_size];
  L raw_length_;
  L indexed_length_;
  L five_length_;
  bool one_length_;
  L raw_prefix_;
  L all_ones_;
  L two_ones_;
  L one_less_two_;
  Code zero_runs_[max_word_bits + 2];
  Code top_{0, 0};
};

}  // namespace
}  // namespace ebpc
