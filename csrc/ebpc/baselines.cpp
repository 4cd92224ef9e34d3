#include "ebpc/baselines.h"

#include <algorithm>
#include <string>

#include "ebpc/bit_stream.h"
#include "ebpc/codec.h"
#include "ebpc/error.h"
#include "ebpc/kernels/dispatch.h"
#include "ebpc/plane_stream.h"
#include "ebpc/zero_stream.h"

namespace ebpc {
namespace {

inline constexpr int csc_index_bits = 4;

template <class Word>
std::uint64_t count_nonzero(const Word* words, std::size_t count) {
  return count - static_cast<std::uint64_t>(std::count(words, words + count, Word{0}));
}

template <class Word>
StreamBits count_csc(const Parameters& p, const Word* words, std::size_t count) {
  constexpr std::uint64_t reach = std::uint64_t{1} << csc_index_bits;
  std::uint64_t entries = 0;
  std::uint64_t zeros = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (words[i] == 0) {
      ++zeros;
    } else {
      entries += 1 + zeros / reach;  // a distance past 16 takes entries of value zero
      zeros = 0;
    }
  }
  return {entries * csc_index_bits, entries * static_cast<std::uint64_t>(p.word_bits)};
}

template <class Word>
StreamBits count_zero_rle(const Parameters& p, const Word* words, std::size_t count) {
  BitCounter zero_bits;
  ZeroEncoder zeros(p, zero_bits);
  std::uint64_t nonzero = 0;
  for (std::size_t i = 0; i < count; ++i) {
    zeros.push(words[i] != 0, 1);
    nonzero += words[i] != 0;
  }
  zeros.finish();
  return {zero_bits.bits(), nonzero * static_cast<std::uint64_t>(p.word_bits)};
}

template <class Word>
StreamBits count_bpc(const Parameters& p, const Word* words, std::size_t count) {
  BitCounter bits;
  PlaneEncoder planes(p, isca2016_codes, bits);
  while (count > 0) {
    const auto length = static_cast<int>(std::min<std::size_t>(count, 1 << 20));
    const int coded = planes.push_blocks(words, length);
    if (coded == 0) break;
    words += coded;
    count -= static_cast<std::size_t>(coded);
  }
  planes.finish(words, static_cast<int>(count));
  return {0, bits.bits()};
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
  check_words(p, words);
  if (method == Method::ebpc) return active_kernel().count(p, words);
  const auto word_bits = static_cast<std::uint64_t>(p.word_bits);
  return visit_word_type(words.bytes_per_word, p.is_signed, [&]<class Word>(Word*) -> StreamBits {
    const Word* data = static_cast<const Word*>(words.data);
    switch (method) {
      case Method::zvc:
        return {words.count, count_nonzero(data, words.count) * word_bits};
      case Method::zero_rle:
        return count_zero_rle(p, data, words.count);
      case Method::csc:
        return count_csc(p, data, words.count);
      case Method::bpc:
        return count_bpc(p, data, words.count);
      default:
        return {0, words.count * word_bits};
    }
  });
}

}  // namespace ebpc
