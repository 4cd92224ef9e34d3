// Zero streams back to masks of the non-zero words: a stream in each 64-bit lane of some vectors.
//
// A pair of a stretch of non-zero words and the zero run behind it is one step of each lane. A lane
// reads up to 64 bits of its stream and then writes up to 64 bits of its mask.

#pragma once

#include <algorithm>
#include <array>

#include "ebpc/kernels/avx512/stream_lanes.h"
#include "ebpc/parameters.h"

namespace ebpc::avx512 {
namespace {

/// A zero stream and where its mask goes, the first word in the lowest bit. As many bits as `words`
/// words can have must be readable, and 64 bytes behind them. The mask is all zero, with 64 bytes
/// more behind it.
struct ZeroStream {
  const std::uint8_t* bytes = nullptr;
  std::size_t byte_count = 0;
  std::uint8_t* mask = nullptr;
  std::size_t words = 0;
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
    store_512(stream.mask + i, turn_bytes_around(load_512(stream.bytes + i)));
  }
  return true;
}

/// The first pass of decoding: all zero streams of a batch to masks of the non-zero words.
class ZeroPass {
 public:
  static std::size_t scratch_size(const Parameters& p) { return lanes * stream_size(p); }

  ZeroPass(const Parameters& p, std::span<const DecodeJob> jobs, NonzeroMask* masks,
           std::uint8_t* scratch)
      : is_mask_(p.max_zero_run == 1),
        symbol_bits_(1 + zero_run_bits(p)),
        sure_ones_(valid_window_bits - symbol_bits_),
        jobs_(jobs),
        masks_(masks),
        stream_size_(stream_size(p)),
        scratch_(scratch) {}

  void run() {
    if (is_mask_) {
      while (next_stream(0)) done(0, read_mask(streams_[0]));
      return;
    }
    for (int lane = 0; lane < lanes; ++lane) take(lane);
    std::array<ZeroStreams, vectors> streams;
    while (busy_ > 0) {
      for_each_vector<vectors>([&](int i) { streams[at(i)] = load_streams(8 * i); });
      while (!any_at_end(streams)) next_pairs(streams);
      for_each_vector<vectors>([&](int i) { store_streams(streams[at(i)], 8 * i); });
      for (int lane = 0; lane < lanes; ++lane) {
        while (out_[at(lane)] >= limit_[at(lane)]) end(lane);
      }
    }
  }

 private:
  static constexpr int lanes = 16;
  static constexpr int vectors = lanes / 8;
  static constexpr int pairs = 4;  // that a window is asked for: as many as are in it mostly
  using PerLane = std::array<std::uint64_t, lanes>;

  struct ZeroStreams {
    __m512i bit;     // address of the next bit
    __m512i out;     // address of the byte with the mask's next bit
    __m512i filled;  // bits of it that are known
    __m512i mask;    // these
  };

  static constexpr std::size_t at(int i) { return static_cast<std::size_t>(i); }

  ZeroStreams load_streams(int lane) const {
    return {load_512(bit_.data() + lane), load_512(out_.data() + lane),
            load_512(filled_.data() + lane), load_512(mask_.data() + lane)};
  }

  void store_streams(const ZeroStreams& s, int lane) {
    store_512(bit_.data() + lane, s.bit);
    store_512(out_.data() + lane, s.out);
    store_512(filled_.data() + lane, s.filled);
    store_512(mask_.data() + lane, s.mask);
  }

  bool any_at_end(const std::array<ZeroStreams, vectors>& streams) const {
    unsigned ends = 0;
    for (int i = 0; i < vectors; ++i) {
      ends |= _mm512_cmpge_epu64_mask(streams[at(i)].out, load_512(limit_.data() + 8 * i));
    }
    return ends != 0;
  }

  /// Gives the lane its next stream; a lane that has none decodes the same zeros for ever.
  void take(int lane) {
    ZeroStream& stream = streams_[at(lane)];
    stream.bytes = stream.mask = idle_.data();
    if (next_stream(lane)) {
      ++busy_;
      // Here, the next pairs might have more than all words.
      const std::size_t sure_words = std::max<std::size_t>(stream.words, 64) - 64;
      limit_[at(lane)] = address(stream.mask) + sure_words / 8;
      advance_[at(lane)] = ~std::uint64_t{0};
    } else {
      limit_[at(lane)] = ~std::uint64_t{0};
      advance_[at(lane)] = 0;
    }
    bit_[at(lane)] = 8 * address(stream.bytes);
    out_[at(lane)] = address(stream.mask);
    filled_[at(lane)] = mask_[at(lane)] = 0;
  }

