// Reading zero streams, several of them in turns, to masks of the non-zero words.
//
// Plain C++, compiled once for every instruction set that includes it: vectors.h says how.

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

constexpr std::size_t lane_count = 4;  // streams that are read in turns

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
    for (std::size_t i = 0; ok && i < byte_count; i += 8) {
      std::uint8_t eight[8] = {};
      std::memcpy(eight, bytes + i, min(byte_count - i, sizeof eight));
      store_little_endian(out + i, mask_code(load_big_endian(eight), 64));
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
    mask->nonzero = 0;
    for (std::size_t i = 0; 8 * i < used; ++i)
      mask->nonzero += static_cast<std::size_t>(count_ones(mask->of_64(i)));
  }
};

/// Takes `count` turns of each lane.
void take_turns(const ZeroWindows& windows, ZeroLane (&lanes)[lane_count], std::size_t count) {
  static_assert(lane_count == 4);
  ZeroLane::State first = lanes[0].state();
  ZeroLane::State second = lanes[1].state();
  ZeroLane::State third = lanes[2].state();
  ZeroLane::State fourth = lanes[3].state();
  for (std::size_t i = 0; i < count; ++i) {
    ZeroLane::take_turn(windows, first);
    ZeroLane::take_turn(windows, second);
    ZeroLane::take_turn(windows, third);
    ZeroLane::take_turn(windows, fourth);
  }
  lanes[0].resume(first);
  lanes[1].resume(second);
  lanes[2].resume(third);
  lanes[3].resume(fourth);
}

/// Reads the zero streams of jobs, none of more than max_job_words.
void read_zero_streams(const Parameters& p, std::span<const DecodeJob> jobs, NonzeroMask* masks) {
  constexpr std::size_t min_turns = 2;
  const auto length_bits = static_cast<unsigned>(zero_run_bits(p));
  ZeroLane lanes[lane_count];
  std::size_t busy = 0;
  const bool in_turns = 0 < length_bits && length_bits <= ZeroWindows::max_length_bits;
  const ZeroWindows& windows = zero_windows.by_length_bits[in_turns ? length_bits : 0];
  for (std::size_t i = 0; i < jobs.size(); ++i) {
    ZeroLane& lane = lanes[busy];
    lane.start(jobs[i], masks[i]);
    if (!in_turns) {
      length_bits == 0 ? lane.read_mask() : lane.finish(length_bits);
      continue;
    }
    if (++busy < lane_count) continue;
    while (busy == lane_count) {
      std::size_t turns = max_job_words;
      for (const ZeroLane& each : lanes) turns = min(turns, each.safe_turns());
      if (turns >= min_turns) {
        take_turns(windows, lanes, turns);
        continue;
      }
      for (std::size_t k = busy; k-- > 0;) {
        if (lanes[k].safe_turns() >= min_turns) continue;
        lanes[k].finish(length_bits);
        lanes[k] = lanes[--busy];
      }
    }
  }
  for (std::size_t k = 0; k < busy; ++k) {
    for (std::size_t turns; (turns = lanes[k].safe_turns()) > 0;) {
      ZeroLane::State state = lanes[k].state();
      for (; turns > 0; --turns) ZeroLane::take_turn(windows, state);
      lanes[k].resume(state);
    }
    lanes[k].finish(length_bits);
  }
}

}  // namespace
}  // namespace ebpc::EBPC_KERNEL
