#include "ebpc/segment_coding.h"

#include <algorithm>
#include <array>
#include <cstddef>

#include "ebpc/baselines/baseline.h"
#include "ebpc/bit_stream.h"

namespace ebpc {
namespace {

// Codes of blocks with a re-used base have up to one bit more than their block has words: 16, 32
// and 64 bits where a block has 15, 31 and 63 words. They fill lanes of that width, which makes
// them a third faster than those of 16, 32 and 64 words, for sizes that differ by 0.4 % at most.
constexpr std::array block_sizes{15, 15, 31, 63};  // words as they are have no blocks
constexpr std::array max_zero_runs{1, 1, 16, 256};

}  // namespace

Parameters SegmentCoding::parameters(const Parameters& p) const {
  return {p.word_bits,
          p.is_signed,
          block_sizes[static_cast<std::size_t>(plane)],
          max_zero_runs[static_cast<std::size_t>(zero)],
          Base::reused,
          p.zero};
}

CodedStreams smallest_coding(const Kernel& kernel, const Parameters& p, WordSpan words) {
  std::array<std::uint64_t, 4> zero_bits;
  std::array<std::uint64_t, 4> plane_bits;
  const std::uint64_t nonzero = count_nonzero(p, words);
  plane_bits[0] = nonzero * static_cast<std::uint64_t>(p.word_bits);
  zero_bits[0] = 0;
  // The streams do not depend on each other: three counts tell all of either.
  for (std::uint32_t i = 1; i < 4; ++i) {
    const SegmentCoding both{static_cast<ZeroCoding>(i), static_cast<PlaneCoding>(i)};
    const StreamBits bits = kernel.count(both.parameters(p), words);
    zero_bits[i] = bits.zero;
    plane_bits[i] = bits.plane;
  }
  CodedStreams smallest;
  std::uint64_t fewest = words.count * static_cast<std::uint64_t>(words.bytes_per_word);
  const std::uint32_t first = nonzero == words.count ? 1 : 4;  // below 4 is no zero stream
  for (std::uint32_t coding = first; coding < SegmentCoding::count; ++coding) {
    const StreamBits bits{zero_bits[coding >> 2], plane_bits[coding & 3]};
    const std::uint64_t bytes = bytes_for_bits(bits.zero) + bytes_for_bits(bits.plane);
    if (bytes >= fewest) continue;
    fewest = bytes;
    smallest = {coding, bits};
  }
  return smallest;
}

void encode_segment_streams(const Kernel& kernel, const Parameters& p, SegmentCoding coding,
                            WordSpan words, std::uint8_t* zero_stream, std::uint8_t* plane_stream) {
  const Parameters q = coding.parameters(p);
  const auto encode = coding.plane == PlaneCoding::words ? zero_rle_baseline.encode : kernel.encode;
  encode(q, words, zero_stream, plane_stream);
}

StreamRoom segment_stream_room(const Parameters& p, std::uint64_t words) {
  StreamRoom room;
  for (std::uint32_t i = 1; i < 4; ++i) {
    const SegmentCoding both{static_cast<ZeroCoding>(i), static_cast<PlaneCoding>(i)};
    const Parameters q = both.parameters(p);
    room.zero = std::max(room.zero, max_zero_stream_bits(q, words));
    room.plane = std::max(room.plane, max_plane_stream_bits(q, words));
  }
  room.zero = bytes_for_bits(room.zero) + kernel_slack_bytes;
  room.plane = bytes_for_bits(room.plane) + kernel_slack_bytes;
  return room;
}

JobStatus decode_segment_streams(const Kernel& kernel, const Parameters& p, SegmentCoding coding,
                                 std::span<const DecodeJob> jobs) {
  const Parameters q = coding.parameters(p);
  if (coding.plane != PlaneCoding::words) return decode_jobs(kernel, q, jobs);
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const DecodeStatus status = decode_zero_rle(q, jobs[i]);
    if (!status.ok()) return {i, status};
  }
  return {jobs.size(), {}};
}

}  // namespace ebpc