  /// Decodes some pairs in each lane.
  [[gnu::always_inline]] void next_pairs(std::array<ZeroStreams, vectors>& streams) const {
    const __m512i all = _mm512_set1_epi64(-1);
    const __m512i symbol_bits = _mm512_set1_epi64(symbol_bits_);
    const __m512i sure_ones = _mm512_set1_epi64(sure_ones_);
    const __m512i longest = _mm512_set1_epi64(std::int64_t{1} << symbol_bits_);
    const __m128i symbol_shift = _mm_cvtsi32_si128(symbol_bits_);
    const __m128i run_shift = _mm_cvtsi32_si128(64 - symbol_bits_);
    constexpr int a_or_b_xor_c = 0xF6;

    // What is left of each window, inverted, so that the ones in front can be counted; behind its
    // end there seem to be ones.
    VectorArray<vectors> window;
    VectorArray<vectors> used;
    for_each_vector<vectors>([&](int i) { window[i] = load_windows(streams[at(i)].bit); });
    for_each_vector<vectors>([&](int i) {
      used[i] = _mm512_and_si512(streams[at(i)].bit, _mm512_set1_epi64(7));
      window[i] = _mm512_sllv_epi64(_mm512_xor_si512(window[i], all), used[i]);
    });
#pragma GCC unroll 4
    for (int pair = 0; pair < pairs; ++pair) {
      for_each_vector<vectors>([&](int i) {
        ZeroStreams& s = streams[at(i)];
        __m512i ones = _mm512_lzcnt_epi64(window[i]);
        if (pair == 0) ones = _mm512_min_epu64(ones, sure_ones);
        const __m512i rest = _mm512_sllv_epi64(window[i], ones);
        const __m512i filled = _mm512_add_epi64(s.filled, ones);
        const __m512i run = _mm512_sub_epi64(longest, _mm512_srl_epi64(rest, run_shift));
        const __m512i from = _mm512_sllv_epi64(all, s.filled);
        const __m512i to = _mm512_sllv_epi64(all, filled);
        if (pair == 0) {
          // If the next bit is a one, there are more of them than were taken.
          const __mmask8 has_run = _mm512_movepi64_mask(rest);
          s.mask = _mm512_ternarylogic_epi64(s.mask, from, to, a_or_b_xor_c);
          s.filled = _mm512_mask_add_epi64(filled, has_run, filled, run);
          used[i] = _mm512_add_epi64(used[i], ones);
          used[i] = _mm512_mask_add_epi64(used[i], has_run, used[i], symbol_bits);
          window[i] = _mm512_mask_sll_epi64(rest, has_run, rest, symbol_shift);
        } else {
          // A run may go past the end of the mask's 64 bits; behind it, there is no room for ones.
          const __m512i end = _mm512_add_epi64(used[i], _mm512_add_epi64(ones, symbol_bits));
          const __mmask8 fits =
              _mm512_cmple_epu64_mask(_mm512_max_epu64(filled, end), _mm512_set1_epi64(64));
          s.mask = _mm512_mask_ternarylogic_epi64(s.mask, fits, from, to, a_or_b_xor_c);
          s.filled = _mm512_mask_add_epi64(s.filled, fits, filled, run);
          used[i] = _mm512_mask_mov_epi64(used[i], fits, end);
          window[i] = _mm512_mask_sll_epi64(window[i], fits, rest, symbol_shift);
        }
      });
    }
    for_each_vector<vectors>([&](int i) {
      ZeroStreams& s = streams[at(i)];
      const __m512i busy = load_512(advance_.data() + 8 * i);
      const __m512i low = _mm512_set1_epi64(7);
      store_lanes<std::uint64_t>(s.out, s.mask);
      const __m512i byte = _mm512_andnot_si512(low, s.bit);
      s.bit = _mm512_add_epi64(byte, _mm512_and_si512(used[i], busy));
      s.out = _mm512_add_epi64(s.out, _mm512_and_si512(_mm512_srli_epi64(s.filled, 3), busy));
      s.mask = _mm512_srlv_epi64(s.mask, _mm512_andnot_si512(low, s.filled));
      s.filled = _mm512_and_si512(s.filled, low);
    });
  }

