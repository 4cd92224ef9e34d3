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
#include "ebpc/kernels/avx512_plane_lanes.h"
#include "ebpc/kernels/avx512_plane_lanes_8x8.h"
#include "ebpc/kernels/avx512_plane_parser.h"
#include "ebpc/kernels/avx512_plane_words.h"
#include "ebpc/kernels/avx512_settings.h"
#include "ebpc/kernels/avx512_zero_decoder.h"
#include "ebpc/kernels/avx512_zero_lanes.h"

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

/// Plane streams that are parsed at once: one in each 64-bit lane of four vectors.
constexpr std::size_t plane_slots = 32;

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

/// The first pass: plane streams to non-zero words, each in one of several slots at a time.
template <class Group>
class PlanePass {
 public:
  using Word = typename Group::Word;
  using Jobs = Batch<Word>;

  explicit PlanePass(const Parameters& p)
      : words_(p),
        max_blocks_((longest_job + static_cast<std::size_t>(p.block_size) - 1) /
                    static_cast<std::size_t>(p.block_size)),
        stream_size_(round_up(max_plane_stream_bits(p, longest_job) / 8 + 1 + zeros_behind)),
        base_size_(round_up((max_blocks_ + 1) * sizeof(Word) + 64)),
        lane_size_(round_up(max_blocks_ * Group::block_lane_bytes +
                            PlaneParser<Group>::bytes_written_behind +
                            PlaneWords<Group>::bytes_read_behind)) {}

  std::size_t scratch_size() const { return stream_size_ + base_size_; }
  std::size_t lane_size() const { return lane_size_; }

  /// `scratch` and `lanes` are those of all slots. `lanes` is all zero, and is left so.
  void start(Jobs& batch, std::uint8_t* scratch, std::uint8_t* lanes) {
    batch_ = &batch;
    scratch_ = scratch;
    lanes_ = lanes;
  }

  /// Gives the slot the next stream. False if there is none.
  bool take(int slot, PlaneStream<Word>& stream) {
    while (batch_->started < batch_->jobs.size()) {
      const std::size_t index = batch_->started++;
      const DecodeJob& job = batch_->jobs[index];
      batch_->blocks[index] = Jobs::unknown;
      if (job.plane_bytes > stream_size_ - zeros_behind) continue;
      std::uint8_t* const bytes = scratch_ + static_cast<std::size_t>(slot) * scratch_size();
      copy_with_zeros_behind(bytes, job.plane_stream, job.plane_bytes);
      stream.bytes = bytes;
      stream.byte_count = job.plane_bytes;
      stream.lanes = lanes_of(slot);
      stream.bases = bases_of(slot);
      stream.max_blocks = max_blocks_;
      job_[static_cast<std::size_t>(slot)] = index;
      return true;
    }
    return false;
  }

  /// The same where words are decoded at once, without planes in memory.
  bool take(int slot, PlaneStream<Word>& stream, Word*& words) {
    if (!take(slot, stream)) return false;
    words = batch_->nonzero_of(job_[static_cast<std::size_t>(slot)]);
    return true;
  }
  void done_words(int slot, bool ok, std::size_t blocks) {
    if (ok) batch_->blocks[job_[static_cast<std::size_t>(slot)]] = blocks;
  }

  /// Turns the planes of `blocks` blocks in the slot into words.
  void done(int slot, bool ok, std::size_t blocks) {
    const std::size_t job = job_[static_cast<std::size_t>(slot)];
    std::uint8_t* const lanes = lanes_of(slot);
    if (ok) {
      batch_->blocks[job] = blocks;
      words_.decode(lanes, bases_of(slot), blocks, batch_->nonzero_of(job));
    }
    const std::size_t written =
        blocks * Group::block_lane_bytes + PlaneParser<Group>::bytes_written_behind;
    std::memset(lanes, 0, std::min(written, lane_size_));
  }

 private:
  static constexpr std::size_t zeros_behind = PlaneParser<Group>::bytes_read_behind;
  static_assert(zeros_behind == 64);

