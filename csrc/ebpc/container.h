// The container: a tensor's compressed bytes with all that is needed to read them again. FORMAT.md
// describes it byte for byte.

#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "ebpc/executor.h"
#include "ebpc/parameters.h"
#include "ebpc/tensor_info.h"
#include "ebpc/words.h"

namespace ebpc {

/// How the segments of a container are coded.
enum class Codec : std::uint8_t {
  ebpc,       // all with the same parameters: format version 1
  automatic,  // each in the way that makes it the smallest; since format version 2
};

/// Which words the zero streams of a container mark.
enum class Zeros : std::uint8_t {
  one_word,    // Parameters::zero
  both_signs,  // of floating-point words, 0 and -0.0; a segment that has both keeps their signs
};

/// How a tensor is coded.
struct ContainerCode {
  Codec codec = Codec::ebpc;
  Parameters parameters;
  Zeros zeros = Zeros::one_word;

  friend bool operator==(const ContainerCode&, const ContainerCode&) = default;
};

/// The versions that are read, from 1 to this one.
inline constexpr int newest_version = 3;

/// The version that is written: the lowest that has what is needed.
int version_of(DType dtype, const ContainerCode& code);

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
  /// Where segments choose for themselves (Codec::automatic), block_size and max_zero_run are 0.
  ContainerCode code;
  std::uint64_t words = 0;
  std::uint64_t segments = 0;
  std::uint64_t raw_segments = 0;  // stored as they are, because coding would not make them smaller
  std::uint64_t raw_words = 0;     // words in those
  std::array<CodingCount, 22> codings{};  // by the numbers that codings have in FORMAT.md; 0 is raw
  std::uint64_t zero_stream_bits = 0;     // of all coded segments, before padding, with signs
  std::uint64_t plane_stream_bits = 0;    // of all coded segments, before padding
  std::uint64_t header_bytes = 0;
  std::uint64_t container_bytes = 0;
};

/// The most bytes that compress() writes for such a tensor: its own bytes, and less than 1 % and
/// 260 bytes. Throws Error(argument) as word_count.
std::uint64_t max_compressed_bytes(const TensorInfo& tensor);

/// The same code with the zero that suits the words, as far as a sample of them tells: of
/// floating-point words both zeros, if some are negative; of integers the most frequent word, if
/// that is clearly more frequent than 0. The sample depends on the words alone.
ContainerCode with_suitable_zero(DType dtype, ContainerCode code, WordSpan words);

/// Writes the container of a tensor whose words lie at `words` in row-major order, in the machine's
/// byte order. Returns its bytes. `out` holds at least max_compressed_bytes(tensor); what follows
/// the container's end is undefined afterwards. The container depends on neither threads nor CPU.
///
/// Throws Error(argument) if the code does not go with the dtype, its parameters not with its codec
/// (which chooses block_size, max_zero_run and base if it is Codec::automatic: they are left at
/// their defaults), a value does not fit into word_bits or `out` is too small.
std::uint64_t compress(const TensorInfo& tensor, const ContainerCode& code, const void* words,
                       std::span<std::uint8_t> out, const Executor& executor = {});

/// What the header says, after checking it and its checksum; the payload is not read. To read it
/// too: ContainerReader.
///
/// Throws Error(format) or Error(checksum) if it is not the header of a container of exactly this
/// size.
ContainerInfo inspect(std::span<const std::uint8_t> container);

/// The bytes that a reader should make room for at most, if its caller does not say: 1 GiB, or 64
/// times the container's own bytes if that is more. What a hostile container of B bytes can claim
/// is bounded anyway, by the checks of inspect: a tensor of less than 2048 B bytes.
std::uint64_t default_max_bytes(std::uint64_t container_bytes);

/// Throws Error(limit) if `bytes`, those of a container's tensor, are more: to be called before
/// room is made for them.
void check_max_bytes(std::uint64_t bytes, std::uint64_t max_bytes);

}  // namespace ebpc
