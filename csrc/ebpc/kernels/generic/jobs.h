// Jobs batch by batch: what all decoders have in common. Within one stream each code's place
// depends on the one before, so that a single job leaves most of a core idle; several are therefore
// read in turns. A job in which anything is wrong is handed back: decode_portable says what.

#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "ebpc/bit_stream.h"
#if defined(__AVX512F__)
#include "ebpc/kernels/avx512/pack_words.h"
#elif defined(__AVX2__)
#include "ebpc/kernels/avx2/pack_words.h"
#else
#include "ebpc/kernels/generic/pack_words.h"
#endif
#include "ebpc/kernels/generic/vectors.h"
#include "ebpc/kernels/kernel.h"

namespace ebpc::EBPC_KERNEL {
namespace {

constexpr std::size_t max_job_words = 4096;  // longer jobs are handed back

/// At least 57 bits from `bit` on, left-justified. Eight bytes from that bit's byte are read.
[[gnu::always_inline]] inline std::uint64_t window(const std::uint8_t* bytes, std::uint64_t bit) {
  std::uint64_t x;
  std::memcpy(&x, bytes + bit / 8, sizeof x);
  if constexpr (std::endian::native != std::endian::big) x = __builtin_bswap64(x);
  return x << (bit % 8);
}

[[gnu::always_inline]] inline unsigned leading_zeros(std::uint64_t x) {
  return static_cast<unsigned>(__builtin_clzll(x));
}

inline std::uint64_t address(const void* p) { return reinterpret_cast<std::uintptr_t>(p); }

/// Whether the bits from `bit` to `end`, addresses of bits (those of bytes times 8), are padding:
/// less than 8, and zero.
inline bool is_padding(std::uint64_t bit, std::uint64_t end) {
  if (bit > end || end - bit >= 8) return false;
  return bit == end || (*reinterpret_cast<const std::uint8_t*>(bit / 8) << bit % 8 & 0xFF) == 0;
}

/// A mask of a job's non-zero words, the first one least significant, and how many these are.
struct NonzeroMask {
  static constexpr std::size_t malformed = ~std::size_t{0};

  std::uint64_t of_64(std::size_t i) const { return load_little_endian(bytes + 8 * i); }

  /// A decoder may write more words than there are.
  alignas(64) std::uint8_t bytes[max_job_words / 8 + 64];
  std::size_t nonzero;
};

/// Puts packed words in the places of a mask's ones, and the zero word elsewhere.
template <class Word>
void unpack_words(const NonzeroMask& mask, const Word* packed, Word zero, MutableWordSpan out) {
  auto* words = static_cast<Word*>(out.data);
  const std::size_t whole = out.count / 64;
  for (std::size_t i = 0; i < whole; ++i, words += 64)
    packed = unpack_mask(packed, mask.of_64(i), zero, words);
  if (const std::size_t left = out.count % 64; left > 0) {
    Word last_words[64];
    unpack_mask(packed, mask.of_64(whole), zero, last_words);
    std::memcpy(words, last_words, left * sizeof(Word));
  }
}

/// Parts of memory are aligned for the planes of any block.
constexpr std::size_t alignment = 256;
constexpr std::size_t round_up(std::size_t x) {
  return (x + alignment - 1) / alignment * alignment;
}

/// Memory of this thread that is used again by the next call: aligned, of undefined contents.
inline std::uint8_t* thread_memory(std::size_t size) {
  struct Memory {
    std::uint8_t* bytes = nullptr;
    std::size_t size = 0;
    ~Memory() { delete[] bytes; }
  };
  thread_local Memory memory;
  if (memory.size < size) {
    delete[] memory.bytes;
    memory.size = 0;
    memory.bytes = nullptr;
    memory.bytes = new std::uint8_t[size + alignment];
    memory.size = size;
  }
  return memory.bytes + (-address(memory.bytes) & (alignment - 1));
}

/// Takes jobs batch by batch. Of each, the zero streams become masks; then the plane streams of
/// jobs that have non-zero words are handed out one after the other, and the words are put in their
/// places as soon as a job has them all.
template <class Word>
class JobBatch {
 public:
  static constexpr std::size_t none = ~std::size_t{0};
  /// Bytes for the non-zero words of a job, in whole blocks, and some vectors of words after them.
  static constexpr std::size_t words_bytes =
      round_up((max_job_words + max_block_size + 2 * 64) * sizeof(Word));

