// The zero stream with AVX-512: runs of zeros and of non-zero words, each short enough for a code
// of a byte, become codes 64 at a time.

#pragma once

#include <algorithm>
#include <array>
#include <utility>

#include "ebpc/kernels/avx512/bits.h"
#include "ebpc/kernels/avx512/code_appender.h"
#include "ebpc/parameters.h"

namespace ebpc::avx512 {
namespace {

/// Where the runs of a transmission begin, tile by tile. Zero runs are cut where their symbols end,
/// runs of non-zero words at multiples of 8 words.
class RunStarts {
 public:
  explicit RunStarts(const Parameters& p) : run_bits_(zero_run_bits(p)) {}

  /// Takes the non-zero masks of the next words, 64 words each; `count` words in all, those behind
  /// are zero. Up to 7 masks behind the last are read. ...
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
    switch (run_bits_) {
      case 1:
        find_starts<1>(masks, used, cut_phases.data());
        break;
      case 2:
        find_starts<2>(masks, used, cut_phases.data());
        break;
      case 3:
        find_starts<3>(masks, used, cut_phases.data());
        break;
      case 4:
        find_starts<4>(masks, used, cut_phases.data());
        break;
      default:
        find_starts<5>(masks, used, cut_phases.data());
    }
    if (is_first_) starts_[0] &= ~std::uint64_t{1};
    is_first_ = false;
    if (count % 64 != 0) starts_[used - 1] &= low_bits(static_cast<int>(count % 64));
  }

  /// The words of mask i at which a run begins, and those behind a non-zero word.
  std::uint64_t starts(std::size_t i) const { return starts_[i]; }
  std::uint64_t before(std::size_t i) const { return before_[i]; }

  /// How many zero runs end at those of the first `masks` masks.
  std::uint64_t zero_runs(std::size_t masks) const {
    std::uint64_t runs = 0;
    for (std::size_t i = 0; i < masks; ++i)
      runs += static_cast<std::uint64_t>(std::popcount(starts_[i] & ~before_[i]));
    return runs;
  }

 private:
  template <int run_bits>
  void find_starts(const std::uint64_t* masks, std::size_t used, const std::uint64_t* phases) {
    for (std::size_t i = 0; i < used; i += 8) {
      const __m512i mask = load_512(masks + i);
      const __m512i before = _mm512_shldi_epi64(mask, load_512(masks + i - 1), 1);
      store_512(starts_.data() + i, starts<run_bits>(mask, before, load_512(phases + i)));
      store_512(before_.data() + i, before);
    }
  }

  /// In each lane the starts of 64 words, with a mask of those behind non-zero words and where,
  /// modulo 64, a symbol begins if a zero run is open.
  template <int run_bits>
  static __m512i starts(__m512i mask, __m512i before, __m512i phase) {
    constexpr int max_run = 1 << run_bits;
    const __m512i eighths = _mm512_set1_epi64(0x0101010101010101);
    const __m512i one_cuts = _mm512_ternarylogic_epi64(mask, before, eighths, 0x80);  // all three
    // Zeros of a run that began in an earlier mask: its symbols go on.
    const __m512i open = _mm512_andnot_si512(mask, _mm512_sub_epi64(mask, _mm512_set1_epi64(1)));
    const __m512i every_symbol =
        _mm512_set1_epi64(static_cast<long long>(~std::uint64_t{0} / low_bits(max_run)));
    const __m512i open_cuts = _mm512_and_si512(open, _mm512_rolv_epi64(every_symbol, phase));
    // Zeros that are behind a whole symbol, or more, of zeros of this mask in the same run.
    const __m512i own = _mm512_ternarylogic_epi64(mask, open, open, 0x03);  // neither
    __m512i whole = own;
    [&]<int... shift>(std::integer_sequence<int, shift...>) {
      ((whole = _mm512_and_si512(whole, _mm512_slli_epi64(whole, 1 << shift))), ...);
    }(std::make_integer_sequence<int, run_bits>());
    const __m512i behind = _mm512_and_si512(own, _mm512_slli_epi64(whole, 1));
    __m512i own_cuts = _mm512_andnot_si512(_mm512_slli_epi64(behind, 1), behind);
    for (int symbols = 2; symbols < 64 / max_run; ++symbols) {
      // own_cuts | (own_cuts << max_run & behind)
      own_cuts =
          _mm512_ternarylogic_epi64(own_cuts, _mm512_slli_epi64(own_cuts, max_run), behind, 0xF8);
    }
    const __m512i cuts = _mm512_or_si512(_mm512_or_si512(one_cuts, open_cuts), own_cuts);
    return _mm512_or_si512(cuts, _mm512_xor_si512(mask, before));
  }

