// What each method that EBPC is compared with provides: the same functions, on words and bits.
//
// Each codes a transmission into two streams, like EBPC: one says where the non-zero words are
// (here called positions), the other holds them (values). FORMAT.md describes both.

#pragma once

#include <cstdint>

#include "ebpc/decode_status.h"
#include "ebpc/kernels/kernel.h"
#include "ebpc/parameters.h"
#include "ebpc/words.h"

namespace ebpc {

/// A stream to be read: bytes_for_bits(bits) bytes.
struct StreamView {
  const std::uint8_t* bytes;
  std::uint64_t bits;
};

struct Baseline {
  /// The bits that `encode` writes. All words fit into p.word_bits.
  StreamBits (*count)(const Parameters& p, WordSpan words);

  /// Writes both streams, padded with zeros to bytes. Each buffer holds the whole stream and
  /// `kernel_slack_bytes` more, whose contents are undefined afterwards.
  StreamBits (*encode)(const Parameters& p, WordSpan words, std::uint8_t* positions,
                       std::uint8_t* values);

  /// Reads them back. Untrusted streams are safe: nothing outside of them is read and nothing
  /// outside of `words` written.
  DecodeStatus (*decode)(const Parameters& p, StreamView positions, StreamView values,
                         MutableWordSpan words);

  /// The most words that streams of so many bits can stand for.
  std::uint64_t (*max_words)(const Parameters& p, StreamBits bits);
};

/// Reads zero-RLE back from streams of which the bytes are known, not the bits; max_zero_run may be
/// 1: that is zero-value compression. Untrusted streams are safe.
DecodeStatus decode_zero_rle(const Parameters& p, const DecodeJob& job);

extern const Baseline uncompressed_baseline;  // words as they are
extern const Baseline zvc_baseline;           // zero-value compression
extern const Baseline zero_rle_baseline;      // zero run-length coding
extern const Baseline csc_baseline;           // compressed sparse columns
extern const Baseline bpc_baseline;           // bit-plane compression of all words

}  // namespace ebpc
