// Encoding and counting with AVX-512. Compiled with the flags that avx512.cpp names.

#include <algorithm>
#include <array>

#include "ebpc/kernels/avx512.h"
#include "ebpc/kernels/avx512_bits.h"
#include "ebpc/kernels/avx512_lanes.h"
#include "ebpc/kernels/avx512_plane_counter.h"
#include "ebpc/kernels/avx512_plane_encoder.h"
#include "ebpc/kernels/avx512_zero_encoder.h"

namespace ebpc {
namespace {

template <class Word>
__m512i broadcast(Word word) {
  return Lanes<8 * sizeof(Word)>::set(word);
}

/// Codes words tile by tile: packs the non-zero words of each, then gives them to the encoder of
/// the plane stream and their places to that of the zero stream. Either may only count.
template <class PlaneEncoder, class ZeroEncoder>
StreamBits encode_tiles(const Parameters& p, WordSpan span, std::uint8_t* zero_stream,
                        std::uint8_t* plane_stream) {
  using Word = typename PlaneEncoder::Word;
  // Unsigned words with the top bit flipped are signed ones with the same deltas.
  constexpr int word_bits = 8 * sizeof(Word);
  const auto flip = p.is_signed || p.word_bits < word_bits
                        ? Word{0}
                        : static_cast<Word>(Word{1} << (word_bits - 1));
  // In front of the packed words stands the one before them, behind them is room for whole vectors.
  constexpr std::size_t front = 64;
  constexpr std::size_t room = 4 * tile_words + PlaneEncoder::batch_words;
  constexpr std::size_t behind = PlaneEncoder::step_words + 128;
  alignas(64) std::array<Word, front + room + behind> buffer;
  Word* packed = buffer.data() + front;  // not yet coded
  Word* end = packed;
  packed[-1] = flip;
  alignas(64) std::array<std::uint64_t, 8 + tile_words / 64 + 8> mask_buffer;
  std::uint64_t* const masks = mask_buffer.data() + 8;
  PlaneEncoder planes(p, flip, plane_stream);
  ZeroEncoder zeros(p, zero_stream);
  const auto* words = static_cast<const Word*>(span.data);
  for (std::size_t first = 0; first < span.count; first += tile_words) {
    if (static_cast<std::size_t>(end - buffer.data()) > front + room - tile_words) {
      std::memmove(buffer.data(), packed - front,
                   static_cast<std::size_t>(end - packed + front) * sizeof(Word));
      end -= packed - (buffer.data() + front);
      packed = buffer.data() + front;
    }
    const std::size_t count = std::min(tile_words, span.count - first);
    end = pack_tile(words + first, count, broadcast(flip), masks, end);
    zeros.put(masks, count);
    packed += planes.encode(packed, static_cast<std::size_t>(end - packed));
  }
  std::fill_n(end, behind, flip);
  const std::uint64_t plane_bits = planes.finish(packed, static_cast<std::size_t>(end - packed));
  return {zeros.finish(), plane_bits};
}

/// Lanes hold whole codes. Blocks of 64 with a re-used base, whose codes do not fit into 64 bits,
/// stay portable.
int widest_code(const Parameters& p) { return 1 + plane_bits(p); }

}  // namespace

namespace avx512 {

StreamBits encode(const Parameters& p, WordSpan words, std::uint8_t* zero_stream,
                  std::uint8_t* plane_stream) {
  if (widest_code(p) > 64) return portable_kernel.encode(p, words, zero_stream, plane_stream);
  return visit_group<PlaneGroup>(words.bytes_per_word, widest_code(p), [&]<class Group>(Group*) {
    using Planes = PlaneEncoder<Group>;
    if (p.max_zero_run == 1)
      return encode_tiles<Planes, MaskEncoder<false>>(p, words, zero_stream, plane_stream);
    if (p.max_zero_run <= RunEncoder::max_zero_run)
      return encode_tiles<Planes, RunEncoder>(p, words, zero_stream, plane_stream);
    return encode_tiles<Planes, LongRunEncoder<false>>(p, words, zero_stream, plane_stream);
  });
}

StreamBits count(const Parameters& p, WordSpan words) {
  if (widest_code(p) > 64) return portable_kernel.count(p, words);
  return visit_group<PlaneGroup>(words.bytes_per_word, widest_code(p), [&]<class Group>(Group*) {
    using Planes = PlaneCounter<Group>;
    if (p.max_zero_run == 1)
      return encode_tiles<Planes, MaskEncoder<true>>(p, words, nullptr, nullptr);
    if (p.max_zero_run <= RunEncoder::max_zero_run)
      return encode_tiles<Planes, RunCounter>(p, words, nullptr, nullptr);
    return encode_tiles<Planes, LongRunEncoder<true>>(p, words, nullptr, nullptr);
  });
}

}  // namespace avx512
}  // namespace ebpc
