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

/// A segment and its streams, in its thread's room; none where it is raw.
struct CodedSegment {
  WordSpan words;
  CodedStreams streams;
  const std::uint8_t* zero_stream = nullptr;
  const std::uint8_t* plane_stream = nullptr;

  std::uint64_t bytes() const {
    return streams.coding == coding_raw
               ? words.count * static_cast<std::uint64_t>(words.bytes_per_word)
               : bytes_for_bits(streams.bits.zero) + bytes_for_bits(streams.bits.plane);
  }
};

/// A task's coded segments.
struct CodedTask {
  std::size_t task = 0;
  std::vector<CodedSegment> segments;
};

StreamRoom stream_room(Codec codec, const Parameters& p) {
  if (codec == Codec::automatic) return segment_stream_room(p, segment_words);
  return {bytes_for_bits(max_zero_stream_bits(p, segment_words)) + kernel_slack_bytes,
          bytes_for_bits(max_plane_stream_bits(p, segment_words)) + kernel_slack_bytes};
}

/// One thread's room: the streams of the task that it codes, and of those without a place.
class alignas(apart) Scratch {
 public:
  Scratch(const StreamRoom& room, std::size_t tasks, std::uint64_t task_segments)
      : room_(room),
        task_segments_(task_segments),
        streams_(std::make_unique_for_overwrite<std::uint8_t[]>((room.zero + room.plane) *
                                                                task_segments * tasks)),
        tasks_(tasks) {
    for (CodedTask& each : tasks_) each.segments.reserve(task_segments);
  }

  /// Codes words as the next task. Segments stay raw unless their streams are smaller.
  void code(const Kernel& kernel, Codec codec, const Parameters& p, std::size_t task,
            WordSpan words) {
    const std::size_t place = coded_++ % tasks_.size();
    std::uint8_t* zero_stream =
        streams_.get() + (room_.zero + room_.plane) * task_segments_ * place;
    CodedTask& coded = tasks_[place];
    coded.task = task;
    coded.segments.clear();
    for (std::uint64_t i = 0; i < segment_count(words.count); ++i) {
      const WordSpan segment = words.part(i * segment_words, words_in_segment(words.count, i));
      std::uint8_t* const plane_stream = zero_stream + room_.zero;
      coded.segments.push_back({segment,
                                encode(kernel, codec, p, segment, zero_stream, plane_stream),
                                zero_stream, plane_stream});
      zero_stream = plane_stream + room_.plane;
    }
  }

  /// The tasks without a place, of which the first is that of the lowest number.
  std::size_t waiting() const { return coded_ - placed_; }
  const CodedTask& first_waiting() const { return tasks_[placed_ % tasks_.size()]; }
  void forget_first_waiting() { ++placed_; }

 private:
  /// Where streams are not expected to be smaller, they are counted first, which is much faster
  /// than coding.
  CodedStreams encode(const Kernel& kernel, Codec codec, const Parameters& p, WordSpan words,
                      std::uint8_t* zero_stream, std::uint8_t* plane_stream) {
    if (codec == Codec::automatic) {
      const CodedStreams smallest = smallest_coding(kernel, p, words);
      if (smallest.coding != coding_raw) {
        encode_segment_streams(kernel, p, SegmentCoding::of(smallest.coding), words, zero_stream,
                               plane_stream);
      }
      return smallest;
    }
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

  StreamRoom room_;
  std::uint64_t task_segments_;
  std::unique_ptr<std::uint8_t[]> streams_;
  std::vector<CodedTask> tasks_;
  std::size_t coded_ = 0;
  std::size_t placed_ = 0;
  bool expect_raw_ = false;  // as the segment before
};

/// Writes a segment's bytes to `out`. Returns its entry for the table.
SegmentEntry write_segment(const Kernel& kernel, const CodedSegment& segment, std::uint8_t* out) {
  SegmentEntry entry;
  if (segment.streams.coding != coding_raw) {
    const std::uint64_t zero_bytes = bytes_for_bits(segment.streams.bits.zero);
    const std::uint64_t plane_bytes = bytes_for_bits(segment.streams.bits.plane);
    std::memcpy(out, segment.zero_stream, zero_bytes);
    std::memcpy(out + zero_bytes, segment.plane_stream, plane_bytes);
    entry.coding = segment.streams.coding;
    entry.zero_bytes = static_cast<std::uint32_t>(zero_bytes);
    entry.plane_bytes = static_cast<std::uint32_t>(plane_bytes);
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
  Placement(const Kernel& kernel, std::uint64_t task_segments, std::uint8_t* table,
            std::uint8_t* payload)
      : kernel_(kernel), task_segments_(task_segments), table_(table), payload_(payload) {}

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
      bits_ += each.streams.bits;
    }
    next_task_.store(coded.task + 1, std::memory_order_release);
    std::uint8_t* entry = table_ + segment_entry_bytes * task_segments_ * coded.task;
    for (const CodedSegment& each : coded.segments) {
      write_segment(kernel_, each, out).write(entry);
      out += each.bytes();
      entry += segment_entry_bytes;
    }
  }

