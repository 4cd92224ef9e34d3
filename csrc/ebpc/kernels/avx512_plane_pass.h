// The second pass of decoding: the plane streams of a batch to words, which are spread in the result
// as soon as a segment has them all.

#pragma once

#include <algorithm>

#include "ebpc/kernels/avx512_decode_batch.h"
#include "ebpc/kernels/avx512_expand.h"
#include "ebpc/kernels/avx512_plane_lanes_8x8.h"
#include "ebpc/kernels/avx512_plane_parser.h"
#include "ebpc/kernels/avx512_plane_words.h"

namespace ebpc {
namespace {

/// Hands out the plane streams of a batch, each to one of some slots, and takes the words that were
/// in them.
template <class WordType>
class PlaneJobs {
 public:
  using Word = WordType;
  static constexpr int max_slots = 16;

  struct Stream {
    const std::uint8_t* bytes = nullptr;  // a copy, with zeros behind it
    std::size_t byte_count = 0;
    std::size_t blocks = 0;  // that it has, at least one
    Word* words = nullptr;   // where these go, with room for some vectors behind them
  };

  static std::size_t slot_size(const Parameters& p) { return stream_size(p) + words_size; }

  PlaneJobs(Batch& batch, std::uint8_t* scratch)
      : batch_(batch), stream_size_(stream_size(batch.p)), scratch_(scratch) {}

  /// Gives the slot the next stream. False if there is none.
  bool take(int slot, Stream& stream) {
    while (started_ < batch_.jobs.size()) {
      const std::size_t index = started_++;
      const DecodeJob& job = batch_.jobs[index];
      std::size_t& nonzero = batch_.nonzero[index];
      if (nonzero == Batch::malformed) continue;
      if (nonzero == 0 && job.plane_bytes == 0) {
        std::memset(job.words.data, 0, job.words.count * sizeof(Word));
        continue;
      }
      if (nonzero == 0 || job.plane_bytes > stream_size_ - zeros_behind) {
        nonzero = Batch::malformed;
        continue;
      }
      stream.bytes = copy_stream(slot, job);
      stream.byte_count = job.plane_bytes;
      const auto block_size = static_cast<std::size_t>(batch_.p.block_size);
      stream.blocks = (nonzero + block_size - 1) / block_size;
      stream.words = words_of(slot);
      job_[static_cast<std::size_t>(slot)] = index;
      return true;
    }
    return false;
  }

  /// The memory of the slot's streams, for something to read from.
  const std::uint8_t* any_stream(int slot) const { return scratch_of(slot); }

  /// Puts the words of the slot's stream in their places, if it was well-formed.
  void done(int slot, bool ok) {
    const std::size_t index = job_[static_cast<std::size_t>(slot)];
    if (!ok) {
      batch_.nonzero[index] = Batch::malformed;
      return;
    }
    const MutableWordSpan& words = batch_.jobs[index].words;
    expand_words(batch_.mask_of(index), words_of(slot), static_cast<Word*>(words.data),
                 words.count);
  }

  /// Brings memory of words that will be written soon into the cache, some lines a step: more at a
  /// time would be waited for.
  [[gnu::always_inline]] void look_ahead(std::size_t lines) {
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

  static std::size_t stream_size(const Parameters& p) {
    return round_up(max_plane_stream_bits(p, longest_job) / 8 + 1 + zeros_behind);
  }

  std::uint8_t* scratch_of(int slot) const {
    return scratch_ + static_cast<std::size_t>(slot) * (stream_size_ + words_size);
  }
  Word* words_of(int slot) const {
    return reinterpret_cast<Word*>(scratch_of(slot) + stream_size_);
  }
  const std::uint8_t* copy_stream(int slot, const DecodeJob& job) const {
    std::uint8_t* const bytes = scratch_of(slot);
    copy_with_zeros_behind(bytes, job.plane_stream, job.plane_bytes);
    return bytes;
  }

  Batch& batch_;
  std::size_t stream_size_;
  std::uint8_t* scratch_;
  std::size_t started_ = 0;  // jobs
  std::array<std::size_t, max_slots> job_;
  std::size_t ahead_job_ = 0;    // whose words' memory is being prefetched
  std::size_t ahead_bytes_ = 0;  // of it
};

/// What the slots of all streams have in common.
template <class Group>
struct PlaneSettings {
  explicit PlaneSettings(const Parameters& p) : syntax(p), words(p) {}

  PlaneSyntax<Group> syntax;
  PlaneWords<Group> words;
};

/// One of some streams that are parsed in turn.
template <class Group, bool base_sent>
class PlaneSlot {
 public:
  using Word = typename Group::Word;
  using Jobs = PlaneJobs<Word>;
  using Parser = PlaneParser<Group, base_sent>;

  /// Takes the first stream.
  void start(const PlaneSettings<Group>& settings, Jobs& jobs, int slot) {
    settings_ = &settings;
    slot_ = slot;
    take(jobs);
  }

  Parser& parser() { return parser_; }
  bool is_busy() const { return is_busy_; }

  /// At the end of some blocks, or where the stream is malformed: goes on with more blocks of the
  /// stream, or with another stream.
  [[gnu::noinline]] void next(Jobs& jobs) {
    if (is_busy_) {
      const bool ok = parser_.ok();
      if (ok) decode_blocks();
      if (ok && blocks_left_ > 0) {
        start_blocks();
        return;
      }
      jobs.done(slot_, ok && parser_.ends_at(settings_->syntax, end_));
    }
    take(jobs);
  }

