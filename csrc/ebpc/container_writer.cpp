#include <algorithm>
#include <atomic>
#include <bit>
#include <cstring>
#include <limits>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "ebpc/bit_stream.h"
#include "ebpc/container.h"
#include "ebpc/container_layout.h"
#include "ebpc/container_segments.h"
#include "ebpc/error.h"
#include "ebpc/kernels/dispatch.h"
#include "ebpc/segment_coding.h"
#include "ebpc/words.h"

namespace ebpc {
namespace {

using namespace layout;

/// Segments that one thread codes at a time, where there are several threads: few, so that they
/// have about the same to do in the end, but enough that the hand-over of the payload's next place
/// from core to core takes little of the time.
constexpr std::uint64_t min_task_segments = 4;
constexpr std::uint64_t max_task_bytes = 16 * segment_words;
constexpr std::uint64_t tasks_per_worker = 8;

std::uint64_t segments_per_task(std::uint64_t segments, std::size_t workers, int bytes_per_word) {
  if (workers == 1) return 1;  // which is in its place while it is still in the L1 cache
  const auto segment_bytes = segment_words * static_cast<std::uint64_t>(bytes_per_word);
  return std::clamp(segments / (tasks_per_worker * workers), min_task_segments,
                    std::max(min_task_segments, max_task_bytes / segment_bytes));
}

/// Coded tasks that a thread keeps until those before them have their places. So it need not wait
/// for a thread that is a little slower, and what it keeps stays in its L2 cache.
constexpr std::size_t max_waiting = 2;

/// What threads write lies so far apart that no line of the cache (nor a pair of them, which some
/// CPUs fetch together) goes to and fro between them.
constexpr std::size_t apart = 128;

/// A segment's streams, and which zeros they mark.
struct SegmentStreams {
  CodedStreams coded;
  SegmentZeros zeros = SegmentZeros::first;
  std::uint64_t sign_bits = 0;

  std::uint64_t bytes() const {
    return bytes_for_bits(coded.bits.zero) + bytes_for_bits(coded.bits.plane) +
           bytes_for_bits(sign_bits);
  }
};

/// A segment and its streams, in its thread's room; none where it is raw.
struct CodedSegment {
  WordSpan words;
  SegmentStreams streams;
  const std::uint8_t* zero_stream = nullptr;
  const std::uint8_t* plane_stream = nullptr;
  const std::uint8_t* signs = nullptr;

  bool is_raw() const { return streams.coded.coding == coding_raw; }
  std::uint64_t bytes() const {
    return is_raw() ? words.count * static_cast<std::uint64_t>(words.bytes_per_word)
                    : streams.bytes();
  }
};

/// A task's coded segments.
struct CodedTask {
  std::size_t task = 0;
  std::vector<CodedSegment> segments;
};

StreamRoom stream_room(const ContainerCode& code) {
  const Parameters& p = code.parameters;
  if (code.codec == Codec::automatic) return segment_stream_room(p, segment_words);
  return {bytes_for_bits(max_zero_stream_bits(p, segment_words)) + kernel_slack_bytes,
          bytes_for_bits(max_plane_stream_bits(p, segment_words)) + kernel_slack_bytes};
}

/// The zeros of a segment of which both signs may occur, and the parameters that mark them.
SegmentZeros zeros_of(WordSpan words, Parameters& p) {
  const std::uint64_t positive = words.count - count_nonzero(p, words);
  Parameters negative = p;
  negative.zero = negative_zero(p);
  if (count_nonzero(negative, words) == words.count) return SegmentZeros::first;
  if (positive > 0) return SegmentZeros::both;
  p = negative;
  return SegmentZeros::negative;
}

/// Copies words with 0 in place of every -0.0, and writes a bit for each zero: whether it was
/// negative. Returns the bits.
std::uint64_t take_signs(const Parameters& p, WordSpan words, void* unsigned_words,
                         std::uint8_t* signs) {
  return visit_word_type(words.bytes_per_word, false, [&]<class Word>(Word*) {
    const auto negative = static_cast<Word>(negative_zero(p));
    const auto* from = static_cast<const Word*>(words.data);
    auto* to = static_cast<Word*>(unsigned_words);
    BitWriter writer(signs);
    for (std::size_t i = 0; i < words.count; ++i) {
      const Word word = from[i];
      const bool is_negative = word == negative;
      if (is_negative || word == 0) writer.put(is_negative ? 1 : 0, 1);
      to[i] = is_negative ? Word{0} : word;
    }
    writer.flush();
    return writer.bits();
  });
}

/// One thread's room: the streams of the task that it codes, and of those without a place.
class alignas(apart) Scratch {
 public:
  Scratch(const ContainerCode& code, std::size_t tasks, std::uint64_t task_segments,
          int bytes_per_word)
      : code_(code),
        room_(stream_room(code)),
        sign_room_(code.zeros == Zeros::both_signs ? segment_words / 8 + kernel_slack_bytes : 0),
        task_segments_(task_segments),
        streams_(
            std::make_unique_for_overwrite<std::uint8_t[]>(segment_room() * task_segments * tasks)),
        tasks_(tasks) {
    for (CodedTask& each : tasks_) each.segments.reserve(task_segments);
    if (sign_room_ > 0) {
      unsigned_words_ = std::make_unique_for_overwrite<std::uint32_t[]>(
          segment_words * static_cast<std::size_t>(bytes_per_word) / sizeof(std::uint32_t));
    }
  }

