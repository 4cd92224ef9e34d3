// Plane streams back to XORed bit planes, for every setting: a stream in each 64-bit lane of some
// vectors, since within one stream each code's place depends on the code before.
//
// A row of uncompressed planes and the symbol behind it are one step of each stream.

#pragma once

#include "ebpc/kernels/avx512_plane_rows.h"

namespace ebpc {
namespace {

/// Planes that are zero before the XOR: behind it, such a plane is the XOR of all before it. There
/// are too many of them for a branch that is guessed, and too few for each step to look at all
/// planes, so their places are noted.
template <class Group, class Syntax>
class RepeatedPlanes {
 public:
  bool has_room() const { return count_ + 8 <= capacity; }

  /// Notes the lanes of planes in `mask`, which are zero.
  [[gnu::always_inline]] void note(__m512i lanes, __mmask8 mask) {
    store_vector(lanes_.data() + count_, _mm512_maskz_compress_epi64(mask, lanes));
    count_ += static_cast<std::size_t>(std::popcount(static_cast<unsigned>(mask)));
  }

  void complete() {
    for (std::size_t i = 0; i < count_; ++i) complete(lanes_[i]);
    count_ = 0;
  }

 private:
  using Lane = typename Group::Lane;
  static constexpr std::size_t capacity = 512;

  static void complete(std::uint64_t lane) {
    // Blocks lie at multiples of their size. A top plane, which is not needed, has its place in the
    // next one.
    const std::uint64_t block = lane & ~std::uint64_t{Group::block_bytes - 1};
    if (lane == block) return;
    auto* const end = reinterpret_cast<std::uint8_t*>(lane);
    Lane sum = 0;
    for (auto* at = reinterpret_cast<std::uint8_t*>(block); at < end; at += sizeof(Lane)) {
      Lane plane;
      std::memcpy(&plane, at, sizeof plane);
      if constexpr (Syntax::eights) plane = plane & 0x80 ? plane : planes_of_codes[plane & 0x3F];
      sum = static_cast<Lane>(sum ^ plane);
    }
    if constexpr (Syntax::eights) sum |= 0x80;  // an uncompressed one
    std::memcpy(end, &sum, sizeof sum);
  }

  std::size_t count_ = 0;
  std::array<std::uint64_t, capacity + 8> lanes_;
};

/// A plane stream, and where its blocks go.
template <class Word>
struct PlaneStream {
  const std::uint8_t* bytes = nullptr;
  std::size_t byte_count = 0;
  std::size_t blocks = 0;         // at least one
  std::uint8_t* lanes = nullptr;  // at a multiple of a block's size
  Word* bases = nullptr;
};

/// Parses streams that `Source` hands out:
///   bool take(int lane, PlaneStream&)   the next stream; false if there is none, and then something
///                                       else to parse
///   void look_ahead()                   called between steps, to prefetch what comes next
///   void done(int lane, bool ok)        all blocks' planes and bases are there
template <class Group, class Syntax, class Source>
class PlaneLanes {
 public:
  using Word = typename Group::Word;
  static constexpr int lanes = 16;

  /// What may be written behind the planes of the last block.
  static constexpr std::size_t bytes_written_behind = Group::block_bytes + 2 * 64;

  PlaneLanes(const Syntax& syntax, Source& source)
      : syntax_(syntax), rows_(syntax), source_(source) {
    for (int lane = 0; lane < lanes; ++lane) take(lane);
  }

  void run() {
    std::array<Streams, vectors> streams;
    while (busy_ > 0) {
      each([&](int i) { streams[index(i)] = load_streams(8 * i); });
      do {
        step(streams);
        source_.look_ahead();
      } while (!any_at_end(streams) && repeated_.has_room());
      each([&](int i) { store_streams(streams[index(i)], 8 * i); });
      repeated_.complete();
      for (int lane = 0; lane < lanes; ++lane) {
        if (base_[index(lane)] >= limit_[index(lane)]) end(lane);
      }
    }
  }

