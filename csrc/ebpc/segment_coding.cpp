#include "ebpc/segment_coding.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>

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

namespace {

Parameters default_parameters(const Parameters& p) {
  Parameters defaults;
  defaults.word_bits = p.word_bits;
  defaults.is_signed = p.is_signed;
  defaults.zero = p.zero;
  return defaults;
}

constexpr std::size_t sample_parts = 4;
constexpr std::size_t sample_part_words = 120;  // 8 blocks of 15, 15 blocks of 8

/// Whether a coding in planes takes less than `limit` bytes, by a sample of the words: counting all
/// of them takes long. Few words are no sample.
bool planes_may_take_less(const Kernel& kernel, const Parameters& p, WordSpan words,
                          std::uint64_t limit) {
  const std::size_t part = words.count / sample_parts;
  if (part < 2 * sample_part_words) return true;
  const auto word_bytes = static_cast<std::size_t>(words.bytes_per_word);
  const std::size_t part_bytes = sample_part_words * word_bytes;
  alignas(4) std::uint8_t bytes[sample_parts * sample_part_words * sizeof(std::uint32_t)];
  for (std::size_t i = 0; i < sample_parts; ++i) {
    std::memcpy(bytes + i * part_bytes, words.part(i * part, sample_part_words).data, part_bytes);
  }
  const WordSpan sample{bytes, sample_parts * sample_part_words, words.bytes_per_word};
  const std::uint64_t limit_bits = 8 * limit * sample.count;
  const SegmentCoding blocks{ZeroCoding::runs_256, PlaneCoding::blocks_15};
  const StreamBits bits = kernel.count(blocks.parameters(p), sample);
  const bool any_zero = count_nonzero(p, sample) < sample.count;
  const std::uint64_t mask_bits = any_zero ? sample.count : 0;
  const std::uint64_t blocks_bits = (std::min(bits.zero, mask_bits) + bits.plane) * words.count;
  if (blocks_bits < limit_bits) return true;
  // Blocks of 8 are hardly ever so much smaller.
  return 4 * blocks_bits < 5 * limit_bits &&
         kernel.count(default_parameters(p), sample).total() * words.count < limit_bits;
}

}  // namespace

CodedStreams smallest_plane_coding(const Kernel& kernel, const Parameters& p, WordSpan words,
                                   std::uint64_t limit) {
  CodedStreams smallest;
  std::uint64_t fewest = limit;
  const auto consider = [&](std::uint32_t coding, const StreamBits& bits) {
    const std::uint64_t bytes = bytes_for_bits(bits.zero) + bytes_for_bits(bits.plane);
    if (bytes >= fewest) return;
    fewest = bytes;
    smallest = {coding, bits};
  };
  const bool any_zero = count_nonzero(p, words) < words.count;
  for (const PlaneCoding plane : {PlaneCoding::blocks_15, PlaneCoding::blocks_63}) {
    SegmentCoding coding{ZeroCoding::runs_256, plane};
    StreamBits bits = kernel.count(coding.parameters(p), words);
    consider(coding.number(), bits);
    const auto zero = any_zero ? ZeroCoding::mask : ZeroCoding::none;
    consider(SegmentCoding{zero, plane}.number(), {any_zero ? words.count : 0, bits.plane});
  }
  consider(coding_default, kernel.count(default_parameters(p), words));
  return smallest;
}

CodedStreams encode_smallest(const Kernel& kernel, const Parameters& p, const EntropyInput& input,
                             std::uint8_t* zero_stream, std::uint8_t* plane_stream) {
  const WordSpan words = input.unsigned_words;
  CodedStreams smallest;
  std::uint64_t fewest = words.count * static_cast<std::uint64_t>(words.bytes_per_word);
  const EntropyStreams entropy = entropy_kernel(kernel).encode(p, input, zero_stream, plane_stream);
  const std::uint64_t entropy_bytes =
      entropy.bytes() + (leaves_out_zeros(entropy.coding) ? input.sign_bytes : 0);
  if (entropy.bytes() > 0 && entropy_bytes < fewest) {
    fewest = entropy_bytes;
    smallest = {static_cast<std::uint32_t>(entropy.coding),
                {8 * entropy.zero_bytes, 8 * entropy.plane_bytes}};
  }
  if (fewest <= input.sign_bytes) return smallest;
  const std::uint64_t limit = fewest - input.sign_bytes;
  if (!planes_may_take_less(kernel, p, words, limit)) return smallest;
  const CodedStreams planes = smallest_plane_coding(kernel, p, words, limit);
  if (planes.coding == 0) return smallest;
  if (planes.coding == coding_default) {
    kernel.encode(default_parameters(p), words, zero_stream, plane_stream);
    return planes;
  }
  const SegmentCoding coding = SegmentCoding::of(planes.coding);
  kernel.encode(coding.parameters(p), words, zero_stream, plane_stream);
  return planes;
}

StreamRoom segment_stream_room(const Parameters& p, std::uint64_t words) {
  const std::uint64_t least = entropy_room(words);
  StreamRoom room{8 * least, 8 * least};
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

JobStatus decode_segment_streams(const Kernel& kernel, const Parameters& p, std::uint32_t coding,
                                 std::span<const DecodeJob> jobs) {
  if (coding == coding_default) return decode_jobs(kernel, default_parameters(p), jobs);
  if (is_entropy_coding(coding)) {
    return entropy_kernel(kernel).decode(p, static_cast<EntropyCoding>(coding), jobs);
  }
  const SegmentCoding by_stream = SegmentCoding::of(coding);
  const Parameters q = by_stream.parameters(p);
  if (by_stream.plane != PlaneCoding::words) return decode_jobs(kernel, q, jobs);
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    const DecodeStatus status = decode_zero_rle(q, jobs[i]);
    if (!status.ok()) return {i, status};
  }
  return {jobs.size(), {}};
}

}  // namespace ebpc
