// The zero stream from masks of the non-zero words.

#pragma once

#include "ebpc/kernels/generic/stream_writer.h"
#include "ebpc/kernels/generic/vectors.h"
#include "ebpc/parameters.h"
#include "ebpc/words.h"

namespace ebpc::EBPC_KERNEL {
namespace {

/// What eight words add to the stream where max_zero_run is 16, the default.
struct ZeroTable {
  static constexpr std::uint32_t max_run = 16;
  static constexpr int run_symbol_bits = 5;

  /// [zeros pending << 8 | mask of the non-zero words]: the code, up to 24 bits; then in 3 bits the
  /// zeros pending after it unless all words are zero; then in 5 the number of bits of the code.
  std::uint32_t entries[max_run << 8];

  static constexpr std::uint32_t code(std::uint32_t entry) { return entry >> 8; }
  static constexpr std::uint32_t pending(std::uint32_t entry) { return entry >> 5 & 7; }
  static constexpr std::uint32_t bits(std::uint32_t entry) { return entry & 31; }
};

constexpr ZeroTable zero_table = [] {
  ZeroTable table{};
  for (std::uint32_t index = 0; index < ZeroTable::max_run << 8; ++index) {
    std::uint32_t code = 0;
    std::uint32_t length = 0;
    std::uint32_t run = index >> 8;
    for (int i = 0; i < 8; ++i) {
      const bool nonzero = (index >> i & 1) != 0;
      run += !nonzero;
      if (run == ZeroTable::max_run || (nonzero && run > 0)) {
        code = code << ZeroTable::run_symbol_bits | (run - 1);
        length += ZeroTable::run_symbol_bits;
        run = 0;
      }
      if (nonzero) {
        code = code << 1 | 1;
        ++length;
      }
    }
    table.entries[index] = code << 8 | (run & 7) << 5 | length;
  }
  return table;
}();

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
  Qwords zeros = count_ones_of_bytes(~ones);
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
      for (std::size_t i = 0; i < count; ++i) out_.put(mask_code(masks[i], 64), 64);
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
      if (count > 0) out_.put_short(mask_code(mask, count), static_cast<std::uint64_t>(count));
    } else {
      put_runs(mask, count);
      while (run_ > 0) put_run(run_ < max_run_ ? run_ : max_run_);
    }
    out_.finish();
    return out_.bits();
  }

 private:
  /// The bytes of qwords, the least significant first, put into that order in place.
  static const std::uint8_t* bytes_of(std::uint64_t* qwords, std::size_t count) {
    if constexpr (std::endian::native == std::endian::big) {
      for (std::size_t i = 0; i < count; ++i) qwords[i] = byte_swap(qwords[i]);
    }
    return reinterpret_cast<const std::uint8_t*>(qwords);
  }

  /// Eight words take one entry of the table, which depends on the zeros before them too. From mask
  /// to mask these are found one after the other, but not from entry to entry: such a chain would
  /// take several times as long. Each step has a loop of its own, since processors overlap more
  /// iterations of a short one.
  void find_entries(const std::uint64_t* given_masks, std::size_t count, std::uint32_t* entries) {
    alignas(vector_bytes) std::uint64_t masks[max_masks];
    alignas(vector_bytes) std::uint64_t zeros[max_masks];
    alignas(vector_bytes) std::uint64_t continuing[max_masks];  // bytes below the mask's first one
    alignas(vector_bytes) std::uint64_t runs[max_masks];  // pending before the mask, in every byte
    alignas(vector_bytes) std::uint64_t before[max_masks];
    for (std::size_t i = 0; i < count; ++i) masks[i] = given_masks[i];
    for (std::size_t i = count; i % vector_qwords != 0; ++i) masks[i] = runs[i] = 0;
    for (std::size_t i = 0; i < count; i += vector_qwords) {
      const Qwords some = load_vector(masks + i);
      store_vector(zeros + i, trailing_zeros(some));
      const auto below_first_one = vector_cast<std::uint8_t>((some - 1) & ~some);
      store_vector(continuing + i, is_equal(below_first_one, all_elements(std::uint8_t{0xFF})));
    }
    std::uint64_t run = run_;
    for (std::size_t i = 0; i < count; ++i) {
      runs[i] = run * lane_ones<8>;
      run = ((run & continuing[i] >> 56) + (zeros[i] >> 56)) % ZeroTable::max_run;
    }
    run_ = run;
    for (std::size_t i = 0; i < count; i += vector_qwords) {
      const Qwords run_bytes = load_vector(runs + i);
      const Qwords pending = (load_vector(zeros + i) + (run_bytes & load_vector(continuing + i))) &
                             (ZeroTable::max_run - 1) * lane_ones<8>;
      store_vector(before + i, pending << 8 | (run_bytes & 0xFF));
    }
    const std::uint8_t* const mask_bytes = bytes_of(masks, count);
    const std::uint8_t* const before_bytes = bytes_of(before, count);
    alignas(vector_bytes) std::uint16_t indices[8 * max_masks];
    for (std::size_t i = 0; i < 8 * count; ++i) {
      indices[i] = static_cast<std::uint16_t>(before_bytes[i] << 8 | mask_bytes[i]);
    }
    for (std::size_t i = 0; i < 8 * count; ++i) entries[i] = zero_table.entries[indices[i]];
  }

  /// Writes the codes of whole masks, two entries at once.
  static CodeWriter put_entries(const std::uint32_t* entries, std::size_t mask_count,
                                CodeWriter out) {
#ifdef __AVX2__
    // Four entries at once, which hardly ever have more bits than one put takes: elements 0 and 2
    // of each mask's four. Merging first, in a loop of its own.
    alignas(vector_bytes) std::uint64_t codes[vector_qwords * max_masks];
    alignas(vector_bytes) std::uint64_t lengths[vector_qwords * max_masks];
    for (std::size_t i = 0; i < mask_count; ++i) {
      // Elements of 64 bits: an entry, and above it the one that follows.
      Qwords entry;
      std::memcpy(&entry, entries + 8 * i, sizeof entry);
      const Qwords second_length = entry >> 32 & 31;
      const Qwords two = (entry << 32 >> (32 + 8)) << second_length | entry >> (32 + 8);
      const Qwords two_length = (entry & 31) + second_length;
      const Qwords next{two[1], 0, two[3], 0};
      const Qwords next_length{two_length[1], 0, two_length[3], 0};
      store_vector(codes + vector_qwords * i, two << next_length | next);
      store_vector(lengths + vector_qwords * i, two_length + next_length);
    }
    for (std::size_t i = 0; i < vector_qwords * mask_count; i += 2) {
      if (7 <= lengths[i] && lengths[i] <= 64) [[likely]] {
        out.put(codes[i], lengths[i]);
      } else {
        for (std::size_t k = 2 * i; k < 2 * i + 4; ++k) {
          out.put_short(ZeroTable::code(entries[k]), ZeroTable::bits(entries[k]));
        }
      }
    }
#else
    for (std::size_t i = 0; i < 8 * mask_count; i += 2) {
      const std::uint32_t second = entries[i + 1];
      out.put_short(std::uint64_t{ZeroTable::code(entries[i])} << ZeroTable::bits(second) |
                        ZeroTable::code(second),
                    ZeroTable::bits(entries[i]) + ZeroTable::bits(second));
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
    const std::uint64_t ones = low_bits(count);
    const auto bits = static_cast<std::uint64_t>(count);
    if (run_ > 0 && count <= 32) {
      out_.put_short((run_ - 1) << count | ones, run_bits() + bits);
      run_ = 0;
      return;
    }
    while (run_ > 0) put_run(run_ < max_run_ ? run_ : max_run_);
    if (count == 64) {
      out_.put(ones, bits);
    } else {
      out_.put_short(ones, bits);
    }
  }

  void put_run(std::uint64_t length) {
    out_.put_short(length - 1, run_bits());
    run_ -= length;
  }

  std::uint64_t run_bits() const { return static_cast<std::uint64_t>(1 + length_bits_); }

  CodeWriter out_;
  std::uint64_t max_run_;
  int length_bits_;
  std::uint64_t run_ = 0;  // zeros seen and not yet coded
};

/// Counts the bits of the zero stream.
class ZeroCounter {
 public:
  explicit ZeroCounter(const Parameters& p, std::uint8_t* = nullptr)
      : length_bits_(zero_run_bits(p)) {}

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
      // The run that ends in this mask, whole ones, and what is open after them.
      const int first = __builtin_ctzll(mask);
      const int after = __builtin_clzll(mask);
      runs += symbols(open + static_cast<std::uint64_t>(first));
      open = static_cast<std::uint64_t>(after);
      runs += static_cast<std::uint64_t>(count_ones(mask & ~(mask >> 1))) - 1;
      runs += cuts(~mask & ~std::uint64_t{0} << first & ~std::uint64_t{0} >> after);
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
}  // namespace ebpc::EBPC_KERNEL
