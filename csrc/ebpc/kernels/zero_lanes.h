// Reading zero streams of several jobs in turns, and putting the words in their places:
// jobs_decoder.h.

#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "ebpc/kernels/job_lanes.h"
#include "ebpc/kernels/kernel.h"

namespace ebpc {
namespace {

/// What one pair of a stretch of non-zero words and a zero run puts down at most, where runs are
/// not longer.
constexpr std::size_t max_ones = 16;
constexpr std::size_t max_zeros = 16;
constexpr std::size_t max_symbol_bits = 5;
constexpr std::size_t max_turn_words = 2 * (max_ones + max_zeros);
constexpr std::size_t max_turn_bits = 2 * (max_ones + max_symbol_bits);
static_assert(max_turn_bits <= 57);  // one window is enough

/// A job whose zero stream is being read.
template <class Word>
struct ZeroLane {
  const std::uint8_t* bytes;
  std::uint64_t bit;
  Word* words;
  const Word* next_packed;  // never further in than the words are
  unsigned length_bits;     // of a zero run's symbol
  std::size_t byte_count;
  Word* words_end;
  PackedWords<Word>* packed;
  std::size_t block_size;
  std::size_t job;

  void start(const Parameters& p, const DecodeJob& from, std::size_t index,
             PackedWords<Word>& nonzero_words) {
    bytes = from.zero_stream;
    bit = 0;
    words = static_cast<Word*>(from.words.data);
    next_packed = nonzero_words.words;
    length_bits = static_cast<unsigned>(zero_run_bits(p));
    byte_count = from.zero_bytes;
    words_end = words + from.words.count;
    packed = &nonzero_words;
    block_size = static_cast<std::size_t>(p.block_size);
    job = index;
  }

  /// Turns that can be taken without looking at the end of the stream or of the words.
  std::size_t safe_turns() const {
    const std::size_t at = bit / 8 + sizeof(std::uint64_t);
    if (at > byte_count || std::size_t{1} << length_bits > max_zeros) return 0;
    return min((byte_count - at) * 8 / max_turn_bits, words_left() / max_turn_words);
  }

  /// Reads and puts down two pairs, without a branch. Writes max_turn_words words.
  [[gnu::always_inline]] void take_turn() {
    const std::uint64_t symbols = window(bytes, bit);
    const std::size_t bits = put_pair(symbols);
    put_pair(symbols << bits);
  }

  /// Reads what is left. Returns whether all is well-formed.
  bool finish() {
    for (std::size_t turns; (turns = safe_turns()) > 0;) {
      for (; turns > 0; --turns) take_turn();
    }
    while (bit / 8 + sizeof(std::uint64_t) <= byte_count && words < words_end) {
      if (!put_any_pair(window(bytes, bit))) return false;
    }
    // Few bytes are left, unless the words have ended.
    std::uint8_t tail[3 * sizeof(std::uint64_t)] = {};
    const std::size_t start = bit / 8;
    if (start < byte_count)
      std::memcpy(tail, bytes + start, min(byte_count - start, sizeof(std::uint64_t)));
    const std::uint64_t end = 8 * byte_count - 8 * start;
    bytes = tail;
    bit %= 8;
    while (bit <= min(end, 64) && words < words_end) {
      if (!put_any_pair(window(bytes, bit))) return false;
    }
    if (words != words_end || bit > end || end - bit >= 8 || window(bytes, bit) != 0) return false;
    // The last block may be filled up, but there must be no block without words.
    const auto used = static_cast<std::size_t>(next_packed - packed->words);
    return (used + block_size - 1) / block_size == packed->blocks;
  }

 private:
  std::size_t words_left() const { return static_cast<std::size_t>(words_end - words); }

  /// Returns the bits of the pair.
  [[gnu::always_inline]] std::size_t put_pair(std::uint64_t symbols) {
    const std::size_t ones = leading_ones(symbols);
    const std::uint64_t run = symbols << ones;
    // Behind max_ones words, or as many as the window has, there may be no run.
    const std::uint64_t is_run = (run >> 63) - 1;
    const std::size_t zeros = ((run >> (63 - length_bits)) + 1) & is_run;
    const std::size_t bits = ones + ((length_bits + 1) & is_run);
    put(words, ones);
    words += ones + zeros;
    next_packed += ones;
    bit += bits;
    return bits;
  }

  /// At most max_ones.
  static std::size_t leading_ones(std::uint64_t symbols) {
    const std::uint64_t stop = std::uint64_t{1} << (63 - max_ones);
    return leading_zeros(~symbols | stop);
  }

  /// Non-zero words, and as many zeros behind them as there may be.
  [[gnu::always_inline]] void put(Word* to, std::size_t ones) const {
    std::memcpy(to, next_packed, max_ones * sizeof(Word));
    std::memset(to + ones, 0, max_zeros * sizeof(Word));
  }

  /// A pair of any lengths, as far as there are words. False if the run goes further.
  bool put_any_pair(std::uint64_t symbols) {
    const std::size_t ones = min(leading_ones(symbols), words_left());
    const std::uint64_t run = symbols << ones;
    const bool is_run = run >> 63 == 0 && ones < words_left();
    const std::size_t zeros = is_run ? (run >> (63 - length_bits)) + 1 : 0;
    if (words_left() >= max_ones + max_zeros && zeros <= max_zeros) {
      put(words, ones);
    } else {
      if (ones + zeros > words_left()) return false;
      std::memcpy(words, next_packed, ones * sizeof(Word));
      std::memset(words + ones, 0, zeros * sizeof(Word));
    }
    words += ones + zeros;
    next_packed += ones;
    bit += ones + (is_run ? 1 + length_bits : 0);
    return true;
  }
};

/// Takes `count` turns of each lane.
template <class Word>
void take_turns(ZeroLane<Word> (&lanes)[lane_count], std::size_t count) {
  static_assert(lane_count == 4);
  // Copies, which nothing that is written can be part of.
  ZeroLane<Word> first = lanes[0];
  ZeroLane<Word> second = lanes[1];
  ZeroLane<Word> third = lanes[2];
  ZeroLane<Word> fourth = lanes[3];
  for (std::size_t i = 0; i < count; ++i) {
    first.take_turn();
    second.take_turn();
    third.take_turn();
    fourth.take_turn();
  }
  lanes[0] = first;
  lanes[1] = second;
  lanes[2] = third;
  lanes[3] = fourth;
}

}  // namespace
}  // namespace ebpc
