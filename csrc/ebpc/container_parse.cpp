#include "ebpc/container_parse.h"

#include <algorithm>
#include <limits>

#include "ebpc/bit_stream.h"
#include "ebpc/error.h"
#include "ebpc/kernels/dispatch.h"

namespace ebpc::layout {
namespace {

void check_field(std::uint64_t byte, const char* field, std::uint64_t expected,
                 std::uint64_t found) {
  if (found != expected) malformed(byte, field, std::to_string(expected), std::to_string(found));
}

void check_below(std::uint64_t byte, const char* field, int limit, std::uint8_t found) {
  if (found >= limit) {
    malformed(byte, field, "less than " + std::to_string(limit), std::to_string(found));
  }
}

void check_range(std::uint64_t byte, const char* field, std::uint64_t low, std::uint64_t high,
                 std::uint64_t found) {
  if (found < low || found > high) {
    malformed(byte, field, "from " + std::to_string(low) + " to " + std::to_string(high),
              std::to_string(found));
  }
}

/// What has to hold before the header's other bytes are looked at.
void check_sizes_and_checksum(std::span<const std::uint8_t> container, Extent extent) {
  const std::uint64_t header_bytes = read_header_bytes(container);
  const auto container_bytes = load<std::uint64_t>(&container[at_container_bytes]);
  if (extent == Extent::whole && container_bytes != container.size()) {
    malformed(at_container_bytes, "container bytes",
              std::to_string(container.size()) + ", the bytes given",
              std::to_string(container_bytes));
  }
  check_range(at_header_bytes, "header bytes", fixed_header_bytes,
              std::min<std::uint64_t>(container.size(), container_bytes), header_bytes);
  const std::uint64_t at_checksum = header_bytes - checksum_bytes;
  check_checksum(at_checksum, "header", load<std::uint32_t>(&container[at_checksum]),
                 active_kernel().crc32c(0, container.data(), at_checksum));
}

/// Whether a coded segment's streams can be those of its words. One byte at least is asked for,
/// which bounds what a small payload can stand for.
void check_streams(std::uint64_t at, const ContainerCode& code, const SegmentEntry& entry,
                   std::uint64_t segment, std::uint64_t words, std::uint64_t raw_bytes) {
  // No text is made for a segment in which all is well: there are many.
  const auto fail = [&](const std::string& expected, std::uint64_t found) {
    malformed(at, "stream bytes of segment " + std::to_string(segment), expected,
              std::to_string(found));
  };
  const bool chosen = code.codec == Codec::automatic;
  if (chosen) {
    if (entry.coding >= coding_count) {
      malformed(at, "coding of segment " + std::to_string(segment),
                "less than " + std::to_string(coding_count) + ", which this library reads",
                std::to_string(entry.coding));
    }
  } else if (entry.coding != coding_ebpc) {
    malformed(at, "coding of segment " + std::to_string(segment), "0 (raw) or 1 (EBPC)",
              std::to_string(entry.coding));
  }
  const bool has_signs = entry.zeros == SegmentZeros::both;
  const bool marks = !chosen || marks_zeros(entry.coding);
  const int zeros_known = code.zeros == Zeros::both_signs && marks ? segment_zeros_count : 1;
  if (static_cast<int>(entry.zeros) >= zeros_known) {
    malformed(at, "zeros of segment " + std::to_string(segment),
              "less than " + std::to_string(zeros_known),
              std::to_string(static_cast<int>(entry.zeros)));
  }
  if (has_signs ? entry.sign_bytes == 0 || entry.sign_bytes > bytes_for_bits(words)
                : entry.sign_bytes != 0) {
    malformed(at, "bytes of signs of segment " + std::to_string(segment),
              has_signs ? "from 1 to " + std::to_string(bytes_for_bits(words)) : "0",
              std::to_string(entry.sign_bytes));
  }
  const FirstStream first = chosen ? first_stream_of(entry.coding) : FirstStream::coded;
  if (first == FirstStream::coded) {
    if (entry.zero_bytes == 0) fail("a zero stream", 0);
  } else if (first == FirstStream::mask) {
    const std::uint64_t mask_bytes = bytes_for_bits(words);
    if (entry.zero_bytes != mask_bytes) {
      fail(std::to_string(mask_bytes) + " in the mask", entry.zero_bytes);
    }
  } else {
    if (entry.zero_bytes != 0) fail("no zero stream", entry.zero_bytes);
    if (entry.plane_bytes == 0) fail("a plane stream", 0);
  }
  if (entry.stream_bytes() >= raw_bytes) {
    fail("less than " + std::to_string(raw_bytes), entry.stream_bytes());
  }
}

std::vector<std::int64_t> read_shape(std::span<const std::uint8_t> header, std::uint64_t at_shape) {
  std::vector<std::int64_t> shape;
  for (std::uint64_t i = 0; i < header[at_dims]; ++i) {
    const auto size = load<std::uint64_t>(&header[at_shape + 8 * i]);
    if (size > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max())) {
      malformed(at_shape + 8 * i, "shape", "less than 2^63", std::to_string(size));
    }
    shape.push_back(static_cast<std::int64_t>(size));
  }
  return shape;
}

/// The zero word and whether its sign counts.
void read_zeros(std::span<const std::uint8_t> header, ContainerInfo& info) {
  Parameters& p = info.code.parameters;
  const auto bits = load<std::uint32_t>(&header[at_zero]);
  p.zero = extended_word(bits, p.word_bits, p.is_signed);
  if (static_cast<std::uint32_t>(p.zero) != bits) {
    malformed(at_zero, "zero", "a word of " + std::to_string(p.word_bits) + " bits",
              std::to_string(bits));
  }
  check_below(at_zeros, "zeros", traits(info.tensor.dtype).has_negative_zero ? 2 : 1,
              header[at_zeros]);
  info.code.zeros = static_cast<Zeros>(header[at_zeros]);
  if (info.code.zeros == Zeros::both_signs) check_field(at_zero, "zero", 0, bits);
}

}  // namespace

