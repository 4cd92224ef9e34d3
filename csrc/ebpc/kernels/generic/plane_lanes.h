// Reading plane streams of any setting, of several jobs in turns: decode.h.
//
// A turn takes uncompressed planes, then one other symbol, as they come, and goes on to the next
// block where one ends, all without a branch.

#pragma once

#include "ebpc/kernels/generic/plane_words.h"
#include "ebpc/kernels/kernel.h"
#include "ebpc/kernels/plane_codes.h"

namespace ebpc::EBPC_KERNEL {
namespace {

/// What follows from the parameters, for all streams. `raw_fills_lane` if an uncompressed plane
/// with its prefix is as long as a lane.
///
/// If that is 8 bits, planes of one or two ones have codes of 8 bits too, and are taken for
/// uncompressed ones: codes stand for the planes until they become words ("eights").
///
/// Planes are counted in the bits that they take uncompressed: "raw bits".
template <class WordType, int lane_bits_, bool raw_fills_lane_>
struct PlaneSyntax {
  using Word = WordType;
  using Plane = Lane<lane_bits_>;
  static constexpr int lane_bits = lane_bits_;
  static constexpr bool raw_fills_lane = raw_fills_lane_;
  static constexpr bool eights = raw_fills_lane && lane_bits == 8;

  /// A code other than an uncompressed plane.
  struct alignas(8) PlaneSymbol {
    Plane plane = 0;             // most significant byte first
    std::uint16_t raw_bits = 0;  // of the planes that it is, all but the first of them zero
    std::uint8_t bits = 0;
    bool plane_is_zero = false;  // the plane before XOR, so that it repeats the last
  };
  static constexpr int max_symbol_bits = short_prefix_bits + (lane_bits == 64 ? 6 : 5);

  explicit PlaneSyntax(const Parameters& p)
      : words(p),
        word_bits(static_cast<unsigned>(p.word_bits)),
        base_bits(p.base == Base::sent ? word_bits : 0),
        raw_bits(static_cast<unsigned>(1 + plane_bits(p))),
        block_raw_bits((word_bits + 1) * raw_bits),
        block_size(static_cast<std::size_t>(p.block_size)) {
    const PlaneCodeSizes sizes = PlaneCodeSizes::of(p);
    const int symbol_bits =
        short_prefix_bits + (sizes.index_bits > sizes.run_bits ? sizes.index_bits : sizes.run_bits);
    symbol_shift = static_cast<unsigned>(64 - symbol_bits);
    no_symbol = std::uint64_t{1} << (symbol_bits - 1);
    for (std::uint64_t i = 0; i < no_symbol; ++i) {
      symbols[i] = symbol_of(i << symbol_shift, sizes);
      symbols[i + no_symbol] = {};
    }
    // As many as a window and a qword of lanes hold.
    constexpr unsigned lanes = 64 / lane_bits;
    raws_at_once = 57 / raw_bits < lanes ? 57 / raw_bits : lanes;
    if (raws_at_once == 0) raws_at_once = 1;
    for (unsigned i = 0; i < raws_at_once; ++i) {
      raw_prefixes |= std::uint64_t{1} << (63 - i * raw_bits);
      raw_planes |= low_bits(static_cast<int>(raw_bits - 1)) << (64 - (i + 1) * raw_bits);
      lane_planes |= low_bits(static_cast<int>(raw_bits - 1)) << (64 - (i + 1) * lane_bits);
    }
    if (lane_bits < 64) raw_stop = std::uint64_t{1} << (63 - raws_at_once * raw_bits);
    max_turn_bits = raws_at_once * raw_bits + static_cast<unsigned>(symbol_bits) + base_bits;
    raw_inverse = (1U << 16) / raw_bits + 1;
  }

  /// The bytes of lanes that so many raw bits stand for.
  std::size_t lane_bytes(std::uint64_t raw) const {
    if constexpr (raw_fills_lane) return raw / 8;
    return (raw * raw_inverse >> 16) * (lane_bits / 8);
  }