  /// Codes words as the next task. Segments stay raw unless their streams are smaller.
  void code(const Kernel& kernel, std::size_t task, WordSpan words) {
    const std::size_t place = coded_++ % tasks_.size();
    std::uint8_t* zero_stream = streams_.get() + segment_room() * task_segments_ * place;
    CodedTask& coded = tasks_[place];
    coded.task = task;
    coded.segments.clear();
    for (std::uint64_t i = 0; i < segment_count(words.count); ++i) {
      const WordSpan segment = words.part(i * segment_words, words_in_segment(words.count, i));
      std::uint8_t* const plane_stream = zero_stream + room_.zero;
      std::uint8_t* const signs = plane_stream + room_.plane;
      coded.segments.push_back({segment, encode(kernel, segment, zero_stream, plane_stream, signs),
                                zero_stream, plane_stream, signs});
      zero_stream = signs + sign_room_;
    }
  }

  /// The tasks without a place, of which the first is that of the lowest number.
  std::size_t waiting() const { return coded_ - placed_; }
  const CodedTask& first_waiting() const { return tasks_[placed_ % tasks_.size()]; }
  void forget_first_waiting() { ++placed_; }

 private:
  std::uint64_t segment_room() const { return room_.zero + room_.plane + sign_room_; }

  SegmentStreams encode(const Kernel& kernel, WordSpan words, std::uint8_t* zero_stream,
                        std::uint8_t* plane_stream, std::uint8_t* signs) {
    Parameters p = code_.parameters;
    SegmentStreams streams;
    WordSpan coded_words = words;
    const std::uint64_t raw_bytes = words.count * static_cast<std::uint64_t>(words.bytes_per_word);
    if (code_.zeros == Zeros::both_signs) {
      streams.zeros = zeros_of(words, p);
      if (streams.zeros == SegmentZeros::both) {
        streams.sign_bits = take_signs(p, words, unsigned_words_.get(), signs);
        coded_words.data = unsigned_words_.get();
      }
    }
    if (code_.codec == Codec::automatic) {
      const EntropyInput input{words, coded_words, bytes_for_bits(streams.sign_bits)};
      streams.coded = encode_smallest(kernel, p, input, zero_stream, plane_stream);
      if (!marks_zeros(streams.coded.coding)) {
        streams.zeros = SegmentZeros::first;
        streams.sign_bits = 0;
      }
    } else {
      streams.coded = encode_streams(kernel, p, coded_words, zero_stream, plane_stream);
    }
    return streams.coded.coding != coding_raw && streams.bytes() < raw_bytes ? streams
                                                                             : SegmentStreams{};
  }

  /// Where streams are not expected to be smaller, they are counted first, which is much faster
  /// than coding.
  CodedStreams encode_streams(const Kernel& kernel, const Parameters& p, WordSpan words,
                              std::uint8_t* zero_stream, std::uint8_t* plane_stream) {
    const CodedStreams raw{coding_raw, {}};
    const auto is_smaller = [&words](const StreamBits& bits) {
      return bytes_for_bits(bits.zero) + bytes_for_bits(bits.plane) <
             words.count * static_cast<std::uint64_t>(words.bytes_per_word);
    };
    if (expect_raw_ && !is_smaller(kernel.count(p, words))) return raw;
    const StreamBits bits = kernel.encode(p, words, zero_stream, plane_stream);
    expect_raw_ = !is_smaller(bits);
    return expect_raw_ ? raw : CodedStreams{coding_ebpc, bits};
  }

