#include "ebpc/container_reader.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string>
#include <vector>

#include "ebpc/bit_stream.h"
#include "ebpc/container_parse.h"
#include "ebpc/container_segments.h"
#include "ebpc/error.h"
#include "ebpc/kernels/dispatch.h"
#include "ebpc/segment_coding.h"
#include "ebpc/words.h"

namespace ebpc {
namespace {

using namespace layout;

/// Segments that one thread decodes at a time: many, since kernels interleave them, up to a number
/// from which on more of them are no faster; and as many for every thread, so that none waits for
/// another in the end.
std::uint64_t segments_per_task(std::uint64_t segments, const Executor& executor) {
  constexpr std::uint64_t fewest = 32;
  constexpr std::uint64_t most = 256;
  const auto divide_up = [](std::uint64_t a, std::uint64_t b) { return a / b + (a % b != 0); };
  const std::uint64_t workers = worker_count(executor, segments / fewest);
  const std::uint64_t tasks = workers * divide_up(segments, workers * most);
  return tasks == 0 ? 1 : divide_up(segments, tasks);
}

/// Decodes segments [first, last) of a row one after the other.
class TaskDecoder {
 public:
  TaskDecoder(const SegmentRow& row, MutableWordSpan words, std::uint8_t* lost)
      : row_(row), words_(words), lost_(lost) {}

  void decode(std::uint64_t first, std::uint64_t last) {
    std::optional<Error> damage;
    std::uint64_t end = first;  // of what is decoded, or lost
    for (; end < last; ++end) {
      if (lost_ != nullptr) lost_[end] = 0;
      try {
        start(end);
      } catch (const Error& error) {
        if (lost_ == nullptr) {
          damage = error;
          break;
        }
        lose(end);
      }
    }
    for (const Batch& batch : batches_) run_jobs(batch);
    if (failure_) end = failure_->segment;  // before the damaged one
    for (std::uint64_t i = first; i < end; ++i) {
      if (row_.places[i].entry.zeros == SegmentZeros::both) put_signs(i);
    }
    if (failure_) report(*failure_);
    if (damage) throw *damage;
  }

 private:
  /// Segments of one coding, which are decoded side by side.
  struct Batch {
    std::vector<DecodeJob> jobs;
    std::vector<std::uint64_t> segments;
  };

  struct Failure {
    std::uint64_t segment;
    DecodeJob job;
    DecodeStatus status;
  };

  MutableWordSpan words_of(std::uint64_t i) const {
    return words_.part(i * segment_words, words_in_segment(words_.count, i));
  }

  std::string name_of(std::uint64_t i) const {
    return "segment " + std::to_string(row_.first_segment + i);
  }

  void lose(std::uint64_t i) {
    const MutableWordSpan out = words_of(i);
    std::memset(out.data, 0, out.count * static_cast<std::size_t>(out.bytes_per_word));
    lost_[i] = 1;
  }

  /// Copies a raw segment, or makes a job of a coded one.
  void start(std::uint64_t i) {
    const SegmentPlace& place = row_.places[i];
    const std::uint64_t from = place.offset - row_.bytes_offset;
    if (from > row_.bytes.size() || place.bytes > row_.bytes.size() - from) {
      malformed(row_.bytes_offset + row_.bytes.size(), name_of(i),
                std::to_string(place.bytes) + " bytes from byte " + std::to_string(place.offset),
                "the end");
    }
    const std::uint8_t* payload = row_.bytes.data() + from;
    if (const std::uint32_t computed = kernel_.crc32c(0, payload, place.bytes);
        computed != place.entry.checksum) {  // else no name is made
      check_checksum(place.offset, name_of(i), place.entry.checksum, computed);
    }
    const MutableWordSpan out = words_of(i);
    if (place.entry.coding != coding_raw) {
      Batch& batch = batches_[batch_of(place.entry)];
      batch.jobs.push_back(job_of(place.entry, payload, out));
      batch.segments.push_back(i);
      return;
    }
    copy_little_endian(static_cast<std::uint8_t*>(out.data), payload, place.bytes,
                       out.bytes_per_word);
    if (first_misfit(row_.info.code.parameters, {out.data, out.count, out.bytes_per_word}) !=
        out.count) {
      malformed(place.offset, name_of(i),
                "words of " + std::to_string(row_.info.code.parameters.word_bits) + " bits",
                "a larger one");
    }
  }

  bool chosen_by_segment() const { return row_.info.code.codec == Codec::automatic; }

  /// Of segments without a zero stream together with those that have a mask: the same decoder reads
  /// them. Those whose zero is -0.0 are a batch of their own.
  std::size_t batch_of(const SegmentEntry& entry) const {
    std::size_t number = entry.coding;
    if (chosen_by_segment() && number < SegmentCoding::count) {
      SegmentCoding coding = SegmentCoding::of(entry.coding);
      if (coding.zero == ZeroCoding::none) coding.zero = ZeroCoding::mask;
      number = coding.number();
    }
    return entry.zeros == SegmentZeros::negative ? number + coding_count : number;
  }