  PlaneWords<Word, lane_bits, eights> words;
  unsigned word_bits;
  unsigned base_bits;
  unsigned raw_bits;  // of an uncompressed plane, its prefix included
  unsigned block_raw_bits;
  std::size_t block_size;
  unsigned symbol_shift;
  std::uint64_t no_symbol;  // an index that has none
  unsigned raws_at_once;
  std::uint64_t raw_prefixes = 0;  // their first bits, from the top
  std::uint64_t raw_stop = 0;      // the bit behind them
  std::uint64_t raw_planes = 0;    // all their other bits
  std::uint64_t lane_planes = 0;   // where these go
  unsigned max_turn_bits;
  unsigned raw_inverse;
  PlaneSymbol symbols[1 << max_symbol_bits];

 private:
  PlaneSymbol symbol_of(std::uint64_t window, const PlaneCodeSizes& sizes) const {
    const FirstCode code = first_code(window, sizes);
    if (eights && code.is_indexed) return {};
    // More planes than any block has, if the index is outside of the plane.
    const std::uint64_t planes = code.is_valid ? code.planes : max_word_bits + 2;
    PlaneSymbol s;
    const std::uint64_t plane = eights && code.x != 0 ? code.x | 0x80 : code.x;
    const std::uint64_t in_order =
        std::endian::native == std::endian::big ? plane : byte_swap(plane) >> (64 - lane_bits);
    s.plane = static_cast<Plane>(in_order);
    s.raw_bits = static_cast<std::uint16_t>(planes * raw_bits);
    s.bits = static_cast<std::uint8_t>(code.bits);
    s.plane_is_zero = code.plane_is_zero;
    return s;
  }
};

/// Planes between reading and becoming words.
template <class Syntax>
struct PlaneBuffer {
  static constexpr std::size_t capacity = 32;  // blocks
  static constexpr std::size_t block_bytes =
      (8 * sizeof(typename Syntax::Word) + 1) * Syntax::lane_bits / 8;
  /// Zero where no plane has been read.
  alignas(vector_bytes) std::uint8_t planes[(capacity + 2) * block_bytes + 64];
  std::uint64_t ends[capacity + 1];  // the bit behind each block
};

/// The non-zero words of one job, in blocks.
template <class Word>
struct PackedWords {
  static constexpr std::size_t slack = 64;  // words
  alignas(32) Word words[max_job_words + slack];
  std::size_t blocks;
};

/// A job whose plane stream is being read.
template <class SyntaxType>
struct PlaneLane {
  using Syntax = SyntaxType;
  using Word = typename Syntax::Word;
  using Buffer = PlaneBuffer<Syntax>;

  const std::uint8_t* bytes;
  std::uint64_t bit;      // behind the block's base
  std::int64_t raw_left;  // of the block: raw bits
  std::uint8_t* block;    // planes
  std::uint64_t* end;     // of this block, when it comes
  bool well_formed;
  const Syntax* syntax;
  Buffer* buffer;
  std::size_t byte_count;
  std::size_t max_blocks;
  Word base;  // of the block
  Word last;  // word of the block before
  PackedWords<Word>* out;
  std::size_t job;

  void start(const Syntax& s, const DecodeJob& from, std::size_t index, std::size_t blocks) {
    syntax = &s;
    bytes = from.plane_stream;
    byte_count = from.plane_bytes;
    max_blocks = blocks;
    well_formed = true;
    out->blocks = 0;
    job = index;
    last = 0;
    block = buffer->planes;
    end = buffer->ends;
    std::memset(buffer->planes, 0, sizeof buffer->planes);
    std::uint8_t front[8] = {};
    if (byte_count > 0) std::memcpy(front, bytes, min(byte_count, sizeof front));
    base = base_at(front, 0);
    bit = s.base_bits;
    raw_left = s.block_raw_bits;
  }

