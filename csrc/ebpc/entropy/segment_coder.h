// Entropy coding of a segment. Plain C++, compiled once for every instruction set that includes it:
// kernels/generic/vectors.h says how.

#pragma once

#include "ebpc/entropy/entropy_coding.h"
#include "ebpc/entropy/mask_words.h"
#include "ebpc/entropy/split_words.h"
#include "ebpc/entropy/symbol_streams.h"

namespace ebpc::EBPC_KERNEL {
namespace {

constexpr std::size_t most_masks = most_words / mask_words;
constexpr std::size_t words_of_group = 4;  // whose mask is a symbol

/// Counts the symbols of a segment in eight tables, so that equal ones side by side do not wait for
/// each other.
inline void count_symbols(const std::uint8_t* symbols, std::size_t count, SymbolCounts& counts) {
  std::uint16_t tables[8][max_symbols] = {};
  std::size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    const std::uint64_t eight = load_little_endian(symbols + i);
    for (int k = 0; k < 8; ++k) ++tables[k][eight >> 8 * k & 0xFF];
  }
  for (; i < count; ++i) ++tables[0][symbols[i]];
  for (std::size_t s = 0; s < max_symbols; ++s) {
    std::uint16_t sum = 0;
    for (const auto& table : tables) sum = static_cast<std::uint16_t>(sum + table[s]);
    counts[s] = sum;
  }
}

/// What symbols are expected to take, in bits, with the lengths of their codes. The first and the
/// last of `counts` are not zero.
inline std::uint64_t expected_bits(std::span<const std::uint32_t> counts, std::uint64_t total) {
  if (counts.size() == 1) return 16;
  // About two bits for a length, and the code is a little longer than the entropy.
  const std::uint64_t entropy = entropy_of(counts, total);
  return (entropy + entropy / 128) / 256 + 2 * counts.size() + 48;
}

/// Words of a segment that are not left out, and how they are coded.
template <class Word>
struct Candidate {
  std::uint64_t masks[most_masks];
  alignas(64) Word words[most_words + 64];  // in the split's order
  std::size_t count = 0;
  EntropyCoding coding = EntropyCoding::all_words;
  Split split;
  SymbolCounts counts;
  std::size_t symbols = 0;   // up to the last one that occurs
  SymbolCounts mask_counts;  // of groups
  std::uint64_t bits = 0;    // expected
};

/// The symbols of masks, each of the kinds of four words; returns how many there are.
inline std::size_t groups_of(const std::uint64_t* masks, std::size_t words, std::uint8_t* groups) {
  for (std::size_t i = 0; i < masks_for(words); ++i) {
    store_little_endian(groups + 16 * i, spread_fields(masks[i] & 0xFFFFFFFF, 4));
    store_little_endian(groups + 16 * i + 8, spread_fields(masks[i] >> 32, 4));
  }
  return (words + words_of_group - 1) / words_of_group;
}

/// Chooses how the masks are coded, and adds what they take.
template <class Word>
void weigh_masks(std::size_t words, Candidate<Word>& candidate) {
  std::uint8_t groups[most_words / words_of_group];
  const std::size_t group_count = groups_of(candidate.masks, words, groups);
  count_symbols(groups, group_count, candidate.mask_counts);
  const std::uint32_t* first = candidate.mask_counts.data();
  const std::uint32_t* last = first + 15;
  while (*first == 0) ++first;
  while (*last == 0) --last;
  std::uint64_t bits = expected_bits({first, last + 1}, group_count);
  if (candidate.count < words / 8) {
    const std::uint64_t runs = 8 * run_bytes({candidate.masks, masks_for(words)}, words);
    if (runs < bits) {
      bits = runs;
      candidate.coding = leaves_out_zeros(candidate.coding) ? EntropyCoding::zeros_runs
                                                            : EntropyCoding::repeats_runs;
    }
  }
  candidate.bits += bits;
}

/// Splits packed words, and adds what they take.
template <class Word>
void weigh_words(const Parameters& p, Candidate<Word>& candidate) {
  const std::size_t count = candidate.count;
  if (count == 0) return;
  // Floating-point numbers of both signs lie closer together without the sign in front. Narrow
  // words are integers.
  const bool may_rotate = p.is_signed && p.word_bits == 8 * static_cast<int>(sizeof(Word));
  WordRange<Word> plain{static_cast<Word>(~Word{0}), 0};
  WordRange<Word> rotated = plain;
  for (std::size_t i = 0; i < count; ++i) {
    const Word a = flipped(candidate.words[i], p.is_signed);
    const Word b = sign_to_end(candidate.words[i]);
    plain = {a < plain.low ? a : plain.low, a > plain.high ? a : plain.high};
    rotated = {b < rotated.low ? b : rotated.low, b > rotated.high ? b : rotated.high};
  }
  Split& split = candidate.split;
  split = {};
  split.sign_last = sizeof(Word) > 1 && may_rotate && rotated.width() < plain.width();
  const WordRange<Word> range = split.sign_last ? rotated : plain;
  order_words(candidate.words, count, split.sign_last, p.is_signed, candidate.words);
  const auto last_symbol = [&range](unsigned low_bits) {
    return (std::uint32_t{range.high} >> low_bits) - (std::uint32_t{range.low} >> low_bits);
  };
  while (last_symbol(split.low_bits) >= max_symbols) ++split.low_bits;
  split.first = std::uint32_t{range.low} >> split.low_bits;
  std::uint8_t symbols[most_words];
  symbols_of(candidate.words, count, split, symbols);
  SymbolCounts counts;
  count_symbols(symbols, count, counts);
  // As many bits in the symbol as pay for its longer table. A bit less: every two symbols are one.
  const unsigned most_bits = 8 * (sizeof(Word) - 1);
  std::uint64_t fewest = ~std::uint64_t{0};
  Split next = split;
  for (;;) {
    const std::size_t used = last_symbol(next.low_bits) + 1;
    const std::uint64_t bits = expected_bits({counts.data(), used}, count) + count * next.low_bits;
    if (bits > fewest) break;
    if (bits < fewest) {
      fewest = bits;
      split = next;
      candidate.counts = counts;
      candidate.symbols = used;
    }
    if (next.low_bits >= most_bits) break;
    const std::size_t odd = next.first % 2;
    SymbolCounts halves{};
    for (std::size_t s = 0; s < used; ++s) halves[(s + odd) / 2] += counts[s];
    counts = halves;
    ++next.low_bits;
    next.first /= 2;
  }
  candidate.bits += fewest + 8 * split_bytes<Word>;
}

template <class Word>
std::uint64_t write_masks(const Candidate<Word>& candidate, std::size_t words, std::uint8_t* out) {
  const std::span masks(candidate.masks, masks_for(words));
  switch (candidate.coding) {
    case EntropyCoding::all_words:
      return 0;
    case EntropyCoding::zeros_runs:
    case EntropyCoding::repeats_runs:
      write_runs(masks, words, out);
      return run_bytes(masks, words);
    default:
      break;
  }
  std::uint8_t groups[most_words / words_of_group];
  const std::size_t group_count = groups_of(candidate.masks, words, groups);
  const HuffmanCode code =
      huffman_code(std::span(candidate.mask_counts).first(1 << words_of_group));
  std::uint8_t* const begin = out;
  out += write_code(code, out);
  if (!code.single()) {
    out += write_streams(code, groups, group_count, out);
  }
  return static_cast<std::uint64_t>(out - begin);
}

template <class Word>
std::uint64_t write_words(const Candidate<Word>& candidate, std::uint8_t* out) {
  if (candidate.count == 0) return 0;
  std::uint8_t* const begin = out;
  const Split& split = candidate.split;
  *out++ = static_cast<std::uint8_t>(split.low_bits | (split.sign_last ? 0x80 : 0));
  for (std::size_t i = 0; i < sizeof(Word); ++i) {
    *out++ = static_cast<std::uint8_t>(split.first >> 8 * i);
  }
  out = write_low_bits(candidate.words, candidate.count, split, out);
  const HuffmanCode code = huffman_code(std::span(candidate.counts).first(candidate.symbols));
  out += write_code(code, out);
  if (!code.single()) {
    std::uint8_t symbols[most_words + 8];
    symbols_of(candidate.words, candidate.count, split, symbols);
    out += write_streams(code, symbols, candidate.count, out);
  }
  return static_cast<std::uint64_t>(out - begin);
}

template <class Word>
EntropyStreams encode_words(const Parameters& p, const EntropyInput& input,
                            std::uint8_t* zero_stream, std::uint8_t* plane_stream) {
  const std::size_t count = input.words.count;
  const auto* words = static_cast<const Word*>(input.words.data);
  const auto* unsigned_words = static_cast<const Word*>(input.unsigned_words.data);
  Candidate<Word> candidates[2];
  Candidate<Word>* best = nullptr;
  Candidate<Word>* next = &candidates[0];
  const auto consider = [&] {
    weigh_words(p, *next);
    if (best == nullptr || next->bits < best->bits) {
      best = next;
      next = best == &candidates[0] ? &candidates[1] : &candidates[0];
    }
  };

  const std::size_t zeros =
      count - mask_zeros(unsigned_words, count, static_cast<Word>(p.zero), next->masks);
  // With the zeros among the words, they take about as many bits as which words they are.
  bool may_keep_zeros = 4 * zeros < count;
  if (64 * zeros >= count && zeros > 0) {
    next->coding = EntropyCoding::zeros_mask;
    next->bits = 8 * input.sign_bytes;
    next->count = pack_words(unsigned_words, count, next->masks, next->words);
    weigh_masks(count, *next);
    const std::array<std::uint32_t, 2> kinds{static_cast<std::uint32_t>(zeros),
                                             static_cast<std::uint32_t>(count - zeros)};
    may_keep_zeros = may_keep_zeros && next->bits > entropy_of(kinds, count) / 256;
    consider();
  }
  const std::size_t repeats = count - mask_repeats(words, count, next->masks);
  if (repeats > zeros && 8 * repeats >= count) {
    next->coding = EntropyCoding::repeats_mask;
    next->bits = 0;
    next->count = pack_words(words, count, next->masks, next->words);
    weigh_masks(count, *next);
    consider();
  }
  if (may_keep_zeros && 2 * repeats < count) {
    next->coding = EntropyCoding::all_words;
    next->bits = 0;
    next->count = count;
    std::memcpy(next->words, words, count * sizeof(Word));
    consider();
  }
  if (best == nullptr || best->bits >= 8 * count * sizeof(Word)) return {};
  EntropyStreams streams;
  streams.coding = best->coding;
  streams.zero_bytes = write_masks(*best, count, zero_stream);
  streams.plane_bytes = write_words(*best, plane_stream);
  return streams;
}

// ---- Decoding

/// A segment that is being decoded: first the masks of the words that are left out, then the
/// others. A failure is kept in status(), and makes the later steps do nothing.
template <class Word>
class SegmentDecoder {
 public:
  SegmentDecoder(const Parameters& p, EntropyCoding coding, const DecodeJob& job)
      : p_(p), coding_(coding), job_(job), count_(job.words.count) {}

