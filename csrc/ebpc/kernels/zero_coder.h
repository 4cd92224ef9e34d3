// The zero stream from masks of the non-zero words.
//
// Plain C++, compiled once for every instruction set that includes it: vectors.h says how.

#pragma once

#include "ebpc/kernels/stream_writer.h"
#include "ebpc/kernels/vectors.h"
#include "ebpc/parameters.h"
#include "ebpc/words.h"
#include "ebpc/zero_stream.h"
#ifdef __AVX2__
#include <immintrin.h>
#endif

namespace ebpc {
namespace {

/// Masks of 64 words that are coded at once.
constexpr std::size_t max_masks = 64;

/// For each byte of masks: the zeros at its end and before it in the same mask, as far as they are
/// not interrupted. A byte of zeros has 8 and what the bytes before it have, which three steps of a
/// prefix sum add up.
inline Qwords trailing_zeros(Qwords masks) {
  Qwords ones = masks;  // from each byte's first one on
  ones |= ones >> 1 & 0x7F7F7F7F7F7F7F7F;
  ones |= ones >> 2 & 0x3F3F3F3F3F3F3F3F;
  ones |= ones >> 4 & 0x0F0F0F0F0F0F0F0F;
  Qwords zeros = ~ones;
  zeros -= zeros >> 1 & 0x5555555555555555;
  zeros = (zeros & 0x3333333333333333) + (zeros >> 2 & 0x3333333333333333);
  zeros = (zeros + (zeros >> 4)) & 0x0F0F0F0F0F0F0F0F;
  Qwords reaches_back = vector_cast<std::uint64_t>(is_zero(vector_cast<std::uint8_t>(masks)));
  zeros += reaches_back & zeros << 8;
  reaches_back &= reaches_back << 8;
  zeros += reaches_back & zeros << 16;
  reaches_back &= reaches_back << 16;
  return zeros + (reaches_back & zeros << 32);
}

/// Writes the zero stream.
class ZeroWriter {
 public:
  ZeroWriter(const Parameters& p, std::uint8_t* out)
      : out_(out),
        max_run_(static_cast<std::uint64_t>(p.max_zero_run)),
        length_bits_(zero_run_bits(p)) {}

  /// At most max_masks, with so many ones in all.
  void put(const std::uint64_t* masks, std::size_t count, std::size_t /*ones*/) {
    if (max_run_ == 1) {
      // Each zero is a symbol of one bit, so that the stream is the mask.
      for (std::size_t i = 0; i < count; ++i) out_.put_wide(mask_code(masks[i], 64), 64);
    } else if (max_run_ == ZeroTable::max_run) {
      alignas(vector_bytes) std::uint32_t entries[8 * max_masks];
      find_entries(masks, count, entries);
      out_ = put_entries(entries, count, out_);
    } else {
      for (std::size_t i = 0; i < count; ++i) put_runs(masks[i], 64);
    }
  }

  /// Ends the stream with `count` words more (0 to 63). Returns its bits.
  std::uint64_t finish(std::uint64_t mask, int count) {
    if (max_run_ == 1) {
      if (count > 0) out_.put_wide(mask_code(mask, count), count);
    } else {
      put_runs(mask, count);
      while (run_ > 0) put_run(run_ < max_run_ ? run_ : max_run_);
    }
    out_.finish();
    return out_.bits();
  }

 private:
  /// Eight words take one entry of the table. What an entry depends on besides these is found for
  /// all of a mask at once: a chain from entry to entry would take several times as long.
  void find_entries(const std::uint64_t* masks, std::size_t count, std::uint32_t* entries) {
    std::uint64_t run = run_;
    for (std::size_t i = 0; i < count; i += vector_qwords) {
      const std::size_t end = min(count - i, vector_qwords);
      Qwords some{};
      if (end == vector_qwords) {
        some = load_vector(masks + i);
      } else {
        for (std::size_t k = 0; k < end; ++k) some[k] = masks[i + k];
      }
      alignas(vector_bytes) std::uint64_t zeros[vector_qwords];
      store_vector(zeros, trailing_zeros(some));
      for (std::size_t k = 0; k < end; ++k, entries += 8) {
        run = find_entries(masks[i + k], zeros[k], run, entries);
      }
    }
    run_ = run;
  }

