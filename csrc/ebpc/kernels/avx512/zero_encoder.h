// The zero stream with AVX-512 for the longest zero run that most use, 16: runs of zeros and of
// non-zero words, each short enough for a code of a byte, become codes 64 at a time.

#pragma once

#include <algorithm>
#include <array>
#include <utility>

#include "ebpc/kernels/avx512/bits.h"
#include "ebpc/parameters.h"

namespace ebpc::avx512 {
namespace {

constexpr int run_bits = 4;  // of the length of a zero run
constexpr int max_run = 1 << run_bits;

/// Where the runs of a transmission begin, tile by tile. Zero runs are cut where their symbols end,
/// runs of non-zero words at multiples of 8 words.
class RunStarts {
 public:
  /// Takes the non-zero masks of the next words, 64 words each; `count` words in all, those after
  /// are zero. Up to 7 masks after the last are read. ...
  void find(std::uint64_t* masks, std::size_t count) {
    const std::size_t used = (count + 63) / 64;
    std::array<std::uint64_t, tile_words / 64> cut_phases;
    for (std::size_t i = 0; i < used; ++i) {
      // If the mask begins inside of a zero run, where its first symbol begins, modulo 64.
      cut_phases[i] = phase_;
      const auto after_last_one = static_cast<std::uint64_t>(-std::countl_zero(masks[i]) & 63);
      phase_ = masks[i] == 0 ? phase_ : after_last_one;
    }
    store_512(masks + used, _mm512_setzero_si512());
    masks[-1] = is_first_ ? masks[0] << 63 : last_mask_;
    last_mask_ = masks[used - 1];
    for (std::size_t i = 0; i < used; i += 8) {
      const __m512i mask = load_512(masks + i);
      const __m512i before = _mm512_shldi_epi64(mask, load_512(masks + i - 1), 1);
      store_512(starts_.data() + i, starts(mask, before, load_512(cut_phases.data() + i)));
      store_512(before_.data() + i, before);
    }
    if (is_first_) starts_[0] &= ~std::uint64_t{1};
    is_first_ = false;
    if (count % 64 != 0) starts_[used - 1] &= low_bits(static_cast<int>(count % 64));
  }

  /// The words of mask i at which a run begins, and those after a non-zero word.
  std::uint64_t starts(std::size_t i) const { return starts_[i]; }
  std::uint64_t before(std::size_t i) const { return before_[i]; }

 private:
  /// In each lane the starts of 64 words, with a mask of those after non-zero words and where,
  /// modulo 64, a symbol begins if a zero run is open.
  static __m512i starts(__m512i mask, __m512i before, __m512i phase) {
    const __m512i eighths = _mm512_set1_epi64(0x0101010101010101);
    const __m512i one_cuts = _mm512_ternarylogic_epi64(mask, before, eighths, 0x80);  // all three
    // Zeros of a run that began in an earlier mask: its symbols go on.
    const __m512i open = _mm512_andnot_si512(mask, _mm512_sub_epi64(mask, _mm512_set1_epi64(1)));
    const __m512i every_symbol =
        _mm512_set1_epi64(static_cast<long long>(~std::uint64_t{0} / low_bits(max_run)));
    const __m512i open_cuts = _mm512_and_si512(open, _mm512_rolv_epi64(every_symbol, phase));
    // Zeros that are after a whole symbol, or more, of zeros of this mask in the same run.
    const __m512i own = _mm512_ternarylogic_epi64(mask, open, open, 0x03);  // neither
    __m512i whole = own;
    whole = _mm512_and_si512(whole, _mm512_slli_epi64(whole, 1));
    whole = _mm512_and_si512(whole, _mm512_slli_epi64(whole, 2));
    whole = _mm512_and_si512(whole, _mm512_slli_epi64(whole, 4));
    whole = _mm512_and_si512(whole, _mm512_slli_epi64(whole, 8));
    const __m512i after = _mm512_and_si512(own, _mm512_slli_epi64(whole, 1));
    __m512i own_cuts = _mm512_andnot_si512(_mm512_slli_epi64(after, 1), after);
    for (int symbols = 2; symbols < 64 / max_run; ++symbols) {
      // own_cuts | (own_cuts << max_run & after)
      own_cuts =
          _mm512_ternarylogic_epi64(own_cuts, _mm512_slli_epi64(own_cuts, max_run), after, 0xF8);
    }
    const __m512i cuts = _mm512_or_si512(_mm512_or_si512(one_cuts, open_cuts), own_cuts);
    return _mm512_or_si512(cuts, _mm512_xor_si512(mask, before));
  }

  std::uint64_t phase_ = 0;
  std::uint64_t last_mask_ = 0;
  bool is_first_ = true;
  std::array<std::uint64_t, tile_words / 64> starts_;
  std::array<std::uint64_t, tile_words / 64> before_;
};

/// The codes of runs, by their number of words modulo 32, with `of_ones` added for non-zero words.
struct RunCodes {
  std::array<std::uint8_t, 64> right{};  // right-justified
  std::array<std::uint8_t, 64> left{};   // left-justified
  std::array<std::uint8_t, 64> bits{};

  static constexpr unsigned longest_ones = 8;
  static constexpr std::uint8_t of_ones = 32;

