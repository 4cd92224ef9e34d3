// Encoding and counting for every setting.
//
// Words are taken in chunks that stay in the L1 cache: packed (masks of the non-zero words, and
// those words without the gaps), then the masks are coded and the packed words.

#pragma once

#include <type_traits>

#ifdef __AVX2__
#include "ebpc/kernels/avx2/pack_words.h"
#else
#include "ebpc/kernels/generic/pack_words.h"
#endif
#include "ebpc/kernels/generic/plane_writer.h"
#include "ebpc/kernels/generic/zero_coder.h"
#include "ebpc/kernels/kernel.h"
#include "ebpc/words.h"

namespace ebpc::EBPC_KERNEL {
namespace {

constexpr std::size_t chunk_words = 4096;

/// Stands where a zero stream would be written: none is, and no word is taken for a zero.
struct NoZeros {};

/// Packs all words chunk by chunk and gives masks to `zeros` and packed blocks to `planes`. Returns
/// the bits of the zero stream.
template <class Zeros, class Planes>
std::uint64_t code_chunks(const Parameters& p, WordSpan span, Zeros& zeros, Planes& planes) {
  using Word = typename Planes::Word;
  constexpr std::size_t front = vector_bytes / sizeof(Word);
  constexpr std::size_t max_step = Planes::blocks * static_cast<std::size_t>(Planes::slots);
  // Less than a step is left from the chunk before, or added to the last one, and a step is read
  // after the end.
  alignas(vector_bytes) Word buffer[front + max_step + chunk_words + 64 + 2 * max_step];
  std::uint64_t masks[chunk_words / 64];
  Word* const packed = buffer + front;
  packed[-1] = 0;
  Word* end = packed;
  const auto* words = static_cast<const Word*>(span.data);
  std::size_t count = span.count;
  const auto zero = static_cast<Word>(p.zero);
  const auto block_size = static_cast<std::size_t>(p.block_size);
  const std::size_t step_words = Planes::blocks * block_size;
  while (count >= 64) {
    const std::size_t mask_count = min(count, chunk_words) / 64;
    Word* const begin = end;
    if constexpr (std::is_same_v<Zeros, NoZeros>) {
      std::memcpy(begin, words, mask_count * 64 * sizeof(Word));
      end += mask_count * 64;
    } else {
      end = pack_masks(words, mask_count, zero, masks, begin);
      zeros.put(masks, mask_count, static_cast<std::size_t>(end - begin));
    }
    words += mask_count * 64;
    count -= mask_count * 64;
    if (count < 64) break;  // coded with the last words
    const std::size_t size = static_cast<std::size_t>(end - packed);
    const std::size_t whole = size - size % step_words;
    planes.put(packed, whole / block_size);
    // With the word before.
    std::memmove(packed - 1, packed + whole - 1, (size - whole + 1) * sizeof(Word));
    end -= whole;
  }
  std::uint64_t zero_bits = 0;
  if constexpr (std::is_same_v<Zeros, NoZeros>) {
    if (count > 0) std::memcpy(end, words, count * sizeof(Word));
    end += count;
  } else {
    Word last_words[64];
    for (Word& word : last_words) word = zero;
    if (count > 0) std::memcpy(last_words, words, count * sizeof(Word));
    std::uint64_t mask = 0;
    if (count > 0) end = pack_masks(last_words, 1, zero, &mask, end);
    zero_bits = zeros.finish(mask, static_cast<int>(count));
  }
  while (end != packed && static_cast<std::size_t>(end - packed) % block_size != 0) *end++ = 0;
  const std::size_t blocks = static_cast<std::size_t>(end - packed) / block_size;
  const Word last = end[-1];
  for (std::size_t i = 0; i < max_step; ++i) end[i] = last;
  planes.put(packed, blocks);
  return zero_bits;
}

template <class PlaneWriter>
StreamBits encode_segment(const Parameters& p, WordSpan words, std::uint8_t* zero_stream,
                          std::uint8_t* plane_stream) {
  ZeroWriter zeros(p, zero_stream);
  PlaneWriter planes(p, plane_stream);
  const std::uint64_t zero_bits = code_chunks(p, words, zeros, planes);
  return {zero_bits, planes.finish()};
}

template <class PlaneCounter>
StreamBits count_segment(const Parameters& p, WordSpan words) {
  ZeroCounter zeros(p);
  PlaneCounter planes(p);
  const std::uint64_t zero_bits = code_chunks(p, words, zeros, planes);
  return {zero_bits, planes.bits()};
}

/// Encodes any setting but those with planes of 64 bits.
StreamBits encode_any_segment(const Parameters& p, WordSpan words, std::uint8_t* zero_stream,
                              std::uint8_t* plane_stream) {
  return visit_group<PlaneGroup>(words.bytes_per_word, p.block_size, [&]<class Group>(Group*) {
    return encode_segment<PlaneWriter<Group>>(p, words, zero_stream, plane_stream);
  });
}

StreamBits count_any_segment(const Parameters& p, WordSpan words) {
  return visit_group<PlaneGroup>(words.bytes_per_word, p.block_size, [&]<class Group>(Group*) {
    return count_segment<PlaneCounter<Group>>(p, words);
  });
}

/// The plane stream of plain bit-plane compression: of all words, with the codes of ISCA 2016.
std::uint64_t encode_any_bpc(const Parameters& p, WordSpan words, std::uint8_t* plane_stream) {
  return visit_group<PlaneGroup>(words.bytes_per_word, p.block_size, [&]<class Group>(Group*) {
    NoZeros zeros;
    PlaneWriter<Group> planes(p, plane_stream, isca2016_codes);
    code_chunks(p, words, zeros, planes);
    return planes.finish();
  });
}

std::uint64_t count_any_bpc(const Parameters& p, WordSpan words) {
  return visit_group<PlaneGroup>(words.bytes_per_word, p.block_size, [&]<class Group>(Group*) {
    NoZeros zeros;
    PlaneCounter<Group> planes(p, isca2016_codes);
    code_chunks(p, words, zeros, planes);
    return planes.bits();
  });
}

}  // namespace
}  // namespace ebpc::EBPC_KERNEL
