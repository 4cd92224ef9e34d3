// Zero streams back to words: the runs of several segments in turn, each one written straight into
// the result.

#pragma once

#include <algorithm>
#include <array>

#include "ebpc/kernels/avx512_bits.h"
#include "ebpc/parameters.h"

namespace ebpc {
namespace {

/// The 64 bits from `bit` on, of which at least 57 are valid.
[[gnu::always_inline]] inline std::uint64_t stream_window(const std::uint8_t* bytes,
                                                          std::uint64_t bit) {
  std::uint64_t x;
  std::memcpy(&x, bytes + (bit >> 3), sizeof x);
  return __builtin_bswap64(x) << (bit & 7);
}

/// Spreads the non-zero words of one transmission among its zeros.
template <class Word>
class ZeroExpander {
 public:
  /// How far behind their end the bits and the non-zero words of `count` words can be read. A
  /// malformed stream goes on for as long as words are missing, each taking a symbol.
  static constexpr std::size_t bytes_read_behind(std::size_t count) { return 3 * count + 64; }
  static constexpr std::size_t words_read_behind = 64;

  ZeroExpander() = default;

  ZeroExpander(const Parameters& p, const std::uint8_t* bytes, std::size_t byte_count,
               const Word* nonzero, Word* words, std::size_t count)
      : bytes_(bytes),
        end_bit_(8 * byte_count),
        length_bits_(zero_run_bits(p)),
        nonzero_(nonzero),
        first_nonzero_(nonzero),
        out_(words),
        end_(words + count),
        bound_(count > margin ? end_ - margin : words) {}

  /// Writes some non-zero words and the zero run behind them, while nothing can be written behind
  /// the last word; then returns false.
  [[gnu::always_inline]] bool step() {
    if (out_ >= bound_) [[unlikely]]
      return false;
    out_ = put_run<false>(out_, end_);
    return true;
  }

  /// Writes the last words. Returns how many non-zero words there were, or -1 if the stream is
  /// malformed.
  std::ptrdiff_t finish() {
    // Vectors of words are stored aside, where they may be too long.
    std::array<Word, 2 * margin> last;
    const std::ptrdiff_t left = end_ - out_;
    Word* const last_end = last.data() + left;
    for (Word* out = last.data(); out != nullptr && out < last_end;) {
      out = put_run<true>(out, last_end);
      if (out == nullptr) return -1;
    }
    // A transmission without words may have no memory either.
    if (left > 0) std::memcpy(out_, last.data(), static_cast<std::size_t>(left) * sizeof(Word));
    const bool padded = bit_ <= end_bit_ && end_bit_ - bit_ < 8 &&
                        (bit_ == end_bit_ || (bytes_[bit_ / 8] << bit_ % 8 & 0xFF) == 0);
    return padded ? nonzero_ - first_nonzero_ : -1;
  }

 private:
  /// Words of either kind that a step writes without asking for their number.
  static constexpr std::size_t step_words = sizeof(Word) == 1 ? 32 : 16;
  static constexpr std::size_t margin = 2 * step_words;

  /// Returns null if the run is longer than the words that are left.
  template <bool is_last>
  [[gnu::always_inline]] Word* put_run(Word* out, Word* end) {
    const std::uint64_t window = stream_window(bytes_, bit_);
    std::uint64_t ones = std::min<std::uint64_t>(_lzcnt_u64(~window), step_words);
    if constexpr (is_last) ones = std::min(ones, static_cast<std::uint64_t>(end - out));
    const std::uint64_t rest = window << ones;
    // If the next bit is a one, there are more non-zero words than one step takes.
    std::uint64_t has_zeros = mask_if(static_cast<std::int64_t>(rest) >= 0);
    if constexpr (is_last) has_zeros &= mask_if(ones < static_cast<std::uint64_t>(end - out));
    const std::uint64_t zeros = ((rest >> (63 - length_bits_)) + 1) & has_zeros;
    bit_ += ones + (static_cast<std::uint64_t>(1 + length_bits_) & has_zeros);
    copy_step(out, nonzero_);
    nonzero_ += ones;
    out += ones;
    if (is_last || zeros > step_words) [[unlikely]] {
      if (zeros > static_cast<std::uint64_t>(end - out)) {
        end_bit_ = 0;
        return is_last ? nullptr : end;
      }
      std::fill_n(out, zeros, Word{0});
    } else {
      clear_step(out);
    }
    return out + zeros;
  }

  /// Copies step_words words.
  [[gnu::always_inline]] static void copy_step(Word* to, const Word* from) {
    if constexpr (sizeof(Word) <= 2) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to),
                          _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
    } else {
      store_vector(to, load_vector(from));
    }
  }

  [[gnu::always_inline]] static void clear_step(Word* to) {
    if constexpr (sizeof(Word) <= 2) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_setzero_si256());
    } else {
      store_vector(to, _mm512_setzero_si512());
    }
  }

  const std::uint8_t* bytes_ = nullptr;
  std::uint64_t bit_ = 0;
  std::uint64_t end_bit_ = 0;
  int length_bits_ = 0;
  const Word* nonzero_ = nullptr;
  const Word* first_nonzero_ = nullptr;
  Word* out_ = nullptr;
  Word* end_ = nullptr;
  Word* bound_ = nullptr;  // up to here a step can be taken
};

}  // namespace
}  // namespace ebpc