std::uint64_t dims_of(MemoryFormat format, std::uint64_t contiguous_dims) {
  switch (format) {
    case MemoryFormat::channels_last:
      return 4;
    case MemoryFormat::channels_last_3d:
      return 5;
    default:
      return contiguous_dims;
  }
}

void malformed(std::uint64_t byte, const std::string& field, const std::string& expected,
               const std::string& found) {
  throw Error(ErrorCode::format, "container at byte " + std::to_string(byte) + " (" + field +
                                     "): expected " + expected + ", found " + found);
}

void check_checksum(std::uint64_t byte, const std::string& what, std::uint32_t stored,
                    std::uint32_t computed) {
  if (stored != computed) {
    throw Error(ErrorCode::checksum, "container at byte " + std::to_string(byte) + " (" + what +
                                         "): checksum expected " + std::to_string(stored) +
                                         ", found " + std::to_string(computed));
  }
}

std::uint64_t read_header_bytes(std::span<const std::uint8_t> start) {
  const std::uint64_t size = start.size();
  if (size < magic.size() || !std::equal(magic.begin(), magic.end(), start.begin())) {
    malformed(0, "magic", "the eight bytes that begin every container",
              size < magic.size() ? "the end after " + std::to_string(size) + " bytes"
                                  : std::string("other bytes"));
  }
  if (size < fixed_header_bytes) {
    malformed(size, "header", "at least " + std::to_string(fixed_header_bytes) + " bytes",
              "the end");
  }
  const auto version = load<std::uint16_t>(&start[at_version]);
  if (version < 1 || version > newest_version) {
    malformed(at_version, "format version",
              "from 1 to " + std::to_string(newest_version) + ", which this library reads",
              std::to_string(version));
  }
  return load<std::uint32_t>(&start[at_header_bytes]);
}

