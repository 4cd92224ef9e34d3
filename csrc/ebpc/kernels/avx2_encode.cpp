// AVX2 encoding and counting of 8-bit words in blocks of 8 behind a sent base.
//
// Words are taken in chunks that stay in the L1 cache: packed (a mask of the non-zero words, and
// those words without the gaps), then the masks are coded (avx2_zeros.h) and the packed words
// (avx2_planes.h).

#include <immintrin.h>

#include <cstring>

#include "ebpc/kernels/avx2.h"
#include "ebpc/kernels/avx2_planes.h"
#include "ebpc/kernels/avx2_zeros.h"

namespace ebpc::avx2 {
namespace {

/// order[mask]: a byte shuffle that moves the bytes under the ones of `mask` to the front.
struct PackTable {
  std::uint64_t order[256];
};

constexpr PackTable pack_table = [] {
  PackTable table{};
  for (unsigned mask = 0; mask < 256; ++mask) {
    int packed = 0;
    for (std::uint64_t i = 0; i < 8; ++i) {
      if (mask >> i & 1) table.order[mask] |= i << (8 * packed++);
    }
  }
  return table;
}();

std::uint64_t nonzero_mask(const std::uint8_t* words) {
  const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words));
  const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words + 32));
  const __m256i zero = _mm256_setzero_si256();
  const auto zero_low =
      static_cast<std::uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(low, zero)));
  const auto zero_high =
      static_cast<std::uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(high, zero)));
  return ~(static_cast<std::uint64_t>(zero_high) << 32 | zero_low);
}

/// Appends the words under the ones of `mask` and returns the end; writes up to 7 bytes beyond it.
std::uint8_t* pack(const std::uint8_t* words, std::uint64_t mask, std::uint8_t* packed) {
  for (int i = 0; i < 8; ++i) {
    const auto part = static_cast<std::uint8_t>(mask >> (8 * i));
    const __m128i eight = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(words + 8 * i));
    const __m128i order =
        _mm_loadl_epi64(reinterpret_cast<const __m128i*>(&pack_table.order[part]));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(packed), _mm_shuffle_epi8(eight, order));
    packed += _mm_popcnt_u32(part);
  }
  return packed;
}

/// Packs `mask_count` times 64 words; returns the end of the packed ones.
std::uint8_t* pack_masks(const std::uint8_t* words, std::size_t mask_count, std::uint64_t* masks,
                         std::uint8_t* packed) {
  for (std::size_t i = 0; i < mask_count; ++i, words += 64) {
    masks[i] = nonzero_mask(words);
    packed = pack(words, masks[i], packed);
  }
  return packed;
}

struct CodeCounter {
  std::uint64_t bits = 0;

  void put(std::uint64_t, unsigned count) { bits += count; }
};

/// Codes the zeros of the last words, less than 64, and packs them. Returns the number of blocks
/// that are packed now, the last one filled up with zeros.
template <class Sink>
std::size_t finish_words(const std::uint8_t* words, std::size_t count, const std::uint8_t* packed,
                         std::uint8_t* packed_end, ZeroEntries& zeros, Sink& zero_sink) {
  std::uint8_t last_words[64] = {};
  if (count > 0) std::memcpy(last_words, words, count);
  std::uint64_t mask = nonzero_mask(last_words);
  packed_end = pack(last_words, mask, packed_end);
  for (; count >= 8; mask >>= 8, count -= 8) {
    const std::uint32_t entry = zeros.find(static_cast<std::uint8_t>(mask));
    zero_sink.put(ZeroTable::code(entry), ZeroTable::bits(entry));
  }
  // What is missing to a whole byte of the mask is taken as non-zero: that ends a pending run, and
  // each adds one bit to the code, which is cut off.
  const unsigned missing = 8 - static_cast<unsigned>(count);
  const std::uint32_t last = zeros.find(static_cast<std::uint8_t>(mask | 0xFFU << count));
  zero_sink.put(ZeroTable::code(last) >> missing, ZeroTable::bits(last) - missing);

  std::memset(packed_end, 0, words_per_vector);
  return (static_cast<std::size_t>(packed_end - packed) + fast_block_size - 1) / fast_block_size;
}

