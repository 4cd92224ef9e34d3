// The zero stream of the AVX2 encoder, where max_zero_run is 16: a table over the zeros pending and
// eight mask bits gives the code of eight words.
//
// Unnamed namespace: avx2.h says why.

#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "ebpc/kernels/avx2_vectors.h"
#include "ebpc/zero_stream.h"

namespace ebpc::avx2 {
namespace {

void store_big_endian(std::uint8_t* bytes, std::uint64_t x) {
  x = __builtin_bswap64(x);
  std::memcpy(bytes, &x, sizeof x);
}

// Writers are passed and returned by value: behind a reference their members would live in memory,
// since the bytes written might be theirs for all that the compiler knows.

/// Writes codes of at most 56 bits. The bits of the byte that is not yet full wait in a register.
class ShortCodeWriter {
 public:
  explicit ShortCodeWriter(std::uint8_t* out) : begin_(out), out_(out) {}

  void put(std::uint64_t code, unsigned count) {
    const unsigned end = filled_ + count;
    waiting_ |= shift_left(code, 64 - end);
    store_big_endian(out_, waiting_);
    out_ += end / 8;
    waiting_ = shift_left(waiting_, end & ~7U);
    filled_ = end % 8;
  }

  /// All bits so far have been stored, padded with zeros.
  std::uint64_t bits() const { return static_cast<std::uint64_t>(out_ - begin_) * 8 + filled_; }

 private:
  std::uint8_t* begin_;
  std::uint8_t* out_;
  std::uint64_t waiting_ = 0;
  unsigned filled_ = 0;
};

/// For each byte of four masks: the zeros at its end and before it in the same mask, modulo 16, as
/// far as they are not interrupted. A byte of zeros has 8 and what the bytes before it have, which
/// three steps of a prefix sum add up.
__m256i trailing_zeros(__m256i masks) {
  const __m256i nibble = broadcast(0x0F);
  const __m256i in_high =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(8, 3, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0));
  const __m256i in_low =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(8, 7, 6, 6, 5, 5, 5, 5, 4, 4, 4, 4, 4, 4, 4, 4));
  const __m256i high = _mm256_and_si256(_mm256_srli_epi16(masks, 4), nibble);
  const __m256i low = _mm256_and_si256(masks, nibble);
  __m256i zeros =
      _mm256_min_epu8(_mm256_shuffle_epi8(in_high, high), _mm256_shuffle_epi8(in_low, low));
  __m256i reaches_back = _mm256_cmpeq_epi8(masks, _mm256_setzero_si256());
  zeros = _mm256_add_epi8(zeros, _mm256_and_si256(reaches_back, _mm256_slli_epi64(zeros, 8)));
  reaches_back = _mm256_and_si256(reaches_back, _mm256_slli_epi64(reaches_back, 8));
  zeros = _mm256_add_epi8(zeros, _mm256_and_si256(reaches_back, _mm256_slli_epi64(zeros, 16)));
  reaches_back = _mm256_and_si256(reaches_back, _mm256_slli_epi64(reaches_back, 16));
  return _mm256_add_epi8(zeros, _mm256_and_si256(reaches_back, _mm256_slli_epi64(zeros, 32)));
}

/// Finds the table entries for masks, of which there may be more than one chunk.
class ZeroEntries {
 public:
  /// `count` masks of 64 words each give eight entries each; up to three masks more are read.
  void find(const std::uint64_t* masks, std::size_t count, std::uint32_t* entries) {
    unsigned pending = pending_;
    for (std::size_t i = 0; i < count; i += 4) {
      const __m256i four = _mm256_load_si256(reinterpret_cast<const __m256i*>(masks + i));
      alignas(32) std::uint64_t zeros[4];
      _mm256_store_si256(reinterpret_cast<__m256i*>(zeros), trailing_zeros(four));
      const std::size_t end = count - i < 4 ? count - i : 4;
      for (std::size_t k = 0; k < end; ++k, entries += 8) {
        pending = find(masks[i + k], zeros[k], pending, entries);
      }
    }
    pending_ = pending;
  }

