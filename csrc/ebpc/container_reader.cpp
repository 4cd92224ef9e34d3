#include <algorithm>
#include <limits>
#include <string>
#include <vector>

#include "ebpc/container.h"
#include "ebpc/container_layout.h"
#include "ebpc/error.h"
#include "ebpc/kernels/dispatch.h"
#include "ebpc/words.h"

namespace ebpc {
namespace {

using namespace layout;

/// Segments that one thread decodes at a time: many, since kernels interleave them, but few enough
/// that threads end at about the same time.
std::uint64_t segments_per_task(std::uint64_t segments, const Executor& executor) {
  const std::size_t workers = worker_count(executor, segments);
  return workers == 1 ? 256 : std::clamp<std::uint64_t>(segments / (4 * workers), 32, 256);
}

[[noreturn]] void malformed(std::uint64_t byte, const std::string& field,
                            const std::string& expected, const std::string& found) {
  throw Error(ErrorCode::format, "container at byte " + std::to_string(byte) + " (" + field +
                                     "): expected " + expected + ", found " + found);
}

void check_field(std::uint64_t byte, const char* field, std::uint64_t expected,
                 std::uint64_t found) {
  if (found != expected) malformed(byte, field, std::to_string(expected), std::to_string(found));
}

void check_checksum(std::uint64_t byte, const std::string& what, std::uint32_t stored,
                    std::uint32_t computed) {
  if (stored != computed) {
    throw Error(ErrorCode::checksum, "container at byte " + std::to_string(byte) + " (" + what +
                                         "): checksum expected " + std::to_string(stored) +
                                         ", found " + std::to_string(computed));
  }
}

/// The fields whose places do not depend on others, before anything else is trusted.
std::uint64_t check_size_and_checksum(std::span<const std::uint8_t> container) {
  const std::uint64_t size = container.size();
  const std::uint64_t least = header_bytes_for(0, 0);
  if (size < magic.size() || !std::equal(magic.begin(), magic.end(), container.begin())) {
    malformed(0, "magic", "the eight bytes that begin every container",
              size < magic.size() ? "the end after " + std::to_string(size) + " bytes"
                                  : std::string("other bytes"));
  }
  if (size < least) {
    malformed(size, "header", "at least " + std::to_string(least) + " bytes", "the end");
  }
  const auto version = load<std::uint16_t>(&container[at_version]);
  if (version != container_version) {
    malformed(at_version, "format version",
              std::to_string(container_version) + ", the only one that this library reads",
              std::to_string(version));
  }
  const auto container_bytes = load<std::uint64_t>(&container[at_container_bytes]);
  if (container_bytes != size) {
    malformed(at_container_bytes, "container bytes", std::to_string(size) + ", the bytes given",
              std::to_string(container_bytes));
  }
  const std::uint64_t header_bytes = load<std::uint32_t>(&container[at_header_bytes]);
  if (header_bytes < least || header_bytes > size) {
    malformed(at_header_bytes, "header bytes",
              "from " + std::to_string(least) + " to " + std::to_string(size),
              std::to_string(header_bytes));
  }
  const std::uint64_t at_checksum = header_bytes - checksum_bytes;
  check_checksum(at_checksum, "header", load<std::uint32_t>(&container[at_checksum]),
                 active_kernel().crc32c(0, container.data(), at_checksum));
  return header_bytes;
}

void check_below(std::uint64_t byte, const char* field, int limit, std::uint8_t found) {
  if (found >= limit) {
    malformed(byte, field, "less than " + std::to_string(limit), std::to_string(found));
  }
}

void check_range(std::uint64_t byte, const char* field, int low, int high, std::uint8_t found) {
  if (found < low || found > high) {
    malformed(byte, field, "from " + std::to_string(low) + " to " + std::to_string(high),
              std::to_string(found));
  }
}

ContainerInfo read_fields(std::span<const std::uint8_t> container, std::uint64_t header_bytes) {
  ContainerInfo info;
  info.header_bytes = header_bytes;
  info.container_bytes = container.size();
  check_below(at_dtype, "dtype", dtype_count, container[at_dtype]);
  check_below(at_memory_format, "memory format", memory_format_count, container[at_memory_format]);
  check_below(at_base, "base", 2, container[at_base]);
  const DTypeTraits& dtype = traits(static_cast<DType>(container[at_dtype]));
  check_range(at_word_bits, "word bits", dtype.is_floating ? 8 * dtype.bytes : min_word_bits,
              8 * dtype.bytes, container[at_word_bits]);
  check_range(at_block_size, "block size", min_block_size, max_block_size,
              container[at_block_size]);
  check_range(at_max_zero_run, "log2 of max_zero_run", std::countr_zero(unsigned{min_max_zero_run}),
              std::countr_zero(unsigned{max_max_zero_run}), container[at_max_zero_run]);
  check_below(at_dims, "dimensions", max_dims + 1, container[at_dims]);
  check_field(at_segment_words, "log2 of segment words",
              static_cast<std::uint64_t>(std::countr_zero(segment_words)),
              container[at_segment_words]);
  check_field(at_reserved, "reserved", 0, load<std::uint16_t>(&container[at_reserved]));
  info.tensor.dtype = static_cast<DType>(container[at_dtype]);
  info.tensor.memory_format = static_cast<MemoryFormat>(container[at_memory_format]);
  info.zero_stream_bits = load<std::uint64_t>(&container[at_zero_stream_bits]);
  info.plane_stream_bits = load<std::uint64_t>(&container[at_plane_stream_bits]);

  const std::uint64_t dims = container[at_dims];
  if (header_bytes < header_bytes_for(dims, 0)) {
    malformed(at_header_bytes, "header bytes",
              "at least " + std::to_string(header_bytes_for(dims, 0)),
              std::to_string(header_bytes));
  }
  for (std::uint64_t i = 0; i < dims; ++i) {
    const auto size = load<std::uint64_t>(&container[at_shape + 8 * i]);
    if (size > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      malformed(at_shape + 8 * i, "shape", "less than 2^63", std::to_string(size));
    }
    info.tensor.shape.push_back(static_cast<std::int64_t>(size));
  }
  const std::size_t dims_of_format = info.tensor.memory_format == MemoryFormat::channels_last ? 4
                                     : info.tensor.memory_format == MemoryFormat::channels_last_3d
                                         ? 5
                                         : dims;
  check_field(at_dims, "dimensions of this memory format", dims_of_format, dims);
  info.parameters = {container[at_word_bits], dtype.is_signed, container[at_block_size],
                     1 << container[at_max_zero_run], static_cast<Base>(container[at_base])};
  try {
    info.words = word_count(info.tensor);
  } catch (const Error&) {  // all that is left to be wrong with the shape
    malformed(at_shape, "shape", "less than 2^63 bytes", "more");
  }
  info.segments = segment_count(info.words);
  if (info.segments > (header_bytes - header_bytes_for(dims, 0)) / segment_entry_bytes) {
    malformed(at_header_bytes, "header bytes",
              "room for " + std::to_string(info.segments) + " segments",
              std::to_string(header_bytes));
  }
  check_field(at_header_bytes, "header bytes", header_bytes_for(dims, info.segments), header_bytes);
  return info;
}

/// Where a segment's payload and words are, checked to lie inside of both.
struct SegmentPlace {
  SegmentEntry entry;
  std::uint64_t offset;  // of the payload, from the container's start
  std::uint64_t bytes;
};

struct ParsedContainer {
  ContainerInfo info;
  std::vector<SegmentPlace> segments;
};

ParsedContainer parse(std::span<const std::uint8_t> container) {
  const std::uint64_t header_bytes = check_size_and_checksum(container);
  ParsedContainer parsed{read_fields(container, header_bytes), {}};
  ContainerInfo& info = parsed.info;
  const auto bytes_per_word = static_cast<std::uint64_t>(traits(info.tensor.dtype).bytes);
  parsed.segments.reserve(info.segments);
  std::uint64_t offset = header_bytes;
  std::uint64_t coded_bytes = 0;
  for (std::uint64_t i = 0; i < info.segments; ++i) {
    const std::uint64_t at = at_shape + 8 * info.tensor.shape.size() + segment_entry_bytes * i;
    const SegmentEntry entry = SegmentEntry::read(&container[at]);
    const std::uint64_t words = words_in_segment(info.words, i);
    std::uint64_t bytes = std::uint64_t{entry.zero_bytes} + entry.plane_bytes;
    if (entry.coding == coding_raw) {
      check_field(at, "stream bytes of a raw segment", 0, bytes);
      bytes = words * bytes_per_word;
      ++info.raw_segments;
      info.raw_words += words;
    } else if (entry.coding == coding_ebpc) {
      if (bytes >= words * bytes_per_word) {
        malformed(at, "stream bytes of segment " + std::to_string(i),
                  "less than " + std::to_string(words * bytes_per_word), std::to_string(bytes));
      }
      coded_bytes += bytes;
    } else {
      malformed(at, "coding of segment " + std::to_string(i), "0 (raw) or 1 (EBPC)",
                std::to_string(entry.coding));
    }
    if (bytes > container.size() - offset) {
      malformed(at, "stream bytes of segment " + std::to_string(i),
                "at most " + std::to_string(container.size() - offset), std::to_string(bytes));
    }
    parsed.segments.push_back({entry, offset, bytes});
    offset += bytes;
  }
  check_field(at_container_bytes, "container bytes", offset, container.size());
  const std::uint64_t bits = info.zero_stream_bits + info.plane_stream_bits;
  if (info.zero_stream_bits > 8 * coded_bytes || info.plane_stream_bits > 8 * coded_bytes ||
      bits > 8 * coded_bytes || 8 * coded_bytes - bits > 14 * (info.segments - info.raw_segments)) {
    malformed(at_zero_stream_bits, "stream bits",
              "the bits of " + std::to_string(coded_bytes) + " stream bytes", std::to_string(bits));
  }
  return parsed;
}

void decode_segments(std::span<const std::uint8_t> container, const ParsedContainer& parsed,
                     std::uint64_t first, std::uint64_t last, MutableWordSpan words) {
  const Kernel& kernel = active_kernel();
  const Parameters& p = parsed.info.parameters;
  std::vector<DecodeJob> jobs;
  std::vector<std::uint64_t> job_segments;
  jobs.reserve(last - first);
  job_segments.reserve(last - first);
  for (std::uint64_t i = first; i < last; ++i) {
    const SegmentPlace& place = parsed.segments[i];
    const std::uint8_t* payload = container.data() + place.offset;
    check_checksum(place.offset, "segment " + std::to_string(i), place.entry.checksum,
                   kernel.crc32c(0, payload, place.bytes));
    const MutableWordSpan out =
        words.part(i * segment_words, words_in_segment(parsed.info.words, i));
    if (place.entry.coding == coding_raw) {
      copy_little_endian(static_cast<std::uint8_t*>(out.data), payload, place.bytes,
                         out.bytes_per_word);
      if (first_misfit(p, {out.data, out.count, out.bytes_per_word}) != out.count) {
        malformed(place.offset, "segment " + std::to_string(i),
                  "words of " + std::to_string(p.word_bits) + " bits", "a larger one");
      }
      continue;
    }
    jobs.push_back({payload, place.entry.zero_bytes, payload + place.entry.zero_bytes,
                    place.entry.plane_bytes, out});
    job_segments.push_back(i);
  }
  if (const JobStatus failed = decode_jobs(kernel, p, jobs); !failed.status.ok()) {
    const DecodeJob& job = jobs[failed.job];
    const std::uint8_t* stream = failed.status.in_plane_stream ? job.plane_stream : job.zero_stream;
    malformed(static_cast<std::uint64_t>(stream - container.data()) + failed.status.bit / 8,
              std::string(failed.status.in_plane_stream ? "plane" : "zero") +
                  " stream of segment " + std::to_string(job_segments[failed.job]),
              failed.status.expected, failed.status.found);
  }
}

}  // namespace

ContainerInfo inspect(std::span<const std::uint8_t> container) { return parse(container).info; }

void decompress(std::span<const std::uint8_t> container, void* words, std::uint64_t words_bytes,
                const Executor& executor) {
  const ParsedContainer parsed = parse(container);
  const int bytes_per_word = traits(parsed.info.tensor.dtype).bytes;
  const std::uint64_t expected = parsed.info.words * static_cast<std::uint64_t>(bytes_per_word);
  if (words_bytes != expected) {
    throw Error(ErrorCode::argument, "words_bytes must be " + std::to_string(expected) + ", got " +
                                         std::to_string(words_bytes));
  }
  const MutableWordSpan all{words, parsed.info.words, bytes_per_word};
  const std::uint64_t segments = parsed.info.segments;
  const std::uint64_t task_segments = segments_per_task(segments, executor);
  const std::uint64_t tasks = segments / task_segments + (segments % task_segments != 0);
  for_each_index(executor, tasks, [&](std::size_t /*worker*/, std::size_t task) {
    const std::uint64_t first = task * task_segments;
    decode_segments(container, parsed, first, std::min(first + task_segments, segments), all);
  });
}

}  // namespace ebpc
