// Segments of a container without the container around them: what compress and decompress share
// with the encoder and decoder that see only a part of the tensor at a time.

#pragma once

#include <cstdint>
#include <span>

#include "ebpc/container.h"
#include "ebpc/container_parse.h"
#include "ebpc/kernels/kernel.h"

namespace ebpc {

struct CodedTotals {
  std::uint64_t payload_bytes = 0;
  StreamBits bits;  // of the coded segments, not of the raw ones
};

/// Codes words as segments, of which only the last may be shorter: their entries to `table`, and
/// their bytes to `payload`, which has room for the words as they are. The words fit.
CodedTotals encode_segments(const ContainerCode& code, int version, WordSpan words,
                            std::uint8_t* table, std::uint8_t* payload, const Executor& executor);

/// Throws Error(argument) if the code does not go with the dtype, or its parameters with its codec.
void check_code(DType dtype, const ContainerCode& code);

/// Throws Error(argument) if a word does not fit; `first_index` is that of the first word.
void check_fit(const Parameters& p, WordSpan words, std::uint64_t first_index);

/// The bytes of the header. Throws Error(argument) as word_count and if they do not fit into its
/// field.
std::uint64_t checked_header_bytes(const TensorInfo& tensor, int version);

/// Completes a header, in which the segment table stands already. Returns the container's bytes.
std::uint64_t write_header(std::uint8_t* out, const TensorInfo& tensor, const ContainerCode& code,
                           const CodedTotals& coded);

/// Segments in a row, and the bytes at hand in which their payloads lie.
struct SegmentRow {
  const ContainerInfo& info;
  std::uint64_t first_segment;  // the number of the first one
  std::span<const layout::SegmentPlace> places;
  std::span<const std::uint8_t> bytes;
  std::uint64_t bytes_offset;  // of the first of those, from the container's start
};

/// Decodes a row of segments. `words` has exactly theirs; only the last segment may be shorter.
///
/// Throws Error(checksum) or Error(format) for the first one that is damaged. If `lost` is not
/// null, it has an element for each segment instead: 1 where the segment is damaged or not all of
/// it is at hand, and then its words are 0; and 0 elsewhere.
void decode_segments(const SegmentRow& row, MutableWordSpan words, const Executor& executor,
                     std::uint8_t* lost = nullptr);

}  // namespace ebpc
