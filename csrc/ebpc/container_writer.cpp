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

/// Segments that one thread codes at a time. Few, so that threads have about the same to do in the
/// end.
constexpr std::uint64_t task_segments = 4;

/// Coded tasks that a thread keeps until those before them have their places. So it need not wait
/// for a thread that is a little slower, and what it keeps stays in its L2 cache.
constexpr std::size_t max_waiting = 4;

/// A task's coded segments.
struct CodedTask {
  std::size_t task = 0;
  const std::uint8_t* payload = nullptr;
  std::uint64_t bytes = 0;
  StreamBits bits;
};

/// One thread's room: both streams of a segment, and the payloads of its coded tasks without a
/// place.
struct Scratch {
  std::unique_ptr<std::uint8_t[]> zero_stream, plane_stream, payloads;
  std::uint64_t payload_bytes;  // of one task
  std::vector<CodedTask> waiting;
  std::size_t coded_tasks = 0;
  bool expect_raw = false;  // as the segment before

  Scratch(const StreamRoom& room, std::uint64_t task_bytes)
      : zero_stream(std::make_unique_for_overwrite<std::uint8_t[]>(room.zero)),
        plane_stream(std::make_unique_for_overwrite<std::uint8_t[]>(room.plane)),
        payloads(std::make_unique_for_overwrite<std::uint8_t[]>((max_waiting + 1) * task_bytes)),
        payload_bytes(task_bytes) {
    waiting.reserve(max_waiting + 1);
  }

  /// Room for the next task's payload.
  std::uint8_t* next_payload() {
    return payloads.get() + coded_tasks++ % (max_waiting + 1) * payload_bytes;
  }
};

StreamRoom stream_room(Codec codec, const Parameters& p) {
  if (codec == Codec::automatic) return segment_stream_room(p, segment_words);
  return {bytes_for_bits(max_zero_stream_bits(p, segment_words)) + kernel_slack_bytes,
          bytes_for_bits(max_plane_stream_bits(p, segment_words)) + kernel_slack_bytes};
}

struct CodedSegment {
  SegmentEntry entry;
  std::uint64_t bytes = 0;
  StreamBits bits;  // none where raw
};

/// Codes a segment's streams to `scratch`; raw, without any, unless they are smaller. Where they
/// are not expected to be, they are counted first, which is much faster than coding.
CodedStreams encode_streams(const Kernel& kernel, Codec codec, const Parameters& p, WordSpan words,
                            Scratch& scratch) {
  std::uint8_t* const zero_stream = scratch.zero_stream.get();
  std::uint8_t* const plane_stream = scratch.plane_stream.get();
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
  if (scratch.expect_raw && !is_smaller(kernel.count(p, words))) return raw;
  const StreamBits bits = kernel.encode(p, words, zero_stream, plane_stream);
  scratch.expect_raw = !is_smaller(bits);
  return scratch.expect_raw ? raw : CodedStreams{coding_ebpc, bits};
}

/// Codes one segment to `out`.
CodedSegment encode_segment(const Kernel& kernel, Codec codec, const Parameters& p, WordSpan words,
                            Scratch& scratch, std::uint8_t* out) {
  const CodedStreams streams = encode_streams(kernel, codec, p, words, scratch);
  CodedSegment coded;
  if (streams.coding != coding_raw) {
    const std::uint64_t zero_bytes = bytes_for_bits(streams.bits.zero);
    const std::uint64_t plane_bytes = bytes_for_bits(streams.bits.plane);
    std::memcpy(out, scratch.zero_stream.get(), zero_bytes);
    std::memcpy(out + zero_bytes, scratch.plane_stream.get(), plane_bytes);
    coded.bytes = zero_bytes + plane_bytes;
    coded.bits = streams.bits;
    coded.entry.coding = streams.coding;
    coded.entry.zero_bytes = static_cast<std::uint32_t>(zero_bytes);
    coded.entry.plane_bytes = static_cast<std::uint32_t>(plane_bytes);
  } else {
    const std::uint64_t raw_bytes = words.count * static_cast<std::uint64_t>(words.bytes_per_word);
    copy_little_endian(out, static_cast<const std::uint8_t*>(words.data), raw_bytes,
                       words.bytes_per_word);
    coded.bytes = raw_bytes;
  }
  coded.entry.checksum = kernel.crc32c(0, out, coded.bytes);
  return coded;
}

