// Zero streams back to masks of the non-zero words: a stream in each 64-bit lane of some vectors.
//
// A pair of a stretch of non-zero words and the zero run behind it is one step of each lane. A lane
// reads up to 64 bits of its stream and then writes up to 64 bits of its mask.

#pragma once

#include <algorithm>
#include <array>

#include "ebpc/kernels/avx512_bits.h"
#include "ebpc/kernels/avx512_zero_decoder.h"
#include "ebpc/parameters.h"

namespace ebpc {
namespace {

/// A zero stream and where its mask goes, the first word in the lowest bit. As many bits as `words`
/// words can have must be readable, and 64 bytes behind them; so much must be writable behind the
/// mask, too.
struct ZeroStream {
  const std::uint8_t* bytes = nullptr;
  std::size_t byte_count = 0;
  std::uint8_t* mask = nullptr;
  std::size_t words = 0;
};

/// Decodes streams that `Source` hands out:
///   bool take(int lane, ZeroStream&)   the next stream; its memory is the lane's
///   void look_ahead()                  called between steps, to prefetch what comes next
///   void done(int lane, bool ok)       the mask is complete, with 64 zeros behind it
template <class Source>
class ZeroLanes {
 public:
  static constexpr int lanes = 16;
  static constexpr int longest_run = 16;

  ZeroLanes(const Parameters& p, Source& source)
      : source_(source), run_bits_(1 + zero_run_bits(p)) {
    for (int lane = 0; lane < lanes; ++lane) take(lane);
  }

  void run() {
    std::array<Streams, vectors> streams;
    while (busy_ > 0) {
      for (int i = 0; i < vectors; ++i) streams[at(i)] = load_streams(8 * i);
      while (!any_at_end(streams)) {
        next_pairs(streams);
        source_.look_ahead();
      }
      for (int i = 0; i < vectors; ++i) store_streams(streams[at(i)], 8 * i);
      for (int lane = 0; lane < lanes; ++lane) {
        while (out_[at(lane)] >= limit_[at(lane)]) end(lane);
      }
    }
  }

 private:
  static constexpr int vectors = lanes / 8;
  static constexpr int window_bits = 64;
  static constexpr int pairs = 4;  // that a window is asked for: as many as are in it mostly
  /// Non-zero words for which there surely is room, with a run behind them, in window and mask.
  static constexpr int sure_ones = window_bits - 7 - longest_run;
  using PerLane = std::array<std::uint64_t, lanes>;

  struct Streams {
    __m512i in;      // address of the byte with the next bit
    __m512i used;    // bits of it that are read
    __m512i out;     // address of the byte with the mask's next bit
    __m512i filled;  // bits of it that are known
    __m512i mask;    // these
  };

  static constexpr std::size_t at(int i) { return static_cast<std::size_t>(i); }

  static std::uint64_t address(const std::uint8_t* bytes) {
    return static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(bytes));
  }

  Streams load_streams(int lane) const {
    return {load_vector(in_.data() + lane), load_vector(used_.data() + lane),
            load_vector(out_.data() + lane), load_vector(filled_.data() + lane),
            load_vector(mask_.data() + lane)};
  }

  void store_streams(const Streams& s, int lane) {
    store_vector(in_.data() + lane, s.in);
    store_vector(used_.data() + lane, s.used);
    store_vector(out_.data() + lane, s.out);
    store_vector(filled_.data() + lane, s.filled);
    store_vector(mask_.data() + lane, s.mask);
  }

  bool any_at_end(const std::array<Streams, vectors>& streams) const {
    unsigned ends = 0;
    for (int i = 0; i < vectors; ++i) {
      ends |= _mm512_cmpge_epu64_mask(streams[at(i)].out, load_vector(limit_.data() + 8 * i));
    }
    return ends != 0;
  }

  /// Gives the lane its next stream; a lane that has none decodes the same zeros for ever.
  void take(int lane) {
    ZeroStream stream;
    stream.bytes = stream.mask = idle_.data();
    if (source_.take(lane, stream)) {
      ++busy_;
      // Here, the next pairs might have more than all words.
      const std::size_t sure_words = std::max<std::size_t>(stream.words, window_bits) - window_bits;
      limit_[at(lane)] = address(stream.mask) + sure_words / 8;
      advance_[at(lane)] = ~std::uint64_t{0};
    } else {
      limit_[at(lane)] = ~std::uint64_t{0};
      advance_[at(lane)] = 0;
    }
    in_[at(lane)] = address(stream.bytes);
    out_[at(lane)] = address(stream.mask);
    used_[at(lane)] = filled_[at(lane)] = mask_[at(lane)] = 0;
    streams_[at(lane)] = stream;
  }

