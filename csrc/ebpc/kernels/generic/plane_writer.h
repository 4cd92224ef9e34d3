// Writes the plane stream, or counts its bits: bit planes become codes, side by side, and these are
// merged block by block.

#pragma once

#include "ebpc/kernels/generic/planes.h"
#include "ebpc/kernels/generic/stream_writer.h"

namespace ebpc::EBPC_KERNEL {
namespace {

template <class GroupType>
class PlaneWriter {
 public:
  using Group = GroupType;
  using Word = typename Group::Word;
  static constexpr std::size_t blocks = Group::blocks;  // of one step
  static constexpr int slots = Group::slots;

  PlaneWriter(const Parameters& p, std::uint8_t* out, const PlaneCodes& prefixes = ebpc_codes)
      : planes_(p),
        writer_(out),
        base_mask_(low_bits(planes_.base_bits)),
        raw_prefix_(planes_.every_lane(
            planes_.plane_bits < Group::lane_bits ? std::uint64_t{1} << planes_.plane_bits : 0)),
        raw_length_(length(1 + planes_.plane_bits)),
        indexed_length_(length(short_prefix_bits + planes_.index_bits)),
        five_bits_length_(length(short_prefix_bits)),
        last_of_two_(planes_.every_lane((std::uint64_t{prefix_two_ones} << planes_.index_bits) +
                                        static_cast<std::uint64_t>(planes_.plane_bits - 2))),
        two_to_one_(planes_.every_lane((std::uint64_t{1} << planes_.index_bits) + 1)),
        is_byte_code_(Group::lane_bits == 8 && planes_.plane_bits == 7 && planes_.index_bits == 3),
        planes_without_lane_(static_cast<std::uint64_t>(
            planes_.has_top_plane ? 1 : planes_.planes - Group::planes)) {
    for (unsigned run = 1; run < max_word_bits + 2; ++run) {
      const CodeBits code = code_of_zeros(run, PlaneCodeSizes::of(p), prefixes);
      zero_runs_[run] = {static_cast<std::uint8_t>(code.code),
                         static_cast<std::uint8_t>(code.bits)};
    }
  }

  /// Codes blocks of packed words; words[-1] is the word before them. Words after the last block
  /// are read, but do not matter.
  void put(const Word* words, std::size_t block_count) {
    for (std::size_t b = 0; b < block_count; b += blocks) {
      const std::size_t count = min(block_count - b, blocks);
      put_step(words + b * static_cast<std::size_t>(planes_.block_size), count);
    }
  }

  /// Ends the stream and returns its bits.
  std::uint64_t finish() {
    writer_.put_wide(last_.code, last_.bits);
    writer_.finish();
    return writer_.bits();
  }

 private:
  using L = typename Group::L;
  using Lanes = typename Group::Lanes;
  static constexpr int lane_bits = Group::lane_bits;

  /// The code of a run of zero planes.
  struct Run {
    std::uint8_t code;
    std::uint8_t bits;
  };

  /// The codes of one step.
  struct StepCodes {
    alignas(vector_bytes) std::uint64_t codes[Group::qwords][blocks];    // empty for zero planes
    alignas(vector_bytes) std::uint64_t lengths[Group::qwords][blocks];  // in the same lanes
    alignas(vector_bytes) std::uint64_t is_raw[Group::qwords][blocks];   // if a prefix has no place
    alignas(vector_bytes) std::uint64_t zero_planes[blocks];    // their number, in any lanes
    alignas(vector_bytes) std::uint64_t has_inner_run[blocks];  // of zero planes, below others
    alignas(vector_bytes) std::uint64_t has_five_bits[blocks];  // any code
  };

