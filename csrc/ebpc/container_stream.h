// Containers of tensors that do not fit into memory: written and read piece by piece.

#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "ebpc/container.h"
#include "ebpc/executor.h"
#include "ebpc/kernels/kernel.h"
#include "ebpc/parameters.h"
#include "ebpc/tensor_info.h"
#include "ebpc/words.h"

namespace ebpc {

/// Writes the very bytes that compress writes, of words that are pushed in pieces of any size. The
/// header, which holds the segment table, is known last: leave header_bytes() free, write the
/// payload behind it as push gives it, and then the header in front. The table stays in memory: 8
/// bytes for every 4096 words.
class ContainerEncoder {
 public:
  /// Throws Error(argument) as compress.
  ContainerEncoder(const TensorInfo& tensor, const Parameters& parameters, Executor executor = {},
                   Codec codec = Codec::ebpc);

  std::uint64_t header_bytes() const { return header_.size(); }

  /// Takes the tensor's next words, in row-major order, and appends to `payload` what is ready.
  ///
  /// Throws Error(argument) if a word does not fit into word_bits, the words are not of the
  /// tensor's width or there are more of them than it has; then nothing has been taken.
  void push(WordSpan words, std::vector<std::uint8_t>& payload);

  /// The header. Throws Error(argument) if words are missing.
  const std::vector<std::uint8_t>& finish();

 private:
  void encode(WordSpan words, std::vector<std::uint8_t>& payload);

  TensorInfo tensor_;
  Codec codec_;
  Parameters parameters_;
  Executor executor_;
  std::uint64_t words_;
  std::vector<std::uint8_t> header_;   // its segment table fills up
  std::vector<std::uint8_t> pending_;  // words of a segment that is not complete
  std::uint64_t pushed_words_ = 0;
  std::uint64_t coded_segments_ = 0;
  std::uint64_t payload_bytes_ = 0;
  StreamBits bits_;
};

/// Reads a container whose bytes are pushed in pieces of any size. It keeps the header and one
/// incomplete segment, so that its memory is bounded by what it was given.
class ContainerDecoder {
 public:
  /// Receives the tensor's words in row-major order, in pieces of at most 256 segments. They are
  /// valid during the call.
  using Sink = std::function<void(WordSpan)>;

  explicit ContainerDecoder(Executor executor = {}) : executor_(std::move(executor)) {}

  /// Takes the container's next bytes and hands over the words that are complete.
  ///
  /// Throws Error(format) or Error(checksum) as decompress. What has been handed over before that
  /// is right.
  void push(std::span<const std::uint8_t> bytes, const Sink& sink);

  /// What the header says, once all of it has been pushed.
  const std::optional<ContainerInfo>& info() const { return info_; }

  /// Throws Error(format) if bytes are missing.
  void finish() const;

 private:
  void read_header();
  bool decode_some(const Sink& sink);

  Executor executor_;
  std::optional<ContainerInfo> info_;
  std::vector<std::uint8_t> header_;
  std::vector<std::uint8_t> pending_;  // not yet used
  std::uint64_t pending_offset_ = 0;   // of its first byte, from the container's start
  std::uint64_t decoded_segments_ = 0;
};

}  // namespace ebpc