  ContainerCode code_;
  StreamRoom room_;
  std::uint64_t sign_room_;
  std::uint64_t task_segments_;
  std::unique_ptr<std::uint8_t[]> streams_;
  std::unique_ptr<std::uint32_t[]> unsigned_words_;  // a segment's, without signs of its zeros
  std::vector<CodedTask> tasks_;
  std::size_t coded_ = 0;
  std::size_t placed_ = 0;
  bool expect_raw_ = false;  // as the segment before
};

/// Writes a segment's bytes to `out`. Returns its entry for the table.
SegmentEntry write_segment(const Kernel& kernel, const CodedSegment& segment, std::uint8_t* out) {
  SegmentEntry entry;
  if (!segment.is_raw()) {
    const SegmentStreams& streams = segment.streams;
    const std::uint64_t zero_bytes = bytes_for_bits(streams.coded.bits.zero);
    const std::uint64_t plane_bytes = bytes_for_bits(streams.coded.bits.plane);
    const std::uint64_t sign_bytes = bytes_for_bits(streams.sign_bits);
    std::memcpy(out, segment.zero_stream, zero_bytes);
    std::memcpy(out + zero_bytes, segment.plane_stream, plane_bytes);
    if (sign_bytes > 0) std::memcpy(out + zero_bytes + plane_bytes, segment.signs, sign_bytes);
    entry.coding = streams.coded.coding;
    entry.zero_bytes = static_cast<std::uint32_t>(zero_bytes);
    entry.plane_bytes = static_cast<std::uint32_t>(plane_bytes);
    entry.zeros = streams.zeros;
    entry.sign_bytes = static_cast<std::uint32_t>(sign_bytes);
  } else {
    copy_little_endian(out, static_cast<const std::uint8_t*>(segment.words.data), segment.bytes(),
                       segment.words.bytes_per_word);
  }
  entry.checksum = kernel.crc32c(0, out, segment.bytes());
  return entry;
}

/// Writes coded tasks to the table and the payload, in the order of the tasks.
class alignas(apart) Placement {
 public:
  Placement(const Kernel& kernel, int version, std::uint64_t task_segments, std::uint8_t* table,
            std::uint8_t* payload)
      : kernel_(kernel),
        version_(version),
        task_segments_(task_segments),
        table_(table),
        payload_(payload) {}

  /// Places the first ones of a thread's tasks, as long as they are next. Returns whether there
  /// were any.
  bool place_first_of(Scratch& scratch) {
    bool any = false;
    for (; scratch.waiting() > 0 &&
           next_task_.load(std::memory_order_acquire) == scratch.first_waiting().task;
         scratch.forget_first_waiting()) {
      place(scratch.first_waiting());
      any = true;
    }
    return any;
  }

  CodedTotals totals() const { return {bytes_, bits_}; }

 private:
  /// Only takes the place in turn; threads write at the same time.
  void place(const CodedTask& coded) {
    std::uint8_t* out = payload_ + bytes_;
    for (const CodedSegment& each : coded.segments) {
      bytes_ += each.bytes();
      bits_ += each.streams.coded.bits;
      bits_.zero += each.streams.sign_bits;
    }
    next_task_.store(coded.task + 1, std::memory_order_release);
    std::uint8_t* entry = table_ + entry_bytes(version_) * task_segments_ * coded.task;
    for (const CodedSegment& each : coded.segments) {
      write_segment(kernel_, each, out).write(entry, version_);
      out += each.bytes();
      entry += entry_bytes(version_);
    }
  }