  [[gnu::always_inline]] void make_codes(const typename PlaneFinder<Group>::Planes& found,
                                         StepCodes& out) const {
    Qwords zero[Group::qwords];
    Lanes zero_planes{};
    Qwords inner_run{};
    Lanes any_five_bits{};
    for (int q = 0; q < Group::qwords; ++q) {
      const Qwords dbx = found.planes[q] ^ Group::lane_before(found.planes, q);
      const auto kinds = planes_.classify(found.planes[q], dbx);
      const Lanes five_bits = (kinds.all_ones | kinds.plane_zero) & ~kinds.zero;
      const Lanes indexed =
          last_of_two_ + (kinds.single_one & two_to_one_) - place_of(kinds.lowest);
      const Lanes raw = vector_cast<L>(dbx) | raw_prefix_;
      Lanes code = (indexed & kinds.indexed) | (raw & ~kinds.indexed);
      code = (code & ~five_bits) | (five_bits & ~kinds.all_ones & 1);
      Lanes length = (indexed_length_ & kinds.indexed) | (raw_length_ & ~kinds.indexed);
      length = (length & ~five_bits) | (five_bits & five_bits_length_);
      store_vector(out.codes[q], code & ~kinds.zero);
      store_vector(out.lengths[q], length & ~kinds.zero);
      if (raw_needs_more_than_lane())
        store_vector(out.is_raw[q], ~(kinds.zero | five_bits | kinds.indexed));

      zero[q] = vector_cast<std::uint64_t>(kinds.zero);
      zero_planes -= kinds.zero;  // lanes of ones are -1
      inner_run |= ~zero[q] & Group::lane_before(zero, q);
      any_five_bits |= five_bits;
    }
    store_vector(out.zero_planes, zero_planes);
    store_vector(out.has_inner_run, inner_run);
    store_vector(out.has_five_bits, any_five_bits);
  }

  /// The place of the one in each lane: the number of bits below it.
  [[gnu::always_inline]] static Lanes place_of(Lanes one) {
    const Lanes below = one - 1;
    Lanes sum = vector_cast<L>(count_ones_of_bytes(vector_cast<std::uint64_t>(below)));
    for (int shift = 8; shift < lane_bits; shift *= 2) sum += sum >> shift;
    return lane_bits == 8 ? sum : sum & L(0x7F);
  }

  void put_step(const Word* words, std::size_t count) {
    const auto found = planes_.find(words);
    StepCodes codes;
    make_codes(found, codes);
    // Copies, which nothing that is written can be part of.
    StreamWriter out = writer_;
    CodeBits last = last_;
    for (std::size_t b = 0; b < count; ++b, words += planes_.block_size) {
      put_last_and_base(last, words[0], out);
      std::uint64_t zeros;  // planes up to the last one that has a lane
      if (codes.has_inner_run[b] == 0) [[likely]] {
        zeros = codes.zero_planes[b] * lane_ones<lane_bits> >> (64 - lane_bits);
        put_lanes(codes, b, zeros, out);
      } else {
        zeros = put_lanes_and_runs(codes, b, out);
      }
      if (found.any_top) [[unlikely]] {
        const std::uint64_t dbx = planes_.top_dbx(words);
        if (dbx != 0) {
          out.put(zero_runs_[zeros].code, zero_runs_[zeros].bits);
          last = planes_.top_code(dbx, found.planes[Group::qwords - 1][b]);
          continue;
        }
      }
      const Run& run = zero_runs_[zeros + planes_without_lane_];
      last = {run.code, run.bits};
    }
    writer_ = out;
    last_ = last;
  }

  /// The end of a block and the base of the next one.
  [[gnu::always_inline]] void put_last_and_base(CodeBits last, Word word, StreamWriter& out) const {
    const std::uint64_t base = word & base_mask_;
    if constexpr (lane_bits == 64) {
      out.put_wide(last.code, last.bits);
      out.put(base, planes_.base_bits);
    } else if constexpr (sizeof(Word) == 4) {
      out.put_wide(last.code << planes_.base_bits | base, last.bits + planes_.base_bits);
    } else {
      out.put(last.code << planes_.base_bits | base, last.bits + planes_.base_bits);
    }
  }