 private:
  static constexpr int vectors = lanes / 8;
  using PerLane = std::array<std::uint64_t, lanes>;
  using Rows = PlaneRows<Group, Syntax>;
  using Symbol = typename Syntax::Symbol;

  struct Streams {
    __m512i bit;   // address of the next bit
    __m512i out;   // where the next plane goes
    __m512i left;  // planes of the block that are still to come
    __m512i base;  // where the next block's base goes
  };

  /// Calls f for each vector, unrolled. What depends on one another within a vector is long; short
  /// pieces of it for all vectors in turn keep the CPU busy.
  template <class F>
  [[gnu::always_inline]] static void each(F&& f) {
    [&]<int... i>(std::integer_sequence<int, i...>) {
      (f(i), ...);
    }(std::make_integer_sequence<int, vectors>());
  }

  Streams load_streams(int lane) const {
    return {load_vector(bit_.data() + lane), load_vector(out_.data() + lane),
            load_vector(left_.data() + lane), load_vector(base_.data() + lane)};
  }

  void store_streams(const Streams& s, int lane) {
    store_vector(bit_.data() + lane, s.bit);
    store_vector(out_.data() + lane, s.out);
    store_vector(left_.data() + lane, s.left);
    store_vector(base_.data() + lane, s.base);
  }

  bool any_at_end(const std::array<Streams, vectors>& streams) const {
    unsigned ends = 0;
    for (int i = 0; i < vectors; ++i) {
      ends |= _mm512_cmpge_epu64_mask(streams[index(i)].base, load_vector(limit_.data() + 8 * i));
    }
    return ends != 0;
  }

  /// Gives the lane its next stream.
  void take(int lane) {
    PlaneStream<Word> stream;
    is_busy_[index(lane)] = source_.take(lane, stream);
    busy_ += is_busy_[index(lane)];
    is_malformed_[index(lane)] = false;
    const std::uint64_t first_bit = 8 * address(stream.bytes);
    bit_[index(lane)] = first_bit + static_cast<std::uint64_t>(syntax_.base_bits);
    end_[index(lane)] = first_bit + 8 * stream.byte_count;
    out_[index(lane)] = address(stream.lanes);
    left_[index(lane)] = static_cast<std::uint64_t>(syntax_.planes);
    if constexpr (Syntax::base_sent) {
      *stream.bases = static_cast<Word>(stream_window(stream.bytes, 0) >> (64 - syntax_.base_bits));
    }
    // Whether they are sent or not, bases count the blocks.
    base_[index(lane)] = address(stream.bases + 1);
    limit_[index(lane)] = address(stream.bases + 1 + stream.blocks);
  }

  /// Ends the lane's stream, which has all its blocks or is malformed.
  void end(int lane) {
    if (is_busy_[index(lane)]) {
      --busy_;
      const std::uint64_t bit = bit_[index(lane)] - static_cast<std::uint64_t>(syntax_.base_bits);
      source_.done(lane, !is_malformed_[index(lane)] && is_padding(bit, end_[index(lane)]));
    }
    take(lane);
  }

  /// Takes uncompressed planes, then one other symbol, as they come, and the next block's base if
  /// they complete a block, in each lane.
  [[gnu::always_inline]] void step(std::array<Streams, vectors>& streams) {
    VectorArray<vectors> window;
    VectorArray<vectors> symbol;
    each([&](int i) {
      Streams& s = streams[index(i)];
      take_planes(s, rows_.copy(s.bit, s.out));
      if constexpr (Syntax::eights) {
        const __mmask8 ends = _mm512_testn_epi64_mask(s.left, s.left);
        if (ends != 0) [[unlikely]]
          check_top_planes(s, ends, 8 * i);
      }
    });
    each([&](int i) {
      const Streams& s = streams[index(i)];
      window[i] = _mm512_sllv_epi64(load_windows(s.bit),
                                    _mm512_and_si512(s.bit, _mm512_set1_epi64(7)));
    });
    each([&](int i) { symbol[i] = put_symbols(streams[index(i)], window[i]); });
    each([&](int i) {
      Streams& s = streams[index(i)];
      take_symbols(s, symbol[i], 8 * i);
      if constexpr (Syntax::base_sent) put_bases(s, window[i], symbol[i]);
      end_blocks(s);
    });
  }