  /// Decodes the lane's last words.
  void end(int lane) {
    const ZeroStream& stream = streams_[at(lane)];
    std::uint64_t bit = bit_[at(lane)] - 8 * address(stream.bytes);
    std::uint64_t word = 8 * (out_[at(lane)] - address(stream.mask)) + filled_[at(lane)];
    std::uint64_t mask = mask_[at(lane)];  // from the byte with bit `word` on
    while (word < stream.words) {
      const std::uint64_t bits = window(stream.bytes, bit);
      const std::uint64_t ones = std::min<std::uint64_t>(
          {_lzcnt_u64(~bits), static_cast<std::uint64_t>(sure_ones_), stream.words - word});
      mask |= low_bits(static_cast<int>(ones)) << (word & 7);
      std::memcpy(stream.mask + (word >> 3), &mask, sizeof mask);
      std::uint64_t next = word + ones;
      bit += ones;
      const std::uint64_t rest = bits << ones;
      if (next < stream.words && static_cast<std::int64_t>(rest) >= 0) {
        next += (rest >> (64 - symbol_bits_)) + 1;
        bit += static_cast<std::uint64_t>(symbol_bits_);
      }
      const std::uint64_t bytes = (next >> 3) - (word >> 3);
      mask = bytes < sizeof mask ? mask >> (8 * bytes) : 0;
      word = next;
    }
    const std::uint64_t first = 8 * address(stream.bytes);
    const bool ok = is_padding(first + bit, first + 8 * stream.byte_count);
    --busy_;
    done(lane, ok && word == stream.words);
    take(lane);
  }

  /// Puts the next stream into the lane's memory. False if there is none.
  bool next_stream(int lane) {
    while (started_ < jobs_.size()) {
      const std::size_t index = started_++;
      const DecodeJob& job = jobs_[index];
      NonzeroMask& mask = masks_[index];
      mask.nonzero = NonzeroMask::malformed;
      if (job.zero_bytes > stream_size_ - zeros_behind) continue;
      std::uint8_t* const bytes = scratch_ + at(lane) * stream_size_;
      copy_with_zeros_behind(bytes, job.zero_stream, job.zero_bytes);
      std::memset(mask.bytes, 0, sizeof mask.bytes);
      streams_[at(lane)] = {bytes, job.zero_bytes, mask.bytes, job.words.count};
      job_[at(lane)] = index;
      return true;
    }
    return false;
  }

  void done(int lane, bool ok) {
    if (!ok) return;
    NonzeroMask& mask = masks_[job_[at(lane)]];
    __m512i sum = _mm512_setzero_si512();
    for (std::size_t i = 0; i < max_job_words / 8; i += 64)
      sum = _mm512_add_epi64(sum, _mm512_popcnt_epi64(load_512(mask.bytes + i)));
    mask.nonzero = static_cast<std::size_t>(_mm512_reduce_add_epi64(sum));
  }

  static constexpr std::size_t zeros_behind = 64;

  /// A malformed stream goes on for as long as words are missing, each taking a symbol.
  static std::size_t stream_size(const Parameters& p) {
    return round_up(max_job_words * static_cast<std::size_t>(1 + zero_run_bits(p)) / 8 + 1 +
                    zeros_behind);
  }

  bool is_mask_;     // streams are masks
  int symbol_bits_;  // of a zero run
  int sure_ones_;    // that a window has if there is no run in it
  std::span<const DecodeJob> jobs_;
  NonzeroMask* masks_;
  std::size_t stream_size_;
  std::uint8_t* scratch_;
  std::size_t started_ = 0;              // jobs
  std::array<std::size_t, lanes> job_;   // of each lane
  int busy_ = 0;                         // lanes with a stream
  std::array<std::uint8_t, 64> idle_{};  // what lanes without a stream write, and read
  std::array<ZeroStream, lanes> streams_;
  alignas(64) PerLane bit_;
  alignas(64) PerLane out_;
  alignas(64) PerLane filled_;
  alignas(64) PerLane mask_;
  alignas(64) PerLane limit_;    // of `out`
  alignas(64) PerLane advance_;  // all ones if the lane has a stream
};

}  // namespace
}  // namespace ebpc::avx512