  /// The codes of planes, of which `zeros` at the end are zero, but no others.
  [[gnu::always_inline]] void put_lanes(const StepCodes& codes, std::size_t b, std::uint64_t zeros,
                                        StreamWriter& out) const {
    if constexpr (lane_bits == 8) {
      if (is_byte_code_ && codes.has_five_bits[b] == 0) [[likely]] {
        put_bytes(codes, b, zeros, out);
        return;
      }
    }
    for (int q = 0; q < Group::qwords; ++q) put_qword(codes, q, b, out);
  }

  /// The same where all codes have 8 bits.
  [[gnu::always_inline]] static void put_bytes(const StepCodes& codes, std::size_t b,
                                               std::uint64_t zeros, StreamWriter& out) {
    int bits = 64 * Group::qwords - 8 * static_cast<int>(zeros);
    for (int q = 0; q < Group::qwords - 1 && bits > 0; ++q, bits -= 64) {
      out.put_first_bits(codes.codes[q][b], bits < 64 ? bits : 64);
    }
    if (bits >= 0) out.put_first_bits(codes.codes[Group::qwords - 1][b], bits);
  }

#ifdef __BMI2__
  [[gnu::always_inline]] void put_qword(const StepCodes& codes, int q, std::size_t b,
                                        StreamWriter& out) const {
    const std::uint64_t code = codes.codes[q][b];
    const std::uint64_t used = codes.lengths[q][b];
    if (!raw_needs_more_than_lane()) {
      out.put_wide(__builtin_ia32_pext_di(code, used), __builtin_popcountll(used));
    } else if constexpr (lane_bits <= 32) {
      // Half of the lanes at a time, in lanes of twice the width, which have place for the prefix.
      constexpr std::uint64_t lower_halves = lane_ones<2 * lane_bits> * Group::last_lane;
      constexpr std::uint64_t prefixes = lane_ones<2 * lane_bits> << lane_bits;
      const std::uint64_t is_raw = codes.is_raw[q][b];
      for (int half = 32; half >= 0; half -= 32) {
        const std::uint64_t prefix =
            __builtin_ia32_pdep_di(is_raw >> half, lower_halves) << 1 & prefixes;
        const std::uint64_t wide_used = __builtin_ia32_pdep_di(used >> half, lower_halves) | prefix;
        const std::uint64_t wide_code = __builtin_ia32_pdep_di(code >> half, lower_halves) | prefix;
        out.put(__builtin_ia32_pext_di(wide_code, wide_used), __builtin_popcountll(wide_used));
      }
    }
  }
#else
  [[gnu::always_inline]] void put_qword(const StepCodes& codes, int q, std::size_t b,
                                        StreamWriter& out) const {
    // As many lanes as a put takes whatever they are.
    constexpr int at_once = lane_bits == 8 ? 4 : lane_bits == 16 ? 2 : 1;
    std::uint64_t code = codes.codes[q][b];
    std::uint64_t length = codes.lengths[q][b];
    std::uint64_t is_raw = raw_needs_more_than_lane() ? codes.is_raw[q][b] : 0;
    for (int lane = 0; lane < Group::lanes; lane += at_once) {
      std::uint64_t merged = 0;
      int bits = 0;
      for (int i = 0; i < at_once; ++i) {
        const int count = static_cast<int>(length >> (64 - lane_bits));
        merged =
            merged << (count & 63) | code >> (64 - lane_bits) | (is_raw >> 63) << (lane_bits & 63);
        bits += count;
        code <<= lane_bits & 63;
        length <<= lane_bits & 63;
        is_raw <<= lane_bits & 63;
      }
      if constexpr (lane_bits == 64) {
        out.put_wide(merged, bits);
      } else {
        out.put(merged, bits);
      }
    }
  }
#endif

