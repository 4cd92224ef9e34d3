// The container: a tensor's compressed bytes with all that is needed to read them again. FORMAT.md
// describes it byte for byte.

#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "ebpc/executor.h"
#include "ebpc/parameters.h"
#include "ebpc/tensor_info.h"

namespace ebpc {

/// How the segments of a container are coded.
enum class Codec : std::uint8_t {
  ebpc,       // all with the same parameters: format version 1
  automatic,  // each in the way that makes it the smallest: format version 2
};

/// The versions that are read, from 1 to this one.
inline constexpr int newest_version = 2;

/// The version that is written.
constexpr int version_of(Codec codec) { return codec == Codec::automatic ? 2 : 1; }

/// Words of one segment (the last one of a tensor may have fewer). Segments are coded
/// independently, which makes threads, random access and decoding many at once possible, for about
/// 0.1 % of the size.
inline constexpr std::uint64_t segment_words = 4096;

/// Segments that are coded in the same way.
struct CodingCount {
  std::uint64_t segments = 0;
  std::uint64_t words = 0;

  friend bool operator==(const CodingCount&, const CodingCount&) = default;
};

struct ContainerInfo {
  int version = 1;
  TensorInfo tensor;
  /// In version 2 segments choose for themselves: block_size and max_zero_run are 0 there.
  Parameters parameters;
  std::uint64_t words = 0;
  std::uint64_t segments = 0;
  std::uint64_t raw_segments = 0;  // stored as they are, because coding would not make them smaller
  std::uint64_t raw_words = 0;     // words in those
  std::array<CodingCount, 16> codings{};  // by the numbers that codings have in FORMAT.md; 0 is raw
  std::uint64_t zero_stream_bits = 0;     // of all coded segments, before padding
  std::uint64_t plane_stream_bits = 0;    // of all coded segments, before padding
  std::uint64_t header_bytes = 0;
  std::uint64_t container_bytes = 0;
};

/// The most bytes that compress() writes for such a tensor: its own bytes, and less than 1 % and
/// 256 bytes. Throws Error(argument) as word_count.
std::uint64_t max_compressed_bytes(const TensorInfo& tensor);

/// Writes the container of a tensor whose words lie at `words` in row-major order, in the machine's
/// byte order. Returns its bytes. `out` holds at least max_compressed_bytes(tensor); what is behind
/// the container's end is undefined afterwards. The container depends on neither threads nor CPU.
///
/// Throws Error(argument) if the parameters do not go with the dtype or the codec (which chooses
/// block_size, max_zero_run and base if it is Codec::automatic: they are left at their defaults),
/// a value does not fit into word_bits or `out` is too small.
std::uint64_t compress(const TensorInfo& tensor, const Parameters& parameters, const void* words,
                       std::span<std::uint8_t> out, const Executor& executor = {},
                       Codec codec = Codec::ebpc);

/// What the header says, after checking it and its checksum; the payload is not read.
///
/// Throws Error(format) or Error(checksum) if it is not the header of a container of exactly this
/// size.
ContainerInfo inspect(std::span<const std::uint8_t> container);

/// As inspect, where any part of the payload may be missing.
ContainerInfo inspect_header(std::span<const std::uint8_t> container);

/// The bytes that a reader should make room for at most, if its caller does not say: 1 GiB, or 64
/// times the container's own bytes if that is more. What a hostile container of B bytes can claim
/// is bounded anyway, by the checks of inspect: a tensor of less than 2048 B bytes.
std::uint64_t default_max_bytes(std::uint64_t container_bytes);

/// Throws Error(limit) if `bytes`, those of a container's tensor, are more. For callers of
/// decompress, to be called before they make room.
void check_max_bytes(std::uint64_t bytes, std::uint64_t max_bytes);

/// Writes the tensor's words in row-major order to `words`, which has room for `words_bytes` bytes.
///
/// Throws Error(format) or Error(checksum) if the container is damaged, of another format version
/// or not a container, and Error(argument) if words_bytes is not the tensor's size. Untrusted bytes
/// are safe: nothing outside of `container` is read and nothing outside of `words` written.
void decompress(std::span<const std::uint8_t> container, void* words, std::uint64_t words_bytes,
                const Executor& executor = {});

/// As decompress, to the memory that `room_for` gives for the tensor. It may throw, to refuse it.
void decompress(std::span<const std::uint8_t> container,
                const std::function<std::span<std::uint8_t>(const TensorInfo&)>& room_for,
                const Executor& executor = {});

struct WordRange {
  std::uint64_t first = 0;
  std::uint64_t count = 0;

  friend bool operator==(const WordRange&, const WordRange&) = default;
};

/// As decompress, for a range of the words alone. Only the segments that have some of them are read
/// (and only those are checked, besides the header); segment i has segment_words words from word
/// i * segment_words on.
///
/// Throws Error(argument) if the range is not inside of the tensor.
void decompress_range(std::span<const std::uint8_t> container, WordRange range, void* words,
                      std::uint64_t words_bytes, const Executor& executor = {});

/// As decompress, for a container whose payload is damaged or cut short: words of intact segments
/// come back, those of the others are 0. Returns the ranges of words that are lost, in order; none
/// if the container is intact.
///
/// Throws as decompress if the header is damaged: without it nothing can be read.
std::vector<WordRange> recover(std::span<const std::uint8_t> container, void* words,
                               std::uint64_t words_bytes, const Executor& executor = {});

}  // namespace ebpc
