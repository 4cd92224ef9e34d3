// What every instruction set's kernel provides: the same functions, the same bytes.
//
// Kernels know words and bits, not containers. All work on one transmission (for a container: one
// segment) at a time, except for decoding, which is handed many at once so that it can interleave
// them.

#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "ebpc/decode_status.h"
#include "ebpc/parameters.h"
#include "ebpc/quantization.h"
#include "ebpc/words.h"

namespace ebpc {

/// Bits of the two streams of one transmission, before padding to bytes.
struct StreamBits {
  std::uint64_t zero = 0;
  std::uint64_t plane = 0;

  std::uint64_t total() const { return zero + plane; }
  StreamBits& operator+=(const StreamBits& other) {
    zero += other.zero;
    plane += other.plane;
    return *this;
  }
  friend bool operator==(const StreamBits&, const StreamBits&) = default;
};

// Every function takes all Parameters that validate() accepts and also a max_zero_run of 1, which
// makes the zero stream a mask with a bit for each word.

/// The two streams of one transmission in memory and where its words shall go. Both streams are
/// padded with zeros to whole bytes and have no bytes beyond those; nothing outside of them may be
/// read.
struct DecodeJob {
  const std::uint8_t* zero_stream = nullptr;
  std::size_t zero_bytes = 0;
  const std::uint8_t* plane_stream = nullptr;
  std::size_t plane_bytes = 0;
  MutableWordSpan words;
};

struct Kernel {
  const char* name;

  /// Codes words into both streams, each padded with zeros to a byte. Each buffer
  /// holds the whole stream and `kernel_slack_bytes` more, whose contents are undefined afterwards.
  /// Every word fits into p.word_bits.
  StreamBits (*encode)(const Parameters& p, WordSpan words, std::uint8_t* zero_stream,
                       std::uint8_t* plane_stream);

  /// The bits that `encode` would write, without writing them.
  StreamBits (*count)(const Parameters& p, WordSpan words);

  /// The plane stream of plain bit-plane compression, of all words and with the codes of ISCA 2016:
  /// as `encode` and `count`.
  std::uint64_t (*encode_bpc)(const Parameters& p, WordSpan words, std::uint8_t* plane_stream);
  std::uint64_t (*count_bpc)(const Parameters& p, WordSpan words);

  /// Decodes jobs of equal bytes_per_word. Returns the index of the first job that is not
  /// well-formed, or jobs.size(). All jobs before that one are decoded then, those after it may
  /// not be. A kernel may hand back any job in this way: decode_portable has the last word on it.
  std::size_t (*decode)(const Parameters& p, std::span<const DecodeJob> jobs);

  /// CRC-32C (Castagnoli, reflected, as in RFC 3720 appendix B.4) of bytes, continued from `crc`,
  /// which is 0 at the start.
  std::uint32_t (*crc32c)(std::uint32_t crc, const std::uint8_t* bytes, std::size_t count);

  /// As many values as there are words, of 1 or 2 bytes each, to these words.
  QuantizedValues (*quantize)(const Quantization& q, const float* values, MutableWordSpan words);
};

/// Bytes after the end of a stream that an encoding kernel may overwrite.
inline constexpr std::size_t kernel_slack_bytes = 64;

/// The portable kernel's decoder for one job, with the reason of a failure, and the bits of both
/// streams that were taken if there was none.
DecodeStatus decode_portable(const Parameters& p, const DecodeJob& job, StreamBits& taken);
DecodeStatus decode_portable(const Parameters& p, const DecodeJob& job);

extern const Kernel portable_kernel;
#ifdef EBPC_HAVE_X86_KERNELS
extern const Kernel avx2_kernel;
extern const Kernel avx512_kernel;
#endif

}  // namespace ebpc