  /// The codes of planes where there are zero ones between others. Returns how many zero ones are
  /// at the end.
  std::uint64_t put_lanes_and_runs(const StepCodes& codes, std::size_t b, StreamWriter& out) const {
    std::uint64_t zeros = 0;
    for (int q = 0; q < Group::qwords; ++q) {
      const std::uint64_t is_raw = raw_needs_more_than_lane() ? codes.is_raw[q][b] : 0;
      for (int shift = 64 - lane_bits; shift >= 0; shift -= lane_bits) {
        const std::uint64_t length = codes.lengths[q][b] >> shift & Group::last_lane;
        if (length == 0) {
          ++zeros;
          continue;
        }
        const std::uint64_t prefix = (is_raw >> shift & 1) << (lane_bits & 63);
        out.put(zero_runs_[zeros].code, zero_runs_[zeros].bits);
        out.put_wide((codes.codes[q][b] >> shift & Group::last_lane) | prefix,
                     bits_of_length(length, prefix != 0));
        zeros = 0;
      }
    }
    return zeros;
  }

  /// Whether uncompressed planes fill their lane, so that there is no place for their prefix.
  bool raw_needs_more_than_lane() const { return planes_.plane_bits == lane_bits; }

  // The length of a code as a lane has it. Where all of a qword can be merged at once, ones for the
  // bits that have a place in the lane; else, a number.
#ifdef __BMI2__
  Lanes length(int bits) const { return planes_.every_lane(low_bits(bits)); }
  static int bits_of_length(std::uint64_t length, bool has_prefix) {
    return __builtin_popcountll(length) + has_prefix;
  }
#else
  Lanes length(int bits) const { return planes_.every_lane(static_cast<std::uint64_t>(bits)); }
  static int bits_of_length(std::uint64_t length, bool /*has_prefix*/) {
    return static_cast<int>(length);
  }
#endif

  PlaneFinder<Group> planes_;
  StreamWriter writer_;
  CodeBits last_;  // of the last block, not yet written
  std::uint64_t base_mask_;
  Lanes raw_prefix_;
  Lanes raw_length_;
  Lanes indexed_length_;
  Lanes five_bits_length_;
  Lanes last_of_two_;                      // the code of two adjacent ones in the last places
  Lanes two_to_one_;                       // what has to be added for a single one
  bool is_byte_code_;                      // codes have 8 bits, if not 5
  Run zero_runs_[max_word_bits + 2] = {};  // by length
  /// Less than 0, modulo 2^64, if lanes at the end have no plane: those count as zero planes.
  std::uint64_t planes_without_lane_;
};

/// Counts the bits that PlaneWriter would write.
template <class GroupType>
class PlaneCounter {
 public:
  using Group = GroupType;
  using Word = typename Group::Word;
  static constexpr std::size_t blocks = Group::blocks;  // of one step
  static constexpr int slots = Group::slots;

  explicit PlaneCounter(const Parameters& p, const PlaneCodes& prefixes = ebpc_codes)
      : planes_(p),
        single_zero_bits_(prefixes.single_zero.bits),
        zero_run_bits_(static_cast<std::uint64_t>(prefixes.zero_run.bits + planes_.run_bits)) {
    for (int q = 0; q < Group::qwords; ++q) used_[q] = Group::first_planes(planes_.planes, q);
  }

  /// Counts blocks of packed words; words[-1] is the word before them. Blocks that fill up the last
  /// step have words that are all equal to the one before.
  void put(const Word* words, std::size_t block_count) {
    std::size_t b = 0;
    while (b < block_count) {
      Counts counts{};
      const std::size_t end = min(block_count, b + max_blocks);
      for (; b < end; b += blocks)
        count_step(words + b * static_cast<std::size_t>(planes_.block_size), counts);
      bits_ += weigh(counts);
    }
    bits_ += block_count * static_cast<std::uint64_t>(planes_.base_bits);
    // Blocks that fill up are a run of zero planes each.
    bits_ -= (b - block_count) * zero_run_bits_;
  }

