// Reading zero streams, with runs up to 16, of several jobs in turns, and putting the words in
// their places: jobs_decoder.h.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "ebpc/kernels/kernel.h"
#include "ebpc/kernels/plane_lanes.h"

namespace ebpc {
namespace {

constexpr std::size_t max_ones = 16;  // non-zero words that one pair puts down
constexpr std::size_t max_zeros = 16;
constexpr std::size_t zero_symbol_bits = 5;
constexpr std::size_t max_turn_words = 2 * (max_ones + max_zeros);
constexpr std::size_t max_turn_bits = 2 * (max_ones + zero_symbol_bits);
static_assert(max_turn_bits <= 57);  // one window is enough

/// What the five bits behind a stretch of ones say.
struct ZeroRunTable {
  std::uint8_t zeros[32];
  std::uint8_t bits[32];  // that this symbol has
};

constexpr ZeroRunTable zero_run_table = [] {
  ZeroRunTable table{};  // 1xxxx: the stretch goes on, so that there is no run
  for (unsigned i = 0; i < max_zeros; ++i) {
    table.zeros[i] = static_cast<std::uint8_t>(i + 1);
    table.bits[i] = zero_symbol_bits;
  }
  return table;
}();

/// A job whose zero stream is being read.
struct ZeroLane {
  const std::uint8_t* bytes;
  std::uint64_t bit;
  std::uint8_t* words;
  const std::uint8_t* next_packed;  // never further in than the words are
  std::size_t byte_count;
  std::uint8_t* words_end;
  PackedWords* packed;
  std::size_t job;

  void start(const DecodeJob& from, std::size_t index, PackedWords& nonzero_words) {
    bytes = from.zero_stream;
    bit = 0;
    words = static_cast<std::uint8_t*>(from.words.data);
    next_packed = nonzero_words.words;
    byte_count = from.zero_bytes;
    words_end = words + from.words.count;
    packed = &nonzero_words;
    job = index;
  }

  /// Turns that can be taken without looking at the end of the stream or of the words.
  std::size_t safe_turns() const {
    const std::size_t at = bit / 8 + sizeof(std::uint64_t);
    if (at > byte_count) return 0;
    return min((byte_count - at) * 8 / max_turn_bits, words_left() / max_turn_words);
  }

  /// Reads and puts down two pairs, without a branch. Writes max_turn_words bytes.
  void take_turn() {
    const std::uint64_t symbols = window(bytes, bit);
    const std::size_t bits = put_pair(symbols);
    put_pair(symbols << bits);
  }

  /// Reads what is left. Returns whether all is well-formed.
  bool finish() {
    while (safe_turns() > 0) take_turn();
    // Either the stream is about to end or the words are; then few bytes matter.
    constexpr std::size_t tail_bytes = 32;
    std::uint8_t tail[2 * tail_bytes] = {};
    const std::size_t start = bit / 8;
    if (start < byte_count) {
      std::memcpy(tail, bytes + start, min(byte_count - start, tail_bytes));
    }
    const std::uint64_t end = 8 * (byte_count - start);
    bytes = tail;
    bit %= 8;
    while (bit <= min(end, 8 * tail_bytes) && words_left() >= max_turn_words) take_turn();

    std::uint8_t last_words[max_turn_words + max_ones + max_zeros];
    std::size_t last = 0;
    const std::size_t left = words_left();
    while (bit <= min(end, 8 * tail_bytes) && last < left) {
      const std::uint64_t symbols = window(bytes, bit);
      const std::size_t ones = min(leading_ones(symbols), left - last);
      put(last_words + last, ones);
      last += ones;
      next_packed += ones;
      bit += ones;
      if (last == left) break;
      const std::size_t run = symbols << ones >> (64 - zero_symbol_bits);
      last += zero_run_table.zeros[run];
      bit += zero_run_table.bits[run];
    }
    if (last != left || bit > end || end - bit >= 8 || window(bytes, bit) != 0) return false;
    if (left > 0) std::memcpy(words, last_words, left);
    // The last block may be filled up, but there must be no block without words.
    const auto used = static_cast<std::size_t>(next_packed - packed->words);
    return (used + block_size - 1) / block_size == packed->blocks;
  }

 private:
  std::size_t words_left() const { return static_cast<std::size_t>(words_end - words); }

  /// Returns the bits of the pair.
  std::size_t put_pair(std::uint64_t symbols) {
    const std::size_t ones = leading_ones(symbols);
    const std::size_t run = symbols << ones >> (64 - zero_symbol_bits);
    const std::size_t bits = ones + zero_run_table.bits[run];
    put(words, ones);
    words += ones + zero_run_table.zeros[run];
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
  void put(std::uint8_t* to, std::size_t ones) const {
    std::memcpy(to, next_packed, max_ones);
    std::memset(to + ones, 0, max_zeros);
  }
};

/// Takes `count` turns of each lane.
void take_turns(ZeroLane (&lanes)[lane_count], std::size_t count) {
  static_assert(lane_count == 4);
  // Copies, which nothing that is written can be part of.
  ZeroLane first = lanes[0];
  ZeroLane second = lanes[1];
  ZeroLane third = lanes[2];
  ZeroLane fourth = lanes[3];
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
