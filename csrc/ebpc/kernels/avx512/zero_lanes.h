// Zero streams back to masks of the non-zero words: a stream in each 64-bit lane of some vectors.
//
// A pair of a stretch of non-zero words and the zero run after it is one step of each lane. A lane
// reads up to 64 bits of its stream and then writes up to 64 bits of its mask.

#pragma once

#include <algorithm>
#include <array>

#include "ebpc/kernels/avx512/bits.h"
#include "ebpc/kernels/generic/zero_masks.h"
#include "ebpc/parameters.h"

namespace ebpc::avx512 {
namespace {

/// What ZeroTurns is for other kernels.
class ZeroLanes {
 public:
  ZeroLanes(const Parameters& p, std::span<const DecodeJob> jobs, NonzeroMask* masks)
      : symbol_bits_(1 + zero_run_bits(p)),
        sure_ones_(valid_window_bits - symbol_bits_),
        jobs_(jobs),
        masks_(masks),
        stream_size_(stream_size(p)),
        memory_(thread_memory(lanes * stream_size_)) {}

  void run() {
    if (symbol_bits_ == 1) return read_masks(jobs_, masks_);
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
    const std::uint8_t* stream = idle_.data();
    std::uint8_t* mask = idle_.data();
    limit_[at(lane)] = ~std::uint64_t{0};
    advance_[at(lane)] = 0;
    if (next_stream(lane)) {
      ++busy_;
      stream = stream_of(lane);
      mask = masks_[job_[at(lane)]].bytes;
      // Here, the next pairs might have more than all words.
      const std::size_t words = jobs_[job_[at(lane)]].words.count;
      limit_[at(lane)] = address(mask) + (std::max<std::size_t>(words, 64) - 64) / 8;
      advance_[at(lane)] = ~std::uint64_t{0};
    }
    bit_[at(lane)] = 8 * address(stream);
    out_[at(lane)] = address(mask);
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

    // What is left of each window, inverted, so that the ones in front can be counted; after its
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
          // A run may go past the end of the mask's 64 bits; after it, there is no room for ones.
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
    const DecodeJob& job = jobs_[job_[at(lane)]];
    NonzeroMask& mask = masks_[job_[at(lane)]];
    const std::uint64_t byte = out_[at(lane)] - address(mask.bytes);
    // If there are more words than the job has, the mask stays malformed.
    if (8 * byte + filled_[at(lane)] <= job.words.count) {
      ZeroLane rest;
      rest.start(job, mask);
      rest.bit = bit_[at(lane)] - 8 * address(stream_of(lane));
      rest.out = mask.bytes + byte;
      rest.filled = filled_[at(lane)];
      rest.waiting = mask_[at(lane)];
      rest.finish(static_cast<unsigned>(symbol_bits_ - 1));
    }
    --busy_;
    take(lane);
  }

  /// Puts the next stream into the lane's memory. False if there is none.
  bool next_stream(int lane) {
    while (started_ < jobs_.size()) {
      const std::size_t index = started_++;
      const DecodeJob& job = jobs_[index];
      masks_[index].nonzero = NonzeroMask::malformed;
      if (job.zero_bytes > stream_size_ - zeros_after) continue;
      std::uint8_t* const bytes = stream_of(lane);
      if (job.zero_bytes > 0) std::memcpy(bytes, job.zero_stream, job.zero_bytes);
      std::memset(bytes + job.zero_bytes, 0, zeros_after);
      // Zero runs are not written.
      std::memset(masks_[index].bytes, 0, sizeof masks_[index].bytes);
      job_[at(lane)] = index;
      return true;
    }
    return false;
  }

  static constexpr std::size_t zeros_after = 64;

  /// A malformed stream goes on for as long as words are missing, each taking a symbol.
  static std::size_t stream_size(const Parameters& p) {
    return round_up(max_job_words * static_cast<std::size_t>(1 + zero_run_bits(p)) / 8 + 1 +
                    zeros_after);
  }
  std::uint8_t* stream_of(int lane) const { return memory_ + at(lane) * stream_size_; }

  int symbol_bits_;  // of a zero run
  int sure_ones_;    // that a window has if there is no run in it
  std::span<const DecodeJob> jobs_;
  NonzeroMask* masks_;
  std::size_t stream_size_;
  std::uint8_t* memory_;
  std::size_t started_ = 0;              // jobs
  std::array<std::size_t, lanes> job_;   // of each lane
  int busy_ = 0;                         // lanes with a stream
  std::array<std::uint8_t, 64> idle_{};  // what lanes without a stream write, and read
  alignas(64) PerLane bit_;
  alignas(64) PerLane out_;
  alignas(64) PerLane filled_;
  alignas(64) PerLane mask_;
  alignas(64) PerLane limit_;    // of `out`
  alignas(64) PerLane advance_;  // all ones if the lane has a stream
};

}  // namespace
}  // namespace ebpc::avx512