  JobBatch(const Parameters& p, std::span<const DecodeJob> jobs)
      : p_(p),
        max_stream_bytes_(bytes_for_bits(max_plane_stream_bits(p, max_job_words))),
        jobs_(jobs),
        failed_(jobs.size()),
        masks_(new NonzeroMask[min(jobs.size(), max_jobs)]) {}
  JobBatch(const JobBatch&) = delete;
  JobBatch& operator=(const JobBatch&) = delete;
  ~JobBatch() { delete[] masks_; }

  /// Calls read_zeros(jobs, masks), then read_planes(), for each batch. Returns the first job that
  /// is handed back, or the number of jobs.
  template <class ReadZeros, class ReadPlanes>
  std::size_t run(ReadZeros&& read_zeros, ReadPlanes&& read_planes) {
    for (std::size_t first = 0; first < failed_; first += max_jobs) {
      next_ = end_ = first;
      while (end_ < jobs_.size() && end_ - first < max_jobs &&
             jobs_[end_].words.count <= max_job_words) {
        ++end_;
      }
      read_zeros(jobs_.subspan(first, end_ - first), masks_);
      read_planes();
      if (end_ - first < max_jobs) fail(end_);
    }
    return failed_;
  }

  /// Copies the plane stream of the batch's next job that has non-zero words, with 64 zeros after
  /// it. Returns the job, or none. Other jobs are dealt with.
  std::size_t take(std::uint8_t* stream) {
    while (next_ < end_) {
      const std::size_t job = next_++;
      const DecodeJob& it = jobs_[job];
      const std::size_t nonzero = mask(job).nonzero;
      if (nonzero == NonzeroMask::malformed || it.plane_bytes > max_stream_bytes_ ||
          (nonzero == 0 && it.plane_bytes > 0)) {
        fail(job);
      } else if (nonzero == 0) {
        auto* const words = static_cast<Word*>(it.words.data);
        for (std::size_t i = 0; i < it.words.count; ++i) words[i] = static_cast<Word>(p_.zero);
      } else {
        if (it.plane_bytes > 0) std::memcpy(stream, it.plane_stream, it.plane_bytes);
        std::memset(stream + it.plane_bytes, 0, 64);
        while (ahead_ < ahead_end_) look_ahead();  // a job of few words took few steps
        ahead_ = static_cast<const std::uint8_t*>(it.words.data);
        ahead_end_ = ahead_ + it.words.count * sizeof(Word);
        return job;
      }
    }
    return none;
  }

  /// Puts the job's non-zero words in their places, if they are well-formed.
  void finish(std::size_t job, bool ok, const Word* nonzero) {
    if (!ok) return fail(job);
    unpack_words(mask(job), nonzero, static_cast<Word>(p_.zero), jobs_[job].words);
  }

  /// Brings memory of words that will be written soon into the cache, some lines at a time: more
  /// would be waited for.
  [[gnu::always_inline]] void look_ahead() {
    constexpr int lines = 2 * sizeof(Word);
    if (ahead_ >= ahead_end_) return;
    for (int i = 0; i < lines; ++i) __builtin_prefetch(ahead_ + 64 * i, 1);
    ahead_ += 64 * lines;
  }

  std::size_t stream_bytes(std::size_t job) const { return jobs_[job].plane_bytes; }
  std::size_t blocks(std::size_t job) const {
    const auto size = static_cast<std::size_t>(p_.block_size);
    return (mask(job).nonzero + size - 1) / size;
  }

 private:
  // Lanes run dry at the end of a batch, so it is a long one.
  static constexpr std::size_t max_jobs = 256;

  void fail(std::size_t job) { failed_ = min(failed_, job); }
  const NonzeroMask& mask(std::size_t job) const { return masks_[job % max_jobs]; }

  const Parameters& p_;
  std::size_t max_stream_bytes_;
  std::span<const DecodeJob> jobs_;
  std::size_t failed_;
  std::size_t next_ = 0;
  std::size_t end_ = 0;
  NonzeroMask* masks_;                   // of a batch: too much for a stack
  const std::uint8_t* ahead_ = nullptr;  // memory that is being prefetched
  const std::uint8_t* ahead_end_ = nullptr;
};

/// Decodes jobs in two passes, as Kernel::decode: Zeros makes masks of zero streams, then Planes
/// makes non-zero words of plane streams.
template <class Zeros, class Planes>
std::size_t decode_with(const Parameters& p, std::span<const DecodeJob> jobs) {
  JobBatch<typename Planes::Word> batch(p, jobs);
  return batch.run([&](auto some, NonzeroMask* masks) { Zeros(p, some, masks).run(); },
                   [&] { Planes(p, batch).run(); });
}

}  // namespace
}  // namespace ebpc::EBPC_KERNEL