  /// Skips the uncompressed planes that are in front.
  [[gnu::always_inline]] void take_planes(Streams& s, __m512i is_plane) const {
    constexpr int not_a_or_b = 0xCF;
    const __m512i one = _mm512_set1_epi64(1);
    const __m512i all = _mm512_sllv_epi64(one, s.left);
    const __m512i end = _mm512_ternarylogic_epi64(is_plane, all, all, not_a_or_b);
    const __m512i planes = _mm512_popcnt_epi64(_mm512_andnot_si512(end, _mm512_sub_epi64(end, one)));
    s.left = _mm512_sub_epi64(s.left, planes);
    s.out = _mm512_add_epi64(s.out, bytes_of(planes));
    s.bit = _mm512_add_epi64(
        s.bit, _mm512_mul_epu32(planes, _mm512_set1_epi64(1 + syntax_.plane_size)));
  }

  /// Codes of top planes are not kept, so that they are looked at here. Rows hardly ever go up to
  /// there.
  [[gnu::noinline]] void check_top_planes(Streams& s, __mmask8 ends, int first) {
    alignas(64) std::array<std::uint64_t, 8> out;
    store_vector(out.data(), s.out);
    unsigned malformed = 0;
    for (unsigned lane = 0; lane < 8; ++lane) {
      const std::uint8_t code = *reinterpret_cast<const std::uint8_t*>(out[lane] - 1);
      const bool ok = code >= 0x80 || planes_of_codes[code & 0x3F] < 0x80;
      malformed |= static_cast<unsigned>(!ok) << lane & ends;
    }
    if (malformed != 0) give_up(s, static_cast<__mmask8>(malformed), first);
  }

  static __m512i bytes_of(__m512i planes) {
    return _mm512_slli_epi64(planes, std::countr_zero(unsigned{Group::lane_bytes}));
  }

  /// Stores the planes of the symbols in front of each window. Returns the symbols' low 64 bits.
  [[gnu::always_inline]] __m512i put_symbols(const Streams& s, __m512i window) const {
    const __m128i shift = _mm_cvtsi32_si128(64 - syntax_.symbol_bits);
    // Where the block is complete, none follows.
    const __m512i code = _mm512_mask_mov_epi64(
        _mm512_srl_epi64(window, shift), _mm512_testn_epi64_mask(s.left, s.left),
        _mm512_set1_epi64(static_cast<long long>(syntax_.symbols.size() - 1)));
    alignas(64) std::array<std::uint64_t, 8> codes;
    alignas(64) std::array<std::uint64_t, 8> to;
    store_vector(codes.data(), code);
    store_vector(to.data(), s.out);
    const auto put = [&](std::size_t lane) {
      const Symbol& symbol = syntax_.symbols[codes[lane]];
      put_lane(reinterpret_cast<std::uint8_t*>(to[lane]), symbol);
      return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(&symbol));
    };
    const auto put_four = [&](std::size_t lane) {
      const __m128i low = _mm_unpacklo_epi64(put(lane), put(lane + 1));
      const __m128i high = _mm_unpacklo_epi64(put(lane + 2), put(lane + 3));
      return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
    };
    const __m256i low = put_four(0);
    return _mm512_inserti64x4(_mm512_castsi256_si512(low), put_four(4), 1);
  }