  /// Decodes some pairs in each lane.
  void next_pairs(std::array<Streams, vectors>& streams) const {
    const __m512i run_bits = _mm512_set1_epi64(run_bits_);
    const __m128i run_shift = _mm_cvtsi32_si128(run_bits_);
    const __m128i window_but_run = _mm_cvtsi32_si128(window_bits - run_bits_);
    const __m512i longest = _mm512_set1_epi64(std::int64_t{1} << run_bits_);
    const __m512i all = _mm512_set1_epi64(window_bits);
    // What is left of each window, inverted, so that the ones in front can be counted.
    VectorArray<vectors> window;
    for (int i = 0; i < vectors; ++i) {
      const __m512i bytes = _mm512_i64gather_epi64(streams[at(i)].in, nullptr, 1);
      window[i] = _mm512_sllv_epi64(_mm512_xor_si512(swap_bytes(bytes), _mm512_set1_epi64(-1)),
                                    streams[at(i)].used);
    }
#pragma GCC unroll 4
    for (int pair = 0; pair < pairs; ++pair) {
      for (int i = 0; i < vectors; ++i) {
        Streams& s = streams[at(i)];
        __m512i ones = _mm512_lzcnt_epi64(window[i]);
        if (pair == 0) ones = _mm512_min_epu64(ones, _mm512_set1_epi64(sure_ones));
        const __m512i rest = _mm512_sllv_epi64(window[i], ones);
        const __m512i set =
            _mm512_sllv_epi64(_mm512_sllv_epi64(_mm512_set1_epi64(-1), ones), s.filled);
        const __m512i from = _mm512_sllv_epi64(_mm512_set1_epi64(-1), s.filled);
        __m512i filled = _mm512_add_epi64(s.filled, ones);
        __m512i used = _mm512_add_epi64(s.used, ones);
        const __m512i run = _mm512_sub_epi64(longest, _mm512_srl_epi64(rest, window_but_run));
        constexpr int a_or_b_xor_c = 0xF6;
        if (pair == 0) {
          // If the next bit is a one, there are more of them than were taken.
          const __mmask8 has_run = _mm512_movepi64_mask(rest);
          s.filled = _mm512_mask_add_epi64(filled, has_run, filled, run);
          s.used = _mm512_mask_add_epi64(used, has_run, used, run_bits);
          s.mask = _mm512_ternarylogic_epi64(s.mask, set, from, a_or_b_xor_c);
          window[i] = _mm512_mask_sll_epi64(rest, has_run, rest, run_shift);
        } else {
          filled = _mm512_add_epi64(filled, run);
          used = _mm512_add_epi64(used, run_bits);
          const __mmask8 fits = _mm512_cmple_epu64_mask(_mm512_max_epu64(filled, used), all);
          s.mask = _mm512_mask_ternarylogic_epi64(s.mask, fits, set, from, a_or_b_xor_c);
          s.filled = _mm512_mask_mov_epi64(s.filled, fits, filled);
          s.used = _mm512_mask_mov_epi64(s.used, fits, used);
          window[i] = _mm512_mask_sll_epi64(window[i], fits, rest, run_shift);
        }
      }
    }
    for (int i = 0; i < vectors; ++i) {
      Streams& s = streams[at(i)];
      const __m512i busy = load_vector(advance_.data() + 8 * i);
      const __m512i low = _mm512_set1_epi64(7);
      store_each(s.out, s.mask);
      s.in = _mm512_add_epi64(s.in, _mm512_and_si512(_mm512_srli_epi64(s.used, 3), busy));
      s.out = _mm512_add_epi64(s.out, _mm512_and_si512(_mm512_srli_epi64(s.filled, 3), busy));
      s.mask = _mm512_srlv_epi64(s.mask, _mm512_andnot_si512(low, s.filled));
      s.used = _mm512_and_si512(s.used, low);
      s.filled = _mm512_and_si512(s.filled, low);
    }
  }

