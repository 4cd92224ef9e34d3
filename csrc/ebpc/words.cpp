#include "ebpc/words.h"

#include <algorithm>

namespace ebpc {

std::uint64_t count_nonzero(const Parameters& p, WordSpan words) {
  return visit_word_type(words.bytes_per_word, false, [&]<class Word>(Word*) {
    const auto* next = static_cast<const Word*>(words.data);
    const auto zero = static_cast<Word>(p.zero);
    std::uint64_t nonzero = 0;
    // Up to 255 are counted in a word of the same size, which compilers do in vectors.
    for (std::size_t left = words.count; left > 0;) {
      const std::size_t length = std::min<std::size_t>(left, 240);
      Word some = 0;
      for (std::size_t i = 0; i < length; ++i) some = static_cast<Word>(some + (next[i] != zero));
      nonzero += some;
      next += length;
      left -= length;
    }
    return nonzero;
  });
}

std::size_t first_misfit(const Parameters& p, WordSpan words) {
  if (p.word_bits >= 8 * words.bytes_per_word) return words.count;
  const std::int64_t low = min_word(p);
  const std::int64_t high = max_word(p);
  return visit_word_type(words.bytes_per_word, p.is_signed, [&]<class Word>(Word*) {
    const Word* begin = static_cast<const Word*>(words.data);
    const Word* found = std::find_if(begin, begin + words.count,
                                     [&](Word word) { return word < low || word > high; });
    return static_cast<std::size_t>(found - begin);
  });
}

std::int64_t word_at(const Parameters& p, WordSpan words, std::size_t index) {
  return visit_word_type(words.bytes_per_word, p.is_signed, [&]<class Word>(Word*) {
    return static_cast<std::int64_t>(static_cast<const Word*>(words.data)[index]);
  });
}

}  // namespace ebpc
