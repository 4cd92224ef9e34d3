// How a container codes each segment in a way of its own: in the entropy coding, or in planes,
// where either stream is by itself in the one of four ways that makes it the smallest. FORMAT.md
// describes them.

#pragma once

#include <cstdint>
#include <span>

#include "ebpc/entropy/entropy_coding.h"
#include "ebpc/kernels/dispatch.h"
#include "ebpc/kernels/kernel.h"
#include "ebpc/parameters.h"
#include "ebpc/words.h"

namespace ebpc {

/// The values are part of the container's format.
enum class ZeroCoding : std::uint32_t {
  none = 0,      // there is no zero word, and no stream
  mask = 1,      // a bit for each word
  runs_16 = 2,   // the zero stream with a max_zero_run of 16
  runs_256 = 3,  // of 256
};
enum class PlaneCoding : std::uint32_t {
  words = 0,      // the non-zero words as they are
  blocks_15 = 1,  // the plane stream in blocks of 15, base re-used
  blocks_31 = 2,  // in blocks of 31
  blocks_63 = 3,  // in blocks of 63
};

/// Both in the four bits of the segment table. No zero stream and the words as they are: that is
/// raw, 0.
struct SegmentCoding {
  static constexpr std::uint32_t count = 16;

  ZeroCoding zero = ZeroCoding::none;
  PlaneCoding plane = PlaneCoding::words;

  static constexpr SegmentCoding of(std::uint32_t number) {
    return {static_cast<ZeroCoding>(number >> 2), static_cast<PlaneCoding>(number & 3)};
  }
  constexpr std::uint32_t number() const {
    return static_cast<std::uint32_t>(zero) << 2 | static_cast<std::uint32_t>(plane);
  }

  /// What its streams are coded with, of words as in `p`. A mask is a zero stream whose
  /// max_zero_run is 1; where there is no zero stream, one of ones stands in for it.
  Parameters parameters(const Parameters& p) const;
};

/// After those and the entropy codings: EBPC with the default parameters.
inline constexpr std::uint32_t coding_default = end_of_entropy_codings;
/// Of the codings that segments choose from: since version 3 of the container, and before.
inline constexpr std::uint32_t coding_count = coding_default + 1;

/// What the first stream of a coding is.
enum class FirstStream { none, mask, coded };
constexpr FirstStream first_stream_of(std::uint32_t coding) {
  if (coding == static_cast<std::uint32_t>(EntropyCoding::all_words)) return FirstStream::none;
  if (coding >= SegmentCoding::count) return FirstStream::coded;
  const ZeroCoding zero = SegmentCoding::of(coding).zero;
  return zero == ZeroCoding::none   ? FirstStream::none
         : zero == ZeroCoding::mask ? FirstStream::mask
                                    : FirstStream::coded;
}

/// Whether it says which words are zeros.
constexpr bool marks_zeros(std::uint32_t coding) {
  return is_entropy_coding(coding) ? leaves_out_zeros(static_cast<EntropyCoding>(coding))
                                   : first_stream_of(coding) != FirstStream::none;
}

struct CodedStreams {
  std::uint32_t coding = 0;
  StreamBits bits;
};

/// The coding in planes that takes the fewest bytes, and its bits, of those that a writer
/// considers; 0 and no bits if none takes less than `limit` bytes.
CodedStreams smallest_plane_coding(const Kernel& kernel, const Parameters& p, WordSpan words,
                                   std::uint64_t limit);

/// Codes a segment in the way that takes the fewest bytes, as FORMAT.md says; 0 and no bits if none
/// takes less than the words as they are. With `input.sign_bytes`, those count for the codings that
/// mark zeros. Each buffer holds the whole stream of any coding and `kernel_slack_bytes` more.
CodedStreams encode_smallest(const Kernel& kernel, const Parameters& p, const EntropyInput& input,
                             std::uint8_t* zero_stream, std::uint8_t* plane_stream);

/// The bytes of those buffers for segments of so many words.
struct StreamRoom {
  std::uint64_t zero = 0;
  std::uint64_t plane = 0;
};
StreamRoom segment_stream_room(const Parameters& p, std::uint64_t words);

/// Decodes jobs of one coding up to the first that is malformed, as decode_jobs.
JobStatus decode_segment_streams(const Kernel& kernel, const Parameters& p, std::uint32_t coding,
                                 std::span<const DecodeJob> jobs);

}  // namespace ebpc