  /// `zeros` is what trailing_zeros gives for this mask. Returns the zeros pending behind it.
  static std::uint64_t find_entries(std::uint64_t mask, std::uint64_t zeros, std::uint64_t run,
                                    std::uint32_t* entries) {
    // The bytes below the first one in the mask continue what was pending.
    const std::uint64_t below_first =
        mask == 0 ? ~std::uint64_t{0} : low_bits(__builtin_ctzll(mask) & ~7);
    zeros += run * lane_ones<8> & below_first;
    zeros &= (ZeroTable::max_run - 1) * lane_ones<8>;
    const std::uint64_t before = zeros << 8 | run;
#ifdef __AVX2__
    alignas(16) std::uint16_t indices[8];
    _mm_store_si128(reinterpret_cast<__m128i*>(indices),
                    _mm_unpacklo_epi8(_mm_cvtsi64_si128(static_cast<long long>(mask)),
                                      _mm_cvtsi64_si128(static_cast<long long>(before))));
    for (int k = 0; k < 8; ++k) entries[k] = zero_table.entries[indices[k]];
#else
    std::uint8_t mask_bytes[8];
    std::uint8_t before_bytes[8];
    store_little_endian(mask_bytes, mask);
    store_little_endian(before_bytes, before);
    for (int k = 0; k < 8; ++k) {
      entries[k] = zero_table.entries[std::size_t{before_bytes[k]} << 8 | mask_bytes[k]];
    }
#endif
    return zeros >> 56;
  }

  /// Writes the codes of whole masks, two entries at once.
  static StreamWriter put_entries(const std::uint32_t* entries, std::size_t mask_count,
                                  StreamWriter out) {
#ifdef __AVX2__
    for (std::size_t i = 0; i < mask_count; ++i, entries += 8) {
      // Elements of 64 bits: an entry, and above it the one that follows.
      Qwords entry;
      std::memcpy(&entry, entries, sizeof entry);
      const Qwords second_length = entry >> 32 & 31;
      const Qwords two = (entry << 32 >> (32 + 8)) << second_length | entry >> (32 + 8);
      const Qwords two_length = (entry & 31) + second_length;
      // Four at once hardly ever have more bits than one put takes.
      const Qwords next_length{two_length[1], 0, two_length[3], 0};
      const Qwords length = two_length + next_length;
      if (length[0] <= 56 && length[2] <= 56) [[likely]] {
        const Qwords next{two[1], 0, two[3], 0};
        const Qwords four = two << next_length | next;
        out.put(four[0], static_cast<int>(length[0]));
        out.put(four[2], static_cast<int>(length[2]));
      } else {
        for (std::size_t k = 0; k < vector_qwords; ++k)
          out.put(two[k], static_cast<int>(two_length[k]));
      }
    }
#else
    for (std::size_t i = 0; i < 8 * mask_count; i += 2) {
      const std::uint32_t second = entries[i + 1];
      out.put(std::uint64_t{ZeroTable::code(entries[i])} << ZeroTable::bits(second) |
                  ZeroTable::code(second),
              static_cast<int>(ZeroTable::bits(entries[i]) + ZeroTable::bits(second)));
    }
#endif
    return out;
  }

  void put_runs(std::uint64_t mask, int count) {
    while (count > 0) {
      int zeros = mask == 0 ? 64 : __builtin_ctzll(mask);
      if (zeros > count) zeros = count;
      run_ += static_cast<std::uint64_t>(zeros);
      count -= zeros;
      if (count == 0) break;
      mask >>= zeros;
      int ones = ~mask == 0 ? 64 : __builtin_ctzll(~mask);
      if (ones > count) ones = count;
      put_run_and_ones(ones);
      count -= ones;
      mask = ones == 64 ? 0 : mask >> ones;
    }
    while (run_ >= max_run_) put_run(max_run_);
  }

