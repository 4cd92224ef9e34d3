// Reading zero streams, several of them in turns, to masks of the non-zero words.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "ebpc/kernels/generic/jobs.h"
#include "ebpc/kernels/generic/vectors.h"
#include "ebpc/kernels/kernel.h"
#include "ebpc/words.h"

namespace ebpc::EBPC_KERNEL {
namespace {

/// What the first bits of a zero stream stand for, for one length of zero runs: as many of its
/// symbols as are complete in them.
struct ZeroWindows {
  static constexpr unsigned window_bits = 12;
  /// Those of three windows are less than 64, up to 7 in front of them included.
  static constexpr unsigned max_words = 18;
  static constexpr unsigned max_length_bits = 4;  // a run fits

  /// From the lowest bit on: 6 bits for how many bits were taken, 6 for the words that they stand
  /// for, and a mask of those that are not zero. So the numbers of some may be added up.
  static constexpr unsigned words_bit = 6;
  static constexpr unsigned mask_bit = 12;
  std::uint32_t entries[1 << window_bits];
};

constexpr ZeroWindows zero_windows_of(unsigned length_bits) {
  ZeroWindows windows{};
  for (unsigned window = 0; window < 1U << ZeroWindows::window_bits; ++window) {
    std::uint32_t mask = 0;
    unsigned words = 0;
    unsigned bits = 0;
    while (bits < ZeroWindows::window_bits) {
      const unsigned left = ZeroWindows::window_bits - bits;
      if ((window >> (left - 1) & 1) != 0) {
        if (words == ZeroWindows::max_words) break;
        mask |= 1U << words++;
        ++bits;
        continue;
      }
      if (left < 1 + length_bits) break;
      const unsigned run = (window >> (left - 1 - length_bits) & ((1U << length_bits) - 1)) + 1;
      if (words + run > ZeroWindows::max_words) break;
      words += run;
      bits += 1 + length_bits;
    }
    windows.entries[window] =
        mask << ZeroWindows::mask_bit | words << ZeroWindows::words_bit | bits;
  }
  return windows;
}

struct AllZeroWindows {
  ZeroWindows by_length_bits[ZeroWindows::max_length_bits + 1];
};

constexpr AllZeroWindows zero_windows = [] {
  AllZeroWindows all{};
  for (unsigned bits = 1; bits <= ZeroWindows::max_length_bits; ++bits)
    all.by_length_bits[bits] = zero_windows_of(bits);
  return all;
}();

/// A job whose zero stream is being read.
struct ZeroLane {
  static constexpr unsigned windows_in_turn = 3;
  static constexpr std::size_t max_turn_words = windows_in_turn * ZeroWindows::max_words;
  static constexpr std::size_t max_turn_bytes =
      (windows_in_turn * ZeroWindows::window_bits + 7) / 8;

  const std::uint8_t* bytes;
  std::uint64_t bit;
  std::uint8_t* out;      // the byte of the mask in which the next word's bit is
  std::uint64_t waiting;  // the bits from there on
  std::size_t filled;     // words that have one of the first of these, 0 to 7
  std::size_t byte_count;
  std::size_t words;
  NonzeroMask* mask;

  void start(const DecodeJob& job, NonzeroMask& to) {
    bytes = job.zero_stream;
    bit = 0;
    mask = &to;
    out = to.bytes;
    waiting = 0;
    filled = 0;
    byte_count = job.zero_bytes;
    words = job.words.count;
  }

  /// Turns that can be taken without looking at the end of the stream or of the words.
  std::size_t safe_turns() const {
    const std::size_t at = bit / 8 + sizeof(std::uint64_t);
    if (at > byte_count) return 0;
    return min((byte_count - at) / max_turn_bytes, (words - done()) / max_turn_words);
  }

  /// What changes from turn to turn: little, so that the lanes' fit into registers. Addresses of
  /// bits are those of bytes times 8.
  struct State {
    std::uint64_t bit;
    std::uint64_t word;     // of its bit in the mask
    std::uint64_t waiting;  // the mask from that bit's byte on
  };