  const DecodeStatus& status() const { return status_; }
  /// What is to be read between the steps, if anything.
  SymbolReader* reader() { return reading_ ? &reader_ : nullptr; }

  void open_masks() {
    if (coding_ == EntropyCoding::all_words) return;
    if (coding_ == EntropyCoding::zeros_runs || coding_ == EntropyCoding::repeats_runs) {
      status_ = read_runs(job_.zero_stream, job_.zero_bytes, count_, masks_);
      return;
    }
    const std::size_t groups = (count_ + words_of_group - 1) / words_of_group;
    open(job_.zero_stream, job_.zero_stream + job_.zero_bytes, groups);
  }

  void finish_masks() {
    if (coding_ == EntropyCoding::all_words || !status_.ok()) return;
    if (reading_) {
      finish();
      if (status_.ok()) status_ = join_groups();
      if (!status_.ok()) return;
    }
    if (!leaves_out_zeros(coding_) && (masks_[0] & 1) == 0) {
      status_ = {"a first word", "one that is equal to the word before", false, 0};
      return;
    }
    count_ = count_ones_of(masks_, masks_for(count_));
  }

  void open_words() {
    if (!status_.ok()) return;
    const std::uint8_t* at = job_.plane_stream;
    const std::uint8_t* const end = at + job_.plane_bytes;
    if (count_ == 0) {
      if (at != end) fail("the end of the stream", "more bytes", 0);
      return;
    }
    if (job_.plane_bytes < split_bytes<Word>) return fail("more bits", "the end of the stream", 0);
    split_.low_bits = *at & 0x7F;
    split_.sign_last = *at++ >= 0x80;
    for (std::size_t i = 0; i < sizeof(Word); ++i) split_.first |= std::uint32_t{*at++} << 8 * i;
    if (split_.low_bits > 8 * (sizeof(Word) - 1)) {
      return fail("words with a symbol of 8 bits", "more bits below it", 0);
    }
    const std::size_t low_bytes = low_bytes_of(count_, split_);
    if (static_cast<std::size_t>(end - at) < low_bytes) {
      return fail("more bits", "the end of the stream", 8 * split_bytes<Word>);
    }
    open(at + low_bytes, end, count_);
    place_failure();
  }

