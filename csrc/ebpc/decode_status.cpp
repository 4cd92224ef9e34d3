#include "ebpc/decode_status.h"

#include <string>

#include "ebpc/error.h"

namespace ebpc {

DecodeStatus check_end(const BitReader& reader, std::uint64_t byte_count, bool in_plane_stream) {
  const std::uint64_t bit = reader.position();
  if (reader.overrun()) {
    return {"more bits", "the end of the stream", in_plane_stream, bit};
  }
  const std::uint64_t rest = 8 * byte_count - bit;
  if (rest >= 8) return {"the end of the stream", "more bytes", in_plane_stream, bit};
  if (rest > 0 && reader.window() != 0) {
    return {"zero bits as padding", "a one bit", in_plane_stream, bit};
  }
  return {};
}

DecodeStatus check_bits(std::uint64_t taken, std::uint64_t stated, bool in_plane_stream) {
  if (taken > stated) return {"more bits", "the end of the stream", in_plane_stream, stated};
  if (taken < stated) return {"the end of the stream", "more bits", in_plane_stream, taken};
  return {};
}

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
