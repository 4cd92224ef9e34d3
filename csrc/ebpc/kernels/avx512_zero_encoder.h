// The zero stream with AVX-512. A token is a zero run and the non-zero words behind it; 16 tokens
// become codes at once.

#pragma once

#include <algorithm>
#include <array>

#include "ebpc/kernels/avx512_bits.h"
#include "ebpc/kernels/avx512_code_appender.h"
#include "ebpc/parameters.h"

namespace ebpc {
namespace {

/// The zero runs of a transmission, tile by tile.
class ZeroRuns {
 public:
  /// Finds the tokens of a tile of `count` words from the non-zero masks of 64 words each. A token
  /// may have no zeros (at the start of a tile) and is ended by the end of a tile only if it has
  /// non-zero words; else its zeros are carried over.
  void find(const std::uint64_t* masks, std::size_t count) {
    // edges_[0] is the start of a zero run, [1] its end, [2] the start of the next, and so on.
    std::uint16_t* edge = edges_.data();
    *edge++ = 0;
    std::uint64_t previous = 0;
    const __m512i iota = load_vector(iota_.data());
    for (std::size_t first = 0; first < count; first += 64) {
      const std::uint64_t mask = *masks++;
      std::uint64_t changes = mask ^ (mask << 1 | previous);
      previous = mask >> 63;
      if (count - first < 64) changes &= low_bits(static_cast<int>(count - first));
      const __m512i places = _mm512_maskz_compress_epi8(changes, iota);
      const __m512i origin = _mm512_set1_epi16(static_cast<short>(first));
      store_vector(edge,
                   _mm512_add_epi16(origin, _mm512_cvtepu8_epi16(_mm512_castsi512_si256(places))));
      const int found = std::popcount(changes);
      if (found > 32) [[unlikely]] {
        store_vector(
            edge + 32,
            _mm512_add_epi16(origin, _mm512_cvtepu8_epi16(_mm512_extracti64x4_epi64(places, 1))));
      }
      edge += found;
    }
    const auto edges = static_cast<std::size_t>(edge - edges_.data());
    tokens_ = edges / 2;
    carried_ = next_carried_;
    if (edges % 2 == 0) {
      *edge = static_cast<std::uint16_t>(count);
      next_carried_ = 0;
    } else {
      next_carried_ = count - edge[-1] + (tokens_ == 0 ? carried_ : 0);
    }
  }

  std::size_t tokens() const { return tokens_; }

  /// The zeros of 16 tokens, without those that token 0 has from earlier tiles.
  __m512i zeros(std::size_t first) const { return difference(edges_.data() + 2 * first); }
  /// The non-zero words behind them.
  __m512i ones(std::size_t first) const { return difference(edges_.data() + 2 * first + 1); }

  std::uint64_t zeros_of(std::size_t token) const {
    return static_cast<std::uint64_t>(edges_[2 * token + 1] - edges_[2 * token]) +
           (token == 0 ? carried_ : 0);
  }
  std::uint64_t ones_of(std::size_t token) const {
    return static_cast<std::uint64_t>(edges_[2 * token + 2] - edges_[2 * token + 1]);
  }

  /// Zeros of earlier tiles in front of token 0.
  std::uint64_t carried() const { return carried_; }
  /// Zeros behind the last token.
  std::uint64_t open() const { return next_carried_; }

 private:
  /// edges[1] - edges[0], edges[3] - edges[2] and so on, in 32 bits each.
  static __m512i difference(const std::uint16_t* edges) {
    return _mm512_madd_epi16(load_vector(edges), _mm512_set1_epi32(0x0001FFFF));
  }

  static constexpr auto iota_ = [] {
    std::array<std::uint8_t, 64> iota{};
    for (std::size_t i = 0; i < 64; ++i) iota[i] = static_cast<std::uint8_t>(i);
    return iota;
  }();

  std::array<std::uint16_t, tile_words + 2 + 64> edges_;
  std::size_t tokens_ = 0;
  std::uint64_t carried_ = 0;
  std::uint64_t next_carried_ = 0;
};

/// Writes the codes of zero runs.
class ZeroRunWriter {
 public:
  ZeroRunWriter(const Parameters& p, std::uint8_t* out)
      : out_(out), length_bits_(zero_run_bits(p)), max_run_(std::uint64_t{1} << length_bits_) {
    const std::uint64_t full = max_run_ - 1;
    for (int shift = 0; shift < 64; shift += 1 + length_bits_) full_runs_ |= full << shift;
  }