  DecodeJob job_of(const SegmentEntry& entry, const std::uint8_t* payload, MutableWordSpan out) {
    DecodeJob job{payload, entry.zero_bytes, payload + entry.zero_bytes, entry.plane_bytes, out};
    if (entry.zero_bytes > 0 || entry.coding >= SegmentCoding::count) return job;
    // Without a zero stream all words are non-zero.
    job.zero_bytes = bytes_for_bits(out.count);
    job.zero_stream = ones_.data();
    if (out.count % 8 != 0) {  // of the tensor's last segment
      last_ones_ = ones_;
      last_ones_[job.zero_bytes - 1] = static_cast<std::uint8_t>(0xFF << (8 - out.count % 8));
      job.zero_stream = last_ones_.data();
    }
    return job;
  }

  JobStatus decode_some(std::size_t batch, std::span<const DecodeJob> jobs) const {
    Parameters p = row_.info.code.parameters;
    if (batch >= coding_count) p.zero = negative_zero(p);
    if (!chosen_by_segment()) return decode_jobs(kernel_, p, jobs);
    const auto number = static_cast<std::uint32_t>(batch % coding_count);
    return decode_segment_streams(kernel_, p, number, jobs);
  }

  /// Decodes what is well-formed. Segments that are not are lost; or the first of all is noted.
  void run_jobs(const Batch& batch) {
    const auto number = static_cast<std::size_t>(&batch - batches_.data());
    for (std::span<const DecodeJob> left = batch.jobs; !left.empty();) {
      const JobStatus failed = decode_some(number, left);
      if (failed.status.ok()) return;
      const DecodeJob& job = left[failed.job];
      const std::uint64_t segment = batch.segments[batch.jobs.size() - left.size() + failed.job];
      if (lost_ == nullptr) {
        if (!failure_ || segment < failure_->segment) failure_ = {segment, job, failed.status};
        return;
      }
      lose(segment);
      left = left.subspan(failed.job + 1);
    }
  }

  /// Makes those zeros negative whose sign says so. A segment that has not as many zeros as signs
  /// is lost, or an error.
  void put_signs(std::uint64_t i) {
    if (lost_ != nullptr && lost_[i] != 0) return;
    const SegmentPlace& place = row_.places[i];
    const std::uint64_t sign_bytes = place.entry.sign_bytes;
    const std::uint64_t offset = place.offset + place.bytes - sign_bytes;
    const std::uint8_t* const bytes = row_.bytes.data() + (offset - row_.bytes_offset);
    const MutableWordSpan words = words_of(i);
    const Parameters& p = row_.info.code.parameters;
    const std::uint64_t zeros =
        words.count - count_nonzero(p, {words.data, words.count, words.bytes_per_word});
    bool fits = bytes_for_bits(zeros) == sign_bytes;
    if (fits) {
      BitReader signs(bytes, sign_bytes);
      visit_word_type(words.bytes_per_word, false, [&]<class Word>(Word*) {
        auto* const data = static_cast<Word*>(words.data);
        for (std::uint64_t k = 0; k < words.count; ++k) {
          if (data[k] == 0 && signs.take(1) != 0) data[k] = static_cast<Word>(negative_zero(p));
        }
      });
      fits = check_end(signs, sign_bytes, false).ok();
    }
    if (fits) return;
    if (lost_ == nullptr) {
      malformed(offset, "signs of " + name_of(i),
                std::to_string(zeros) + " bits, padded with zeros to bytes",
                std::to_string(sign_bytes) + " bytes");
    }
    lose(i);
  }

  [[noreturn]] void report(const Failure& failure) const {
    const DecodeStatus& status = failure.status;
    const std::uint8_t* stream =
        status.in_plane_stream ? failure.job.plane_stream : failure.job.zero_stream;
    malformed(
        row_.bytes_offset + static_cast<std::uint64_t>(stream - row_.bytes.data()) + status.bit / 8,
        std::string(status.in_plane_stream ? "plane" : "zero") + " stream of " +
            name_of(failure.segment),
        status.expected, status.found);
  }

  static constexpr auto ones_ = [] {
    std::array<std::uint8_t, segment_words / 8> ones{};
    ones.fill(0xFF);
    return ones;
  }();