template <bool is_signed>
StreamBits encode_words(const std::uint8_t* words, std::size_t count, std::uint8_t* zero_stream,
                        std::uint8_t* plane_stream) {
  // Packed words of a chunk behind those that the last one left, which fill no vector.
  alignas(32) std::uint8_t packed[words_per_vector + chunk_words + 64];
  alignas(32) std::uint64_t masks[chunk_words / 64];
  alignas(32) std::uint32_t entries[chunk_words / 8];
  CodedBlocks blocks;
  PlaneCodes plane_codes;
  ZeroEntries zeros;
  ShortCodeWriter zero_writer(zero_stream);
  std::uint64_t plane_bits = 0;
  std::uint8_t* packed_end = packed;
  while (count >= 64) {
    const std::size_t mask_count = (count < chunk_words ? count : chunk_words) / 64;
    packed_end = pack_masks(words, mask_count, masks, packed_end);
    words += mask_count * 64;
    count -= mask_count * 64;
    zeros.find(masks, mask_count, entries);
    zero_writer = write_entries(entries, mask_count, zero_writer);

    const auto whole_vectors =
        static_cast<std::size_t>(packed_end - packed) / words_per_vector * words_per_vector;
    code_blocks<is_signed>(packed, whole_vectors / fast_block_size, blocks);
    plane_codes.append(packed, whole_vectors / fast_block_size, blocks);
    plane_bits = plane_codes.write(plane_stream, plane_bits);
    packed_end -= whole_vectors;
    std::memcpy(packed, packed + whole_vectors, words_per_vector);
  }

  const std::size_t block_count =
      finish_words(words, count, packed, packed_end, zeros, zero_writer);
  code_blocks<is_signed>(packed, block_count, blocks);
  plane_codes.append(packed, block_count, blocks);
  plane_bits = plane_codes.finish(plane_stream, plane_bits);
  return {zero_writer.bits(), plane_bits};
}

template <bool is_signed>
StreamBits count_words(const std::uint8_t* words, std::size_t count) {
  alignas(32) std::uint8_t packed[words_per_vector + chunk_words + 64];
  alignas(32) std::uint64_t masks[chunk_words / 64];
  alignas(32) std::uint32_t entries[chunk_words / 8];
  ZeroEntries zeros;
  StreamBits bits;
  std::uint8_t* packed_end = packed;
  while (count >= 64) {
    const std::size_t mask_count = (count < chunk_words ? count : chunk_words) / 64;
    packed_end = pack_masks(words, mask_count, masks, packed_end);
    words += mask_count * 64;
    count -= mask_count * 64;
    zeros.find(masks, mask_count, entries);
    bits.zero += count_entries(entries, mask_count);

    const auto whole_vectors =
        static_cast<std::size_t>(packed_end - packed) / words_per_vector * words_per_vector;
    bits.plane += count_blocks<is_signed>(packed, whole_vectors / fast_block_size);
    packed_end -= whole_vectors;
    std::memcpy(packed, packed + whole_vectors, words_per_vector);
  }
  CodeCounter zero_counter;
  const std::size_t block_count =
      finish_words(words, count, packed, packed_end, zeros, zero_counter);
  bits.zero += zero_counter.bits;
  bits.plane += count_blocks<is_signed>(packed, block_count);
  return bits;
}

}  // namespace

StreamBits encode_w8_n8(bool is_signed, const std::uint8_t* words, std::size_t count,
                        std::uint8_t* zero_stream, std::uint8_t* plane_stream) {
  return is_signed ? encode_words<true>(words, count, zero_stream, plane_stream)
                   : encode_words<false>(words, count, zero_stream, plane_stream);
}

StreamBits count_w8_n8(bool is_signed, const std::uint8_t* words, std::size_t count) {
  return is_signed ? count_words<true>(words, count) : count_words<false>(words, count);
}

}  // namespace ebpc::avx2
