// Plane streams to words, for every setting: several streams in turn, since within one stream each
// code's place depends on the code before. Rows and symbols become XORed bit planes (plane_rows.h),
// and when a stream's are all there, these become words.

#pragma once

#include <algorithm>
#include <array>
#include <utility>

#include "ebpc/kernels/avx512/plane_lanes_8x8.h"
#include "ebpc/kernels/avx512/plane_rows.h"
#include "ebpc/kernels/avx512/plane_syntax.h"
#include "ebpc/kernels/avx512/stream_lanes.h"
#include "ebpc/parameters.h"

namespace ebpc::avx512 {
namespace {

/// Sums of words and all words before them, within 128 bits or across them.
template <int word_bytes>
struct PrefixSum {
  using W = Lanes<8 * word_bytes>;

  /// Sums over neighbouring `bytes` bytes, 8 to 64.
  template <int bytes>
  static __m512i within(__m512i x) {
    if constexpr (bytes == 8) {
      x = W::add(x, _mm512_slli_epi64(x, 8));
      x = W::add(x, _mm512_slli_epi64(x, 16));
      return W::add(x, _mm512_slli_epi64(x, 32));
    } else {
      if constexpr (word_bytes <= 1) x = W::add(x, _mm512_bslli_epi128(x, 1));
      if constexpr (word_bytes <= 2) x = W::add(x, _mm512_bslli_epi128(x, 2));
      x = W::add(x, _mm512_bslli_epi128(x, 4));
      x = W::add(x, _mm512_bslli_epi128(x, 8));
      if constexpr (bytes >= 32) {
        x = W::add(x, _mm512_maskz_permutexvar_epi8(0xFFFF0000FFFF0000,
                                                    load_512(last_word_of[0].data()), x));
      }
      if constexpr (bytes >= 64) {
        x = W::add(x, _mm512_maskz_permutexvar_epi8(0xFFFFFFFF00000000,
                                                    load_512(last_word_of[1].data()), x));
      }
      return x;
    }
  }

  /// The last word, everywhere.
  static __m512i last(__m512i x) {
    return _mm512_permutexvar_epi8(load_512(last_word_of[2].data()), x);
  }