  const Kernel& kernel_;
  int version_;
  std::uint64_t task_segments_;
  std::uint8_t* table_;
  std::uint8_t* payload_;
  alignas(apart) std::atomic<std::size_t> next_task_{0};
  std::uint64_t bytes_ = 0;
  StreamBits bits_;
};

}  // namespace

CodedTotals encode_segments(const ContainerCode& code, int version, WordSpan words,
                            std::uint8_t* table, std::uint8_t* payload, const Executor& executor) {
  const Kernel& kernel = active_kernel();
  const std::uint64_t segments = segment_count(words.count);
  const std::size_t workers = worker_count(executor, segments / min_task_segments);
  const std::uint64_t task_segments = segments_per_task(segments, workers, words.bytes_per_word);
  const std::uint64_t task_words = task_segments * segment_words;
  const std::uint64_t tasks = segments / task_segments + (segments % task_segments != 0);
  // A single thread takes the tasks in their order: none has to wait.
  const std::size_t room = workers == 1 ? 1 : max_waiting + 1;
  std::vector<Scratch> scratches;
  scratches.reserve(workers);
  for (std::size_t i = 0; i < workers; ++i)
    scratches.emplace_back(code, room, task_segments, words.bytes_per_word);
  Placement placement(kernel, version, task_segments, table, payload);
  std::atomic<std::size_t> begun_tasks = 0;
  // No more workers than there are scratches, also where there are more tasks.
  const Executor limited{workers, executor.run};
  for_each_index(limited, tasks, [&](std::size_t worker, std::size_t task) {
    ++begun_tasks;
    Scratch& scratch = scratches[worker];
    const std::uint64_t first = task * task_words;
    scratch.code(kernel, task,
                 words.part(first, std::min<std::uint64_t>(task_words, words.count - first)));
    placement.place_first_of(scratch);
    // While there are tasks to begin, all threads go on, each places what it has, and so the lowest
    // task without a place gets one. After that no more room is needed.
    while (scratch.waiting() == room && begun_tasks.load() < tasks) {
      std::this_thread::yield();
      placement.place_first_of(scratch);
    }
  });
  for (bool placed = true; placed;) {  // what threads have kept
    placed = false;
    for (Scratch& each : scratches) placed |= placement.place_first_of(each);
  }
  return placement.totals();
}

int version_of(DType dtype, const ContainerCode& code) {
  const bool is_new = static_cast<int>(dtype) >= dtypes_before_version_3 ||
                      code.parameters.zero != 0 || code.zeros != Zeros::one_word ||
                      code.codec == Codec::automatic;
  return is_new ? 3 : 1;
}

ContainerCode with_suitable_zero(DType dtype, ContainerCode code, WordSpan words) {
  constexpr std::size_t most_samples = 2048;
  Parameters& p = code.parameters;
  p.zero = 0;
  code.zeros = Zeros::one_word;
  const std::size_t step = words.count / most_samples + 1;
  visit_word_type(words.bytes_per_word, p.is_signed, [&]<class Word>(Word*) {
    const auto* const all = static_cast<const Word*>(words.data);
    const auto count = [&](Word word) {
      std::size_t found = 0;
      for (std::size_t i = 0; i < words.count; i += step) found += all[i] == word;
      return found;
    };
    const std::size_t samples = (words.count + step - 1) / step;
    if (traits(dtype).has_negative_zero) {
      // A few would not pay for the signs.
      if (count(static_cast<Word>(negative_zero(p))) * 256 > samples) {
        code.zeros = Zeros::both_signs;
      }
      return;
    }
    // By their last bits, then what is most of those that have the most frequent ones.
    std::array<std::uint16_t, 256> counts{};
    for (std::size_t i = 0; i < words.count; i += step) ++counts[all[i] & 0xFF];
    const auto bits = std::max_element(counts.begin(), counts.end()) - counts.begin();
    Word most{};
    std::size_t lead = 0;
    for (std::size_t i = 0; i < words.count; i += step) {
      if ((all[i] & 0xFF) != bits) continue;
      if (lead == 0) most = all[i];
      lead += most == all[i] ? 1 : -1;
    }
    // What is less frequent than that does not pay for saying of every word whether it is one.
    if (most != 0 && count(most) > count(0) + samples / 8) p.zero = most;
  });
  return code;
}

void check_code(DType dtype, const ContainerCode& code) {
  const Parameters& p = code.parameters;
  check_parameters(dtype, p);
  if (code.zeros == Zeros::both_signs) {
    if (!traits(dtype).has_negative_zero) {
      throw Error(ErrorCode::argument,
                  "both signs of zero need words of a dtype that has them, got " +
                      std::string(traits(dtype).name));
    }
    if (p.zero != 0) {
      throw Error(ErrorCode::argument,
                  "zero must be 0 where both signs of it count, got " + std::to_string(p.zero));
    }
  }
  if (code.codec != Codec::automatic) return;
  const Parameters defaults;
  const auto check = [](const char* name, const std::string& expected, const std::string& found) {
    if (found == expected) return;
    throw Error(ErrorCode::argument, std::string(name) + " must be left at " + expected +
                                         " with codec 'auto', which chooses it by segment, got " +
                                         found);
  };
  const auto name_of = [](Base base) { return base == Base::sent ? "'sent'" : "'reused'"; };
  check("block_size", std::to_string(defaults.block_size), std::to_string(p.block_size));
  check("max_zero_run", std::to_string(defaults.max_zero_run), std::to_string(p.max_zero_run));
  check("base", name_of(defaults.base), name_of(p.base));
}

void check_fit(const Parameters& p, WordSpan words, std::uint64_t first_index) {
  if (const std::size_t index = first_misfit(p, words); index != words.count) {
    throw Error(ErrorCode::argument,
                "every value must fit into word_bits = " + std::to_string(p.word_bits) + ", got " +
                    std::to_string(word_at(p, words, index)) + " at index " +
                    std::to_string(first_index + index));
  }
}

std::uint64_t checked_header_bytes(const TensorInfo& tensor, int version) {
  const std::uint64_t dims = tensor.shape.size();
  if (dims != dims_of(tensor.memory_format, dims)) {
    throw Error(ErrorCode::argument, "the memory format must go with the shape: it needs " +
                                         std::to_string(dims_of(tensor.memory_format, dims)) +
                                         " dimensions, got " + std::to_string(dims));
  }
  const std::uint64_t words = word_count(tensor);
  const std::uint64_t bytes = header_bytes_for(version, tensor.shape.size(), segment_count(words));
  if (bytes > std::numeric_limits<std::uint32_t>::max()) {
    throw Error(ErrorCode::argument,
                "the tensor must have less words than a header has room for, 2^32 / " +
                    std::to_string(entry_bytes(version)) + " segments of 4096, got " +
                    std::to_string(words));
  }
  return bytes;
}

std::uint64_t write_header(std::uint8_t* out, const TensorInfo& tensor, const ContainerCode& code,
                           const CodedTotals& coded) {
  const Parameters& p = code.parameters;
  const int version = version_of(tensor.dtype, code);
  const std::uint64_t header_bytes = checked_header_bytes(tensor, version);
  const std::uint64_t container_bytes = header_bytes + coded.payload_bytes;
  std::copy(magic.begin(), magic.end(), out);
  const bool all_alike = code.codec == Codec::ebpc;
  store<std::uint16_t>(out + at_version, static_cast<std::uint16_t>(version));
  out[at_dtype] = static_cast<std::uint8_t>(tensor.dtype);
  out[at_memory_format] = static_cast<std::uint8_t>(tensor.memory_format);
  out[at_word_bits] = static_cast<std::uint8_t>(p.word_bits);
  out[at_block_size] = all_alike ? static_cast<std::uint8_t>(p.block_size) : 0;
  out[at_max_zero_run] = all_alike ? static_cast<std::uint8_t>(zero_run_bits(p)) : 0;
  out[at_base] = all_alike ? static_cast<std::uint8_t>(p.base) : 0;
  out[at_dims] = static_cast<std::uint8_t>(tensor.shape.size());
  out[at_segment_words] = static_cast<std::uint8_t>(std::countr_zero(segment_words));
  store<std::uint16_t>(out + at_reserved, 0);
  store<std::uint32_t>(out + at_header_bytes, static_cast<std::uint32_t>(header_bytes));
  store<std::uint64_t>(out + at_container_bytes, container_bytes);
  store<std::uint64_t>(out + at_zero_stream_bits, coded.bits.zero);
  store<std::uint64_t>(out + at_plane_stream_bits, coded.bits.plane);
  if (version >= 3) {
    out[at_zeros] = static_cast<std::uint8_t>(code.zeros);
    store<std::uint32_t>(out + at_zero, static_cast<std::uint32_t>(p.zero));
  }
  std::uint8_t* const shape = out + shape_offset(version);
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
    store<std::uint64_t>(shape + 8 * i, static_cast<std::uint64_t>(tensor.shape[i]));
  }
  const std::uint64_t at_checksum = header_bytes - checksum_bytes;
  store<std::uint32_t>(out + at_checksum, active_kernel().crc32c(0, out, at_checksum));
  return container_bytes;
}

std::uint64_t max_compressed_bytes(const TensorInfo& tensor) {
  const std::uint64_t words = word_count(tensor);
  return header_bytes_for(newest_version, tensor.shape.size(), segment_count(words)) +
         words * static_cast<std::uint64_t>(traits(tensor.dtype).bytes);
}

std::uint64_t compress(const TensorInfo& tensor, const ContainerCode& code, const void* words,
                       std::span<std::uint8_t> out, const Executor& executor) {
  check_code(tensor.dtype, code);
  if (out.size() < max_compressed_bytes(tensor)) {
    throw Error(ErrorCode::argument, "out must have room for " +
                                         std::to_string(max_compressed_bytes(tensor)) +
                                         " bytes, got " + std::to_string(out.size()));
  }
  const WordSpan all{words, word_count(tensor), traits(tensor.dtype).bytes};
  check_fit(code.parameters, all, 0);
  const int version = version_of(tensor.dtype, code);
  std::uint8_t* const table = out.data() + table_offset(version, tensor);
  std::uint8_t* const payload = out.data() + checked_header_bytes(tensor, version);
  return write_header(out.data(), tensor, code,
                      encode_segments(code, version, all, table, payload, executor));
}

}  // namespace ebpc