  const Kernel& kernel_;
  std::uint64_t task_segments_;
  std::uint8_t* table_;
  std::uint8_t* payload_;
  alignas(apart) std::atomic<std::size_t> next_task_{0};
  std::uint64_t bytes_ = 0;
  StreamBits bits_;
};

}  // namespace

CodedTotals encode_segments(Codec codec, const Parameters& p, WordSpan words, std::uint8_t* table,
                            std::uint8_t* payload, const Executor& executor) {
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
    scratches.emplace_back(stream_room(codec, p), room, task_segments);
  Placement placement(kernel, task_segments, table, payload);
  std::atomic<std::size_t> begun_tasks = 0;
  // No more workers than there are scratches, also where there are more tasks.
  const Executor limited{workers, executor.run};
  for_each_index(limited, tasks, [&](std::size_t worker, std::size_t task) {
    ++begun_tasks;
    Scratch& scratch = scratches[worker];
    const std::uint64_t first = task * task_words;
    scratch.code(kernel, codec, p, task,
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

void check_code(DType dtype, Codec codec, const Parameters& p) {
  check_parameters(dtype, p);
  if (codec != Codec::automatic) return;
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

std::uint64_t checked_header_bytes(const TensorInfo& tensor) {
  const std::uint64_t dims = tensor.shape.size();
  if (dims != dims_of(tensor.memory_format, dims)) {
    throw Error(ErrorCode::argument, "the memory format must go with the shape: it needs " +
                                         std::to_string(dims_of(tensor.memory_format, dims)) +
                                         " dimensions, got " + std::to_string(dims));
  }
  const std::uint64_t words = word_count(tensor);
  const std::uint64_t bytes = header_bytes_for(tensor.shape.size(), segment_count(words));
  if (bytes > std::numeric_limits<std::uint32_t>::max()) {
    throw Error(ErrorCode::argument,
                "the tensor must have less than 2^41 words, got " + std::to_string(words));
  }
  return bytes;
}

std::uint64_t write_header(std::uint8_t* out, const TensorInfo& tensor, Codec codec,
                           const Parameters& p, const CodedTotals& coded) {
  const std::uint64_t header_bytes = checked_header_bytes(tensor);
  const std::uint64_t container_bytes = header_bytes + coded.payload_bytes;
  std::copy(magic.begin(), magic.end(), out);
  const bool all_alike = codec == Codec::ebpc;
  store<std::uint16_t>(out + at_version, static_cast<std::uint16_t>(version_of(codec)));
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
  for (std::size_t i = 0; i < tensor.shape.size(); ++i) {
    store<std::uint64_t>(out + at_shape + 8 * i, static_cast<std::uint64_t>(tensor.shape[i]));
  }
  const std::uint64_t at_checksum = header_bytes - checksum_bytes;
  store<std::uint32_t>(out + at_checksum, active_kernel().crc32c(0, out, at_checksum));
  return container_bytes;
}

std::uint64_t max_compressed_bytes(const TensorInfo& tensor) {
  const std::uint64_t words = word_count(tensor);
  return header_bytes_for(tensor.shape.size(), segment_count(words)) +
         words * static_cast<std::uint64_t>(traits(tensor.dtype).bytes);
}

std::uint64_t compress(const TensorInfo& tensor, const Parameters& p, const void* words,
                       std::span<std::uint8_t> out, const Executor& executor, Codec codec) {
  check_code(tensor.dtype, codec, p);
  if (out.size() < max_compressed_bytes(tensor)) {
    throw Error(ErrorCode::argument, "out must have room for " +
                                         std::to_string(max_compressed_bytes(tensor)) +
                                         " bytes, got " + std::to_string(out.size()));
  }
  const WordSpan all{words, word_count(tensor), traits(tensor.dtype).bytes};
  check_fit(p, all, 0);
  std::uint8_t* table = out.data() + table_offset(tensor);
  return write_header(
      out.data(), tensor, codec, p,
      encode_segments(codec, p, all, table, out.data() + checked_header_bytes(tensor), executor));
}

}  // namespace ebpc
