// The AVX-512 kernel.
//
// Other zero words than 0, plain bit-plane compression, and decoding of blocks of less than 8 words
// are AVX2's, which every CPU with these instructions has.

#include "ebpc/kernels/kernel.h"

#include <algorithm>
#include <array>

#include "ebpc/kernels/avx512/pack_words.h"
#include "ebpc/kernels/avx512/plane_coder.h"
#include "ebpc/kernels/avx512/plane_encoder.h"
#include "ebpc/kernels/avx512/plane_lanes_8x8.h"
#include "ebpc/kernels/avx512/plane_words.h"
#include "ebpc/kernels/avx512/zero_encoder.h"
#include "ebpc/kernels/avx512/zero_lanes.h"
#include "ebpc/kernels/generic/plane_pass.h"
#include "ebpc/kernels/generic/quantize.h"
#include "ebpc/kernels/generic/zero_coder.h"

namespace ebpc {
namespace avx512 {
namespace {

template <class Word>
__m512i broadcast(Word word) {
  return Lanes<8 * sizeof(Word)>::set(word);
}

/// Codes words tile by tile: packs the non-zero words of each, then gives them to the encoder of
/// the plane stream and their places to that of the zero stream. Either may only count.
template <class PlaneSink, class ZeroSink>
StreamBits encode_tiles(const Parameters& p, WordSpan span, std::uint8_t* zero_stream,
                        std::uint8_t* plane_stream) {
  using Word = typename PlaneSink::Word;
  // Unsigned words with the top bit flipped are signed ones with the same deltas.
  constexpr int word_bits = 8 * sizeof(Word);
  const auto flip = p.is_signed || p.word_bits < word_bits
                        ? Word{0}
                        : static_cast<Word>(Word{1} << (word_bits - 1));
  // In front of the packed words stands the one before them, after them is room for whole vectors.
  constexpr std::size_t front = 64;
  constexpr std::size_t room = 4 * tile_words + PlaneSink::batch_words;
  constexpr std::size_t after = PlaneSink::step_words + 128;
  alignas(64) std::array<Word, front + room + after> buffer;
  Word* packed = buffer.data() + front;  // not yet coded
  Word* end = packed;
  packed[-1] = flip;
  alignas(64) std::array<std::uint64_t, 8 + tile_words / 64 + 8> mask_buffer;
  std::uint64_t* const masks = mask_buffer.data() + 8;
  PlaneSink planes(p, flip, plane_stream);
  ZeroSink zeros(p, zero_stream);
  std::uint64_t last_mask = 0;  // of less than 64 words
  const auto* words = static_cast<const Word*>(span.data);
  for (std::size_t first = 0; first < span.count; first += tile_words) {
    if (static_cast<std::size_t>(end - buffer.data()) > front + room - tile_words) {
      std::memmove(buffer.data(), packed - front,
                   static_cast<std::size_t>(end - packed + front) * sizeof(Word));
      end -= packed - (buffer.data() + front);
      packed = buffer.data() + front;
    }
    const std::size_t count = std::min(tile_words, span.count - first);
    const Word* const begin = end;
    end = pack_tile(words + first, count, broadcast(flip), masks, end);
    last_mask = count % 64 != 0 ? masks[count / 64] : 0;
    const auto ones = static_cast<std::size_t>(end - begin - std::popcount(last_mask));
    if (count >= 64) zeros.put(masks, count / 64, ones);
    packed += planes.encode(packed, static_cast<std::size_t>(end - packed));
  }
  std::fill_n(end, after, flip);
  const std::uint64_t plane_bits = planes.finish(packed, static_cast<std::size_t>(end - packed));
  return {zeros.finish(last_mask, static_cast<int>(span.count % 64)), plane_bits};
}

/// Lanes hold whole codes. Blocks of 64 with a re-used base, whose codes do not fit into 64 bits,
/// stay portable.
int widest_code(const Parameters& p) { return 1 + plane_bits(p); }

StreamBits encode(const Parameters& p, WordSpan words, std::uint8_t* zero_stream,
                  std::uint8_t* plane_stream) {
  if (p.zero != 0) return avx2_kernel.encode(p, words, zero_stream, plane_stream);
  if (widest_code(p) > 64) return portable_kernel.encode(p, words, zero_stream, plane_stream);
  return visit_group<EncodeGroup>(words.bytes_per_word, widest_code(p), [&]<class Group>(Group*) {
    using Planes = TileEncoder<Group>;
    if (p.max_zero_run == RunEncoder::max_zero_run)
      return encode_tiles<Planes, RunEncoder>(p, words, zero_stream, plane_stream);
    return encode_tiles<Planes, ZeroWriter>(p, words, zero_stream, plane_stream);
  });
}

StreamBits count(const Parameters& p, WordSpan words) {
  if (p.zero != 0) return avx2_kernel.count(p, words);
  if (widest_code(p) > 64) return portable_kernel.count(p, words);
  return visit_group<EncodeGroup>(words.bytes_per_word, widest_code(p), [&]<class Group>(Group*) {
    return encode_tiles<TileCounter<Group>, ZeroCounter>(p, words, nullptr, nullptr);
  });
}

std::size_t decode(const Parameters& p, std::span<const DecodeJob> jobs) {
  if (jobs.empty()) return 0;
  if (p.block_size < 8) return avx2_kernel.decode(p, jobs);
  const int bytes_per_word = jobs.front().words.bytes_per_word;
  if (is_common_setting(p, bytes_per_word)) return decode_with<ZeroLanes, PlanePass8x8>(p, jobs);
  const auto decode = [&]<class Syntax>(Syntax*) {
    using Planes = PlanePass<Syntax, VectorRows<Syntax>, VectorWords<Syntax>>;
    return decode_with<ZeroLanes, Planes>(p, jobs);
  };
  return visit_group<DecodeGroup>(bytes_per_word, p.block_size, [&]<class Group>(Group*) {
    if (p.base == Base::reused)
      return decode(static_cast<PlaneSyntax<Group, false, false>*>(nullptr));
    return decode(static_cast<PlaneSyntax<Group, true, Group::slots == 8>*>(nullptr));
  });
}

// ---- CRC-32C by carry-less multiplication ("Fast CRC Computation for Generic Polynomials Using
// PCLMULQDQ Instruction", Gopal et al., 2009).

/// x^exponent modulo the polynomial, reflected and shifted to where a product of reflected operands
/// expects it.
constexpr long long power_of_x(int exponent) {
  std::uint32_t remainder = 0x80000000;
  for (; exponent > 0; --exponent) {
    remainder = remainder >> 1 ^ (remainder & 1 ? 0x82F63B78 : 0);
  }
  return static_cast<long long>(std::uint64_t{remainder} << 1);
}

/// Multiplies the two halves of every 128 bits by what moves them `bytes` bytes on.
template <int bytes>
__m512i fold(__m512i x, __m512i next) {
  constexpr long long first = power_of_x(8 * bytes + 32);
  constexpr long long second = power_of_x(8 * bytes - 32);
  const __m512i factors = _mm512_broadcast_i32x4(_mm_set_epi64x(second, first));
  constexpr int exclusive_or = 0x96;
  return _mm512_ternarylogic_epi64(_mm512_clmulepi64_epi128(x, factors, 0x00),
                                   _mm512_clmulepi64_epi128(x, factors, 0x11), next, exclusive_or);
}

std::uint32_t crc32c(std::uint32_t start, const std::uint8_t* bytes, std::size_t count) {
  if (count < 256) return avx2_kernel.crc32c(start, bytes, count);
  __m512i a = _mm512_xor_si512(_mm512_loadu_si512(bytes),
                               _mm512_zextsi128_si512(_mm_cvtsi32_si128(static_cast<int>(~start))));
  __m512i b = _mm512_loadu_si512(bytes + 64);
  __m512i c = _mm512_loadu_si512(bytes + 128);
  __m512i d = _mm512_loadu_si512(bytes + 192);
  for (bytes += 256, count -= 256; count >= 256; bytes += 256, count -= 256) {
    a = fold<256>(a, _mm512_loadu_si512(bytes));
    b = fold<256>(b, _mm512_loadu_si512(bytes + 64));
    c = fold<256>(c, _mm512_loadu_si512(bytes + 128));
    d = fold<256>(d, _mm512_loadu_si512(bytes + 192));
  }
  // What is left has the same remainder as all bytes so far.
  std::uint8_t folded[64];
  _mm512_storeu_si512(folded, fold<64>(fold<64>(fold<64>(a, b), c), d));
  const std::uint32_t crc = avx2_kernel.crc32c(~std::uint32_t{0}, folded, sizeof folded);
  return avx2_kernel.crc32c(crc, bytes, count);
}

}  // namespace
}  // namespace avx512

const Kernel avx512_kernel{
    "avx512",
    avx512::encode,
    avx512::count,
    [](const Parameters& p, WordSpan words, std::uint8_t* plane_stream) {
      return avx2_kernel.encode_bpc(p, words, plane_stream);
    },
    [](const Parameters& p, WordSpan words) { return avx2_kernel.count_bpc(p, words); },
    avx512::decode,
    avx512::crc32c,
    avx512::quantize};

}  // namespace ebpc