/// Gives coded tasks their places in the payload, in the order of the tasks.
class PayloadOrder {
 public:
  explicit PayloadOrder(std::uint8_t* payload) : payload_(payload) {}

  /// Where the next task's segments go.
  std::uint8_t* next_place() const { return payload_ + bytes_; }

  /// Places the first ones of a thread's tasks and removes them, as long as they are next. Returns
  /// whether there were any.
  bool place_first_of(std::vector<CodedTask>& tasks) {
    auto next = tasks.begin();
    for (; next != tasks.end() && next_task_.load(std::memory_order_acquire) == next->task;
         ++next) {
      place(*next);
    }
    const bool any = next != tasks.begin();
    tasks.erase(tasks.begin(), next);
    return any;
  }

  CodedTotals totals() const { return {bytes_, bits_}; }

 private:
  void place(const CodedTask& coded) {
    std::uint8_t* const place = next_place();
    bytes_ += coded.bytes;
    bits_ += coded.bits;
    next_task_.store(coded.task + 1, std::memory_order_release);
    if (coded.payload != place) std::memcpy(place, coded.payload, coded.bytes);
  }

  std::uint8_t* payload_;
  std::atomic<std::size_t> next_task_{0};
  std::uint64_t bytes_ = 0;
  StreamBits bits_;
};

}  // namespace

CodedTotals encode_segments(Codec codec, const Parameters& p, WordSpan words, std::uint8_t* table,
                            std::uint8_t* payload, const Executor& executor) {
  const Kernel& kernel = active_kernel();
  const std::uint64_t segments = segment_count(words.count);
  const std::uint64_t tasks = segments / task_segments + (segments % task_segments != 0);
  const std::size_t workers = worker_count(executor, tasks);
  const bool in_place = workers == 1;  // a single thread takes the tasks in their order
  const std::uint64_t task_bytes =
      in_place ? 0
               : task_segments * segment_words * static_cast<std::uint64_t>(words.bytes_per_word);
  std::vector<Scratch> scratches;
  for (std::size_t i = 0; i < workers; ++i)
    scratches.emplace_back(stream_room(codec, p), task_bytes);
  PayloadOrder order(payload);
  std::atomic<std::size_t> begun_tasks = 0;
  for_each_index(executor, tasks, [&](std::size_t worker, std::size_t task) {
    ++begun_tasks;
    Scratch& scratch = scratches[worker];
    std::uint8_t* const out = in_place ? order.next_place() : scratch.next_payload();
    CodedTask coded{task, out, 0, {}};
    const std::uint64_t first = task * task_segments;
    const std::uint64_t last = std::min(first + task_segments, segments);
    for (std::uint64_t i = first; i < last; ++i) {
      const WordSpan segment = words.part(i * segment_words, words_in_segment(words.count, i));
      const CodedSegment each =
          encode_segment(kernel, codec, p, segment, scratch, out + coded.bytes);
      each.entry.write(table + segment_entry_bytes * i);
      coded.bytes += each.bytes;
      coded.bits += each.bits;
    }
    scratch.waiting.push_back(coded);
    order.place_first_of(scratch.waiting);
    // While there are tasks to begin, all threads go on, each places what it has, and so the lowest
    // task without a place gets one. After that no more room is needed.
    while (scratch.waiting.size() > max_waiting && begun_tasks.load() < tasks) {
      std::this_thread::yield();
      order.place_first_of(scratch.waiting);
    }
  });
  for (bool placed = true; placed;) {  // what threads have kept
    placed = false;
    for (Scratch& each : scratches) placed |= order.place_first_of(each.waiting);
  }
  return order.totals();
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
