// Decoding with AVX-512. Compiled with the flags that avx512.cpp names.
//
// A batch of segments is decoded in two passes: all plane streams to their non-zero words, then all
// zero streams, which spread these words in the result. Each pass keeps several segments going at
// once, since within one stream each code's place depends on the code before.

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "ebpc/kernels/avx512.h"
#include "ebpc/kernels/avx512_plane_parser.h"
#include "ebpc/kernels/avx512_plane_words.h"
#include "ebpc/kernels/avx512_settings.h"
#include "ebpc/kernels/avx512_zero_decoder.h"

namespace ebpc {
namespace {

/// Longer transmissions are left to the portable kernel.
constexpr std::size_t longest_job = tile_words;

/// Memory of one thread that is used again by the next call.
class Scratch {
 public:
  /// At least `size` bytes, aligned; what was there before is lost if there were fewer.
  std::uint8_t* get(std::size_t size) {
    if (bytes_.size() < size + 64) bytes_.resize(size + 64);
    const auto address = reinterpret_cast<std::uintptr_t>(bytes_.data());
    return bytes_.data() + (-address & 63);
  }

 private:
  std::vector<std::uint8_t> bytes_;
};

/// Slots that work on one job each. `Slot` has step(), false when its job is done, and next(),
/// which ends that job and takes another, or returns false if there is none left.
template <std::size_t slot_count, class Slot>
void interleave(std::array<Slot, slot_count>& slots) {
  std::array<Slot*, slot_count> active;
  std::size_t count = 0;
  for (Slot& slot : slots) {
    if (slot.next()) active[count++] = &slot;
  }
  for (bool all = count == slot_count; all;) {
    for (Slot& slot : slots) {
      if (!slot.step()) [[unlikely]]
        all &= slot.next();
    }
  }
  // Some have no work left: step() stays false.
  while (count > 0) {
    for (std::size_t i = 0; i < count;) {
      if (active[i]->step() || active[i]->next()) {
        ++i;
      } else {
        active[i] = active[--count];
      }
    }
  }
}

/// A batch of jobs that are decoded together.
template <class WordType>
struct Batch {
  using Word = WordType;
  static constexpr std::size_t unknown = ~std::size_t{0};

  const Parameters& p;
  std::span<const DecodeJob> jobs;
  std::span<std::size_t> blocks;  // of each job; `unknown` if the job is malformed
  Word* nonzero;                  // all jobs' non-zero words
  std::size_t nonzero_stride;
  std::size_t started = 0;  // jobs, in the current pass

  Word* nonzero_of(std::size_t job) const { return nonzero + job * nonzero_stride; }
};

constexpr std::size_t round_up(std::size_t x) { return (x + 63) / 64 * 64; }

/// The first pass: plane streams to non-zero words.
template <class Group, bool raw_fills_lane>
class PlaneSlot {
 public:
  using Word = typename Group::Word;
  using Jobs = Batch<Word>;

  /// What a slot needs for jobs of the longest size.
  struct Sizes {
    std::size_t max_blocks;
    std::size_t stream;  // bytes
    std::size_t lanes;   // bytes
    std::size_t bases;   // bytes

    explicit Sizes(const Parameters& p)
        : max_blocks((longest_job + static_cast<std::size_t>(p.block_size) - 1) /
                     static_cast<std::size_t>(p.block_size)),
          stream(round_up(max_plane_stream_bits(p, longest_job) / 8 + 1 +
                          PlaneParser<Group>::bytes_read_behind)),
          lanes(round_up(max_blocks * Group::block_lane_bytes +
                         PlaneParser<Group>::bytes_written_behind +
                         PlaneWords<Group>::bytes_read_behind)),
          bases(round_up((max_blocks + 1) * sizeof(Word) + 64)) {}
    std::size_t scratch() const { return stream + bases; }
  };

  /// `lanes` is all zero, and is left so.
  void start(Jobs& batch, const PlaneSyntax<Group>& syntax, const PlaneWords<Group>& words,
             const Sizes& sizes, std::uint8_t* scratch, std::uint8_t* lanes) {
    batch_ = &batch;
    syntax_ = &syntax;
    words_ = &words;
    sizes_ = &sizes;
    stream_ = scratch;
    bases_ = reinterpret_cast<Word*>(scratch + sizes.stream);
    lanes_ = lanes;
  }

  [[gnu::always_inline]] bool step() { return parser_.template step<raw_fills_lane>(*syntax_); }

  bool next() {
    finish();
    while (batch_->started < batch_->jobs.size()) {
      job_ = batch_->started++;
      const DecodeJob& job = batch_->jobs[job_];
      batch_->blocks[job_] = Jobs::unknown;
      if (job.plane_bytes > sizes_->stream - PlaneParser<Group>::bytes_read_behind) continue;
      if (job.plane_bytes > 0) std::memcpy(stream_, job.plane_stream, job.plane_bytes);
      std::memset(stream_ + job.plane_bytes, 0, PlaneParser<Group>::bytes_read_behind);
      parser_ = PlaneParser<Group>(stream_, job.plane_bytes, lanes_, bases_, sizes_->max_blocks);
      busy_ = true;
      return true;
    }
    return false;
  }

 private:
  void finish() {
    if (!busy_) return;
    busy_ = false;
    if (parser_.ok()) {
      batch_->blocks[job_] = parser_.blocks();
      words_->decode(lanes_, bases_, parser_.blocks(), batch_->nonzero_of(job_));
    }
    const std::size_t written =
        parser_.blocks() * Group::block_lane_bytes + PlaneParser<Group>::bytes_written_behind;
    std::memset(lanes_, 0, std::min(written, sizes_->lanes));
  }

