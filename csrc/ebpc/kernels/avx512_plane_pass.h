// The second pass of decoding: the plane streams of a batch to words, which are spread in the result
// as soon as a segment has them all.

#pragma once

#include <algorithm>

#include "ebpc/kernels/avx512_decode_batch.h"
#include "ebpc/kernels/avx512_expand.h"
#include "ebpc/kernels/avx512_plane_lanes.h"
#include "ebpc/kernels/avx512_plane_words.h"

namespace ebpc {
namespace {

/// Hands out the plane streams of a batch, and puts the words that were in them in their places.
template <class Group, class Syntax>
class PlanePass {
 public:
  using Word = typename Group::Word;
  using Lanes = PlaneLanes<Group, Syntax, PlanePass>;

  static std::size_t scratch_size(const Parameters& p) {
    return words_size + Lanes::lanes * Sizes(p).all();
  }

  PlanePass(Batch& batch, std::uint8_t* scratch)
      : batch_(batch), syntax_(batch.p), words_(batch.p), sizes_(batch.p), scratch_(scratch) {}

  void run() { Lanes(syntax_, *this).run(); }

  /// Gives the lane the next stream. False if there is none; then it parses any bytes.
  bool take(int lane, PlaneStream<Word>& stream) {
    std::uint8_t* const bytes = scratch_of(lane);
    stream.bytes = bytes;
    stream.lanes = bytes + sizes_.stream;
    stream.bases = reinterpret_cast<Word*>(stream.lanes + sizes_.lanes);
    while (started_ < batch_.jobs.size()) {
      const std::size_t job = started_++;
      if (!has_stream(job)) continue;
      copy_with_zeros_behind(bytes, batch_.jobs[job].plane_stream, batch_.jobs[job].plane_bytes);
      stream.byte_count = batch_.jobs[job].plane_bytes;
      stream.blocks = blocks_of(job);
      job_[index(lane)] = job;
      return true;
    }
    stream.blocks = sizes_.blocks;
    return false;
  }

  void done(int lane, bool ok) {
    const std::size_t job = job_[index(lane)];
    std::uint8_t* const lanes = scratch_of(lane) + sizes_.stream;
    auto* const words = reinterpret_cast<Word*>(scratch_);
    // What is behind the last block is turned into words together with it.
    store_vector(lanes + blocks_of(job) * Group::block_bytes, _mm512_setzero_si512());
    if (!ok || !words_.decode(lanes, reinterpret_cast<const Word*>(lanes + sizes_.lanes),
                              blocks_of(job), words)) {
      batch_.nonzero[job] = Batch::malformed;
      return;
    }
    const MutableWordSpan& out = batch_.jobs[job].words;
    expand_words(batch_.mask_of(job), words, static_cast<Word*>(out.data), out.count);
  }

  /// Brings memory of words that will be written soon into the cache, some lines a step: more at a
  /// time would be waited for.
  [[gnu::always_inline]] void look_ahead() {
    constexpr std::size_t lines = 3;
    if (ahead_job_ >= batch_.jobs.size()) return;
    const MutableWordSpan& words = batch_.jobs[ahead_job_].words;
    const auto* const bytes = static_cast<const std::uint8_t*>(words.data);
    const std::size_t size = words.count * sizeof(Word);
    const std::size_t end = std::min(size, ahead_bytes_ + 64 * lines);
    for (; ahead_bytes_ < end; ahead_bytes_ += 64) __builtin_prefetch(bytes + ahead_bytes_, 1);
    if (ahead_bytes_ >= size) {
      ++ahead_job_;
      ahead_bytes_ = 0;
    }
  }

 private:
  static constexpr std::size_t zeros_behind = 64;
  static constexpr std::size_t words_size =
      round_up((longest_job + max_block_size + 2 * 64) * sizeof(Word));

  /// Bytes of a lane's memory, for the longest of jobs.
  struct Sizes {
    explicit Sizes(const Parameters& p)
        : blocks((longest_job + static_cast<std::size_t>(p.block_size) - 1) /
                 static_cast<std::size_t>(p.block_size)),
          stream(round_up(max_plane_stream_bits(p, longest_job) / 8 + 1 + zeros_behind)),
          lanes(round_up(blocks * Group::block_bytes + Lanes::bytes_written_behind)),
          bases(round_up((blocks + 2) * sizeof(Word) +
                         PlaneWords<Group, Syntax>::bytes_read_behind)) {}

    std::size_t all() const { return stream + lanes + bases; }

    std::size_t blocks;
    std::size_t stream;
    std::size_t lanes;
    std::size_t bases;
  };

  std::uint8_t* scratch_of(int lane) const {
    return scratch_ + words_size + index(lane) * sizes_.all();
  }

  std::size_t blocks_of(std::size_t job) const {
    const auto block_size = static_cast<std::size_t>(batch_.p.block_size);
    return (batch_.nonzero[job] + block_size - 1) / block_size;
  }

  /// Whether the job has a plane stream to be parsed. One without non-zero words is decoded here.
  bool has_stream(std::size_t job) {
    std::size_t& nonzero = batch_.nonzero[job];
    if (nonzero == Batch::malformed) return false;
    const DecodeJob& it = batch_.jobs[job];
    if (nonzero > 0 && it.plane_bytes <= sizes_.stream - zeros_behind) return true;
    if (nonzero == 0 && it.plane_bytes == 0) {
      std::memset(it.words.data, 0, it.words.count * sizeof(Word));
    } else {
      nonzero = Batch::malformed;
    }
    return false;
  }

  Batch& batch_;
  const Syntax syntax_;
  const PlaneWords<Group, Syntax> words_;
  const Sizes sizes_;
  std::uint8_t* scratch_;
  std::size_t started_ = 0;  // jobs
  std::array<std::size_t, Lanes::lanes> job_;
  std::size_t ahead_job_ = 0;    // whose words' memory is being prefetched
  std::size_t ahead_bytes_ = 0;  // of it
};

}  // namespace
}  // namespace ebpc