  void finish_words() {
    if (!status_.ok()) return;
    auto* const words = static_cast<Word*>(job_.words.data);
    const bool all = coding_ == EntropyCoding::all_words;
    Word room[mask_words + most_words + mask_words];
    room[mask_words - 1] = 0;
    Word* const packed = room + mask_words;
    Word* const to = all ? words : packed;
    if (reading_) {
      finish();
      place_failure();
      if (status_.ok()) join(to);
      if (!status_.ok()) return;
    }
    if (all) return;
    if (leaves_out_zeros(coding_)) {
      place_words(packed, masks_, job_.words.count, static_cast<Word>(p_.zero), words);
    } else {
      repeat_words(packed, masks_, job_.words.count, words);
    }
  }

 private:
  void open(const std::uint8_t* at, const std::uint8_t* end, std::size_t symbols) {
    status_ = reader_.open(at, end, symbols_, symbols);
    reading_ = status_.ok();
  }

  void finish() {
    status_ = reader_.finish();
    reading_ = false;
  }

  void fail(const char* expected, const char* found, std::uint64_t bit) {
    status_ = {expected, found, true, bit};
  }

  /// A failure in the words' symbol block is one in the second stream.
  void place_failure() {
    if (status_.ok()) return;
    status_.in_plane_stream = true;
    status_.bit += 8 * (split_bytes<Word> + low_bytes_of(count_, split_));
  }

