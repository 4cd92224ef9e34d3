#include "ebpc/baselines.h"

#include <algorithm>
#include <string>

#include "ebpc/baselines/baseline.h"
#include "ebpc/bit_stream.h"
#include "ebpc/codec.h"
#include "ebpc/error.h"

namespace ebpc {
namespace {

const Baseline& baseline_of(Method method) {
  switch (method) {
    case Method::zvc:
      return zvc_baseline;
    case Method::zero_rle:
      return zero_rle_baseline;
    case Method::csc:
      return csc_baseline;
    case Method::bpc:
      return bpc_baseline;
    default:
      return uncompressed_baseline;
  }
}

}  // namespace

Method method_named(std::string_view name) {
  const auto found = std::find(method_names.begin(), method_names.end(), name);
  if (found == method_names.end()) {
    std::string names;
    for (const std::string_view each : method_names) {
      names += (names.empty() ? "'" : ", '") + std::string(each) + "'";
    }
    throw Error(ErrorCode::argument,
                "method must be one of " + names + ", got '" + std::string(name) + "'");
  }
  return static_cast<Method>(found - method_names.begin());
}

StreamBits count_bits(Method method, const Parameters& p, WordSpan words) {
  if (method == Method::ebpc) return count_bits(p, words);
  check_words(p, words);
  return baseline_of(method).count(p, words);
}

StreamBits encode(Method method, const Parameters& p, WordSpan words,
                  std::vector<std::uint8_t>& zero_stream, std::vector<std::uint8_t>& plane_stream) {
  if (method == Method::ebpc) return encode(p, words, zero_stream, plane_stream);
  check_words(p, words);
  const Baseline& baseline = baseline_of(method);
  const StreamBits bits = baseline.count(p, words);
  zero_stream.resize(bytes_for_bits(bits.zero) + kernel_slack_bytes);
  plane_stream.resize(bytes_for_bits(bits.plane) + kernel_slack_bytes);
  baseline.encode(p, words, zero_stream.data(), plane_stream.data());
  zero_stream.resize(bytes_for_bits(bits.zero));
  plane_stream.resize(bytes_for_bits(bits.plane));
  return bits;
}

void decode(Method method, const Parameters& p, std::span<const std::uint8_t> zero_stream,
            std::uint64_t zero_bits, std::span<const std::uint8_t> plane_stream,
            std::uint64_t plane_bits, MutableWordSpan words) {
  if (method == Method::ebpc) {
    decode(p, zero_stream, zero_bits, plane_stream, plane_bits, words);
    return;
  }
  check_words(p, {nullptr, 0, words.bytes_per_word});
  require_stream_size("zero_stream", zero_stream.size(), zero_bits);
  require_stream_size("plane_stream", plane_stream.size(), plane_bits);
  require(baseline_of(method).decode(p, {zero_stream.data(), zero_bits},
                                     {plane_stream.data(), plane_bits}, words));
}

void require_bits_for_words(Method method, const Parameters& p, StreamBits bits,
                            std::uint64_t words) {
  // EBPC and zero-RLE have the same zero stream, which says how many words there are.
  const Baseline& baseline = method == Method::ebpc ? zero_rle_baseline : baseline_of(method);
  if (words <= baseline.max_words(p, bits)) return;
  const bool in_plane_stream = method == Method::none || method == Method::bpc;
  const std::uint64_t stream_bits = in_plane_stream ? bits.plane : bits.zero;
  throw Error(ErrorCode::format, std::string(in_plane_stream ? "plane_stream" : "zero_stream") +
                                     " at byte " + std::to_string(bytes_for_bits(stream_bits)) +
                                     ": expected more bits for " + std::to_string(words) +
                                     " words, found the end of the stream");
}

}  // namespace ebpc
