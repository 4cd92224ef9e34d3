#include "ebpc/codec.h"

#include <string>

#include "ebpc/bit_stream.h"
#include "ebpc/decode_status.h"
#include "ebpc/error.h"
#include "ebpc/kernels/dispatch.h"

namespace ebpc {
namespace {

void check_word_size(const Parameters& p, int bytes_per_word) {
  if (bytes_per_word != 1 && bytes_per_word != 2 && bytes_per_word != 4) {
    throw Error(ErrorCode::argument,
                "bytes_per_word must be 1, 2 or 4, got " + std::to_string(bytes_per_word));
  }
  if (p.word_bits > 8 * bytes_per_word) {
    throw Error(ErrorCode::argument,
                "word_bits must be at most " + std::to_string(8 * bytes_per_word) +
                    ", the width of the dtype, got " + std::to_string(p.word_bits));
  }
}

}  // namespace

void check_words(const Parameters& p, WordSpan words) {
  validate(p);
  check_word_size(p, words.bytes_per_word);
  if (const std::size_t index = first_misfit(p, words); index != words.count) {
    throw Error(ErrorCode::argument,
                "every value must fit into word_bits = " + std::to_string(p.word_bits) + " (" +
                    (p.is_signed ? "signed" : "unsigned") + "), got " +
                    std::to_string(word_at(p, words, index)) + " at index " +
                    std::to_string(index));
  }
}

StreamBits encode(const Parameters& p, WordSpan words, std::vector<std::uint8_t>& zero_stream,
                  std::vector<std::uint8_t>& plane_stream) {
  check_words(p, words);
  const Kernel& kernel = active_kernel();
  const StreamBits bits = kernel.count(p, words);
  zero_stream.resize(bytes_for_bits(bits.zero) + kernel_slack_bytes);
  plane_stream.resize(bytes_for_bits(bits.plane) + kernel_slack_bytes);
  kernel.encode(p, words, zero_stream.data(), plane_stream.data());
  zero_stream.resize(bytes_for_bits(bits.zero));
  plane_stream.resize(bytes_for_bits(bits.plane));
  return bits;
}

void decode(const Parameters& p, std::span<const std::uint8_t> zero_stream, std::uint64_t zero_bits,
            std::span<const std::uint8_t> plane_stream, std::uint64_t plane_bits,
            MutableWordSpan words) {
  validate(p);
  check_word_size(p, words.bytes_per_word);
  require_stream_size("zero_stream", zero_stream.size(), zero_bits);
  require_stream_size("plane_stream", plane_stream.size(), plane_bits);
  const DecodeJob job{zero_stream.data(), zero_stream.size(), plane_stream.data(),
                      plane_stream.size(), words};
  // Kernels are made for segments of containers, which have no bits but bytes: they do not say
  // where in its last byte a stream ends.
  StreamBits taken;
  require(decode_portable(p, job, taken));
  require(check_bits(taken.zero, zero_bits, false));
  require(check_bits(taken.plane, plane_bits, true));
}

StreamBits count_bits(const Parameters& p, WordSpan words) {
  check_words(p, words);
  return active_kernel().count(p, words);
}

}  // namespace ebpc