  void put(const ZeroRuns& runs) {
    std::size_t token = 0;
    if (runs.carried() > 0 && runs.tokens() > 0) put_tokens(runs, token++, 1);
    Stream stream = vector_stream();
    for (; token + 16 <= runs.tokens(); token += 16) {
      const __m512i zeros = runs.zeros(token);
      const __m512i ones = runs.ones(token);
      if (put_16(stream, zeros, ones)) [[likely]]
        continue;
      for (std::size_t half = 0; half < 16; half += 8) {
        if (put_8(stream, widen(zeros, half), widen(ones, half))) continue;
        bits_ = stream.appender.bits();
        put_tokens(runs, token + half, 8);
        stream = vector_stream();
      }
    }
    if (token + 8 <= runs.tokens() &&
        put_8(stream, widen(runs.zeros(token), 0), widen(runs.ones(token), 0))) {
      token += 8;
    }
    bits_ = stream.appender.bits();
    put_tokens(runs, token, runs.tokens() - token);
  }

  std::uint64_t finish(std::uint64_t open_zeros) {
    StreamWriter writer(out_, bits_);
    put_token(writer, open_zeros, 0);
    writer.finish();
    return writer.bits();
  }

 private:
  void put_tokens(const ZeroRuns& runs, std::size_t first, std::size_t count) {
    StreamWriter writer(out_, bits_);
    for (std::size_t i = first; i < first + count; ++i) {
      put_token(writer, runs.zeros_of(i), runs.ones_of(i));
    }
    writer.finish();
    bits_ = writer.bits();
  }

  [[gnu::always_inline]] void put_token(StreamWriter& writer, std::uint64_t zeros,
                                        std::uint64_t ones) const {
    const int symbol_bits = 1 + length_bits_;
    for (; zeros > max_run_; zeros -= max_run_) writer.put(max_run_ - 1, symbol_bits);
    for (; ones > 32; ones -= 32) {
      const bool has_zeros = zeros > 0;
      writer.put((zeros - has_zeros) << 32 | low_bits(32), (has_zeros ? symbol_bits : 0) + 32);
      zeros = 0;
    }
    const bool has_zeros = zeros > 0;
    const auto count = static_cast<int>(ones);
    writer.put((zeros - has_zeros) << count | low_bits(count),
               (has_zeros ? symbol_bits : 0) + count);
  }

  /// The stream while vectors of codes are appended.
  struct Stream {
    CodeAppender appender;
    __m512i last;  // the last lane ends with the last bits before
  };

  Stream vector_stream() const {
    const int last = bits_ % 8 == 0 ? 0 : out_[bits_ / 8] >> (8 - bits_ % 8);
    return {CodeAppender(out_, bits_), _mm512_set1_epi64(last)};
  }

  /// 8 of 16 numbers, in 64 bits each.
  static __m512i widen(__m512i numbers, std::size_t first) {
    return _mm512_cvtepu32_epi64(first == 0 ? _mm512_castsi512_si256(numbers)
                                            : _mm512_extracti64x4_epi64(numbers, 1));
  }

  /// Appends 16 tokens, unless one is longer than 32 bits.
  [[gnu::always_inline]] bool put_16(Stream& stream, __m512i zeros, __m512i ones) const {
    // The symbols of a run are full ones, but for the last, which is short of it by -zeros mod R.
    const auto run_mask = static_cast<int>(max_run_ - 1);
    const __m512i symbols = _mm512_srl_epi32(_mm512_add_epi32(zeros, _mm512_set1_epi32(run_mask)),
                                             _mm_cvtsi32_si128(length_bits_));
    const __m512i zero_bits = _mm512_madd_epi16(symbols, _mm512_set1_epi32(1 + length_bits_));
    const __m512i bits = _mm512_add_epi32(zero_bits, ones);
    if (_mm512_cmpgt_epu32_mask(bits, _mm512_set1_epi32(32)) != 0) return false;
    const __m512i all = _mm512_set1_epi32(-1);
    const __m512i full = _mm512_andnot_si512(_mm512_sllv_epi32(all, zero_bits),
                                             _mm512_set1_epi32(static_cast<int>(full_runs_)));
    const __m512i missing = _mm512_and_si512(_mm512_sub_epi32(_mm512_setzero_si512(), zeros),
                                             _mm512_set1_epi32(run_mask));
    const __m512i code = _mm512_or_si512(_mm512_sllv_epi32(_mm512_sub_epi32(full, missing), ones),
                                         _mm512_andnot_si512(_mm512_sllv_epi32(all, ones), all));
    // Two tokens to a lane of 64 bits: the first right-justified in the lower half, the second
    // left-justified in the upper one, so that a rotation by the second's length joins them.
    const __m512i justified =
        _mm512_mask_sllv_epi32(code, 0xAAAA, code, _mm512_sub_epi32(_mm512_set1_epi32(32), bits));
    const __m512i second_bits = _mm512_srli_epi64(bits, 32);
    append(stream, _mm512_rolv_epi64(justified, second_bits),
           _mm512_and_si512(_mm512_add_epi64(bits, second_bits), _mm512_set1_epi64(0xFF)));
    return true;
  }