  State state() const { return {8 * address(bytes) + bit, 8 * address(out) + filled, waiting}; }
  void resume(const State& s) {
    bit = s.bit - 8 * address(bytes);
    out = mask->bytes + (s.word / 8 - address(mask->bytes));
    filled = s.word % 8;
    waiting = s.waiting;
  }

  [[gnu::always_inline]] static void take_turn(const ZeroWindows& windows, State& s) {
    std::uint64_t x = window(reinterpret_cast<const std::uint8_t*>(s.bit / 8), s.bit % 8);
    std::uint64_t sums = s.word % 8 << ZeroWindows::words_bit;
    for (unsigned i = 0; i < windows_in_turn; ++i) {
      const std::uint64_t entry = windows.entries[x >> (64 - ZeroWindows::window_bits)];
      x <<= entry & 63;
      s.waiting |= entry >> ZeroWindows::mask_bit << (sums >> ZeroWindows::words_bit & 63);
      sums += entry & low_bits(ZeroWindows::mask_bit);
    }
    store_little_endian(reinterpret_cast<std::uint8_t*>(s.word / 8), s.waiting);
    s.bit += sums & 63;
    const std::uint64_t filled = sums >> ZeroWindows::words_bit;
    s.waiting >>= filled & 56;
    s.word = (s.word & ~std::uint64_t{7}) + filled;
  }

  /// Reads what is left, run by run.
  void finish(unsigned length_bits) {
    std::size_t word = done();
    std::memset(out, 0, (words - word) / 8 + 16);
    const std::uint8_t* from = bytes;
    std::uint8_t tail[24] = {};  // the last bytes and zeros
    std::uint64_t end = 8 * byte_count;
    while (word < words) {
      if (from == bytes && bit / 8 + sizeof(std::uint64_t) > byte_count) {
        const std::size_t start = min(bit / 8, byte_count);
        if (start < byte_count) std::memcpy(tail, bytes + start, byte_count - start);
        from = tail;
        bit -= 8 * start;
        end -= 8 * start;
      }
      if (bit > end) break;
      const std::uint64_t symbols = window(from, bit);
      constexpr std::uint64_t max_ones_stop = std::uint64_t{1} << (63 - 16);
      const std::size_t ones = min(leading_zeros(~symbols | max_ones_stop), words - word);
      waiting |= low_bits(static_cast<int>(ones)) << filled;
      store_mask();
      std::size_t taken = ones;
      bit += ones;
      const std::uint64_t run = symbols << ones;
      if (word + ones < words && run >> 63 == 0) {
        taken += (run >> (63 - length_bits)) + 1;
        bit += 1 + length_bits;
      }
      if (taken > words - word) break;
      word += taken;
      const std::size_t next = filled + taken;
      out += next / 8;
      waiting = next < 64 ? waiting >> (next & 56) : 0;
      filled = next % 8;
    }
    const std::uint64_t at = 8 * address(from);
    end_mask(word == words && is_padding(at + bit, at + end));
  }

  /// A stream that is the mask itself.
  void read_mask() {
    const std::size_t padding = -words % 8;
    bool ok = byte_count == (words + padding) / 8;
    if (ok && byte_count > 0) std::memcpy(out, bytes, byte_count);
    for (std::size_t i = 0; ok && i < byte_count; i += vector_bytes) {
      // A stream's first bit is a mask's lowest.
      Qwords x = vector_cast<std::uint64_t>(load_vector(out + i));
      x = swap_bits<1>(x, 0x5555555555555555);
      x = swap_bits<2>(x, 0x3333333333333333);
      store_vector(out + i, swap_bits<4>(x, 0x0F0F0F0F0F0F0F0F));
    }
    if (ok && padding > 0) ok = out[byte_count - 1] >> (8 - padding) == 0;
    end_mask(ok);
  }

 private:
  std::size_t done() const { return 8 * static_cast<std::size_t>(out - mask->bytes) + filled; }

