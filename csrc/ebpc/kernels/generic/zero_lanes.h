// Reading zero streams of several jobs in turns, and putting the words in their places:
// decode.h.

#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "ebpc/kernels/generic/job_lanes.h"
#include "ebpc/kernels/generic/unpack_words.h"
#include "ebpc/kernels/kernel.h"
#include "ebpc/words.h"

namespace ebpc::EBPC_KERNEL {
namespace {

/// What one pair of a stretch of non-zero words and a zero run writes at most. Where zero runs may
/// be longer, all words have been set to zero before.
constexpr std::size_t max_ones = 16;
constexpr std::size_t max_zeros = 16;
constexpr std::size_t max_pair_words = max_ones + max_zeros;

/// The two pairs of a turn fit one window up to this length of zero runs.
constexpr unsigned max_length_bits = 11;
constexpr std::size_t max_turn_bytes = 7;
static_assert(2 * (max_ones + 1 + max_length_bits) <= 8 * max_turn_bytes);

/// A job whose zero stream is being read.
template <class Word>
struct ZeroLane {
  const std::uint8_t* bytes;
  std::uint64_t bit;
  Word* words;
  const Word* next_packed;  // never further in than the words are
  unsigned length_bits;     // of a zero run's symbol; 0 if the stream is a mask
  Word zero;                // what a zero run is a run of
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
    zero = static_cast<Word>(p.zero);
    byte_count = from.zero_bytes;
    words_end = words + from.words.count;
    packed = &nonzero_words;
    block_size = static_cast<std::size_t>(p.block_size);
    job = index;
    if (max_run() > max_zeros && words < words_end) {
      fill(words, words_left());
    }
  }

  /// Turns that can be taken without looking at the end of the stream or of the words.
  std::size_t safe_turns() const {
    const std::size_t at = bit / 8 + sizeof(std::uint64_t);
    if (at > byte_count || length_bits == 0 || length_bits > max_length_bits) return 0;
    static_assert(max_ones == max_zeros && max_zeros == 16);
    const unsigned turn_words_log2 = 2 + (length_bits > 4 ? length_bits : 4);
    return min((byte_count - at) / max_turn_bytes, words_left() >> turn_words_log2);
  }

  /// Reads and puts down two pairs, without a branch. `run_bits` is length_bits, which all lanes
  /// have in common.
  [[gnu::always_inline]] void take_turn(unsigned run_bits) {
    const std::uint64_t symbols = window(bytes, bit);
    const std::size_t bits = put_pair(symbols, run_bits);
    put_pair(symbols << bits, run_bits);
  }

  /// Reads what is left. Returns whether all is well-formed.
  bool finish() { return (length_bits == 0 ? finish_mask() : finish_runs()) && has_all_blocks(); }

 private:
  std::size_t max_run() const { return std::size_t{1} << length_bits; }
  std::size_t words_left() const { return static_cast<std::size_t>(words_end - words); }

  bool finish_runs() {
    for (std::size_t turns; (turns = safe_turns()) > 0;) {
      for (; turns > 0; --turns) take_turn(length_bits);
    }
    while (bit / 8 + sizeof(std::uint64_t) <= byte_count && words_left() >= max_pair_words) {
      if (!put_any_pair()) return false;
    }
    // Few bytes are left, or few words, which do not have more bytes either.
    constexpr std::size_t tail_bytes = max_pair_words * (1 + 16) / 8;
    std::uint8_t tail[tail_bytes + 2 * sizeof(std::uint64_t)] = {};
    const std::size_t start = bit / 8;
    if (start < byte_count) std::memcpy(tail, bytes + start, min(byte_count - start, tail_bytes));
    const std::uint64_t end = 8 * byte_count - 8 * start;
    const std::uint64_t tail_end = min(end, 8 * tail_bytes);
    bytes = tail;
    bit %= 8;
    while (bit <= tail_end && words_left() >= max_pair_words) {
      if (!put_any_pair()) return false;
    }
    // The last words, where there is room to write more.
    Word last_words[2 * max_pair_words];
    fill(last_words, 2 * max_pair_words);
    Word* const place = words;
    const std::size_t left = words_left();
    if (left > 0 && left < max_pair_words) {
      words = last_words;
      words_end = words + left;
      while (bit <= tail_end && words < words_end) {
        if (!put_any_pair()) return false;
      }
      std::memcpy(place, last_words, left * sizeof(Word));
    }
    return words == words_end && bit <= end && end - bit < 8 && window(bytes, bit) == 0;
  }

