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

/// Segments that one thread codes at a time: what they are coded to stays in its L2 cache.
constexpr std::uint64_t task_segments = 16;

/// One thread's room for a task: its coded segments, and both streams of the current one.
struct Scratch {
  std::unique_ptr<std::uint8_t[]> payload, zero_stream, plane_stream;

  Scratch(const StreamRoom& room, std::uint64_t payload_bytes)
      : payload(std::make_unique_for_overwrite<std::uint8_t[]>(payload_bytes)),
        zero_stream(std::make_unique_for_overwrite<std::uint8_t[]>(room.zero)),
        plane_stream(std::make_unique_for_overwrite<std::uint8_t[]>(room.plane)) {}
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

/// Codes a segment's streams to `scratch`; raw, without any, unless they are smaller.
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
  const StreamBits bits = kernel.encode(p, words, zero_stream, plane_stream);
  const std::uint64_t raw_bytes = words.count * static_cast<std::uint64_t>(words.bytes_per_word);
  if (bytes_for_bits(bits.zero) + bytes_for_bits(bits.plane) >= raw_bytes) return {coding_raw, {}};
  return {coding_ebpc, bits};
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

/// Hands out places in the payload in the order of the tasks. Threads code tasks side by side into
/// their own scratch; each then waits until the tasks before it have taken their places. The task
/// with the lowest index is always being worked on by a thread that does not wait (for_each_index),
/// so this ends.
class PayloadOrder {
 public:
  std::uint64_t take(std::size_t task, std::uint64_t bytes, const StreamBits& bits) {
    while (next_task_.load(std::memory_order_acquire) != task) std::this_thread::yield();
    const std::uint64_t offset = bytes_;
    bytes_ += bytes;
    bits_ += bits;
    next_task_.store(task + 1, std::memory_order_release);
    return offset;
  }

  std::uint64_t bytes() const { return bytes_; }
  const StreamBits& bits() const { return bits_; }

 private:
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
  const std::uint64_t payload_bytes = std::min(segments, task_segments) * segment_words *
                                      static_cast<std::uint64_t>(words.bytes_per_word);
  std::vector<Scratch> scratches;
  for (std::size_t i = 0; i < worker_count(executor, tasks); ++i) {
    scratches.emplace_back(stream_room(codec, p), payload_bytes);
  }
  PayloadOrder order;
  for_each_index(executor, tasks, [&](std::size_t worker, std::size_t task) {
    Scratch& scratch = scratches[worker];
    const std::uint64_t first = task * task_segments;
    const std::uint64_t last = std::min(first + task_segments, segments);
    std::uint64_t bytes = 0;
    StreamBits bits;
    for (std::uint64_t i = first; i < last; ++i) {
      const WordSpan segment = words.part(i * segment_words, words_in_segment(words.count, i));
      const CodedSegment coded =
          encode_segment(kernel, codec, p, segment, scratch, scratch.payload.get() + bytes);
      coded.entry.write(table + segment_entry_bytes * i);
      bytes += coded.bytes;
      bits += coded.bits;
    }
    std::memcpy(payload + order.take(task, bytes, bits), scratch.payload.get(), bytes);
  });
  return {order.bytes(), order.bits()};
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
