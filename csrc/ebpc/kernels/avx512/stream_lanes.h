// Bit streams in the 64-bit lanes of vectors, each with an address of its own.

#pragma once

#include <array>
#include <utility>

#include "ebpc/kernels/avx512/bits.h"
#include "ebpc/kernels/generic/jobs.h"

namespace ebpc::avx512 {
namespace {

/// Bits of a window that are valid from any bit of its first byte on.
constexpr int valid_window_bits = 57;

/// The 64-bit lanes of a vector, one by one, by way of memory: a store and loads take less time
/// than instructions that take a vector to pieces one lane after the other.
class LaneValues {
 public:
  explicit LaneValues(__m512i vector) { store_512(values_.data(), vector); }
  std::uint64_t operator[](std::size_t lane) const { return values_[lane]; }

 private:
  alignas(64) std::array<std::uint64_t, 8> values_;
};

/// Calls f(0), f(1), ... for `count` vectors, unrolled. Within a vector, each step waits for the
/// one before; short pieces of it for all vectors in turn keep the CPU busy.
template <int count, class F>
[[gnu::always_inline]] inline void for_each_vector(F&& f) {
  [&]<int... i>(std::integer_sequence<int, i...>) {
    (f(i), ...);
  }(std::make_integer_sequence<int, count>());
}

/// The 128 bits from eight addresses' bytes on, in the order of the streams.
struct Windows {
  __m512i high;  // the first 64 bits
  __m512i low;
};

/// Loads from the bytes with the bits at `bit`, bit addresses. A load for each lane and insertions
/// take a third of the time of two gathers.
[[gnu::always_inline]] inline Windows load_wide_windows(__m512i bit) {
  const LaneValues from(_mm512_srli_epi64(bit, 3));
  const auto load = [&](std::size_t lane) {
    return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from[lane]));
  };
  __m512i even = _mm512_castsi128_si512(load(0));
  __m512i odd = _mm512_castsi128_si512(load(1));
  even = _mm512_inserti32x4(even, load(2), 1);
  odd = _mm512_inserti32x4(odd, load(3), 1);
  even = _mm512_inserti32x4(even, load(4), 2);
  odd = _mm512_inserti32x4(odd, load(5), 2);
  even = _mm512_inserti32x4(even, load(6), 3);
  odd = _mm512_inserti32x4(odd, load(7), 3);
  return {swap_bytes(_mm512_unpacklo_epi64(even, odd)),
          swap_bytes(_mm512_unpackhi_epi64(even, odd))};
}

/// The first 64 of these bits.
[[gnu::always_inline]] inline __m512i load_windows(__m512i bit) {
  return load_wide_windows(bit).high;
}

/// Stores the low bytes of each lane at its own address.
template <class T>
[[gnu::always_inline]] inline void store_lanes(__m512i addresses, __m512i values) {
  const LaneValues to(addresses);
  const LaneValues from(values);
  for (std::size_t i = 0; i < 8; ++i) {
    const auto value = static_cast<T>(from[i]);
    std::memcpy(reinterpret_cast<void*>(to[i]), &value, sizeof value);
  }
}

// ---- The memory for them.

/// Parts of memory are aligned for the planes of any block.
constexpr std::size_t alignment = 256;
constexpr std::size_t round_up(std::size_t x) {
  return (x + alignment - 1) / alignment * alignment;
}

constexpr std::size_t index(int i) { return static_cast<std::size_t>(i); }

/// Memory of one thread that is used again by the next call.
class ThreadMemory {
 public:
  /// At least `size` bytes, aligned; what was there before is lost if there were fewer.
  std::uint8_t* get(std::size_t size) {
    if (bytes_.size() < size + alignment) bytes_.resize(size + alignment);
    const auto address = reinterpret_cast<std::uintptr_t>(bytes_.data());
    return bytes_.data() + (-address & (alignment - 1));
  }