  /// Ends the run, if there is one, and appends `count` ones (1 to 64): in one go if they fit.
  void put_run_and_ones(int count) {
    while (run_ > max_run_) put_run(max_run_);
    if (run_ > 0 && count <= 32) {
      out_.put((run_ - 1) << count | low_bits(count), 1 + length_bits_ + count);
      run_ = 0;
    } else {
      while (run_ > 0) put_run(run_ < max_run_ ? run_ : max_run_);
      out_.put_wide(low_bits(count), count);
    }
  }

  void put_run(std::uint64_t length) {
    out_.put(length - 1, 1 + length_bits_);
    run_ -= length;
  }

  StreamWriter out_;
  std::uint64_t max_run_;
  int length_bits_;
  std::uint64_t run_ = 0;  // zeros seen and not yet coded
};

/// Counts the bits of the zero stream.
class ZeroCounter {
 public:
  explicit ZeroCounter(const Parameters& p) : length_bits_(zero_run_bits(p)) {}

  /// As ZeroWriter::put.
  void put(const std::uint64_t* masks, std::size_t count, std::size_t ones) {
    if (length_bits_ == 0) {  // a mask, with a bit for each word
      ones_ += 64 * count;
      return;
    }
    std::uint64_t runs = 0;
    std::uint64_t open = open_;
    for (std::size_t i = 0; i < count; ++i) {
      const std::uint64_t mask = masks[i];
      if (mask == 0) {
        open += 64;
        continue;
      }
      // The run that ends in this mask, whole ones, and what is open behind them.
      const int first = __builtin_ctzll(mask);
      const int behind = __builtin_clzll(mask);
      runs += symbols(open + static_cast<std::uint64_t>(first));
      open = static_cast<std::uint64_t>(behind);
      runs += static_cast<std::uint64_t>(count_ones(mask & ~(mask >> 1))) - 1;
      runs += cuts(~mask & ~std::uint64_t{0} << first & ~std::uint64_t{0} >> behind);
    }
    ones_ += ones;
    runs_ += runs;
    open_ = open;
  }

  /// Ends the stream with `count` words more (0 to 63). Returns its bits.
  std::uint64_t finish(std::uint64_t mask, int count) {
    if (length_bits_ == 0) return ones_ + static_cast<std::uint64_t>(count);
    // The words that are missing are taken as more that are not zero, of one bit each.
    mask |= ~std::uint64_t{0} << count;
    put(&mask, 1, static_cast<std::size_t>(count_ones(mask) - (64 - count)));
    return ones_ + runs_ * static_cast<std::uint64_t>(1 + length_bits_);
  }

 private:
  /// Symbols of a run.
  std::uint64_t symbols(std::uint64_t length) const {
    return (length + low_bits(length_bits_)) >> length_bits_;
  }

  /// The symbols beyond the first that runs have, of zeros given as ones.
  std::uint64_t cuts(std::uint64_t zeros) const {
    if (length_bits_ >= 6) return 0;
    zeros = without_first_symbol(zeros);
    auto cuts = static_cast<std::uint64_t>(count_ones(zeros & ~(zeros >> 1)));
    while ((zeros & zeros >> (1 << length_bits_)) != 0) [[unlikely]] {
      zeros = without_first_symbol(zeros);
      cuts += static_cast<std::uint64_t>(count_ones(zeros & ~(zeros >> 1)));
    }
    return cuts;
  }

  /// What is left of each run if max_zero_run of its zeros are taken away.
  std::uint64_t without_first_symbol(std::uint64_t zeros) const {
    for (int step = 0; step < length_bits_; ++step) zeros &= zeros >> (1 << step);
    return zeros & zeros >> 1;
  }

  int length_bits_;
  std::uint64_t ones_ = 0;
  std::uint64_t runs_ = 0;  // symbols
  std::uint64_t open_ = 0;  // zeros not yet counted
};

}  // namespace
}  // namespace ebpc