namespace {

/// The fields without the segment table. Reads nothing outside of the header, whatever is in it.
ContainerInfo read_fields(std::span<const std::uint8_t> header) {
  ContainerInfo info;
  info.header_bytes = read_header_bytes(header);
  info.version = load<std::uint16_t>(&header[at_version]);
  info.container_bytes = load<std::uint64_t>(&header[at_container_bytes]);
  check_range(at_header_bytes, "header bytes", fixed_header_bytes, header.size(),
              info.header_bytes);
  const std::uint64_t at_shape = shape_offset(info.version);
  check_below(at_dtype, "dtype", info.version < 3 ? dtypes_before_version_3 : dtype_count,
              header[at_dtype]);
  check_below(at_memory_format, "memory format", memory_format_count, header[at_memory_format]);
  info.tensor.dtype = static_cast<DType>(header[at_dtype]);
  info.tensor.memory_format = static_cast<MemoryFormat>(header[at_memory_format]);
  const DTypeTraits& dtype = traits(info.tensor.dtype);
  const auto width = static_cast<std::uint64_t>(8 * dtype.bytes);
  check_range(at_word_bits, "word bits", dtype.all_bits ? width : min_word_bits, width,
              header[at_word_bits]);
  Parameters& p = info.code.parameters;
  // From version 3 on, a block size of 0 says that segments choose.
  if (info.version == 2 || (info.version >= 3 && header[at_block_size] == 0)) {
    info.code.codec = Codec::automatic;
    check_field(at_block_size, "block size", 0, header[at_block_size]);
    check_field(at_max_zero_run, "log2 of max_zero_run", 0, header[at_max_zero_run]);
    check_field(at_base, "base", 0, header[at_base]);
    p.block_size = 0;
    p.max_zero_run = 0;
  } else {
    check_range(at_block_size, "block size", min_block_size, max_block_size, header[at_block_size]);
    check_range(at_max_zero_run, "log2 of max_zero_run",
                std::countr_zero(unsigned{min_max_zero_run}),
                std::countr_zero(unsigned{max_max_zero_run}), header[at_max_zero_run]);
    check_below(at_base, "base", 2, header[at_base]);
    p.block_size = header[at_block_size];
    p.max_zero_run = 1 << header[at_max_zero_run];
    p.base = static_cast<Base>(header[at_base]);
  }
  check_below(at_dims, "dimensions", max_dims + 1, header[at_dims]);
  check_field(at_segment_words, "log2 of segment words", std::countr_zero(segment_words),
              header[at_segment_words]);
  if (info.version < 3) {
    check_field(at_reserved, "reserved", 0, load<std::uint16_t>(&header[at_reserved]));
  } else {
    check_field(at_zeros + 1, "reserved", 0, header[at_zeros + 1]);
  }
  p.word_bits = header[at_word_bits];
  p.is_signed = dtype.is_signed;
  info.zero_stream_bits = load<std::uint64_t>(&header[at_zero_stream_bits]);
  info.plane_stream_bits = load<std::uint64_t>(&header[at_plane_stream_bits]);

  const std::uint64_t dims = header[at_dims];
  const std::uint64_t least_header_bytes = header_bytes_for(info.version, dims, 0);
  if (info.header_bytes < least_header_bytes) {
    malformed(at_header_bytes, "header bytes", "at least " + std::to_string(least_header_bytes),
              std::to_string(info.header_bytes));
  }
  if (info.version >= 3) read_zeros(header, info);
  info.tensor.shape = read_shape(header, at_shape);
  check_field(at_dims, "dimensions of this memory format", dims_of(info.tensor.memory_format, dims),
              dims);
  try {
    info.words = word_count(info.tensor);
  } catch (const Error&) {  // all that is left to be wrong with the shape
    malformed(at_shape, "shape", "less than 2^63 bytes", "more");
  }
  info.segments = segment_count(info.words);
  if (info.segments > (info.header_bytes - least_header_bytes) / entry_bytes(info.version)) {
    malformed(at_header_bytes, "header bytes",
              "room for " + std::to_string(info.segments) + " segments",
              std::to_string(info.header_bytes));
  }
  check_field(at_header_bytes, "header bytes", header_bytes_for(info.version, dims, info.segments),
              info.header_bytes);
  return info;
}

/// Sums over segments, for checking a header and describing a container.
struct TableTotals {
  std::array<CodingCount, coding_count> codings{};
  std::uint64_t coded_bytes = 0;  // of those that are not raw
};

/// The places of all segments. `header` has its fields checked.
std::vector<SegmentPlace> read_table(std::span<const std::uint8_t> header,
                                     const ContainerInfo& info, TableTotals& totals) {
  const auto bytes_per_word = static_cast<std::uint64_t>(traits(info.tensor.dtype).bytes);
  std::vector<SegmentPlace> places;
  places.reserve(info.segments);
  std::uint64_t offset = info.header_bytes;
  for (std::uint64_t i = 0; i < info.segments; ++i) {
    const std::uint64_t at =
        table_offset(info.version, info.tensor) + entry_bytes(info.version) * i;
    const SegmentEntry entry = SegmentEntry::read(&header[at], info.version);
    const std::uint64_t words = words_in_segment(info.words, i);
    std::uint64_t bytes = words * bytes_per_word;
    if (entry.coding == coding_raw) {
      check_field(at, "stream bytes of a raw segment", 0, entry.stream_bytes());
      check_field(at, "zeros of a raw segment", 0, static_cast<std::uint64_t>(entry.zeros));
    } else {
      check_streams(at, info.code, entry, i, words, bytes);
      bytes = entry.stream_bytes();
      totals.coded_bytes += bytes;
    }
    ++totals.codings[entry.coding].segments;
    totals.codings[entry.coding].words += words;
    const std::uint64_t room = info.container_bytes - std::min(offset, info.container_bytes);
    if (bytes > room) {
      malformed(at, "stream bytes of segment " + std::to_string(i),
                "at most " + std::to_string(room), std::to_string(bytes));
    }
    places.push_back({entry, offset, bytes});
    offset += bytes;
  }
  return places;
}

}  // namespace

