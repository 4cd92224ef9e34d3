#include "ebpc/decode_status.h"

#include <string>

#include "ebpc/bit_stream.h"
#include "ebpc/error.h"

namespace ebpc {

void require(const DecodeStatus& status) {
  if (status.ok()) return;
  throw Error(ErrorCode::format,
              std::string(status.in_plane_stream ? "plane_stream" : "zero_stream") + " at byte " +
                  std::to_string(status.bit / 8) + " (bit " + std::to_string(status.bit) +
                  "): expected " + status.expected + ", found " + status.found);
}

void require_stream_size(const char* name, std::uint64_t bytes, std::uint64_t bits) {
  if (bytes == bytes_for_bits(bits)) return;
  throw Error(ErrorCode::format, std::string(name) + " must have " +
                                     std::to_string(bytes_for_bits(bits)) + " bytes for " +
                                     std::to_string(bits) + " bits, got " + std::to_string(bytes));
}

}  // namespace ebpc