  /// Decodes the lane's last words.
  void end(int lane) {
    const ZeroStream& stream = streams_[at(lane)];
    std::uint64_t bit = 8 * (in_[at(lane)] - address(stream.bytes)) + used_[at(lane)];
    std::uint8_t* out = stream.mask + (out_[at(lane)] - address(stream.mask));
    std::uint64_t filled = filled_[at(lane)];
    std::uint64_t mask = mask_[at(lane)];
    std::uint64_t left = stream.words - 8 * (out_[at(lane)] - address(stream.mask)) - filled;
    bool ok = true;
    while (left > 0 && ok) {
      const std::uint64_t window = stream_window(stream.bytes, bit);
      const std::uint64_t ones =
          std::min({_lzcnt_u64(~window), static_cast<unsigned long long>(sure_ones),
                    static_cast<unsigned long long>(left)});
      const std::uint64_t rest = window << ones;
      mask |= low_bits(static_cast<int>(ones)) << filled;
      filled += ones;
      left -= ones;
      bit += ones;
      if (left > 0 && static_cast<std::int64_t>(rest) >= 0) {
        const std::uint64_t run = (rest >> (window_bits - run_bits_)) + 1;
        ok = run <= left;
        filled += run;
        left -= run;
        bit += static_cast<std::uint64_t>(run_bits_);
      }
      std::memcpy(out, &mask, sizeof mask);
      out += filled / 8;
      mask = filled < 64 ? mask >> (filled & ~std::uint64_t{7}) : 0;
      filled &= 7;
    }
    if (ok) {
      const std::array<std::uint64_t, 2> last{mask, 0};
      std::memcpy(out, last.data(), sizeof last);
      const std::uint64_t end_bit = 8 * stream.byte_count;
      ok = bit <= end_bit && end_bit - bit < 8 &&
           (bit == end_bit || (stream.bytes[bit / 8] << bit % 8 & 0xFF) == 0);
    }
    --busy_;
    source_.done(lane, ok);
    take(lane);
  }

  static void store_each(__m512i addresses, __m512i values) {
    alignas(64) std::array<std::uint64_t, 8> to;
    alignas(64) std::array<std::uint64_t, 8> from;
    store_vector(to.data(), addresses);
    store_vector(from.data(), values);
    for (std::size_t i = 0; i < 8; ++i) {
      std::memcpy(reinterpret_cast<void*>(to[i]), &from[i], sizeof from[i]);
    }
  }

  static __m512i swap_bytes(__m512i x) {
    return _mm512_shuffle_epi8(
        x, _mm512_broadcast_i32x4(_mm_set_epi64x(0x08090A0B0C0D0E0F, 0x0001020304050607)));
  }

  Source& source_;
  int run_bits_;                         // of a zero run's symbol
  int busy_ = 0;                         // lanes with a stream
  std::array<std::uint8_t, 64> idle_{};  // what lanes without a stream write, and read
  std::array<ZeroStream, lanes> streams_;
  alignas(64) PerLane in_;
  alignas(64) PerLane used_;
  alignas(64) PerLane out_;
  alignas(64) PerLane filled_;
  alignas(64) PerLane mask_;
  alignas(64) PerLane limit_;    // of `out`
  alignas(64) PerLane advance_;  // all ones if the lane has a stream
};

/// Where zero runs have a length of 1, the stream is the mask, but for the order of bits in a byte.
/// False if the stream has not exactly the bits of its words.
inline bool read_mask(const ZeroStream& stream) {
  const std::size_t padding = -stream.words % 8;
  if (stream.byte_count != (stream.words + padding) / 8) return false;
  if (padding > 0 &&
      (stream.bytes[stream.byte_count - 1] & low_bits(static_cast<int>(padding))) != 0) {
    return false;
  }
  for (std::size_t i = 0; i < stream.byte_count; i += 64) {
    store_vector(stream.mask + i, turn_bytes_around(load_vector(stream.bytes + i)));
  }
  return true;
}

/// Spreads non-zero words over `count` words under a mask of them; where the mask has none, zero is
/// written. Returns how many there were. Both the mask and the non-zero words are read in vectors.
template <class Word>
std::size_t expand_words(const std::uint8_t* mask_bytes, const Word* nonzero, Word* words,
                         std::size_t count) {
  constexpr std::size_t vector_words = 64 / sizeof(Word);
  const Word* next = nonzero;
  for (std::size_t first = 0; first < count; first += vector_words) {
    std::uint64_t mask = 0;
    std::memcpy(&mask, mask_bytes + first / 8, vector_words / 8);
    const __m512i packed = load_vector(next);
    __m512i vector;
    if constexpr (sizeof(Word) == 1) {
      vector = _mm512_maskz_expand_epi8(mask, packed);
    } else if constexpr (sizeof(Word) == 2) {
      vector = _mm512_maskz_expand_epi16(static_cast<__mmask32>(mask), packed);
    } else {
      vector = _mm512_maskz_expand_epi32(static_cast<__mmask16>(mask), packed);
    }
    next += std::popcount(mask);
    const std::size_t bytes = (count - first) * sizeof(Word);
    if (bytes >= 64) [[likely]] {
      store_vector(words + first, vector);
    } else {
      _mm512_mask_storeu_epi8(words + first, low_bits(static_cast<int>(bytes)), vector);
    }
  }
  return static_cast<std::size_t>(next - nonzero);
}

}  // namespace
}  // namespace ebpc