  Jobs* batch_ = nullptr;
  const PlaneSyntax<Group>* syntax_ = nullptr;
  const PlaneWords<Group>* words_ = nullptr;
  const Sizes* sizes_ = nullptr;
  std::uint8_t* stream_ = nullptr;
  Word* bases_ = nullptr;
  std::uint8_t* lanes_ = nullptr;
  PlaneParser<Group> parser_;
  std::size_t job_ = 0;
  bool busy_ = false;
};

/// The second pass: zero streams and non-zero words to all words.
template <class Word>
class ZeroSlot {
 public:
  using Jobs = Batch<Word>;

  static std::size_t max_stream(const Parameters& p) {
    return max_zero_stream_bits(p, longest_job) / 8 + 1;
  }
  static std::size_t scratch_size(const Parameters& p) {
    return round_up(max_stream(p) + ZeroExpander<Word>::bytes_read_behind(longest_job));
  }

  void start(Jobs& batch, std::uint8_t* scratch) {
    batch_ = &batch;
    stream_ = scratch;
  }

  [[gnu::always_inline]] bool step() { return expander_.step(); }

  bool next() {
    finish();
    while (batch_->started < batch_->jobs.size()) {
      job_ = batch_->started++;
      const DecodeJob& job = batch_->jobs[job_];
      if (batch_->blocks[job_] == Jobs::unknown) continue;
      if (job.zero_bytes > max_stream(batch_->p)) {
        batch_->blocks[job_] = Jobs::unknown;
        continue;
      }
      if (job.zero_bytes > 0) std::memcpy(stream_, job.zero_stream, job.zero_bytes);
      expander_ = ZeroExpander<Word>(batch_->p, stream_, job.zero_bytes, batch_->nonzero_of(job_),
                                     static_cast<Word*>(job.words.data), job.words.count);
      busy_ = true;
      return true;
    }
    return false;
  }

 private:
  void finish() {
    if (!busy_) return;
    busy_ = false;
    const std::ptrdiff_t used = expander_.finish();
    const auto block_size = static_cast<std::size_t>(batch_->p.block_size);
    std::size_t& blocks = batch_->blocks[job_];
    if (used < 0 || (static_cast<std::size_t>(used) + block_size - 1) / block_size != blocks) {
      blocks = Jobs::unknown;
    }
  }

  Jobs* batch_ = nullptr;
  std::uint8_t* stream_ = nullptr;
  ZeroExpander<Word> expander_;
  std::size_t job_ = 0;
  bool busy_ = false;
};

struct ThreadScratch {
  Scratch slots;
  Scratch lanes;  // all zero between calls
  Scratch nonzero;
};

template <class Group, bool raw_fills_lane>
std::size_t decode_group(const Parameters& p, std::span<const DecodeJob> jobs) {
  using Word = typename Group::Word;
  using Planes = PlaneSlot<Group, raw_fills_lane>;
  using Zeros = ZeroSlot<Word>;
  constexpr std::size_t plane_slots = 4;
  constexpr std::size_t zero_slots = 4;
  constexpr std::size_t batch_bytes = 256 << 10;  // of non-zero words, which stay in the L2 cache
  constexpr std::size_t stride =
      longest_job + max_block_size + PlaneWords<Group>::words_written_behind;
  constexpr std::size_t batch_jobs = batch_bytes / (stride * sizeof(Word));

  thread_local ThreadScratch scratch;
  const typename Planes::Sizes sizes(p);
  const PlaneSyntax<Group> syntax(p);
  const PlaneWords<Group> words(p);
  std::array<std::size_t, batch_jobs> blocks;
  std::uint8_t* const slot_bytes = scratch.slots.get(
      std::max(plane_slots * sizes.scratch(), zero_slots * Zeros::scratch_size(p)));
  std::uint8_t* const lanes = scratch.lanes.get(plane_slots * sizes.lanes);
  auto* const nonzero =
      reinterpret_cast<Word*>(scratch.nonzero.get(batch_jobs * stride * sizeof(Word)));

  for (std::size_t first = 0; first < jobs.size();) {
    if (jobs[first].words.count > longest_job) {
      if (!decode_portable(p, jobs[first]).ok()) return first;
      ++first;
      continue;
    }
    std::size_t count = 1;
    while (count < batch_jobs && first + count < jobs.size() &&
           jobs[first + count].words.count <= longest_job) {
      ++count;
    }
    Batch<Word> batch{p, jobs.subspan(first, count), blocks, nonzero, stride};
    std::array<Planes, plane_slots> plane;
    for (std::size_t i = 0; i < plane_slots; ++i) {
      plane[i].start(batch, syntax, words, sizes, slot_bytes + i * sizes.scratch(),
                     lanes + i * sizes.lanes);
    }
    interleave(plane);
    batch.started = 0;
    std::array<Zeros, zero_slots> zero;
    for (std::size_t i = 0; i < zero_slots; ++i) {
      zero[i].start(batch, slot_bytes + i * Zeros::scratch_size(p));
    }
    interleave(zero);
    for (std::size_t i = 0; i < count; ++i) {
      if (blocks[i] == Batch<Word>::unknown) return first + i;
    }
    first += count;
  }
  return jobs.size();
}

}  // namespace

std::size_t avx512::decode(const Parameters& p, std::span<const DecodeJob> jobs) {
  if (jobs.empty()) return 0;
  if (codes_too_wide(p)) return portable_kernel.decode(p, jobs);
  return visit_group(p, jobs.front().words.bytes_per_word, [&]<class Group>(Group*) {
    const bool raw_fills_lane = 1 + plane_bits(p) == Group::lane_bits;
    return raw_fills_lane ? decode_group<Group, true>(p, jobs)
                          : decode_group<Group, false>(p, jobs);
  });
}

}  // namespace ebpc
