// AVX2 decoding of 8-bit words in blocks of 8 behind a sent base.

#include <immintrin.h>

#include "ebpc/kernels/avx2.h"
#include "ebpc/kernels/jobs_decoder.h"

namespace ebpc::avx2 {
namespace {

constexpr std::size_t blocks_per_vector = 4;

/// Swaps bits i and i + distance of each lane for all i in `mask`.
template <int distance>
__m256i swap_bits(__m256i x, std::int64_t mask) {
  const __m256i difference = _mm256_and_si256(_mm256_xor_si256(x, _mm256_srli_epi64(x, distance)),
                                              _mm256_set1_epi64x(mask));
  return _mm256_xor_si256(x, _mm256_xor_si256(difference, _mm256_slli_epi64(difference, distance)));
}

/// Transposes 8 x 8 bits about the other diagonal: bit 7 - i of byte 7 - p goes to bit p of byte i.
__m256i antitranspose(__m256i x) {
  x = swap_bits<9>(x, 0x0055005500550055);
  x = swap_bits<18>(x, 0x0000333300003333);
  return swap_bits<36>(x, 0x000000000F0F0F0F);
}

__m256i load(const std::uint64_t* from) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(from));
}

/// Turns code bytes into words, four blocks at a time.
struct DecodeBlocks {
  bool operator()(CodedBlocks& blocks, std::size_t count, std::uint8_t* words) const {
    for (std::size_t i = count; i % blocks_per_vector != 0; ++i) blocks.codes[i] = zero_codes;
    const __m256i x_of_index =
        _mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(indexed_x)));
    const __m256i upper_lane = _mm256_setr_epi64x(0, 8 * every_byte, 0, 8 * every_byte);
    __m256i all_x = _mm256_setzero_si256();
    for (std::size_t i = 0; i < count; i += blocks_per_vector) {
      const __m256i codes = load(&blocks.codes[i]);
      const __m256i x = _mm256_blendv_epi8(_mm256_shuffle_epi8(x_of_index, codes),
                                           _mm256_add_epi8(codes, codes), codes);
      all_x = _mm256_or_si256(all_x, x);
      __m256i planes = _mm256_xor_si256(x, _mm256_srli_epi64(x, 8));
      planes = _mm256_xor_si256(planes, _mm256_srli_epi64(planes, 16));
      planes = _mm256_xor_si256(planes, _mm256_srli_epi64(planes, 32));
      // From an all-zero plane on, what had come together until then is taken out again.
      const __m256i zero_plane = _mm256_or_si256(load(&blocks.zero_plane[i]), upper_lane);
      planes = _mm256_xor_si256(planes, _mm256_shuffle_epi8(planes, zero_plane));

      const __m256i deltas = antitranspose(planes);
      const __m256i bases = _mm256_srli_epi64(load(&blocks.bases[i]), 56);
      __m256i sums = _mm256_or_si256(_mm256_slli_epi64(deltas, 8), bases);
      sums = _mm256_add_epi8(sums, _mm256_slli_epi64(sums, 8));
      sums = _mm256_add_epi8(sums, _mm256_slli_epi64(sums, 16));
      sums = _mm256_add_epi8(sums, _mm256_slli_epi64(sums, 32));
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(words + i * block_size), sums);
    }
    return _mm256_testz_si256(all_x, _mm256_set1_epi8(bad_index)) != 0;
  }
};

}  // namespace

std::size_t decode_w8_n8(std::span<const DecodeJob> jobs) {
  return JobsDecoder<DecodeBlocks>(jobs).run();
}

}  // namespace ebpc::avx2