  /// Turns that can be taken without looking at the end of the stream: so many of the longest ones
  /// leave a window that can be read.
  std::size_t safe_turns() const {
    const std::uint64_t readable = byte_count < 9 ? 0 : 8 * (byte_count - 9);
    if (!well_formed || bit >= readable) return 0;
    return min((readable - bit) / syntax->max_turn_bits,
               min(max_blocks - out->blocks, Buffer::capacity));
  }

  [[gnu::always_inline]] void take_turn(const Syntax& s) {
    const std::uint64_t first = window(bytes, bit);
    std::uint64_t raw;  // bits of uncompressed planes
    std::uint64_t lanes;
    if constexpr (Syntax::lane_bits < 64) {
      // Codes of 8 bits start with 1 or 0001.
      const std::uint64_t is_raw =
          Syntax::eights ? first | (~(first << 1 | first << 2) & first << 3) : first;
      raw = min(leading_zeros((~is_raw & s.raw_prefixes) | s.raw_stop),
                static_cast<std::uint64_t>(raw_left));
      lanes = lanes_of(s, first & ~(~std::uint64_t{0} >> raw));
    } else {
      const std::uint64_t is_raw = -(first >> 63);
      raw = s.raw_bits & is_raw;
      lanes = (wide_window(bytes, bit + 1) >> (65 - s.raw_bits)) & is_raw;
    }
    std::uint8_t* plane =
        block + s.lane_bytes(s.block_raw_bits - static_cast<std::uint64_t>(raw_left));
    store_big_endian(plane, lanes);
    bit += raw;
    raw_left -= static_cast<std::int64_t>(raw);
    plane += s.lane_bytes(raw);

    // The upper half of the table is for what is no symbol.
    const std::uint64_t ended = static_cast<std::uint64_t>((raw_left - 1) >> 63);
    const auto& symbol = s.symbols[(window(bytes, bit) >> s.symbol_shift) | (ended & s.no_symbol)];
    std::memcpy(plane, &symbol.plane, sizeof symbol.plane);
    if (symbol.plane_is_zero) [[unlikely]]
      repeat_plane(plane);
    bit += symbol.bits;
    raw_left -= symbol.raw_bits;
    if (raw_left < 0) [[unlikely]] {
      well_formed = false;
      raw_left = 0;
    }

    // On to the next block, if this is the end.
    const std::int64_t ends = (raw_left - 1) >> 63;  // a mask
    *end = bit;
    end -= ends;
    bit += s.base_bits & static_cast<std::uint64_t>(ends);
    raw_left += s.block_raw_bits & ends;
    block += s.words.block_bytes() & static_cast<std::size_t>(ends);
  }

  /// Turns the blocks that are complete into words.
  void append() {
    const auto count = static_cast<std::size_t>(end - buffer->ends);
    if (count == 0) return;
    Word bases[Buffer::capacity + 1];
    if (syntax->base_bits > 0) {
      bases[0] = base;
      for (std::size_t i = 0; i < count; ++i) bases[i + 1] = base_at(bytes, buffer->ends[i]);
      base = bases[count];
    }
    const bool ok = syntax->words.decode(buffer->planes, bases, count,
                                         out->words + out->blocks * syntax->block_size, last);
    well_formed = well_formed && ok;
    out->blocks += count;
    // The block that has been begun moves to the front.
    const std::size_t size = syntax->words.block_bytes();
    std::memmove(buffer->planes, block, size);
    std::memset(buffer->planes + size, 0, count * size + 8);
    block = buffer->planes;
    end = buffer->ends;
  }

  /// Reads what is left, with zeros behind the end.
  void finish() {
    const Syntax& s = *syntax;
    for (std::size_t turns; (turns = safe_turns()) > 0;) {
      for (; turns > 0; --turns) take_turn(s);
      append();
    }
    well_formed = well_formed && finish_tail();
  }

