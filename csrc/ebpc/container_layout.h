// The container's layout as FORMAT.md describes it: where each field is, for its writer and its
// reader.

#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>
#include <cstring>

#include "ebpc/container.h"

namespace ebpc::layout {

// A byte that is no text, so that a file is not taken for one, and line ends that a transfer in
// text mode would change, as in PNG.
inline constexpr std::array<std::uint8_t, 8> magic{0x89, 'E', 'B', 'P', 'C', '\r', '\n', 0x1A};

inline constexpr std::uint64_t at_version = 8;
inline constexpr std::uint64_t at_dtype = 10;
inline constexpr std::uint64_t at_memory_format = 11;
inline constexpr std::uint64_t at_word_bits = 12;
inline constexpr std::uint64_t at_block_size = 13;
inline constexpr std::uint64_t at_max_zero_run = 14;
inline constexpr std::uint64_t at_base = 15;
inline constexpr std::uint64_t at_dims = 16;
inline constexpr std::uint64_t at_segment_words = 17;
inline constexpr std::uint64_t at_reserved = 18;
inline constexpr std::uint64_t at_header_bytes = 20;
inline constexpr std::uint64_t at_container_bytes = 24;
inline constexpr std::uint64_t at_zero_stream_bits = 32;
inline constexpr std::uint64_t at_plane_stream_bits = 40;
inline constexpr std::uint64_t at_zeros = 18;  // in version 3; the byte after it is 0
inline constexpr std::uint64_t at_zero = 48;   // in version 3
inline constexpr std::uint64_t checksum_bytes = 4;

/// Where the sizes begin, and the bytes of an entry of the segment table.
constexpr std::uint64_t shape_offset(int version) { return version < 3 ? 48 : 52; }
constexpr std::uint64_t entry_bytes(int version) { return version < 3 ? 8 : 12; }

inline constexpr int segment_length_bits =
    14;  // a coded stream is shorter than 4096 raw words of 4 bytes
inline constexpr std::uint32_t segment_length_mask = (1U << segment_length_bits) - 1;
inline constexpr std::uint32_t coding_raw = 0;
inline constexpr std::uint32_t coding_ebpc = 1;  // in version 1; SegmentCoding has those of 2

template <class T>
void store(std::uint8_t* at, T value) {
  for (std::size_t i = 0; i < sizeof(T); ++i) at[i] = static_cast<std::uint8_t>(value >> (8 * i));
}

template <class T>
T load(const std::uint8_t* at) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof(T); ++i) value |= std::uint64_t{at[i]} << (8 * i);
  return static_cast<T>(value);
}

/// Raw segments are little-endian on every machine.
inline void copy_little_endian(std::uint8_t* to, const std::uint8_t* from, std::uint64_t bytes,
                               int bytes_per_word) {
  if (bytes > 0) std::memcpy(to, from, bytes);  // where there are no words, there may be no memory
  if constexpr (std::endian::native == std::endian::big) {
    for (std::uint64_t i = 0; i < bytes; i += static_cast<std::uint64_t>(bytes_per_word)) {
      std::reverse(to + i, to + i + bytes_per_word);
    }
  }
}

/// Which words a segment's zero stream marks, where a container has Zeros::both_signs; else it is
/// always `first`. The values are part of the format.
enum class SegmentZeros : std::uint8_t {
  first = 0,     // the container's zero word, which is 0 there
  negative = 1,  // -0.0
  both = 2,      // both; signs follow the streams, a bit for each zero
};
inline constexpr int segment_zeros_count = 3;

struct SegmentEntry {
  std::uint32_t coding = coding_raw;
  std::uint32_t zero_bytes = 0;  // all 0 where raw
  std::uint32_t plane_bytes = 0;
  std::uint32_t checksum = 0;  // CRC-32C of the segment's payload bytes
  SegmentZeros zeros = SegmentZeros::first;
  std::uint32_t sign_bytes = 0;

  std::uint64_t stream_bytes() const {
    return std::uint64_t{zero_bytes} + plane_bytes + sign_bytes;
  }

  static SegmentEntry read(const std::uint8_t* at, int version) {
    if (version >= 3) {
      return {at[4],
              load<std::uint16_t>(at),
              load<std::uint16_t>(at + 2),
              load<std::uint32_t>(at + 8),
              static_cast<SegmentZeros>(at[5]),
              load<std::uint16_t>(at + 6)};
    }
    const auto word = load<std::uint32_t>(at);
    return {word >> (2 * segment_length_bits), word & segment_length_mask,
            word >> segment_length_bits & segment_length_mask, load<std::uint32_t>(at + 4)};
  }

  void write(std::uint8_t* at, int version) const {
    if (version >= 3) {
      store<std::uint16_t>(at, static_cast<std::uint16_t>(zero_bytes));
      store<std::uint16_t>(at + 2, static_cast<std::uint16_t>(plane_bytes));
      at[4] = static_cast<std::uint8_t>(coding);
      at[5] = static_cast<std::uint8_t>(zeros);
      store<std::uint16_t>(at + 6, static_cast<std::uint16_t>(sign_bytes));
      store<std::uint32_t>(at + 8, checksum);
      return;
    }
    store<std::uint32_t>(
        at, coding << (2 * segment_length_bits) | plane_bytes << segment_length_bits | zero_bytes);
    store<std::uint32_t>(at + 4, checksum);
  }
};

inline std::uint64_t segment_count(std::uint64_t words) {
  return words / segment_words + (words % segment_words != 0);
}

constexpr std::uint64_t header_bytes_for(int version, std::uint64_t dims, std::uint64_t segments) {
  return shape_offset(version) + 8 * dims + entry_bytes(version) * segments + checksum_bytes;
}

/// The bytes of a header without dimensions and segments in version 1, the least there is.
inline constexpr std::uint64_t fixed_header_bytes = header_bytes_for(1, 0, 0);

/// Where the segment table begins.
inline std::uint64_t table_offset(int version, const TensorInfo& tensor) {
  return shape_offset(version) + 8 * tensor.shape.size();
}

/// The word of -0.0 among words of `word_bits` bits.
constexpr std::int64_t negative_zero(const Parameters& p) { return min_word(p); }

inline std::uint64_t words_in_segment(std::uint64_t words, std::uint64_t segment) {
  return std::min(segment_words, words - segment * segment_words);
}

}  // namespace ebpc::layout
