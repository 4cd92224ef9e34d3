// What a decoder says of a transmission's two streams, and how it becomes an Error.

#pragma once

#include <cstdint>

#include "ebpc/bit_stream.h"

namespace ebpc {

/// What is wrong with a stream, and where.
struct DecodeStatus {
  const char* expected = nullptr;  // null if all is well
  const char* found = nullptr;
  bool in_plane_stream = false;
  std::uint64_t bit = 0;  // of that stream

  bool ok() const { return expected == nullptr; }
};

/// Whether a reader has taken exactly its stream: all bytes, and zeros as padding in the last one.
DecodeStatus check_end(const BitReader& reader, std::uint64_t byte_count, bool in_plane_stream);

/// Whether the bits that were taken of a stream are those that it is said to have.
DecodeStatus check_bits(std::uint64_t taken, std::uint64_t stated, bool in_plane_stream);

/// Throws Error(format) that names the stream, its byte, what was expected and what was found,
/// unless all is well.
void require(const DecodeStatus& status);

/// Throws Error(format) unless a stream has the bytes that its bits take.
void require_stream_size(const char* name, std::uint64_t bytes, std::uint64_t bits);

}  // namespace ebpc