ParsedContainer parse(std::span<const std::uint8_t> container, Extent extent) {
  check_sizes_and_checksum(container, extent);
  ParsedContainer parsed{read_fields(container), {}};
  ContainerInfo& info = parsed.info;
  TableTotals totals;
  parsed.segments = read_table(container, info, totals);
  info.codings = totals.codings;
  info.raw_segments = info.codings[coding_raw].segments;
  info.raw_words = info.codings[coding_raw].words;
  check_field(at_container_bytes, "container bytes",
              parsed.segments.empty()
                  ? info.header_bytes
                  : parsed.segments.back().offset + parsed.segments.back().bytes,
              info.container_bytes);
  // Of the two streams and the signs of a segment.
  const std::uint64_t max_padding_bits = info.version < 3 ? 14 : 21;
  const std::uint64_t coded_bits = 8 * totals.coded_bytes;
  const std::uint64_t bits = info.zero_stream_bits + info.plane_stream_bits;
  // Each addend by itself as well, since the sum of hostile ones may wrap.
  if (info.zero_stream_bits > coded_bits || info.plane_stream_bits > coded_bits ||
      bits > coded_bits ||
      coded_bits - bits > max_padding_bits * (info.segments - info.raw_segments)) {
    malformed(at_zero_stream_bits, "stream bits",
              "the bits of " + std::to_string(totals.coded_bytes) + " stream bytes",
              std::to_string(bits));
  }
  return parsed;
}

}  // namespace ebpc::layout