  int run_bits_;
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

/// By log2 of the longest zero run that one symbol covers, 2 to 32.
constexpr auto run_codes = [] {
  std::array<RunCodes, 6> codes{};
  for (unsigned run_bits = 1; run_bits < codes.size(); ++run_bits) {
    for (unsigned zeros = 1; zeros <= 1U << run_bits; ++zeros) {
      codes[run_bits].set(zeros % 32, zeros - 1, 1 + run_bits);
    }
    for (unsigned ones = 1; ones <= RunCodes::longest_ones; ++ones) {
      codes[run_bits].set(RunCodes::of_ones + ones, (1U << ones) - 1, ones);
    }
  }
  return codes;
}();

/// Writes the codes of runs, for symbols of up to 32 zeros.
class RunEncoder {
 public:
  static constexpr int max_zero_run = 32;

  RunEncoder(const Parameters& p, std::uint8_t* out)
      : codes_(run_codes[static_cast<std::size_t>(zero_run_bits(p))]), runs_(p), appender_(out) {
    next_[-1] = 0;
  }

  void put(std::uint64_t* masks, std::size_t count) {
    runs_.find(masks, count);
    if (end_ - edges_.data() > room - static_cast<std::ptrdiff_t>(tile_words)) {
      std::memmove(edges_.data() + front - 1, next_ - 1,
                   static_cast<std::size_t>(end_ - next_ + 1));
      end_ -= next_ - (edges_.data() + front);
      next_ = edges_.data() + front;
    }
    std::uint8_t* end = end_;
    const __m512i places = load_512(places_32.data());
    const __m512i behind_one = _mm512_or_si512(places, _mm512_set1_epi8(RunCodes::of_ones));
    for (std::size_t i = 0; i < (count + 63) / 64; ++i) {
      const std::uint64_t starts = runs_.starts(i);
      const __m512i edge = _mm512_mask_mov_epi8(places, runs_.before(i), behind_one);
      store_512(end, _mm512_maskz_compress_epi8(starts, edge));
      end += std::popcount(starts);
    }
    end_ = end;
    for (; end_ - next_ >= 64 * batch; next_ += 64 * batch) put_batch();
    last_edge_ = static_cast<std::uint8_t>(count % 32);
    if ((masks[(count - 1) / 64] >> ((count - 1) % 64) & 1) != 0) last_edge_ |= RunCodes::of_ones;
    is_empty_ = false;
  }

  /// Returns the bits of the stream.
  std::uint64_t finish() {
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
    const __m512i right = _mm512_maskz_permutexvar_epi8(valid, run, load_512(codes_.right.data()));
    const __m512i code = _mm512_mask_permutexvar_epi8(right, valid & 0xAAAAAAAAAAAAAAAA, run,
                                                      load_512(codes_.left.data()));
    return join_codes<8>(code,
                         _mm512_maskz_permutexvar_epi8(valid, run, load_512(codes_.bits.data())));
  }

  static constexpr auto places_32 = [] {
    std::array<std::uint8_t, 64> places{};
    for (std::size_t i = 0; i < 64; ++i) places[i] = static_cast<std::uint8_t>(i % 32);
    return places;
  }();