  std::uint32_t find(std::uint8_t mask) {
    const std::uint32_t entry = zero_table.entries[pending_ << 8 | mask];
    pending_ = mask == 0 ? (pending_ + 8) % ZeroTable::max_run : ZeroTable::pending(entry);
    return entry;
  }

 private:
  /// `zeros` is what trailing_zeros gives for this mask. Returns the zeros pending behind it.
  static unsigned find(std::uint64_t mask, std::uint64_t zeros, unsigned pending,
                       std::uint32_t* entries) {
    constexpr std::uint64_t every_byte = 0x0101010101010101;
    // The bytes below the first one in the mask continue what was pending.
    const std::uint64_t still_zero = _bzhi_u64(~std::uint64_t{0}, _tzcnt_u64(mask) & ~7U);
    zeros += pending * every_byte & still_zero;
    zeros &= (ZeroTable::max_run - 1) * every_byte;
    const std::uint64_t zeros_before = zeros << 8 | pending;
    alignas(16) std::uint16_t indices[8];
    _mm_store_si128(reinterpret_cast<__m128i*>(indices),
                    _mm_unpacklo_epi8(_mm_cvtsi64_si128(static_cast<long long>(mask)),
                                      _mm_cvtsi64_si128(static_cast<long long>(zeros_before))));
    for (int i = 0; i < 8; ++i) entries[i] = zero_table.entries[indices[i]];
    return static_cast<unsigned>(zeros >> 56);
  }

  unsigned pending_ = 0;
};

/// Writes the codes of whole masks, two entries at once.
ShortCodeWriter write_entries(const std::uint32_t* entries, std::size_t mask_count,
                              ShortCodeWriter out) {
  const __m256i length_mask = _mm256_set1_epi64x(31);
  for (std::size_t i = 0; i < mask_count; ++i) {
    // Lanes of 64 bits: an entry, and above it the one that follows.
    const __m256i two = _mm256_load_si256(reinterpret_cast<const __m256i*>(entries + 8 * i));
    const __m256i first = _mm256_srli_epi64(_mm256_slli_epi64(two, 32), 32 + 8);
    const __m256i second = _mm256_srli_epi64(two, 32 + 8);
    const __m256i first_length = _mm256_and_si256(two, length_mask);
    const __m256i second_length = _mm256_and_si256(_mm256_srli_epi64(two, 32), length_mask);
    alignas(32) std::uint64_t codes[4];
    alignas(32) std::uint64_t lengths[4];
    _mm256_store_si256(reinterpret_cast<__m256i*>(codes),
                       _mm256_or_si256(_mm256_sllv_epi64(first, second_length), second));
    _mm256_store_si256(reinterpret_cast<__m256i*>(lengths),
                       _mm256_add_epi64(first_length, second_length));
    for (int k = 0; k < 4; ++k) out.put(codes[k], static_cast<unsigned>(lengths[k]));
  }
  return out;
}

/// The lengths of all entries of whole masks.
std::uint64_t count_entries(const std::uint32_t* entries, std::size_t mask_count) {
  const __m256i length_mask = _mm256_set1_epi32(31);
  __m256i sum = _mm256_setzero_si256();
  for (std::size_t i = 0; i < mask_count; ++i) {
    const __m256i eight = _mm256_load_si256(reinterpret_cast<const __m256i*>(entries + 8 * i));
    const __m256i lengths = _mm256_and_si256(eight, length_mask);
    sum = _mm256_add_epi64(sum, _mm256_sad_epu8(lengths, _mm256_setzero_si256()));
  }
  alignas(32) std::uint64_t parts[4];
  _mm256_store_si256(reinterpret_cast<__m256i*>(parts), sum);
  return parts[0] + parts[1] + parts[2] + parts[3];
}

}  // namespace
}  // namespace ebpc::avx2
