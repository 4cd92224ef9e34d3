// From a container's header to places in its payload: every field is checked before it is used.

#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "ebpc/container.h"
#include "ebpc/container_layout.h"
#include "ebpc/segment_coding.h"

namespace ebpc::layout {

/// Where a segment's payload is; checked to lie inside of the container.
struct SegmentPlace {
  SegmentEntry entry;
  std::uint64_t offset;  // from the container's start
  std::uint64_t bytes;
};

struct ParsedContainer {
  ContainerInfo info;
  std::vector<SegmentPlace> segments;
};

/// What of a container is at hand: all of it, or its header and any part of the payload.
enum class Extent { whole, header };

/// Checks the header and its checksum. No memory is asked for before the checksum and the shape are
/// known to be right, and then no more than four times the bytes given.
ParsedContainer parse(std::span<const std::uint8_t> container, Extent extent);

/// The header's bytes, by its first fixed_header_bytes: only magic, version and that field are
/// checked.
std::uint64_t read_header_bytes(std::span<const std::uint8_t> start);

/// The dimensions that a tensor of this memory format has; those given if it may have any.
std::uint64_t dims_of(MemoryFormat format, std::uint64_t dims);

[[noreturn]] void malformed(std::uint64_t byte, const std::string& field,
                            const std::string& expected, const std::string& found);

void check_checksum(std::uint64_t byte, const std::string& what, std::uint32_t stored,
                    std::uint32_t computed);

}  // namespace ebpc::layout