  bool finish_mask() {
    const std::size_t count = words_left();
    const std::size_t padding = -count % 8;
    if (byte_count != (count + padding) / 8) return false;
    // Copies, which nothing that is written can be part of.
    const std::uint8_t* from = bytes;
    Word* to = words;
    const Word* nonzero = next_packed;
    for (std::size_t i = count / 64; i > 0; --i, from += 8, to += 64) {
      nonzero = unpack_mask(nonzero, mask_code(load_big_endian(from), 64), zero, to);
    }
    std::uint64_t mask = 0;
    if (const std::size_t left = count % 64; left > 0) {
      std::uint8_t last_bytes[8] = {};
      std::memcpy(last_bytes, from, (left + padding) / 8);
      mask = mask_code(load_big_endian(last_bytes), 64);
      Word last_words[64];
      nonzero = unpack_mask(nonzero, mask, zero, last_words);
      std::memcpy(to, last_words, left * sizeof(Word));
      mask >>= left;
    }
    next_packed = nonzero;
    return mask == 0;
  }

  /// The last block may be filled up, but there must be no block without words.
  bool has_all_blocks() const {
    const auto used = static_cast<std::size_t>(next_packed - packed->words);
    return (used + block_size - 1) / block_size == packed->blocks;
  }

  /// Returns the bits of the pair.
  [[gnu::always_inline]] std::size_t put_pair(std::uint64_t symbols, unsigned run_bits) {
    const std::size_t ones = leading_ones(symbols);
    const std::uint64_t run = symbols << ones;
    // Behind max_ones words, or as many as the window has, there may be no run.
    const auto no_run = static_cast<std::uint64_t>(static_cast<std::int64_t>(run) >> 63);
    const std::size_t zeros = ((run >> (63 - run_bits)) + 1) & ~no_run;
    const std::size_t bits = ones + ((run_bits + 1) & ~no_run);
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

  /// Non-zero words, and zeros behind them.
  [[gnu::always_inline]] void put(Word* to, std::size_t ones) const {
    std::memcpy(to, next_packed, max_ones * sizeof(Word));
    fill(to + ones, max_zeros);
  }

  [[gnu::always_inline]] void fill(Word* to, std::size_t count) const {
    for (std::size_t i = 0; i < count; ++i) to[i] = zero;
  }

  /// As put_pair, for any length of runs; writes max_pair_words words. False if there are not so
  /// many words as the run goes over.
  bool put_any_pair() {
    const std::uint64_t symbols = window(bytes, bit);
    const std::size_t ones = min(leading_ones(symbols), words_left());
    const std::uint64_t run = symbols << ones;
    const bool is_run = run >> 63 == 0 && ones < words_left();
    const std::size_t zeros = is_run ? (run >> (63 - length_bits)) + 1 : 0;
    if (ones + zeros > words_left()) return false;
    put(words, ones);
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
  const unsigned run_bits = first.length_bits;
  for (std::size_t i = 0; i < count; ++i) {
    first.take_turn(run_bits);
    second.take_turn(run_bits);
    third.take_turn(run_bits);
    fourth.take_turn(run_bits);
  }
  lanes[0] = first;
  lanes[1] = second;
  lanes[2] = third;
  lanes[3] = fourth;
}

}  // namespace
}  // namespace ebpc::EBPC_KERNEL