  Word* bases_of(int slot) const {
    return reinterpret_cast<Word*>(scratch_ + static_cast<std::size_t>(slot) * scratch_size() +
                                   stream_size_);
  }
  std::uint8_t* lanes_of(int slot) const {
    return lanes_ + static_cast<std::size_t>(slot) * lane_size_;
  }

  PlaneWords<Group> words_;
  std::size_t max_blocks_;
  std::size_t stream_size_;
  std::size_t base_size_;
  std::size_t lane_size_;
  Jobs* batch_ = nullptr;
  std::uint8_t* scratch_ = nullptr;
  std::uint8_t* lanes_ = nullptr;
  std::array<std::size_t, plane_slots> job_;
};

/// One slot of the first pass where planes are too wide for lanes.
template <class Group>
class WidePlaneSlot {
 public:
  WidePlaneSlot(PlanePass<Group>& pass, const PlaneSyntax<Group>& syntax, int slot)
      : pass_(&pass), syntax_(&syntax), slot_(slot) {}

  [[gnu::always_inline]] bool step() { return parser_.step(*syntax_); }

  bool next() {
    if (busy_) pass_->done(slot_, parser_.ok(), parser_.blocks());
    PlaneStream<typename Group::Word> stream;
    busy_ = pass_->take(slot_, stream);
    if (busy_) parser_ = PlaneParser<Group>(stream);
    return busy_;
  }

 private:
  PlanePass<Group>* pass_;
  const PlaneSyntax<Group>* syntax_;
  int slot_;
  PlaneParser<Group> parser_;
  bool busy_ = false;
};

template <class Group>
void run_plane_pass(PlanePass<Group>& pass, const PlaneSyntax<Group>& syntax, const Parameters& p) {
  if constexpr (std::is_same_v<Group, PlaneGroup<std::uint8_t, 8>>) {
    if (p.word_bits == 8 && p.block_size == 8 && p.base == Base::sent) {
      PlaneLanes8x8<PlanePass<Group>>(pass).run();
      return;
    }
  }
  if constexpr (Group::lane_bits == 64) {
    std::array slots{WidePlaneSlot(pass, syntax, 0), WidePlaneSlot(pass, syntax, 1),
                     WidePlaneSlot(pass, syntax, 2), WidePlaneSlot(pass, syntax, 3)};
    interleave(slots);
  } else {
    PlaneLanes<Group, PlanePass<Group>>(syntax, pass).run();
  }
}

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
      copy_with_zeros_behind(stream_, job.zero_stream, job.zero_bytes);
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

/// The second pass where zero runs are short enough for lanes.
template <class Word>
class ZeroPass {
 public:
  using Jobs = Batch<Word>;
  using Lanes = ZeroLanes<ZeroPass>;

  static bool can_decode(const Parameters& p) { return p.max_zero_run <= Lanes::longest_run; }
  static std::size_t scratch_size(const Parameters& p) {
    return Lanes::lanes * (stream_size(p) + mask_size);
  }

  ZeroPass(Jobs& batch, std::uint8_t* scratch)
      : batch_(batch),
        max_stream_(max_zero_stream_bits(batch.p, longest_job) / 8 + 1),
        stream_size_(stream_size(batch.p)),
        scratch_(scratch) {}

  void run() {
    if (batch_.p.max_zero_run > 1) {
      Lanes(batch_.p, *this).run();
      return;
    }
    for (ZeroStream stream; take(0, stream);) done(0, read_mask(stream));
  }

  /// Gives the lane the next stream. False if there is none.
  bool take(int lane, ZeroStream& stream) {
    while (batch_.started < batch_.jobs.size()) {
      const std::size_t index = batch_.started++;
      const DecodeJob& job = batch_.jobs[index];
      std::size_t& blocks = batch_.blocks[index];
      if (job.zero_bytes > max_stream_) blocks = Jobs::unknown;
      if (blocks == Jobs::unknown) continue;
      std::uint8_t* const bytes =
          scratch_ + static_cast<std::size_t>(lane) * (stream_size_ + mask_size);
      copy_with_zeros_behind(bytes, job.zero_stream, job.zero_bytes);
      std::uint8_t* const mask = bytes + stream_size_;
      stream = {bytes, job.zero_bytes, mask, job.words.count};
      active_[static_cast<std::size_t>(lane)] = {index, mask};
      return true;
    }
    return false;
  }