  [[gnu::always_inline]] void store_mask() const { store_little_endian(out, waiting); }

  void end_mask(bool ok) {
    mask->nonzero = NonzeroMask::malformed;
    if (!ok) return;
    const std::size_t used = (words + 7) / 8;
    if (words % 8 != 0) mask->bytes[used - 1] &= static_cast<std::uint8_t>(0xFF >> (8 - words % 8));
    std::memset(mask->bytes + used, 0, 8);
    std::size_t nonzero = 0;
    for (std::size_t i = 0; 8 * i < used; ++i)
      nonzero += static_cast<std::size_t>(count_ones(mask->of_64(i)));
    mask->nonzero = nonzero;
  }
};

/// Reads streams that are masks themselves.
inline void read_masks(std::span<const DecodeJob> jobs, NonzeroMask* masks) {
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    ZeroLane lane;
    lane.start(jobs[i], masks[i]);
    lane.read_mask();
  }
}

/// Reads the zero streams of jobs, none of more than max_job_words.
class ZeroTurns {
 public:
  ZeroTurns(const Parameters& p, std::span<const DecodeJob> jobs, NonzeroMask* masks)
      : length_bits_(static_cast<unsigned>(zero_run_bits(p))), jobs_(jobs), masks_(masks) {}

  void run() {
    if (length_bits_ == 0) return read_masks(jobs_, masks_);
    const bool in_turns = length_bits_ <= ZeroWindows::max_length_bits;
    const ZeroWindows& windows = zero_windows.by_length_bits[in_turns ? length_bits_ : 0];
    for (std::size_t i = 0; i < jobs_.size(); ++i) {
      lanes_[busy_].start(jobs_[i], masks_[i]);
      if (!in_turns) {
        lanes_[busy_].finish(length_bits_);
        continue;
      }
      if (++busy_ == lane_count) make_room(windows);
    }
    while (busy_ > 0) {
      ZeroLane& lane = lanes_[--busy_];
      for (std::size_t turns; (turns = lane.safe_turns()) > 0;) {
        ZeroLane::State state = lane.state();
        for (; turns > 0; --turns) ZeroLane::take_turn(windows, state);
        lane.resume(state);
      }
      lane.finish(length_bits_);
    }
  }

 private:
  static constexpr std::size_t lane_count = 4;
  static constexpr std::size_t min_turns = 2;  // fewer are not worth looking for more

  /// Takes turns until a lane is done.
  void make_room(const ZeroWindows& windows) {
    while (busy_ == lane_count) {
      std::size_t turns = max_job_words;
      for (const ZeroLane& each : lanes_) turns = min(turns, each.safe_turns());
      if (turns >= min_turns) {
        take_turns(windows, turns);
        continue;
      }
      for (std::size_t k = busy_; k-- > 0;) {
        if (lanes_[k].safe_turns() >= min_turns) continue;
        lanes_[k].finish(length_bits_);
        lanes_[k] = lanes_[--busy_];
      }
    }
  }

  /// Takes `count` turns of each lane.
  void take_turns(const ZeroWindows& windows, std::size_t count) {
    ZeroLane::State first = lanes_[0].state();
    ZeroLane::State second = lanes_[1].state();
    ZeroLane::State third = lanes_[2].state();
    ZeroLane::State fourth = lanes_[3].state();
    for (std::size_t i = 0; i < count; ++i) {
      ZeroLane::take_turn(windows, first);
      ZeroLane::take_turn(windows, second);
      ZeroLane::take_turn(windows, third);
      ZeroLane::take_turn(windows, fourth);
    }
    lanes_[0].resume(first);
    lanes_[1].resume(second);
    lanes_[2].resume(third);
    lanes_[3].resume(fourth);
  }

  unsigned length_bits_;
  std::span<const DecodeJob> jobs_;
  NonzeroMask* masks_;
  ZeroLane lanes_[lane_count];
  std::size_t busy_ = 0;
};

}  // namespace
}  // namespace ebpc::EBPC_KERNEL