  std::uint64_t bits() const { return bits_; }

 private:
  using L = typename Group::L;
  using Lanes = typename Group::Lanes;

  /// Planes counted in each lane by what they are.
  struct Counts {
    Lanes nonzero;
    Lanes five_bits;
    Lanes indexed;
    Lanes run_starts;   // of zero planes
    Lanes run_seconds;  // where such runs have a second plane
  };
  /// More might be too many for a lane.
  static constexpr std::size_t max_blocks =
      (Group::lane_bits == 8 ? 255 / (Group::qwords + 1) : 1024) * blocks;

  void count_step(const Word* words, Counts& counts) {
    const auto found = planes_.find(words);
    Qwords zero[Group::qwords];
    Qwords starts[Group::qwords];
    for (int q = 0; q < Group::qwords; ++q) {
      const auto kinds =
          planes_.classify(found.planes[q], found.planes[q] ^ Group::lane_before(found.planes, q));
      const Lanes five_bits = (kinds.all_ones | kinds.plane_zero) & ~kinds.zero;
      zero[q] = vector_cast<std::uint64_t>(kinds.zero) & used_[q];
      starts[q] = zero[q] & ~Group::lane_before(zero, q);
      const Qwords seconds = zero[q] & Group::lane_before(starts, q);
      // Lanes of ones are -1.
      counts.nonzero -= ~kinds.zero;
      counts.five_bits -= five_bits;
      counts.indexed -= kinds.indexed & ~(kinds.zero | five_bits);
      counts.run_starts -= vector_cast<L>(starts[q]);
      counts.run_seconds -= vector_cast<L>(seconds);
    }
    if (!planes_.has_top_plane) return;
    Qwords top_zero = Qwords{} + Group::last_lane;
    if (found.any_top) [[unlikely]]
      count_tops(words, found.planes[Group::qwords - 1], top_zero);
    counts.run_starts -= vector_cast<L>(~zero[Group::qwords - 1] & top_zero);
    counts.run_seconds -= vector_cast<L>(starts[Group::qwords - 1] & top_zero);
  }

  /// Counts top planes that differ from the one below, and takes them out of `top_zero`.
  void count_tops(const Word* words, Qwords below, Qwords& top_zero) {
    for (std::size_t b = 0; b < blocks; ++b, words += planes_.block_size) {
      const std::uint64_t dbx = planes_.top_dbx(words);
      if (dbx == 0) continue;
      top_zero[b] = 0;
      bits_ += static_cast<std::uint64_t>(planes_.top_code(dbx, below[b]).bits);
    }
  }

  std::uint64_t weigh(const Counts& counts) const {
    const auto sum = [](Lanes x) {
      std::uint64_t sum = 0;
      for (std::size_t i = 0; i < vector_bytes / sizeof(L); ++i) sum += x[i];
      return sum;
    };
    const auto weight = [](int bits) { return static_cast<std::uint64_t>(bits); };
    const std::uint64_t five_bits = sum(counts.five_bits);
    const std::uint64_t indexed = sum(counts.indexed);
    const std::uint64_t raw = sum(counts.nonzero) - five_bits - indexed;
    const std::uint64_t runs = sum(counts.run_seconds);
    const std::uint64_t single_zeros = sum(counts.run_starts) - runs;
    return raw * weight(1 + planes_.plane_bits) + indexed * weight(5 + planes_.index_bits) +
           five_bits * 5 + single_zeros * single_zero_bits_ + runs * zero_run_bits_;
  }

  PlaneFinder<Group> planes_;
  std::uint64_t single_zero_bits_;
  std::uint64_t zero_run_bits_;
  std::uint64_t used_[Group::qwords];  // lanes that have a plane
  std::uint64_t bits_ = 0;
};

}  // namespace
}  // namespace ebpc::EBPC_KERNEL
