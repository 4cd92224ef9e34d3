// Containers of tensors that do not fit into memory: written and read piece by piece.

#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <utility>
#include <vector>

#include "ebpc/container.h"
#include "ebpc/container_parse.h"
#include "ebpc/error.h"
#include "ebpc/executor.h"
#include "ebpc/kernels/kernel.h"
#include "ebpc/parameters.h"
#include "ebpc/tensor_info.h"
#include "ebpc/words.h"

namespace ebpc {

/// Writes the very bytes that compress writes, of words that are pushed in pieces of any size. The
/// header, which holds the segment table, is known last: leave header_bytes() free, write the
/// payload after it as push gives it, and then the header in front. The table stays in memory: 8
/// bytes for every 4096 words.
class ContainerEncoder {
 public:
  /// Throws Error(argument) as compress.
  ContainerEncoder(const TensorInfo& tensor, const ContainerCode& code, Executor executor = {});

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
  ContainerCode code_;
  int version_;
  Executor executor_;
  std::uint64_t words_;
  std::vector<std::uint8_t> header_;   // its segment table fills up
  std::vector<std::uint8_t> pending_;  // words of a segment that is not complete
  std::uint64_t pushed_words_ = 0;
  std::uint64_t coded_segments_ = 0;
  std::uint64_t payload_bytes_ = 0;
  StreamBits bits_;
};

/// Reads a container whose bytes are pushed in pieces of any size. It keeps the header's table and
/// the bytes whose words have not been taken, so that its memory is bounded by what it was given.
class ContainerDecoder {
 public:
  /// Segments that are decoded at a time: at most 4 MiB of words, whatever the payload claims to
  /// stand for.
  static constexpr std::uint64_t piece_segments = 256;

  explicit ContainerDecoder(Executor executor = {}) : executor_(std::move(executor)) {}

  /// Takes the container's next bytes.
  ///
  /// Throws Error(format) or Error(checksum) if the header is damaged. After any such error, all
  /// calls repeat it. Words that have been taken before are right.
  void push(std::span<const std::uint8_t> bytes);

  /// The words that next() writes: those of complete segments, of at most piece_segments of them.
  /// 0 if there are none. Throws Error(format) if bytes follow the container.
  std::uint64_t ready_words();

  /// Writes the tensor's next words in row-major order: ready_words() of them, which have
  /// `words_bytes` bytes.
  ///
  /// Throws Error(format) or Error(checksum) if a segment is damaged.
  void next(void* words, std::uint64_t words_bytes);

  /// What the header says, once all of it has been pushed; else null.
  const ContainerInfo* info() const { return parsed_ ? &parsed_->info : nullptr; }

  /// Throws Error(format) if bytes are missing, and Error(argument) if words are left to be taken.
  void finish();

 private:
  void read_header();
  /// What has not been used.
  std::span<const std::uint8_t> pending() const { return std::span(bytes_).subspan(used_bytes_); }
  std::uint64_t ready_segments() const;
  template <class Body>
  void remember_damage(Body&& body);

  Executor executor_;
  std::optional<layout::ParsedContainer> parsed_;
  std::optional<Error> damage_;
  std::vector<std::uint8_t> bytes_;  // that were pushed
  std::uint64_t bytes_offset_ = 0;   // of the first of these, from the container's start
  std::uint64_t used_bytes_ = 0;     // of these, which are dropped now and then
  std::uint64_t decoded_segments_ = 0;
};

}  // namespace ebpc