  const SegmentRow& row_;
  MutableWordSpan words_;
  std::uint8_t* lost_;
  const Kernel& kernel_ = active_kernel();
  std::array<Batch, 2 * coding_count> batches_;  // by coding, and whether zeros are -0.0
  std::array<std::uint8_t, segment_words / 8> last_ones_;
  std::optional<Failure> failure_;
};

void check_words_bytes(std::uint64_t words, int bytes_per_word, std::uint64_t words_bytes) {
  const std::uint64_t expected = words * static_cast<std::uint64_t>(bytes_per_word);
  if (words_bytes != expected) {
    throw Error(ErrorCode::argument, "words_bytes must be " + std::to_string(expected) + ", got " +
                                         std::to_string(words_bytes));
  }
}

/// The lost words of neighbouring segments as one range.
std::vector<WordRange> lost_ranges(const std::vector<std::uint8_t>& lost, std::uint64_t words) {
  std::vector<WordRange> ranges;
  for (std::uint64_t i = 0; i < lost.size(); ++i) {
    if (lost[i] == 0) continue;
    const std::uint64_t first = i * segment_words;
    const std::uint64_t count = words_in_segment(words, i);
    if (!ranges.empty() && ranges.back().first + ranges.back().count == first) {
      ranges.back().count += count;
    } else {
      ranges.push_back({first, count});
    }
  }
  return ranges;
}

}  // namespace

void decode_segments(const SegmentRow& row, MutableWordSpan words, const Executor& executor,
                     std::uint8_t* lost) {
  const std::uint64_t segments = row.places.size();
  const std::uint64_t task_segments = segments_per_task(segments, executor);
  const std::uint64_t tasks = segments / task_segments + (segments % task_segments != 0);
  for_each_index(executor, tasks, [&](std::size_t /*worker*/, std::size_t task) {
    const std::uint64_t first = task * task_segments;
    TaskDecoder(row, words, lost).decode(first, std::min(first + task_segments, segments));
  });
}

ContainerInfo inspect(std::span<const std::uint8_t> container) {
  return ContainerReader(container).info();
}

std::uint64_t default_max_bytes(std::uint64_t container_bytes) {
  constexpr std::uint64_t least = std::uint64_t{1} << 30;
  constexpr std::uint64_t factor = 64;
  return std::max(least, factor * std::min(container_bytes, ~std::uint64_t{0} / factor));
}

void check_max_bytes(std::uint64_t bytes, std::uint64_t max_bytes) {
  if (bytes > max_bytes) {
    throw Error(ErrorCode::limit, "the container holds a tensor of " + std::to_string(bytes) +
                                      " bytes, more than max_bytes, " + std::to_string(max_bytes) +
                                      "; if it can be trusted, pass a larger max_bytes");
  }
}

// ---- Reader

ContainerReader::ContainerReader(std::span<const std::uint8_t> container, Extent extent)
    : container_(container), parsed_(parse(container, extent)), extent_(extent) {}

int ContainerReader::bytes_per_word() const { return traits(info().tensor.dtype).bytes; }

void ContainerReader::require_payload() const {
  if (extent_ == Extent::whole || container_.size() == info().container_bytes) return;
  malformed(at_container_bytes, "container bytes",
            std::to_string(container_.size()) + ", the bytes given",
            std::to_string(info().container_bytes));
}

void ContainerReader::read(void* words, std::uint64_t words_bytes, const Executor& executor) const {
  require_payload();
  check_words_bytes(info().words, bytes_per_word(), words_bytes);
  decode_segments({info(), 0, parsed_.segments, container_, 0},
                  {words, info().words, bytes_per_word()}, executor);
}

void ContainerReader::read_range(WordRange range, void* words, std::uint64_t words_bytes,
                                 const Executor& executor) const {
  require_payload();
  if (range.first > info().words || range.count > info().words - range.first) {
    throw Error(ErrorCode::argument, "the range must lie in the container's " +
                                         std::to_string(info().words) + " words, got " +
                                         std::to_string(range.count) + " from word " +
                                         std::to_string(range.first));
  }
  check_words_bytes(range.count, bytes_per_word(), words_bytes);

  // Whole segments go where they belong; one of which only a part is wanted, into `edge` first.
  MutableWordSpan out{words, range.count, bytes_per_word()};
  std::vector<std::uint8_t> edge;
  const std::span all(parsed_.segments);
  for (std::uint64_t word = range.first, end = range.first + range.count; word < end;) {
    const std::uint64_t segment = word / segment_words;
    const std::uint64_t begin = segment * segment_words;
    const std::uint64_t length = words_in_segment(info().words, segment);
    const bool whole = word == begin && end >= begin + length;
    const std::uint64_t last = !whole                ? segment + 1
                               : end == info().words ? info().segments
                                                     : end / segment_words;
    const SegmentRow row{info(), segment, all.subspan(segment, last - segment), container_, 0};
    const std::uint64_t next = std::min(end, last * segment_words);
    const MutableWordSpan to = out.part(word - range.first, next - word);
    if (whole) {
      decode_segments(row, to, executor);
    } else {
      const auto size = static_cast<std::uint64_t>(bytes_per_word());
      edge.resize(length * size);
      decode_segments(row, {edge.data(), length, bytes_per_word()}, executor);
      std::memcpy(to.data, edge.data() + (word - begin) * size, to.count * size);
    }
    word = next;
  }
}

std::vector<WordRange> ContainerReader::recover(void* words, std::uint64_t words_bytes,
                                                const Executor& executor) const {
  check_words_bytes(info().words, bytes_per_word(), words_bytes);
  std::vector<std::uint8_t> lost(info().segments);
  decode_segments({info(), 0, parsed_.segments, container_, 0},
                  {words, info().words, bytes_per_word()}, executor, lost.data());
  return lost_ranges(lost, info().words);
}

}  // namespace ebpc