  constexpr void set(unsigned index, unsigned code, unsigned length) {
    right[index] = static_cast<std::uint8_t>(code);
    left[index] = static_cast<std::uint8_t>(code << (8 - length));
    bits[index] = static_cast<std::uint8_t>(length);
  }
};

constexpr RunCodes run_codes = [] {
  RunCodes codes;
  for (unsigned zeros = 1; zeros <= max_run; ++zeros) codes.set(zeros, zeros - 1, 1 + run_bits);
  for (unsigned ones = 1; ones <= RunCodes::longest_ones; ++ones)
    codes.set(RunCodes::of_ones + ones, (1U << ones) - 1, ones);
  return codes;
}();

/// Writes the codes of runs: what ZeroWriter is for other settings.
class RunEncoder {
 public:
  static constexpr int max_zero_run = max_run;

  RunEncoder(const Parameters&, std::uint8_t* out) : appender_(out) { next_[-1] = 0; }

  /// At most a tile. One mask in front is written, and 8 after.
  void put(std::uint64_t* masks, std::size_t count, std::size_t /*ones*/) {
    put_words(masks, 64 * count);
  }

  /// Ends the stream with `count` words more (0 to 63). Returns its bits.
  std::uint64_t finish(std::uint64_t mask, int count) {
    if (count > 0) {
      std::array<std::uint64_t, 10> masks{0, mask};
      put_words(masks.data() + 1, static_cast<std::size_t>(count));
    }
    if (is_empty_) return 0;
    *end_++ = last_edge_;
    for (; end_ - next_ >= 64; next_ += 64) appender_.append<1>(codes(next_));
    appender_.append<any_reach>(codes(next_, low_bits(static_cast<int>(end_ - next_))));
    return appender_.finish();
  }

 private:
  static constexpr int batch = 4;
  static constexpr std::ptrdiff_t front = 64;
  static constexpr std::ptrdiff_t room = 4 * tile_words + 64 * batch + front;

  void put_words(std::uint64_t* masks, std::size_t count) {
    runs_.find(masks, count);
    if (end_ - edges_.data() > room - static_cast<std::ptrdiff_t>(tile_words)) {
      std::memmove(edges_.data() + front - 1, next_ - 1,
                   static_cast<std::size_t>(end_ - next_ + 1));
      end_ -= next_ - (edges_.data() + front);
      next_ = edges_.data() + front;
    }
    std::uint8_t* end = end_;
    const __m512i places = load_512(places_32.data());
    const __m512i after_one = _mm512_or_si512(places, _mm512_set1_epi8(RunCodes::of_ones));
    for (std::size_t i = 0; i < (count + 63) / 64; ++i) {
      const std::uint64_t starts = runs_.starts(i);
      const __m512i edge = _mm512_mask_mov_epi8(places, runs_.before(i), after_one);
      store_512(end, _mm512_maskz_compress_epi8(starts, edge));
      end += std::popcount(starts);
    }
    end_ = end;
    for (; end_ - next_ >= 64 * batch; next_ += 64 * batch) put_batch();
    last_edge_ = static_cast<std::uint8_t>(count % 32);
    if ((masks[(count - 1) / 64] >> ((count - 1) % 64) & 1) != 0) last_edge_ |= RunCodes::of_ones;
    is_empty_ = false;
  }

  void put_batch() {
    std::array<Codes, batch> all;
    for (int i = 0; i < batch; ++i) all[static_cast<std::size_t>(i)] = codes(next_ + 64 * i);
    CodeAppender appender = appender_;
    for (const Codes& each : all) appender.append<1>(each);
    appender_ = appender;
  }

  Codes codes(const std::uint8_t* edges, std::uint64_t valid = ~std::uint64_t{0}) const {
    const __m512i edge = load_512(edges);
    const __m512i length = _mm512_sub_epi8(edge, load_512(edges - 1));
    // The type of the edge and the distance from the one before, modulo 32.
    const __m512i run =
        _mm512_ternarylogic_epi64(_mm512_set1_epi8(RunCodes::of_ones), edge, length, 0xCA);
    const __m512i right =
        _mm512_maskz_permutexvar_epi8(valid, run, load_512(run_codes.right.data()));
    const __m512i code = _mm512_mask_permutexvar_epi8(right, valid & 0xAAAAAAAAAAAAAAAA, run,
                                                      load_512(run_codes.left.data()));
    return join_codes<8>(
        code, _mm512_maskz_permutexvar_epi8(valid, run, load_512(run_codes.bits.data())));
  }

  static constexpr auto places_32 = [] {
    std::array<std::uint8_t, 64> places{};
    for (std::size_t i = 0; i < 64; ++i) places[i] = static_cast<std::uint8_t>(i % 32);
    return places;
  }();

  RunStarts runs_;
  CodeAppender appender_;
  bool is_empty_ = true;
  std::uint8_t last_edge_ = 0;  // where all words end that were put so far
  alignas(64) std::array<std::uint8_t, room + 64> edges_;
  std::uint8_t* next_ = edges_.data() + front;  // of which no code is made yet
  std::uint8_t* end_ = next_;
};

}  // namespace
}  // namespace ebpc::avx512