 private:
  /// What has been read, not counting the base of a block that has not been begun otherwise.
  std::uint64_t position() const { return bit - (begins() ? syntax->base_bits : 0); }
  bool begins() const { return raw_left == syntax->block_raw_bits; }

  bool finish_tail() {
    constexpr std::size_t tail_bytes = 48;
    const std::size_t start = position() / 8;
    if (start > byte_count || byte_count - start > tail_bytes) return false;
    std::uint8_t tail[tail_bytes + 48] = {};
    if (start < byte_count) std::memcpy(tail, bytes + start, byte_count - start);
    bytes = tail;
    bit -= 8 * start;
    const std::uint64_t bits = 8 * (byte_count - start);
    while (true) {
      const std::uint64_t at = position();
      if (!well_formed || at > bits) return false;
      if (begins()) {
        append();
        // Less than a byte is left: padding, which is zero. No block is so short and all zero.
        if (bits - at < 8 && window(tail, at) == 0) return well_formed;
        if (out->blocks == max_blocks) return false;
      }
      take_turn(*syntax);
    }
  }

  Word base_at(const std::uint8_t* from, std::uint64_t at) const {
    return static_cast<Word>(syntax->base_bits == 0 ? 0
                                                    : window(from, at) >> (64 - syntax->base_bits));
  }

  static std::uint64_t wide_window(const std::uint8_t* from, std::uint64_t at) {
    return window(from, at) | static_cast<std::uint64_t>(from[at / 8 + 8]) >> (8 - at % 8);
  }

  /// Planes with their prefixes to lanes.
  [[gnu::always_inline]] static std::uint64_t lanes_of(const Syntax& s, std::uint64_t raw) {
    if constexpr (Syntax::eights) {
      return raw;
    } else if constexpr (Syntax::raw_fills_lane) {
      return raw & ~s.raw_prefixes;
    } else {
#ifdef __BMI2__
      return __builtin_ia32_pdep_di(__builtin_ia32_pext_di(raw, s.raw_planes), s.lane_planes);
#else
      std::uint64_t lanes = 0;
      const unsigned plane_bits = s.raw_bits - 1;
      for (unsigned i = 0; i < s.raws_at_once; ++i, raw <<= s.raw_bits) {
        lanes |= raw << 1 >> (64 - plane_bits) << (64 - (i + 1) * Syntax::lane_bits);
      }
      return lanes;
#endif
    }
  }

  /// A plane that is zero before the XOR is, behind it, the plane before: the XOR of all so far.
  void repeat_plane(std::uint8_t* plane) const {
    std::uint8_t sum[Syntax::lane_bits / 8] = {};
    for (const std::uint8_t* each = block; each < plane; each += sizeof sum) {
      for (std::size_t i = 0; i < sizeof sum; ++i)
        sum[i] ^= Syntax::eights ? x_of_eight(each[i]) : each[i];
    }
    if constexpr (Syntax::eights) sum[0] |= 0x80;  // an uncompressed one
    std::memcpy(plane, sum, sizeof sum);
  }
};

/// Takes `count` turns of each lane.
template <class Lane>
void take_turns(Lane (&lanes)[lane_count], std::size_t count) {
  static_assert(lane_count == 4);
  const typename Lane::Syntax& s = *lanes[0].syntax;
  Lane first = lanes[0];
  Lane second = lanes[1];
  Lane third = lanes[2];
  Lane fourth = lanes[3];
  for (std::size_t i = 0; i < count; ++i) {
    first.take_turn(s);
    second.take_turn(s);
    third.take_turn(s);
    fourth.take_turn(s);
  }
  lanes[0] = first;
  lanes[1] = second;
  lanes[2] = third;
  lanes[3] = fourth;
  for (Lane& lane : lanes) lane.append();
}

}  // namespace
}  // namespace ebpc::EBPC_KERNEL