  const RunCodes& codes_;
  RunStarts runs_;
  CodeAppender appender_;
  bool is_empty_ = true;
  std::uint8_t last_edge_ = 0;  // where all words end that were put so far
  alignas(64) std::array<std::uint8_t, room + 64> edges_;
  std::uint8_t* next_ = edges_.data() + front;  // of which no code is made yet
  std::uint8_t* end_ = next_;
};

/// Counts the bits that RunEncoder would write.
class RunCounter {
 public:
  explicit RunCounter(const Parameters& p, std::uint8_t* = nullptr)
      : symbol_bits_(static_cast<std::uint64_t>(1 + zero_run_bits(p))), runs_(p) {}

  void put(std::uint64_t* masks, std::size_t count) {
    const std::size_t used = (count + 63) / 64;
    runs_.find(masks, count);
    zero_runs_ += runs_.zero_runs(used);
    for (std::size_t i = 0; i < used; ++i)
      ones_ += static_cast<std::uint64_t>(std::popcount(masks[i]));
    last_is_zero_ = (masks[(count - 1) / 64] >> ((count - 1) % 64) & 1) == 0;
  }

  std::uint64_t finish() { return ones_ + symbol_bits_ * (zero_runs_ + (last_is_zero_ ? 1 : 0)); }

 private:
  std::uint64_t symbol_bits_;
  RunStarts runs_;
  std::uint64_t zero_runs_ = 0;
  std::uint64_t ones_ = 0;
  bool last_is_zero_ = false;
};

/// Writes or counts for symbols of any number of zeros, run by run.
template <bool counting>
class LongRunEncoder {
 public:
  LongRunEncoder(const Parameters& p, std::uint8_t* out)
      : max_run_(static_cast<std::uint64_t>(p.max_zero_run)),
        symbol_bits_(1 + zero_run_bits(p)),
        begin_(out),
        writer_(out, 0, 0) {}

  void put(const std::uint64_t* masks, std::size_t count) {
    for (std::size_t first = 0; first < count; first += 64) {
      std::uint64_t mask = *masks++;
      int left = static_cast<int>(std::min<std::size_t>(64, count - first));
      while (left > 0) {
        const int zeros = std::min(std::countr_zero(mask), left);
        zeros_ += static_cast<std::uint64_t>(zeros);
        left -= zeros;
        if (left == 0) break;
        mask >>= zeros;
        const int ones = std::countr_one(mask);
        put_zeros();
        put_code(low_bits(ones), ones);
        left -= ones;
        mask = ones == 64 ? 0 : mask >> ones;
      }
    }
  }

  std::uint64_t finish() {
    put_zeros();
    if constexpr (counting) return bits_;
    writer_.finish();
    return static_cast<std::uint64_t>(writer_.end() - begin_) * 8 +
           static_cast<std::uint64_t>(writer_.filled());
  }

 private:
  void put_zeros() {
    for (; zeros_ > 0; zeros_ -= std::min(zeros_, max_run_)) {
      put_code(std::min(zeros_, max_run_) - 1, symbol_bits_);
    }
  }

  void put_code(std::uint64_t code, int bits) {
    if constexpr (counting) {
      bits_ += static_cast<std::uint64_t>(bits);
    } else {
      writer_.put(code, bits);
    }
  }

  std::uint64_t max_run_;
  int symbol_bits_;
  std::uint64_t zeros_ = 0;  // not yet put
  std::uint8_t* begin_;
  RunWriter writer_;
  std::uint64_t bits_ = 0;  // counted
};

/// Writes masks as they are, or counts their bits: where zero runs have a length of 1.
template <bool counting>
class MaskEncoder {
 public:
  explicit MaskEncoder(const Parameters&, std::uint8_t* out) : out_(out) {}

  /// Of a tile of `count` words, a multiple of 64 but for the last one.
  void put(const std::uint64_t* masks, std::size_t count) {
    for (std::size_t first = 0; !counting && first < count; first += 512) {
      store_512(out_ + (bits_ + first) / 8, turn_bytes_around(load_512(masks + first / 64)));
    }
    bits_ += count;
  }

  std::uint64_t finish() const { return bits_; }

 private:
  std::uint8_t* out_;
  std::uint64_t bits_ = 0;
};

}  // namespace
}  // namespace ebpc::avx512