 private:
  std::vector<std::uint8_t> bytes_;
};

// ---- Non-zero words back to their places among the zeros.

/// Spreads non-zero words over `count` words under a mask of them; where the mask has none, zero is
/// written. Both the mask and the non-zero words are read in vectors.
template <class Word>
void expand_words(const std::uint8_t* mask_bytes, const Word* nonzero, Word* words,
                  std::size_t count) {
  using L = WordLanes<Word>;
  constexpr std::size_t vector_words = 64 / sizeof(Word);
  for (std::size_t first = 0; first < count; first += vector_words) {
    std::uint64_t mask = 0;
    std::memcpy(&mask, mask_bytes + first / 8, vector_words / 8);
    const __m512i vector =
        L::expand(_mm512_setzero_si512(), static_cast<typename L::Mask>(mask), load_512(nonzero));
    nonzero += std::popcount(mask);
    const std::size_t bytes = (count - first) * sizeof(Word);
    if (bytes >= 64) [[likely]] {
      store_512(words + first, vector);
    } else {
      _mm512_mask_storeu_epi8(words + first, low_bits(static_cast<int>(bytes)), vector);
    }
  }
}

/// Words that may be written behind those of a stream's last block.
constexpr std::size_t words_written_behind = 2 * 64;

/// The jobs of a batch whose plane streams are read, one after the other; the words are spread in
/// the result as soon as a job has them all.
template <class Word>
class PlaneJobs {
 public:
  static constexpr std::size_t none = JobBatch<Word>::none;

  PlaneJobs(const Parameters& p, JobBatch<Word>& batch)
      : batch_(batch), max_stream_bytes_(bytes_for_bits(max_plane_stream_bits(p, max_job_words))) {}

  /// Takes the next job and copies its stream, with zeros behind it. Returns none if there is no
  /// more.
  std::size_t take(std::uint8_t* stream) {
    while (true) {
      const std::size_t job = batch_.take();
      if (job == none) return job;
      const DecodeJob& it = batch_[job];
      if (it.plane_bytes > max_stream_bytes_) {
        batch_.fail(job);
        continue;
      }
      copy_with_zeros_behind(stream, it.plane_stream, it.plane_bytes);
      while (ahead_ < ahead_end_) look_ahead();  // a job of few words took few steps
      ahead_ = static_cast<const std::uint8_t*>(it.words.data);
      ahead_end_ = ahead_ + it.words.count * sizeof(Word);
      return job;
    }
  }

  std::size_t stream_bytes(std::size_t job) const { return batch_[job].plane_bytes; }
  std::size_t blocks(std::size_t job) const { return batch_.blocks(job); }

  /// Puts the job's non-zero words in their places, if they are well-formed.
  void finish(std::size_t job, bool ok, const Word* nonzero) {
    if (!ok) return batch_.fail(job);
    const MutableWordSpan& out = batch_[job].words;
    expand_words(batch_.mask(job).bytes, nonzero, static_cast<Word*>(out.data), out.count);
  }

  /// Brings memory of words that will be written soon into the cache, some lines at a time: more
  /// would be waited for.
  [[gnu::always_inline]] void look_ahead() {
    constexpr int lines = 2 * sizeof(Word);
    if (ahead_ >= ahead_end_) return;
    for (int i = 0; i < lines; ++i) __builtin_prefetch(ahead_ + 64 * i, 1);
    ahead_ += 64 * lines;
  }

  /// Bytes for the non-zero words of a job, in whole blocks, and some vectors of words behind them.
  static constexpr std::size_t words_bytes =
      round_up((max_job_words + max_block_size + words_written_behind) * sizeof(Word));

 private:
  JobBatch<Word>& batch_;
  std::size_t max_stream_bytes_;
  const std::uint8_t* ahead_ = nullptr;  // memory that is being prefetched
  const std::uint8_t* ahead_end_ = nullptr;
};

}  // namespace
}  // namespace ebpc::avx512