 private:
  /// The last word of the lower half of every 32 bytes; of all 64; of the vector.
  static constexpr auto last_word_of = [] {
    std::array<std::array<std::uint8_t, 64>, 3> indices{};
    for (int i = 0; i < 64; ++i) {
      const int byte = i % word_bytes;
      indices[0][static_cast<std::size_t>(i)] =
          static_cast<std::uint8_t>(i / 32 * 32 + 16 - word_bytes + byte);
      indices[1][static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(32 - word_bytes + byte);
      indices[2][static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(64 - word_bytes + byte);
    }
    return indices;
  }();
};

/// Turns the planes of a stream's blocks into words.
template <class Group, class Syntax>
class RowWords {
 public:
  using Word = typename Group::Word;

  explicit RowWords(const Parameters& p)
      : block_size_(p.block_size),
        is_whole_(p.block_size == Group::slots),
        fills_type_(p.word_bits == 8 * Group::word_bytes),
        low_(W::set(low_bits(p.word_bits))),
        sign_(W::set(p.is_signed ? std::uint64_t{1} << (p.word_bits - 1) : 0)) {}

  /// Words of blocks whose planes and, if they were sent, bases are given. 64 bytes behind the last
  /// block's planes and its base are read. False if one of the planes is malformed.
  bool decode(const std::uint8_t* lanes, const Word* bases, std::size_t blocks, Word* out) const {
    if constexpr (Syntax::base_sent) return decode_sent(lanes, bases, blocks, out);
    decode_reused(lanes, blocks, out);
    return true;
  }

 private:
  using W = Lanes<8 * Group::word_bytes>;
  using Sum = PrefixSum<Group::word_bytes>;
  static constexpr std::size_t vector_words = 64 / Group::word_bytes;
  static constexpr int segment_bytes = std::min(64, Group::block_bytes);

  bool decode_sent(const std::uint8_t* lanes, const Word* bases, std::size_t blocks,
                   Word* out) const {
    std::uint64_t malformed = 0;
    for (std::size_t block = 0; block < blocks; block += Group::vector_blocks) {
      __m512i carry = _mm512_setzero_si512();
      for (int part = 0; part < Group::block_vectors; ++part) {
        // The base takes the place of the bit in front of each plane.
        __m512i words = deltas(columns(lanes, part, malformed));
        if (part == 0) {
          words = _mm512_mask_permutexvar_epi8(
              words, Group::base_mask, load_512(Group::gather_bases.data()), load_512(bases));
        }
        words = Sum::template within<segment_bytes>(words);
        if constexpr (Group::block_vectors > 1) {
          words = W::add(words, carry);
          carry = Sum::last(words);
        }
        out = append(out, extend(words), part);
      }
      bases += Group::vector_blocks;
      lanes += Group::vector_blocks * Group::block_bytes;
    }
    return malformed == 0;
  }

  void decode_reused(const std::uint8_t* lanes, std::size_t blocks, Word* out) const {
    Word* const first = out;
    std::uint64_t malformed = 0;
    __m512i carry = _mm512_setzero_si512();
    for (std::size_t block = 0; block < blocks; block += Group::vector_blocks) {
      for (int part = 0; part < Group::block_vectors; ++part) {
        const __m512i delta = deltas(columns(lanes, part, malformed));
        if (is_whole_) {
          const __m512i words = W::add(Sum::template within<64>(delta), carry);
          carry = Sum::last(words);
          store_512(out, extend(words));
          out += vector_words;
        } else {
          out = append(out, delta, part);
        }
      }
      lanes += Group::vector_blocks * Group::block_bytes;
    }
    if (!is_whole_) sum_all(first, out);
  }

  /// Turns all deltas into words.
  void sum_all(Word* words, const Word* end) const {
    __m512i carry = _mm512_setzero_si512();
    for (; words < end; words += vector_words) {
      const __m512i sum = W::add(Sum::template within<64>(load_512(words)), carry);
      carry = Sum::last(sum);
      store_512(words, extend(sum));
    }
  }

  /// The first `count` slots of every block, those of them in one vector.
  static std::uint64_t slots(int count, int part) {
    std::uint64_t slots = low_bits(count);
    if constexpr (Group::block_vectors == 1) {
      for (int bits = Group::slots; bits < 64; bits *= 2) slots |= slots << (bits & 63);
    }
    slots >>= part * static_cast<int>(vector_words) & 63;
    return slots & low_bits(vector_words);
  }

  /// 8 bits of 8 planes in each 64-bit lane. `malformed` gets bits of codes that are none.
  [[gnu::always_inline]] static __m512i columns(const std::uint8_t* lanes, int part,
                                                std::uint64_t& malformed) {
    // A permutation of two vectors takes five times as long as one of one.
    const __m512i indices = load_512(Group::gather_columns[index(part)].data());
    __m512i columns = _mm512_permutexvar_epi8(indices, load_512(lanes));
    for (int i = 1; i < Group::block_vectors; ++i) {
      columns = _mm512_mask_permutexvar_epi8(columns, Group::gather_masks[index(part)][index(i)],
                                             indices, load_512(lanes + 64 * i));
    }
    if constexpr (Syntax::eights) {
      const std::uint64_t coded = ~_mm512_movepi8_mask(columns);
      columns =
          _mm512_mask_permutexvar_epi8(columns, coded, columns, load_512(planes_of_codes.data()));
      malformed |= coded & _mm512_movepi8_mask(columns);
    }
    return columns;
  }

  /// Words from columns of planes. The top planes are of no use: sums are modulo 2^W.
  static __m512i deltas(__m512i columns) {
    // A column of 8 planes becomes a byte of a delta: the reverse of what encoding does.
    __m512i delta =
        _mm512_gf2p8affine_epi64_epi8(_mm512_set1_epi64(0x0102040810204080), columns, 0);
    if constexpr (Group::word_bytes > 1) {
      delta = _mm512_permutexvar_epi8(load_512(Group::gather_words.data()), delta);
    }
    // Each bit is the XOR of all bits below: in its byte, and the parities of the lower bytes.
    const __m512i within =
        _mm512_gf2p8affine_epi64_epi8(delta, _mm512_set1_epi64(0x0103070F1F3F7FFF), 0);
    if constexpr (Group::word_bytes == 1) return within;
    const __m512i parity = _mm512_gf2p8affine_epi64_epi8(delta, _mm512_set1_epi8(-1), 0);
    if constexpr (Group::word_bytes == 2) {
      return _mm512_xor_si512(within, _mm512_slli_epi16(parity, 8));
    } else {
      __m512i below = _mm512_slli_epi32(parity, 8);
      below = _mm512_xor_si512(below, _mm512_slli_epi32(below, 8));
      below = _mm512_xor_si512(below, _mm512_slli_epi32(below, 16));
      return _mm512_xor_si512(within, below);
    }
  }

  /// Stores the words of all slots that blocks have.
  Word* append(Word* out, __m512i words, int part) const {
    if (is_whole_) {
      store_512(out, words);
      return out + vector_words;
    }
    const std::uint64_t mask = slots(block_size_, part);
    using L = WordLanes<Word>;
    store_512(out, L::compress(static_cast<typename L::Mask>(mask), words));
    return out + std::popcount(mask);
  }

  /// The low W bits as a word of the type.
  __m512i extend(__m512i words) const {
    if (fills_type_) return words;
    const __m512i bits = _mm512_and_si512(words, low_);
    return W::sub(_mm512_xor_si512(bits, sign_), sign_);
  }

  int block_size_;
  bool is_whole_;    // blocks fill their slots
  bool fills_type_;  // words fill their type
  __m512i low_;
  __m512i sign_;
};

// ---- Several streams in turn.

/// Decodes plane streams for every setting.
template <class Group, class Syntax>
class PlanePass {
 public:
  using Word = typename Group::Word;
  using Steps = PlaneRowSteps<Group, Syntax>;
  using Memory = typename Steps::Memory;
  static_assert(max_job_words / min_block_size < most_blocks);
  static_assert(8 * Memory::most_bytes() <= std::size_t{1} << out_bit);
  static_assert(Memory::most_bytes() <= std::size_t{1} << (block_bit - out_bit));

  static std::size_t scratch_size(const Parameters& p) {
    return PlaneJobs<Word>::words_bytes + Memory(p).size();
  }

  PlanePass(const Parameters& p, JobBatch<Word>& batch, std::uint8_t* scratch)
      : jobs_(p, batch),
        syntax_(p),
        steps_(syntax_),
        words_(p),
        places_(p),
        nonzero_(reinterpret_cast<Word*>(scratch)),
        memory_(scratch + PlaneJobs<Word>::words_bytes) {}

  void run() {
    for (int slot = 0; slot < Steps::slots; ++slot) take(slot);
    while (busy_ > 0) {
      steps_.run(memory_, positions_, [&] { jobs_.look_ahead(); });
      for (int slot = 0; slot < Steps::slots; ++slot) {
        Position& at = positions_[index(slot)];
        if (!steps_.settle(memory_, slot, at)) {
          is_malformed_[index(slot)] = true;
          at = position(0, 0, most_blocks, 1);
        }
        if (is_at_end(at)) end(slot);
      }
    }
  }

 private:
  /// Gives the slot its next stream. One that has none parses what is left of another.
  void take(int slot) {
    std::uint8_t* const memory = memory_;
    std::size_t bytes = 0;
    std::size_t blocks = places_.max_blocks();
    const std::size_t job = jobs_.take(memory + places_.stream(slot));
    job_[index(slot)] = job;
    is_malformed_[index(slot)] = false;
    if (job != jobs_.none) {
      ++busy_;
      bytes = jobs_.stream_bytes(job);
      blocks = jobs_.blocks(job);
    }
    const std::uint64_t first_block = most_blocks - blocks;
    if constexpr (Syntax::base_sent) {
      Memory::put_base(memory, index(slot), first_block, window(memory + places_.stream(slot), 0),
                       syntax_.base_shift);
    }
    positions_[index(slot)] = Steps::begin(syntax_, 8 * places_.stream(slot) + syntax_.base_bits,
                                           places_.lanes(slot), first_block);
    end_[index(slot)] = 8 * (places_.stream(slot) + bytes);
  }

  /// Ends the slot's stream, which has all its blocks or is malformed.
  void end(int slot) {
    if (job_[index(slot)] != jobs_.none) {
      const std::uint64_t memory = 8 * address(memory_);
      const std::uint64_t bit = bit_of(positions_[index(slot)]) - syntax_.base_bits;
      --busy_;
      finish(slot,
             !is_malformed_[index(slot)] && is_padding(memory + bit, memory + end_[index(slot)]));
    }
    take(slot);
  }

  /// Turns the slot's planes and bases into words.
  void finish(int slot, bool ok) {
    const std::size_t job = job_[index(slot)];
    const std::size_t blocks = jobs_.blocks(job);
    const std::uint8_t* const bases = memory_ + places_.base(slot, most_blocks - blocks);
    std::uint8_t* const lanes = memory_ + places_.lanes(slot);
    // What is behind the last block is turned into words together with it.
    store_512(lanes + blocks * Group::block_bytes, _mm512_setzero_si512());
    ok = ok && words_.decode(lanes, reinterpret_cast<const Word*>(bases), blocks, nonzero_);
    jobs_.finish(job, ok, nonzero_);
  }

  PlaneJobs<Word> jobs_;
  const Syntax syntax_;
  Steps steps_;
  const RowWords<Group, Syntax> words_;
  const Memory places_;
  Word* const nonzero_;         // words of the job that is being finished
  std::uint8_t* const memory_;  // of the streams
  int busy_ = 0;                // slots with a stream
  std::array<Position, Steps::slots> positions_;
  std::array<std::uint64_t, Steps::slots> end_;  // of the stream, in bits
  std::array<std::size_t, Steps::slots> job_;    // or none
  std::array<bool, Steps::slots> is_malformed_;
};

/// Calls `visit` with a null pointer to the pass for these settings.
template <class Visitor>
auto visit_plane_pass(const Parameters& p, int bytes_per_word, Visitor&& visit) {
  return visit_plane_syntax(p, bytes_per_word, [&]<class Group, class Syntax>(Group*, Syntax*) {
    if constexpr (Syntax::eights && sizeof(typename Group::Word) == 1) {
      if (p.word_bits == 8) return visit(static_cast<PlanePass8x8*>(nullptr));
    }
    return visit(static_cast<PlanePass<Group, Syntax>*>(nullptr));
  });
}

}  // namespace
}  // namespace ebpc::avx512