  /// Stores a symbol's first plane, and zeros behind it up to the end of the block.
  [[gnu::always_inline]] static void put_lane(std::uint8_t* to, const Symbol& symbol) {
    __m128i lane;
    if constexpr (sizeof symbol.lane == 8) {
      lane = _mm_cvtsi64_si128(static_cast<long long>(symbol.lane));
    } else {
      lane = _mm_cvtsi32_si128(static_cast<int>(symbol.lane));
    }
    if constexpr (Group::block_bytes <= 16) {
      _mm_storeu_si128(reinterpret_cast<__m128i*>(to), lane);
    } else {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm256_zextsi128_si256(lane));
      for (int i = 32; i < Group::block_bytes; i += 32) {
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(to + i), _mm256_setzero_si256());
      }
    }
  }

  /// Skips the symbols.
  [[gnu::always_inline]] void take_symbols(Streams& s, __m512i symbol, int lane) {
    const __m512i low = _mm512_set1_epi64(0xFF);
    const __m512i planes = _mm512_and_si512(symbol, low);
    const __m512i bits = _mm512_and_si512(_mm512_srli_epi64(symbol, 8), low);
    repeated_.note(s.out, _mm512_test_epi64_mask(symbol, _mm512_set1_epi64(1 << 16)));
    s.left = _mm512_sub_epi64(s.left, planes);
    s.out = _mm512_add_epi64(s.out, bytes_of(planes));
    s.bit = _mm512_add_epi64(s.bit, bits);
    const __mmask8 is_malformed = _mm512_movepi64_mask(s.left);
    if (is_malformed != 0) [[unlikely]]
      give_up(s, is_malformed, lane);
  }

  /// Stores what follows, in case it is a base.
  [[gnu::always_inline]] void put_bases(const Streams& s, __m512i window, __m512i symbol) const {
    const __m512i bits =
        _mm512_and_si512(_mm512_srli_epi64(symbol, 8), _mm512_set1_epi64(0xFF));
    const __m512i base = _mm512_srl_epi64(_mm512_sllv_epi64(window, bits),
                                          _mm_cvtsi32_si128(64 - syntax_.base_bits));
    store_lanes<Word>(s.base, base);
  }

  /// Goes to the next block where one is complete.
  [[gnu::always_inline]] void end_blocks(Streams& s) const {
    const __mmask8 ends = _mm512_testn_epi64_mask(s.left, s.left);
    const auto add = [ends](__m512i a, long long b) {
      return _mm512_mask_add_epi64(a, ends, a, _mm512_set1_epi64(b));
    };
    s.left = add(s.left, syntax_.planes);
    s.out = add(s.out, Group::block_bytes - Group::lane_bytes * syntax_.planes);
    s.base = add(s.base, sizeof(Word));
    if constexpr (Syntax::base_sent) s.bit = add(s.bit, syntax_.base_bits);
  }

  /// Lets the streams of malformed lanes end at once.
  [[gnu::noinline]] void give_up(Streams& s, __mmask8 is_malformed, int first) {
    for (int lane = first; lane < first + 8; ++lane) {
      is_malformed_[index(lane)] |= (is_malformed >> (lane - first) & 1) != 0;
    }
    const __m512i limit = load_vector(limit_.data() + first);
    s.base = _mm512_mask_mov_epi64(s.base, is_malformed, limit);
    s.left = _mm512_mask_set1_epi64(s.left, is_malformed, syntax_.planes);
  }

  const Syntax& syntax_;
  Rows rows_;
  Source& source_;
  RepeatedPlanes<Group, Syntax> repeated_;
  int busy_ = 0;  // lanes with a stream
  // Blocks of each lane, as above; and of its stream:
  alignas(64) PerLane bit_;
  alignas(64) PerLane out_;
  alignas(64) PerLane left_;
  alignas(64) PerLane base_;
  alignas(64) PerLane limit_;  // where the base behind the last block goes
  PerLane end_;                // address of the bit behind the last one
  std::array<bool, lanes> is_busy_;
  std::array<bool, lanes> is_malformed_;
};

}  // namespace
}  // namespace ebpc
