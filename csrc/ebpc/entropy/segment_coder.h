// Entropy coding of a segment. Plain C++, compiled once for every instruction set that includes it:
// kernels/generic/vectors.h says how.

#pragma once

#include "ebpc/entropy/entropy_coding.h"
#include "ebpc/entropy/split_words.h"
#include "ebpc/entropy/symbol_streams.h"
#ifdef __AVX2__
#include "ebpc/kernels/avx2/pack_words.h"
#include "ebpc/kernels/avx2/unpack_words.h"
#else
#include "ebpc/kernels/generic/pack_words.h"
#include "ebpc/kernels/generic/unpack_words.h"
#endif

namespace ebpc::EBPC_KERNEL {
namespace {

constexpr std::size_t mask_words = 64;
constexpr std::size_t most_masks = most_words / mask_words;
constexpr std::size_t words_of_group = 4;  // whose mask is a symbol

constexpr std::size_t masks_for(std::size_t words) { return (words + mask_words - 1) / mask_words; }

inline std::uint64_t last_mask(std::size_t words) {
  return low_bits(static_cast<int>(words - mask_words * (masks_for(words) - 1)));
}

/// Counts symbols in four tables, so that equal ones side by side do not wait for each other.
inline void count_symbols(const std::uint8_t* symbols, std::size_t count, SymbolCounts& counts) {
  std::uint32_t tables[4][max_symbols] = {};
  std::size_t i = 0;
  for (; i + 8 <= count; i += 8) {
    std::uint64_t eight = load_little_endian(symbols + i);
    for (int k = 0; k < 8; ++k, eight >>= 8) ++tables[k % 4][eight & 0xFF];
  }
  for (; i < count; ++i) ++tables[0][symbols[i]];
  for (std::size_t s = 0; s < max_symbols; ++s) {
    counts[s] = tables[0][s] + tables[1][s] + tables[2][s] + tables[3][s];
  }
}

/// What symbols are expected to take, in bits, with the lengths of their codes.
inline std::uint64_t expected_bits(std::span<const std::uint32_t> counts, std::uint64_t total) {
  std::size_t first = 0;
  while (counts[first] == 0) ++first;
  std::size_t last = counts.size() - 1;
  while (counts[last] == 0) --last;
  if (first == last) return 16;
  // About two bits for a length, and the code is a little longer than the entropy.
  const std::uint64_t entropy = entropy_of(counts.subspan(first, last - first + 1), total);
  return (entropy + entropy / 128) / 256 + 2 * (last - first + 1) + 48;
}

/// Words of a segment that are not left out, and how they are coded.
template <class Word>
struct Candidate {
  std::uint64_t masks[most_masks];
  alignas(64) Word words[most_words + 64];  // in the split's order
  std::size_t count = 0;
  EntropyCoding coding = EntropyCoding::all_words;
  Split split;
  SymbolCounts counts{};
  SymbolCounts mask_counts{};  // of groups
  std::uint64_t bits = 0;      // expected
};

/// The masks of a segment, of the first `count` words.
template <class Word>
void fill_masks(const Word* words, std::size_t count, Word zero, std::uint64_t* masks) {
#ifdef __AVX2__
  const auto mask_of = [zero](const Word* from) { return nonzero_mask(from, zero); };
#else
  const auto mask_of = [zero](const Word* from) { return nonzero_mask_of(from, zero); };
#endif
  std::size_t i = 0;
  for (; mask_words * (i + 1) <= count; ++i) masks[i] = mask_of(words + mask_words * i);
  if (const std::size_t left = count % mask_words; left > 0) {
    Word last[mask_words] = {};
    std::memcpy(last, words + mask_words * i, left * sizeof(Word));
    masks[i] = mask_of(last) & low_bits(static_cast<int>(left));
  }
}

inline std::size_t count_ones_of(const std::uint64_t* masks, std::size_t mask_count) {
  std::size_t ones = 0;
  for (std::size_t i = 0; i < mask_count; ++i)
    ones += static_cast<std::size_t>(count_ones(masks[i]));
  return ones;
}

/// Packs 64 words; up to 8 words behind the end are written.
template <class Word>
Word* pack_under(const Word* words, std::uint64_t mask, Word* packed) {
#ifdef __AVX2__
  for (int k = 0; k < 64; k += 8) {
    const auto part = static_cast<std::uint8_t>(mask >> k);
    pack_eight(words + k, part, packed);
    packed += _mm_popcnt_u64(part);
  }
#else
  for (int k = 0; k < 64; ++k) {
    *packed = words[k];
    packed += mask >> k & 1;
  }
#endif
  return packed;
}

/// Packs the words under a candidate's masks.
template <class Word>
void pack_candidate(const Word* words, std::size_t count, Candidate<Word>& candidate) {
  Word* end = candidate.words;
  std::size_t i = 0;
  for (; mask_words * (i + 1) <= count; ++i) {
    end = pack_under(words + mask_words * i, candidate.masks[i], end);
  }
  if (const std::size_t left = count % mask_words; left > 0) {
    Word last[mask_words] = {};
    std::memcpy(last, words + mask_words * i, left * sizeof(Word));
    end = pack_under(last, candidate.masks[i], end);
  }
  candidate.count = static_cast<std::size_t>(end - candidate.words);
}

/// Chooses how the masks are coded, and adds what they take.
template <class Word>
void weigh_masks(std::size_t words, Candidate<Word>& candidate) {
  if (candidate.coding == EntropyCoding::all_words) return;
  const std::size_t masks = masks_for(words);
  std::uint8_t groups[most_words / words_of_group + 8];
  for (std::size_t i = 0; i < masks; ++i) {
    store_little_endian(groups + 16 * i, spread_fields(candidate.masks[i] & 0xFFFFFFFF, 4));
    store_little_endian(groups + 16 * i + 8, spread_fields(candidate.masks[i] >> 32, 4));
  }
  const std::size_t group_count = (words + words_of_group - 1) / words_of_group;
  count_symbols(groups, group_count, candidate.mask_counts);
  std::uint64_t bits = expected_bits(std::span(candidate.mask_counts).first(16), group_count);
  if (candidate.count < words / 8) {
    const std::uint64_t runs = 8 * run_bytes({candidate.masks, masks}, words);
    if (runs < bits) {
      bits = runs;
      candidate.coding = leaves_out_zeros(candidate.coding) ? EntropyCoding::zeros_runs
                                                            : EntropyCoding::repeats_runs;
    }
  }
  candidate.bits += bits;
}

/// Splits packed words, and weighs what they and the masks take.
template <class Word>
void weigh(const Parameters& p, std::size_t words, Candidate<Word>& candidate) {
  weigh_masks(words, candidate);
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
  split.sign_last = sizeof(Word) > 1 && may_rotate && rotated.width() < plain.width();
  const WordRange<Word> range = split.sign_last ? rotated : plain;
  order_words(candidate.words, count, split.sign_last, p.is_signed, candidate.words);
  while (std::uint32_t{range.high} >> split.low_bits >=
         (std::uint32_t{range.low} >> split.low_bits) + max_symbols) {
    ++split.low_bits;
  }
  split.first = std::uint32_t{range.low} >> split.low_bits;
  std::uint8_t symbols[most_words + 8];
  symbols_of(candidate.words, count, split, symbols);
  SymbolCounts counts;
  count_symbols(symbols, count, counts);
  // As many bits in the symbol as pay for its longer table. A bit less: every two symbols are one.
  const unsigned most_bits = 8 * (sizeof(Word) - 1);
  std::uint64_t fewest = ~std::uint64_t{0};
  Split next = split;
  for (;; ++next.low_bits) {
    const std::uint64_t bits = expected_bits(counts, count) + count * next.low_bits;
    if (bits < fewest) {
      fewest = bits;
      split = next;
      candidate.counts = counts;
    }
    if (next.low_bits >= most_bits || bits > fewest) break;
    const std::size_t odd = next.first % 2;
    for (std::size_t s = 0; s < max_symbols; ++s) {
      // In their order, so that no count is overwritten before it is read.
      const std::uint32_t each = counts[s];
      counts[s] = 0;
      counts[(s + odd) / 2] += each;
    }
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
  std::uint8_t groups[most_words / words_of_group + 8];
  for (std::size_t i = 0; i < masks.size(); ++i) {
    store_little_endian(groups + 16 * i, spread_fields(masks[i] & 0xFFFFFFFF, 4));
    store_little_endian(groups + 16 * i + 8, spread_fields(masks[i] >> 32, 4));
  }
  const HuffmanCode code = huffman_code(candidate.mask_counts);
  std::uint8_t* const begin = out;
  out += write_code(code, out);
  if (!code.single()) {
    out += write_streams(code, groups, (words + words_of_group - 1) / words_of_group, out);
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
  const HuffmanCode code = huffman_code(candidate.counts);
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
  const std::size_t mask_count = masks_for(count);
  const auto* words = static_cast<const Word*>(input.words.data);
  const auto* unsigned_words = static_cast<const Word*>(input.unsigned_words.data);
  Candidate<Word> candidates[2];
  Candidate<Word>* best = nullptr;
  Candidate<Word>* next = &candidates[0];
  const auto consider = [&] {
    weigh(p, count, *next);
    if (best == nullptr || next->bits < best->bits) {
      best = next;
      next = best == &candidates[0] ? &candidates[1] : &candidates[0];
    }
    next->split = {};
  };

  fill_masks(unsigned_words, count, static_cast<Word>(p.zero), next->masks);
  const std::size_t zeros = count - count_ones_of(next->masks, mask_count);
  if (64 * zeros >= count && zeros > 0) {
    next->coding = EntropyCoding::zeros_mask;
    next->bits = 8 * input.sign_bytes;
    pack_candidate(unsigned_words, count, *next);
    consider();
  }
  // Whether a word differs from the one before: the first one does.
  Word changes[most_words];
  changes[0] = 1;
  for (std::size_t i = 1; i < count; ++i) changes[i] = static_cast<Word>(words[i] ^ words[i - 1]);
  fill_masks(changes, count, Word{0}, next->masks);
  const std::size_t repeats = count - count_ones_of(next->masks, mask_count);
  if (repeats > zeros && 8 * repeats >= count) {
    next->coding = EntropyCoding::repeats_mask;
    next->bits = 0;
    pack_candidate(words, count, *next);
    consider();
  }
  if (4 * zeros < count && 2 * repeats < count) {
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

inline DecodeStatus read_masks(EntropyCoding coding, const DecodeJob& job, std::uint64_t* masks) {
  const std::size_t words = job.words.count;
  if (coding == EntropyCoding::zeros_runs || coding == EntropyCoding::repeats_runs) {
    return read_runs(job.zero_stream, job.zero_bytes, words, masks);
  }
  const std::size_t groups = (words + words_of_group - 1) / words_of_group;
  std::uint8_t symbols[most_words / words_of_group + 8] = {};
  const DecodeStatus status =
      read_symbols(job.zero_stream, job.zero_stream + job.zero_bytes, symbols, groups);
  if (!status.ok()) return status;
  std::uint8_t wide = 0;
  for (std::size_t i = 0; i < groups; ++i) wide |= symbols[i];
  if (wide >= 1 << words_of_group) return {"symbols of four words", "a larger one", false, 0};
  for (std::size_t i = 0; i < masks_for(words); ++i) {
    const std::size_t left = groups - 16 * i;
    std::uint8_t sixteen[16] = {};
    std::memcpy(sixteen, symbols + 16 * i, min(left, 16));
    masks[i] = join_fields(load_little_endian(sixteen), 4) |
               join_fields(load_little_endian(sixteen + 8), 4) << 32;
  }
  if ((masks[masks_for(words) - 1] & ~last_mask(words)) != 0) {
    return {"no words behind the last one", "more words", false, 0};
  }
  return {};
}

/// Reads the words that are not left out.
template <class Word>
DecodeStatus read_words(const Parameters& p, const DecodeJob& job, std::size_t count, Word* words) {
  const std::uint8_t* at = job.plane_stream;
  const std::uint8_t* const end = at + job.plane_bytes;
  const auto fail = [](const char* expected, const char* found, std::uint64_t bit) {
    return DecodeStatus{expected, found, true, bit};
  };
  if (count == 0) {
    return job.plane_bytes == 0 ? DecodeStatus{} : fail("the end of the stream", "more bytes", 0);
  }
  if (job.plane_bytes < split_bytes<Word>) return fail("more bits", "the end of the stream", 0);
  Split split;
  split.low_bits = *at & 0x7F;
  split.sign_last = *at++ >= 0x80;
  for (std::size_t i = 0; i < sizeof(Word); ++i) {
    split.first |= std::uint32_t{*at++} << 8 * i;
  }
  if (split.low_bits > 8 * (sizeof(Word) - 1)) {
    return fail("words with a symbol of 8 bits", "more bits below it", 0);
  }
  const std::size_t low_bytes =
      split.low_bits / 8 * count + packed_bytes(count, split.low_bits % 8);
  if (static_cast<std::size_t>(end - at) < low_bytes) {
    return fail("more bits", "the end of the stream", 8 * split_bytes<Word>);
  }
  const std::uint8_t* const low = at;
  at += low_bytes;
  std::uint8_t symbols[most_words + 8];
  DecodeStatus status = read_symbols(at, end, symbols, count);
  if (!status.ok()) {
    status.in_plane_stream = true;
    status.bit += 8 * static_cast<std::uint64_t>(at - job.plane_stream);
    return status;
  }
  if (!join_words(symbols, low, count, split, p.is_signed, words)) {
    return fail("zero bits as padding", "a one bit", 8 * (split_bytes<Word> + low_bytes) - 8);
  }
  if (p.word_bits < 8 * static_cast<int>(sizeof(Word)) &&
      first_misfit(p, {words, count, sizeof(Word)}) != count) {
    return fail("words of word_bits bits", "a larger one", 0);
  }
  return {};
}

/// Each word as often as it is repeated.
template <class Word>
void repeat_words(const Word* packed, const std::uint64_t* masks, std::size_t count, Word* words) {
  const Word* last = packed - 1;
  for (std::size_t i = 0; i < count; ++i) {
    last += masks[i / mask_words] >> i % mask_words & 1;
    words[i] = *last;
  }
}

template <class Word>
void place_words(const Word* packed, const std::uint64_t* masks, std::size_t count, Word zero,
                 Word* words) {
  std::size_t i = 0;
  for (; mask_words * (i + 1) <= count; ++i) {
    packed = unpack_mask(packed, masks[i], zero, words + mask_words * i);
  }
  if (const std::size_t left = count % mask_words; left > 0) {
    Word last[mask_words];
    unpack_mask(packed, masks[i], zero, last);
    std::memcpy(words + mask_words * i, last, left * sizeof(Word));
  }
}

template <class Word>
DecodeStatus decode_words(const Parameters& p, EntropyCoding coding, const DecodeJob& job) {
  const std::size_t count = job.words.count;
  auto* const words = static_cast<Word*>(job.words.data);
  if (coding == EntropyCoding::all_words) return read_words(p, job, count, words);
  std::uint64_t masks[most_masks];
  DecodeStatus status = read_masks(coding, job, masks);
  if (!status.ok()) return status;
  const bool zeros = leaves_out_zeros(coding);
  if (!zeros && (masks[0] & 1) == 0) {
    return {"a first word", "one that is equal to the word before", false, 0};
  }
  Word packed[most_words + 64];
  status = read_words(p, job, count_ones_of(masks, masks_for(count)), packed);
  if (!status.ok()) return status;
  if (zeros) {
    place_words(packed, masks, count, static_cast<Word>(p.zero), words);
  } else {
    repeat_words(packed, masks, count, words);
  }
  return {};
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

DecodeStatus decode_segment(const Parameters& p, EntropyCoding coding, const DecodeJob& job) {
  return visit_words(job.words.bytes_per_word,
                     [&]<class Word>(Word*) { return decode_words<Word>(p, coding, job); });
}

}  // namespace
}  // namespace ebpc::EBPC_KERNEL
