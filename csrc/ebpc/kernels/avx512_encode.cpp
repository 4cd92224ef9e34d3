// Encoding and counting with AVX-512. Compiled with the flags that avx512.cpp names.

#include <algorithm>
#include <array>

#include "ebpc/kernels/avx512.h"
#include "ebpc/kernels/avx512_bits.h"
#include "ebpc/kernels/avx512_lanes.h"
#include "ebpc/kernels/avx512_plane_encoder.h"
#include "ebpc/kernels/avx512_plane_encoder_8x8.h"
#include "ebpc/kernels/avx512_settings.h"
#include "ebpc/kernels/avx512_zero_encoder.h"

namespace ebpc {
namespace {

template <class Word>
__m512i broadcast(Word word) {
  return Lanes<8 * sizeof(Word)>::set(word);
}

/// What is handed from tile to tile: packs the non-zero words of each, then gives them to the
/// encoders of both streams. Calls `zeros(masks, count)` for every tile and returns the bits of the
/// plane stream.
template <class PlaneEncoder, class Word, class ZeroSink>
std::uint64_t encode_tiles(const Parameters& p, WordSpan span, std::uint8_t* plane_stream,
                           ZeroSink&& zeros) {
  // Unsigned words with the top bit flipped are signed ones with the same deltas.
  constexpr int word_bits = 8 * sizeof(Word);
  const auto flip = p.is_signed || p.word_bits < word_bits
                        ? Word{0}
                        : static_cast<Word>(Word{1} << (word_bits - 1));
  // In front of the packed words stands the one before them, behind them is room for whole vectors.
  constexpr std::size_t front = 64;
  constexpr std::size_t behind = PlaneEncoder::step_words + 128;
  alignas(64) std::array<Word, front + PlaneEncoder::step_words + tile_words + behind> buffer;
  Word* const packed = buffer.data() + front;
  packed[-1] = flip;
  std::size_t packed_count = 0;
  std::array<std::uint64_t, tile_words / 64> masks;
  PlaneEncoder planes(p, flip, plane_stream);
  const auto* words = static_cast<const Word*>(span.data);
  for (std::size_t first = 0; first < span.count; first += tile_words) {
    const std::size_t count = std::min(tile_words, span.count - first);
    const Word* end =
        pack_tile(words + first, count, broadcast(flip), masks.data(), packed + packed_count);
    packed_count = static_cast<std::size_t>(end - packed);
    zeros(masks.data(), count);
    const std::size_t coded = planes.encode(packed, packed_count);
    packed_count -= coded;
    std::memmove(packed - 1, packed + coded - 1, (packed_count + 1) * sizeof(Word));
  }
  std::fill_n(packed + packed_count, behind, flip);
  return planes.finish(packed, packed_count);
}

}  // namespace

namespace avx512 {

StreamBits encode(const Parameters& p, WordSpan words, std::uint8_t* zero_stream,
                  std::uint8_t* plane_stream) {
  if (codes_too_wide(p)) return portable_kernel.encode(p, words, zero_stream, plane_stream);
  ZeroRuns runs;
  ZeroRunWriter zero_writer(p, zero_stream);
  MaskWriter mask_writer(zero_stream);
  const bool is_mask = p.max_zero_run == 1;
  const auto put_zeros = [&](const std::uint64_t* masks, std::size_t count) {
    if (is_mask) {
      mask_writer.put(masks, count);
    } else {
      runs.find(masks, count);
      zero_writer.put(runs);
    }
  };
  std::uint64_t bits;
  if (words.bytes_per_word == 1 && p.word_bits == 8 && p.block_size == 8 && p.base == Base::sent) {
    bits = encode_tiles<PlaneEncoder8x8, std::uint8_t>(p, words, plane_stream, put_zeros);
  } else {
    bits = visit_group(p, words.bytes_per_word, [&]<class Group>(Group*) {
      return encode_tiles<PlaneEncoder<Group, false>, typename Group::Word>(p, words, plane_stream,
                                                                            put_zeros);
    });
  }
  return {is_mask ? words.count : zero_writer.finish(runs.open()), bits};
}

StreamBits count(const Parameters& p, WordSpan words) {
  if (codes_too_wide(p)) return portable_kernel.count(p, words);
  ZeroRuns runs;
  ZeroRunCounter zero_counter(p);
  const bool is_mask = p.max_zero_run == 1;
  const auto count_zeros = [&](const std::uint64_t* masks, std::size_t count) {
    if (is_mask) return;
    runs.find(masks, count);
    zero_counter.put(runs);
  };
  const std::uint64_t bits = visit_group(p, words.bytes_per_word, [&]<class Group>(Group*) {
    return encode_tiles<PlaneEncoder<Group, true>, typename Group::Word>(p, words, nullptr,
                                                                         count_zeros);
  });
  return {is_mask ? words.count : zero_counter.finish(runs.open()), bits};
}

}  // namespace avx512
}  // namespace ebpc