  /// Brings memory of words that will be written soon into the cache, as much for each step as a
  /// step decodes about: more at a time would be waited for.
  void look_ahead() {
    constexpr std::size_t lines = 12;
    if (ahead_job_ < batch_.started) {
      ahead_job_ = batch_.started;
      ahead_bytes_ = 0;
    }
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

  /// Puts the non-zero words in their places.
  void done(int lane, bool ok) {
    const auto [index, mask] = active_[static_cast<std::size_t>(lane)];
    std::size_t& blocks = batch_.blocks[index];
    if (ok) {
      const MutableWordSpan& words = batch_.jobs[index].words;
      const std::size_t used =
          expand_words(mask, batch_.nonzero_of(index), static_cast<Word*>(words.data), words.count);
      const auto block_size = static_cast<std::size_t>(batch_.p.block_size);
      ok = (used + block_size - 1) / block_size == blocks;
    }
    if (!ok) blocks = Jobs::unknown;
  }

 private:
  static constexpr std::size_t mask_size = round_up(longest_job / 8 + 64);

  /// A malformed stream goes on for as long as words are missing, each taking a symbol.
  static std::size_t stream_size(const Parameters& p) {
    return round_up(longest_job * static_cast<std::size_t>(1 + zero_run_bits(p)) / 8 + 1 + 64);
  }

  struct Active {
    std::size_t job;
    const std::uint8_t* mask;
  };

  Jobs& batch_;
  std::size_t max_stream_;
  std::size_t stream_size_;
  std::uint8_t* scratch_;
  std::array<Active, Lanes::lanes> active_;
  std::size_t ahead_job_ = 0;    // whose words have been prefetched
  std::size_t ahead_bytes_ = 0;  // of it
};

struct ThreadScratch {
  Scratch slots;
  Scratch lanes;  // all zero between calls
  Scratch nonzero;
};

template <class Group>
std::size_t decode_group(const Parameters& p, std::span<const DecodeJob> jobs) {
  using Word = typename Group::Word;
  using Zeros = ZeroSlot<Word>;
  constexpr std::size_t zero_slots = 4;
  constexpr std::size_t batch_bytes = 1024
                                      << 10;  // of non-zero words, half of it used on most maps
  constexpr std::size_t stride =
      longest_job + max_block_size + PlaneWords<Group>::words_written_behind;
  constexpr std::size_t batch_jobs = batch_bytes / (stride * sizeof(Word));

  thread_local ThreadScratch scratch;
  const PlaneSyntax<Group> syntax(p);
  PlanePass<Group> planes(p);
  std::array<std::size_t, batch_jobs> blocks;
  std::uint8_t* const slot_bytes = scratch.slots.get(
      std::max({plane_slots * planes.scratch_size(), zero_slots * Zeros::scratch_size(p),
                ZeroPass<Word>::scratch_size(p)}));
  std::uint8_t* const lanes = scratch.lanes.get(plane_slots * planes.lane_size());
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
    planes.start(batch, slot_bytes, lanes);
    run_plane_pass(planes, syntax, p);
    batch.started = 0;
    if (ZeroPass<Word>::can_decode(p)) {
      ZeroPass<Word>(batch, slot_bytes).run();
    } else {
      std::array<Zeros, zero_slots> zero;
      for (std::size_t i = 0; i < zero_slots; ++i) {
        zero[i].start(batch, slot_bytes + i * Zeros::scratch_size(p));
      }
      interleave(zero);
    }
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
  return visit_group(p, jobs.front().words.bytes_per_word,
                     [&]<class Group>(Group*) { return decode_group<Group>(p, jobs); });
}

}  // namespace ebpc