 private:
  /// Blocks whose planes are kept until they are turned into words: few, so that all slots' planes
  /// stay in the L1 cache.
  static constexpr std::size_t max_blocks = std::max(8, 2048 / Group::block_bytes);
  static constexpr std::size_t slack =
      std::max(Parser::bytes_written_behind, PlaneWords<Group>::bytes_read_behind);

  /// Takes the next stream. If there is none, the slot parses what is left of another one again, so
  /// that it need not be left out.
  void take(Jobs& jobs) {
    typename Jobs::Stream stream;
    is_busy_ = jobs.take(slot_, stream);
    if (is_busy_) {
      end_ = stream.bytes + stream.byte_count;
      blocks_left_ = stream.blocks;
      words_ = stream.words;
      last_ = 0;
    } else {
      stream.bytes = jobs.any_stream(slot_);
      blocks_left_ = 1;
    }
    parser_ = Parser(settings_->syntax, stream.bytes);
    bases_[0] = Parser::first_base(settings_->syntax, stream.bytes);
    start_blocks();
  }

  void start_blocks() {
    blocks_ = std::min(max_blocks, blocks_left_);
    blocks_left_ -= blocks_;
    parser_.start(blocks_, lanes_.data(), bases_.data() + 1);
  }

  void decode_blocks() {
    words_ = settings_->words.decode(lanes_.data(), bases_.data(), blocks_, last_, words_);
    last_ = words_[-1];
    bases_[0] = bases_[blocks_];
  }

  const PlaneSettings<Group>* settings_ = nullptr;
  int slot_ = 0;
  bool is_busy_ = false;
  Parser parser_;
  const std::uint8_t* end_ = nullptr;  // of the stream
  std::size_t blocks_left_ = 0;        // behind those that are being parsed
  std::size_t blocks_ = 0;             // that are
  Word* words_ = nullptr;              // where their words go
  Word last_ = 0;                      // the word before those
  alignas(256) std::array<std::uint8_t, max_blocks * Group::block_bytes + slack> lanes_;
  alignas(64) std::array<Word, max_blocks + 64> bases_;
};

/// Decodes all plane streams, some of them in turn.
template <class Group, bool base_sent>
void run_plane_slots(const Parameters& p, PlaneJobs<typename Group::Word>& jobs) {
  constexpr int slot_count = 6;
  constexpr std::size_t lines_ahead = 2;
  using Slot = PlaneSlot<Group, base_sent>;
  const PlaneSettings<Group> settings(p);
  const PlaneSyntax<Group>& syntax = settings.syntax;
  std::array<Slot, slot_count> slots;
  RepeatedPlanes<Group> repeated;
  for (int i = 0; i < slot_count; ++i) slots[static_cast<std::size_t>(i)].start(settings, jobs, i);

  while (std::any_of(slots.begin(), slots.end(), [](const Slot& slot) { return slot.is_busy(); })) {
    std::array<typename Slot::Parser::Step, slot_count> steps;
    std::array<bool, slot_count> has_more;
    // Each piece of a step for all slots, unrolled.
    const auto each = [&](auto&& f) {
      [&]<std::size_t... i>(std::index_sequence<i...>) {
        (f(i, slots[i].parser(), steps[i]), ...);
      }(std::make_index_sequence<slot_count>());
    };
    bool all_have_more = true;
    do {
      {
        typename RepeatedPlanes<Group>::Notes notes{repeated};
        each([&](std::size_t, auto& parser, auto& step) { parser.take_planes(syntax, step); });
        each([&](std::size_t, auto& parser, auto& step) { parser.find_symbol(syntax, step); });
        each([&](std::size_t, auto& parser, auto& step) { parser.look_up_symbol(syntax, step); });
        each([&](std::size_t, auto& parser, auto& step) { parser.take_symbol(notes, step); });
        each([&](std::size_t i, auto& parser, auto& step) {
          has_more[i] = parser.finish(syntax, step);
          all_have_more &= has_more[i];
        });
      }
      jobs.look_ahead(lines_ahead);
    } while (all_have_more && repeated.has_room_for(slot_count));
    repeated.complete();
    for (std::size_t i = 0; i < slot_count; ++i) {
      if (!has_more[i]) slots[i].next(jobs);
    }
  }
}

/// Decodes all plane streams of a batch whose masks are complete. `scratch` has the size of all
/// slots.
template <class Group>
void run_plane_pass(Batch& batch, std::uint8_t* scratch) {
  const Parameters& p = batch.p;
  PlaneJobs<typename Group::Word> jobs(batch, scratch);
  if constexpr (std::is_same_v<Group, DecodeGroup<std::uint8_t, 8>>) {
    if (p.word_bits == 8 && p.block_size == 8 && p.base == Base::sent) {
      PlaneLanes8x8<PlaneJobs<std::uint8_t>>(jobs).run();
      return;
    }
  }
  if (p.base == Base::sent) {
    run_plane_slots<Group, true>(p, jobs);
  } else {
    run_plane_slots<Group, false>(p, jobs);
  }
}

}  // namespace
}  // namespace ebpc
