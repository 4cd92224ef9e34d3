// The zero stream: where the zero words are (zero run-length coding; JETCAS 2019, section III-A).
//
// A non-zero word is `1`. A zero run is `0` and (length - 1) in log2(max_zero_run) bits; a longer
// run is cut into symbols of max_zero_run, then the rest. Where max_zero_run is 1, that makes a
// mask.

#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "ebpc/bit_stream.h"
#include "ebpc/observer.h"
#include "ebpc/parameters.h"
#include "ebpc/words.h"

namespace ebpc {

/// Codes zero runs into a sink (BitWriter or BitCounter), watched by an observer.
template <class Sink, class Observer = Unobserved>
class ZeroEncoder {
 public:
  ZeroEncoder(const Parameters& p, Sink& sink, Observer observer = {})
      : sink_(sink),
        observer_(observer),
        max_run_(static_cast<std::uint32_t>(p.max_zero_run)),
        length_bits_(zero_run_bits(p)) {}

  /// Appends `count` words (1 to 64), given as a mask: bit i is set where word i is non-zero.
  void push(std::uint64_t nonzero, int count) {
    if constexpr (std::is_same_v<Observer, Unobserved>) {
      if (max_run_ == 1) {
        sink_.put(mask_code(nonzero, count), count);
        return;
      }
    }
    while (count > 0) {
      const int zeros = std::min(std::countr_zero(nonzero), count);
      run_ += static_cast<std::uint32_t>(zeros);
      count -= zeros;
      if (count == 0) break;
      nonzero >>= zeros;
      const int ones = std::min(std::countr_one(nonzero), count);
      put_run_and_ones(ones);
      count -= ones;
      nonzero = ones == 64 ? 0 : nonzero >> ones;
    }
    while (run_ >= max_run_) put_run(max_run_);
  }

  /// Ends the stream; the sink is flushed.
  void finish() {
    end_run();
    sink_.flush();
  }

 private:
  void end_run() {
    while (run_ > 0) put_run(std::min(run_, max_run_));
  }

  /// Ends the run, if there is one, and appends `count` ones (1 to 64): in one go if they fit.
  void put_run_and_ones(int count) {
    while (run_ > max_run_) put_run(max_run_);
    const std::uint64_t all_ones = ~std::uint64_t{0} >> (64 - count);
    if (run_ > 0 && count <= 32) {
      sink_.put(std::uint64_t{run_ - 1} << count | all_ones, 1 + length_bits_ + count);
      observer_.zero_run(std::exchange(run_, 0));
    } else {
      end_run();
      sink_.put(all_ones, count);
    }
    observer_.nonzero_words(count);
  }

  void put_run(std::uint32_t length) {
    sink_.put(length - 1, 1 + length_bits_);
    observer_.zero_run(length);
    run_ -= length;
  }

  Sink& sink_;
  [[no_unique_address]] Observer observer_;
  std::uint32_t max_run_;
  int length_bits_;
  std::uint32_t run_ = 0;  // zeros seen and not yet coded
};

/// Reads a zero stream back as alternating stretches of zero and of non-zero words.
class ZeroDecoder {
 public:
  struct Stretch {
    bool zero;
    std::uint64_t length;  // words, at least 1
  };

  ZeroDecoder(const Parameters& p, const std::uint8_t* bytes, std::uint64_t byte_count)
      : reader_(bytes, byte_count), length_bits_(zero_run_bits(p)) {}

  /// The next stretch. One of non-zero words, or of a mask's zeros, is at most `remaining` long,
  /// since the padding after the last one may not count; a zero run is what was coded and may be
  /// too long.
  Stretch next(std::uint64_t remaining) {
    const std::uint64_t window = reader_.window();
    const int ones = std::countl_one(window);
    if (ones > 0) {
      const int length =
          remaining < static_cast<std::uint64_t>(ones) ? static_cast<int>(remaining) : ones;
      reader_.skip(length);
      return {false, static_cast<std::uint64_t>(length)};
    }
    if (length_bits_ == 0) {  // a mask, in which each zero has a bit of its own
      const auto length =
          std::min<std::uint64_t>(remaining, static_cast<std::uint64_t>(std::countl_zero(window)));
      reader_.skip(static_cast<int>(length));
      return {true, length};
    }
    reader_.skip(1 + length_bits_);
    return {true, (window >> (63 - length_bits_)) + 1};
  }

  const BitReader& reader() const { return reader_; }

 private:
  BitReader reader_;
  int length_bits_;
};

}  // namespace ebpc
