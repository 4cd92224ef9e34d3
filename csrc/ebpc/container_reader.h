// Reads a container: its header is parsed once, then all of it, parts or what is left of it.

#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ebpc/container.h"
#include "ebpc/container_parse.h"
#include "ebpc/executor.h"

namespace ebpc {

struct WordRange {
  std::uint64_t first = 0;
  std::uint64_t count = 0;

  friend bool operator==(const WordRange&, const WordRange&) = default;
};

/// A container in memory, of which the header has been parsed and checked. It refers to the
/// container's bytes, which must outlive it. Reading changes nothing in it: several threads may.
/// Untrusted bytes are safe: nothing outside of the container is read and nothing outside of
/// `words` written.
class ContainerReader {
 public:
  /// With Extent::header, any part of the payload may be missing, and bytes may follow: for
  /// recover().
  ///
  /// Throws Error(format) or Error(checksum) if it is not the header of a container (of exactly
  /// these bytes, with Extent::whole), or of a version that is not known.
  explicit ContainerReader(std::span<const std::uint8_t> container,
                           layout::Extent extent = layout::Extent::whole);

  const ContainerInfo& info() const { return parsed_.info; }
  int bytes_per_word() const;

  /// Writes all words in row-major order to `words`, which has room for `words_bytes` bytes.
  ///
  /// Throws Error(format) or Error(checksum) if a segment is damaged, and Error(argument) if
  /// words_bytes is not the tensor's size.
  void read(void* words, std::uint64_t words_bytes, const Executor& executor = {}) const;

  /// As read, for a range of the words alone. Only the segments that have some of them are read,
  /// and only those are checked; segment i has segment_words words from word i * segment_words on.
  ///
  /// Throws Error(argument) if the range is not inside of the tensor.
  void read_range(WordRange range, void* words, std::uint64_t words_bytes,
                  const Executor& executor = {}) const;

  /// As read, for a container whose payload is damaged or cut short: words of intact segments come
  /// back, those of the others are 0. Returns the ranges of words that are lost, in order; none if
  /// the container is intact.
  std::vector<WordRange> recover(void* words, std::uint64_t words_bytes,
                                 const Executor& executor = {}) const;

 private:
  void require_payload() const;

  std::span<const std::uint8_t> container_;
  layout::ParsedContainer parsed_;
  layout::Extent extent_;
};

}  // namespace ebpc