  /// Appends 8 tokens in the same way, unless one is longer than 64 bits.
  bool put_8(Stream& stream, __m512i zeros, __m512i ones) const {
    if (length_bits_ == 1) return false;  // two tokens might have less than 7 bits
    const auto run_mask = static_cast<long long>(max_run_ - 1);
    const __m512i symbols = _mm512_srl_epi64(_mm512_add_epi64(zeros, _mm512_set1_epi64(run_mask)),
                                             _mm_cvtsi32_si128(length_bits_));
    const __m512i zero_bits = _mm512_madd_epi16(symbols, _mm512_set1_epi64(1 + length_bits_));
    const __m512i bits = _mm512_add_epi64(zero_bits, ones);
    if (_mm512_cmpgt_epu64_mask(bits, _mm512_set1_epi64(64)) != 0) return false;
    const __m512i all = _mm512_set1_epi64(-1);
    const __m512i full = _mm512_andnot_si512(_mm512_sllv_epi64(all, zero_bits),
                                             _mm512_set1_epi64(static_cast<long long>(full_runs_)));
    const __m512i missing = _mm512_and_si512(_mm512_sub_epi64(_mm512_setzero_si512(), zeros),
                                             _mm512_set1_epi64(run_mask));
    append(stream,
           _mm512_or_si512(_mm512_sllv_epi64(_mm512_sub_epi64(full, missing), ones),
                           _mm512_andnot_si512(_mm512_sllv_epi64(all, ones), all)),
           bits);
    return true;
  }

  /// Appends right-justified codes. One may have less than 7 bits, two neighbours have not.
  [[gnu::always_inline]] static void append(Stream& stream, __m512i codes, __m512i bits) {
    const __m512i left = _mm512_sllv_epi64(codes, _mm512_sub_epi64(_mm512_set1_epi64(64), bits));
    const __m512i neighbours =
        _mm512_or_si512(codes, _mm512_sllv_epi64(_mm512_alignr_epi64(codes, stream.last, 7), bits));
    stream.appender.append(_mm512_alignr_epi64(neighbours, stream.last, 7), left,
                           _mm512_setzero_si512(), bits);
    stream.last = neighbours;
  }

  std::uint8_t* out_;
  std::uint64_t bits_ = 0;  // written
  int length_bits_;
  std::uint64_t max_run_;
  std::uint64_t full_runs_ = 0;  // symbols of the longest run, as many as fit, right-justified
};

/// Writes masks as they are: where zero runs have a length of 1.
class MaskWriter {
 public:
  explicit MaskWriter(std::uint8_t* out) : out_(out) {}

  /// Of a tile of `count` words, a multiple of 64 but for the last one.
  void put(const std::uint64_t* masks, std::size_t count) {
    for (std::size_t first = 0; first < count; first += 512) {
      store_vector(out_ + first / 8, turn_bytes_around(load_vector(masks + first / 64)));
    }
    out_ += count / 8;
  }

 private:
  std::uint8_t* out_;
};

/// Counts the bits that ZeroRunWriter would write.
class ZeroRunCounter {
 public:
  explicit ZeroRunCounter(const Parameters& p) : length_bits_(zero_run_bits(p)) {}

  void put(const ZeroRuns& runs) {
    const std::size_t tokens = runs.tokens();
    if (tokens == 0) return;
    const auto run_mask = static_cast<int>((std::uint64_t{1} << length_bits_) - 1);
    const __m128i shift = _mm_cvtsi32_si128(length_bits_);
    __m512i symbols = _mm512_setzero_si512();
    __m512i ones = _mm512_setzero_si512();
    for (std::size_t token = 0; token < tokens; token += 16) {
      const auto valid = static_cast<__mmask16>(
          low_bits(static_cast<int>(std::min<std::size_t>(tokens - token, 16))));
      const __m512i up = _mm512_add_epi32(runs.zeros(token), _mm512_set1_epi32(run_mask));
      symbols = _mm512_mask_add_epi32(symbols, valid, symbols, _mm512_srl_epi32(up, shift));
      ones = _mm512_mask_add_epi32(ones, valid, ones, runs.ones(token));
    }
    symbols_ += static_cast<std::uint64_t>(_mm512_reduce_add_epi32(symbols));
    ones_ += static_cast<std::uint64_t>(_mm512_reduce_add_epi32(ones));
    symbols_ += symbols_of(runs.zeros_of(0)) - symbols_of(runs.zeros_of(0) - runs.carried());
  }

  std::uint64_t finish(std::uint64_t open_zeros) const {
    const auto symbol_bits = static_cast<std::uint64_t>(1 + length_bits_);
    return ones_ + (symbols_ + symbols_of(open_zeros)) * symbol_bits;
  }

 private:
  std::uint64_t symbols_of(std::uint64_t zeros) const {
    const std::uint64_t run_mask = (std::uint64_t{1} << length_bits_) - 1;
    return (zeros + run_mask) >> length_bits_;
  }

  int length_bits_;
  std::uint64_t symbols_ = 0;
  std::uint64_t ones_ = 0;
};

}  // namespace
}  // namespace ebpc
