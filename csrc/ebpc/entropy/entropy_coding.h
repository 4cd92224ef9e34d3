// The entropy coding of a segment: the upper bits of its words in a Huffman code, and the others as
// they are. FORMAT.md describes it.

#pragma once

#include <cstdint>
#include <span>

#include "ebpc/decode_status.h"
#include "ebpc/kernels/dispatch.h"
#include "ebpc/kernels/kernel.h"
#include "ebpc/parameters.h"
#include "ebpc/words.h"

namespace ebpc {

/// The numbers that follow those of SegmentCoding: which words of a segment are left out, and how
/// it is said which. The values are part of the container's format.
enum class EntropyCoding : std::uint32_t {
  all_words = 16,     // none
  zeros_mask = 17,    // the zeros, by a mask
  zeros_runs = 18,    // by runs of up to 256
  repeats_mask = 19,  // words that are equal to the one before
  repeats_runs = 20,
};
inline constexpr std::uint32_t first_entropy_coding = 16;
inline constexpr std::uint32_t end_of_entropy_codings = 21;

constexpr bool is_entropy_coding(std::uint32_t number) {
  return number >= first_entropy_coding && number < end_of_entropy_codings;
}
constexpr bool leaves_out_zeros(EntropyCoding coding) {
  return coding == EntropyCoding::zeros_mask || coding == EntropyCoding::zeros_runs;
}

struct EntropyInput {
  WordSpan words;
  /// The same words with 0 in place of every -0.0, if the bits of their signs are kept beside the
  /// streams wherever zeros are left out; else `words`.
  WordSpan unsigned_words;
  std::uint64_t sign_bytes = 0;
};

struct EntropyStreams {
  EntropyCoding coding = EntropyCoding::all_words;
  std::uint64_t zero_bytes = 0;
  std::uint64_t plane_bytes = 0;

  std::uint64_t bytes() const { return zero_bytes + plane_bytes; }
};

/// What every instruction set has: the same bytes from each.
struct EntropyKernel {
  /// Codes a segment in the coding that is expected to take the fewest bytes. No bytes if none is
  /// expected to take less than the words as they are. Each buffer has entropy_room's bytes.
  EntropyStreams (*encode)(const Parameters& p, const EntropyInput& input,
                           std::uint8_t* zero_stream, std::uint8_t* plane_stream);

  /// Decodes jobs of one coding, each a segment of up to segment_words words, up to the first that
  /// is malformed.
  JobStatus (*decode)(const Parameters& p, EntropyCoding coding, std::span<const DecodeJob> jobs);
};

const EntropyKernel& entropy_kernel(const Kernel& kernel);

extern const EntropyKernel portable_entropy_kernel;
#ifdef EBPC_HAVE_X86_KERNELS
extern const EntropyKernel avx2_entropy_kernel;
extern const EntropyKernel avx512_entropy_kernel;
#endif

/// The bytes of either of encode's buffers for segments of so many words.
constexpr std::uint64_t entropy_room(std::uint64_t words) {
  return words * (sizeof(std::uint32_t) + 1) + 1024;
}

// ---- Runs of words that are left out, for all instruction sets. masks[i] has a bit for each of 64
// words from 64 i on, the first one lowest, which is set where the word is not left out.

inline constexpr int entropy_max_run = 256;

std::uint64_t run_bytes(std::span<const std::uint64_t> masks, std::size_t words);
void write_runs(std::span<const std::uint64_t> masks, std::size_t words, std::uint8_t* out);
DecodeStatus read_runs(const std::uint8_t* bytes, std::size_t byte_count, std::size_t words,
                       std::uint64_t* masks);

}  // namespace ebpc