  DecodeStatus join_groups() {
    const std::size_t groups = (count_ + words_of_group - 1) / words_of_group;
    std::memset(symbols_ + groups, 0, 16);
    std::uint8_t wide = 0;
    for (std::size_t i = 0; i < groups; ++i) wide |= symbols_[i];
    if (wide >= 1 << words_of_group) return {"symbols of four words", "a larger one", false, 0};
    for (std::size_t i = 0; i < masks_for(count_); ++i) {
      masks_[i] = join_fields(load_little_endian(symbols_ + 16 * i), 4) |
                  join_fields(load_little_endian(symbols_ + 16 * i + 8), 4) << 32;
    }
    if ((masks_[masks_for(count_) - 1] & ~last_mask(count_)) != 0) {
      return {"no words after the last one", "more words", false, 0};
    }
    return {};
  }

  void join(Word* words) {
    const std::uint8_t* const low = job_.plane_stream + split_bytes<Word>;
    if (!join_words(symbols_, low, count_, split_, p_.is_signed, words)) {
      const std::uint64_t bytes = split_bytes<Word> + low_bytes_of(count_, split_);
      return fail("zero bits as padding", "a one bit", 8 * bytes - 8);
    }
    if (p_.word_bits < 8 * static_cast<int>(sizeof(Word)) &&
        first_misfit(p_, {words, count_, sizeof(Word)}) != count_) {
      fail("words of word_bits bits", "a larger one", 0);
    }
  }

  const Parameters& p_;
  EntropyCoding coding_;
  const DecodeJob& job_;
  std::size_t count_;  // of all words, and then of those that are not left out
  Split split_;
  DecodeStatus status_;
  bool reading_ = false;
  SymbolReader reader_;
  std::uint64_t masks_[most_masks];
  std::uint8_t symbols_[most_words + 16];
};

/// Reads the symbols of two segments side by side, as far as both have some: a code's length is
/// known late, and meanwhile there is other work.
inline void read_both(SymbolReader* a, SymbolReader* b) {
  if (a != nullptr && b != nullptr) SymbolReader::read_turns<2>({a, b});
}

/// Decodes jobs by twos. Returns the first that is malformed, and why.
template <class Word>
JobStatus decode_words(const Parameters& p, EntropyCoding coding, std::span<const DecodeJob> jobs) {
  for (std::size_t i = 0; i < jobs.size(); i += 2) {
    SegmentDecoder<Word> first(p, coding, jobs[i]);
    SegmentDecoder<Word> second(p, coding, jobs[i + 1 < jobs.size() ? i + 1 : i]);
    const bool both = i + 1 < jobs.size();
    first.open_masks();
    if (both) second.open_masks();
    read_both(first.reader(), second.reader());
    first.finish_masks();
    if (both) second.finish_masks();
    first.open_words();
    if (both) second.open_words();
    read_both(first.reader(), second.reader());
    first.finish_words();
    if (!first.status().ok()) return {i, first.status()};
    if (both) second.finish_words();
    if (!second.status().ok()) return {i + 1, second.status()};
  }
  return {jobs.size(), {}};
}

template <class Visitor>
auto visit_words(int bytes_per_word, Visitor&& visit) {
  switch (bytes_per_word) {
    case 1:
      return visit(static_cast<std::uint8_t*>(nullptr));
    case 2:
      return visit(static_cast<std::uint16_t*>(nullptr));
    default:
      return visit(static_cast<std::uint32_t*>(nullptr));
  }
}

EntropyStreams encode_segment(const Parameters& p, const EntropyInput& input,
                              std::uint8_t* zero_stream, std::uint8_t* plane_stream) {
  return visit_words(input.words.bytes_per_word, [&]<class Word>(Word*) {
    return encode_words<Word>(p, input, zero_stream, plane_stream);
  });
}

JobStatus decode_segments(const Parameters& p, EntropyCoding coding,
                          std::span<const DecodeJob> jobs) {
  if (jobs.empty()) return {0, {}};
  return visit_words(jobs[0].words.bytes_per_word,
                     [&]<class Word>(Word*) { return decode_words<Word>(p, coding, jobs); });
}

}  // namespace
}  // namespace ebpc::EBPC_KERNEL
