// Plane streams back to XORed bit planes, 32 segments at once: each has a 64-bit lane of
// four vectors.

#pragma once

#include <array>

#include "ebpc/kernels/avx512_plane_parser.h"

namespace ebpc {
namespace {

/// Parses streams that `Source` hands out:
///   bool take(int lane, PlaneStream&)   the next stream; its memory is the lane's
///   void done(int lane, bool ok, std::size_t blocks)
template <class Group, class Source>
class PlaneLanes {
 public:
  using Word = typename Group::Word;
  static constexpr int lanes = 32;

  PlaneLanes(const PlaneSyntax<Group>& syntax, Source& source) : syntax_(syntax), source_(source) {
    for (int i = 0; i < 64; ++i) {
      const int plane = i % 8 / Group::lane_bytes;
      const int byte = Group::lane_bytes - 1 - i % Group::lane_bytes;
      const int bit = 64 - syntax.raw_bits * (plane + 1) + 8 * byte;
      raw_bytes_[at(i)] = static_cast<std::uint8_t>(bit & 63);
    }
    const std::uint64_t lane = Group::swap_bytes(low_bits(syntax.raw_bits));
    for (std::uint64_t i = 0;
         i * static_cast<std::uint64_t>(syntax.raw_bits) < syntax.raw_step_bits; ++i) {
      raw_mask_ |= lane << (i * Group::lane_bits);
    }
    for (unsigned prefix = 0; prefix < 32; ++prefix) {
      const int planes = prefix >= 16 ? 0 : prefix >> 2 == 1 ? 2 : 1;
      const int bits = prefix >= 16  ? 0
                       : prefix >= 8 ? 2
                       : prefix >= 4 ? 3 + syntax.run_bits
                       : prefix >= 2 ? 5 + syntax.index_bits
                                     : 5;
      symbols_[prefix] = static_cast<std::uint16_t>(planes << 8 | bits);
    }
    patterns_ = {low_bits(syntax.raw_bits - 1), 0, 3, 1, 0, 0, 0, 0};
    plane_scale_ = _mm512_set1_epi64((1 << 16) / syntax.raw_bits + 1);
    run_shift_ = _mm512_set1_epi64(64 - syntax.run_bits);
    base_shift_ = _mm512_set1_epi64(64 - syntax.base_bits);
    next_block_ = Group::block_lane_bytes - syntax.block_bytes;
    index_shift_ = _mm512_set1_epi64(64 - syntax.index_bits);
    for (int lane = 0; lane < lanes; ++lane) take(lane);
  }

  void run() {
    std::array<Blocks, vectors> blocks;
    while (busy_ > 0) {
      for (int i = 0; i < vectors; ++i) blocks[at(i)] = load_blocks(8 * i);
      while (!any_at_end(blocks)) {
        for (int i = 0; i < vectors; ++i) step(blocks[at(i)], 8 * i);
      }
      for (int i = 0; i < vectors; ++i) store_blocks(blocks[at(i)], 8 * i);
      for (int lane = 0; lane < lanes; ++lane) {
        if (left_[at(lane)] != size_[at(lane)]) continue;
        if (bit_[at(lane)] >= stop_[at(lane)] || out_[at(lane)] >= limit_[at(lane)]) end(lane);
      }
    }
  }

 private:
  static constexpr int vectors = lanes / 8;
  using PerLane = std::array<std::uint64_t, lanes>;

  static constexpr std::size_t at(int i) { return static_cast<std::size_t>(i); }
  /// Where 8 lanes are in their streams, and in their blocks.
  struct Blocks {
    __m512i bit;     // address of the next bit
    __m512i base;    // where the next base goes
    __m512i out;     // where the next plane goes
    __m512i left;    // planes of the block still to come
    __m512i planes;  // the XOR of those so far, and so the last one before the XOR
  };

  Blocks load_blocks(int lane) const {
    return {load_vector(bit_.data() + lane), load_vector(base_.data() + lane),
            load_vector(out_.data() + lane), load_vector(left_.data() + lane),
            load_vector(planes_.data() + lane)};
  }

  void store_blocks(const Blocks& blocks, int lane) {
    store_vector(bit_.data() + lane, blocks.bit);
    store_vector(base_.data() + lane, blocks.base);
    store_vector(out_.data() + lane, blocks.out);
    store_vector(left_.data() + lane, blocks.left);
    store_vector(planes_.data() + lane, blocks.planes);
  }

  /// Gives the lane its next stream. A lane that has none reads zeros for ever and writes nothing
  /// that counts.
  void take(int lane) {
    PlaneStream<Word> stream;
    malformed_[at(lane)] = false;
    planes_[at(lane)] = 0;
    if (source_.take(lane, stream)) {
      ++busy_;
      bit_[at(lane)] = bit_address(stream.bytes);
      end_[at(lane)] = bit_[at(lane)] + 8 * stream.byte_count;
      stop_[at(lane)] = end_[at(lane)] - std::min<std::uint64_t>(7, 8 * stream.byte_count);
      first_block_[at(lane)] = reinterpret_cast<std::uintptr_t>(stream.lanes);
      out_[at(lane)] = first_block_[at(lane)];
      limit_[at(lane)] = out_[at(lane)] + stream.max_blocks * Group::block_lane_bytes;
      base_[at(lane)] = reinterpret_cast<std::uintptr_t>(stream.bases);
      left_[at(lane)] = size_[at(lane)] = static_cast<std::uint64_t>(syntax_.word_bits + 1);
    } else {
      bit_[at(lane)] = bit_address(idle_.data());
      out_[at(lane)] = base_[at(lane)] = reinterpret_cast<std::uintptr_t>(idle_.data());
      left_[at(lane)] = 0;
      size_[at(lane)] = ~std::uint64_t{0};
    }
  }

  static std::uint64_t bit_address(const std::uint8_t* bytes) {
    return 8 * static_cast<std::uint64_t>(reinterpret_cast<std::uintptr_t>(bytes));
  }

  /// Whether a block would begin where a stream may have ended.
  bool any_at_end(const std::array<Blocks, vectors>& blocks) const {
    unsigned ends = 0;
    for (int i = 0; i < vectors; ++i) {
      const Blocks& b = blocks[at(i)];
      const __mmask8 begins = _mm512_cmpeq_epi64_mask(b.left, load_vector(size_.data() + 8 * i));
      ends |= _mm512_mask_cmpge_epu64_mask(begins, b.bit, load_vector(stop_.data() + 8 * i));
      ends |= _mm512_mask_cmpge_epu64_mask(begins, b.out, load_vector(limit_.data() + 8 * i));
    }
    return ends != 0;
  }

  /// The next bits of 8 streams, left-justified; at least 57 are valid.
  static __m512i windows(__m512i bit) {
    const __m512i bytes = _mm512_i64gather_epi64(_mm512_srli_epi64(bit, 3), nullptr, 1);
    const __m512i swapped = _mm512_shuffle_epi8(
        bytes, _mm512_broadcast_i32x4(_mm_set_epi64x(0x08090A0B0C0D0E0F, 0x0001020304050607)));
    return _mm512_sllv_epi64(swapped, _mm512_and_si512(bit, _mm512_set1_epi64(7)));
  }

  /// Takes the base, if a block begins, then uncompressed planes, then one other symbol, as they
  /// come, in each lane of `blocks`, of which the first is `lane`.
  void step(Blocks& blocks, int lane) {
    const __m512i size = load_vector(size_.data() + lane);
    __m512i window = windows(blocks.bit);
    if (syntax_.base_bits > 0) {
      // If no block begins, the next one's base takes this one's place.
      scatter<Word>(blocks.base, _mm512_srlv_epi64(window, base_shift_));
      const __mmask8 begins = _mm512_cmpeq_epi64_mask(blocks.left, size);
      const __m512i base_bits = _mm512_maskz_set1_epi64(begins, syntax_.base_bits);
      blocks.base =
          _mm512_mask_add_epi64(blocks.base, begins, blocks.base, _mm512_set1_epi64(sizeof(Word)));
      blocks.bit = _mm512_add_epi64(blocks.bit, base_bits);
      if constexpr (sizeof(Word) == 1) {
        window = _mm512_sllv_epi64(window, base_bits);
      } else {
        window = windows(blocks.bit);
      }
    }
    const __m512i prefixes = _mm512_set1_epi64(static_cast<long long>(syntax_.raw_prefixes));
    __m512i raw = _mm512_lzcnt_epi64(_mm512_andnot_si512(window, prefixes));
    raw = _mm512_min_epu64(raw, _mm512_set1_epi64(static_cast<long long>(syntax_.raw_step_bits)));
    raw = _mm512_min_epu64(raw, _mm512_mul_epu32(blocks.left, _mm512_set1_epi64(syntax_.raw_bits)));
    const __m512i raw_planes = _mm512_srli_epi64(_mm512_mul_epu32(raw, plane_scale_), 16);
    const __m512i kept = _mm512_andnot_si512(_mm512_srlv_epi64(_mm512_set1_epi64(-1), raw), window);
    // Every byte of lanes is 8 bits from some place on.
    const __m512i planes =
        _mm512_and_si512(_mm512_multishift_epi64_epi8(load_vector(raw_bytes_.data()), kept),
                         _mm512_set1_epi64(static_cast<long long>(raw_mask_)));

    // The symbol behind them. Where there is none, an uncompressed plane's prefix has no effect.
    const __m512i rest = _mm512_mask_mov_epi64(_mm512_sllv_epi64(window, raw),
                                               _mm512_cmpeq_epi64_mask(raw_planes, blocks.left),
                                               _mm512_set1_epi64(-1));
    const __m512i prefix = _mm512_srli_epi64(rest, 59);
    const __m512i symbol = _mm512_and_si512(
        _mm512_permutexvar_epi16(prefix, load_vector(symbols_.data())), _mm512_set1_epi64(0xFFFF));
    const __mmask8 is_run =
        _mm512_cmpeq_epi64_mask(_mm512_srli_epi64(rest, 61), _mm512_set1_epi64(1));
    const __m512i run = _mm512_srlv_epi64(_mm512_slli_epi64(rest, 3), run_shift_);
    __m512i symbol_planes = _mm512_srli_epi64(symbol, 8);
    symbol_planes = _mm512_mask_add_epi64(symbol_planes, is_run, symbol_planes, run);
    const __m512i symbol_bits = _mm512_and_si512(symbol, _mm512_set1_epi64(0xFF));

    // All ones, or one or two ones: their lowest bit is `behind`.
    const __mmask8 is_pattern = _mm512_cmplt_epu64_mask(prefix, _mm512_set1_epi64(4));
    const __mmask8 is_indexed =
        _mm512_mask_cmpge_epu64_mask(is_pattern, prefix, _mm512_set1_epi64(2));
    const __mmask8 repeats = _mm512_mask_cmpeq_epi64_mask(is_pattern, prefix, _mm512_set1_epi64(1));
    const __m512i index = _mm512_srlv_epi64(_mm512_slli_epi64(rest, 5), index_shift_);
    const __m512i behind = _mm512_maskz_sub_epi64(
        is_indexed, _mm512_add_epi64(prefix, _mm512_set1_epi64(syntax_.raw_bits - 5)), index);
    const __mmask8 outside = _mm512_movepi64_mask(behind);
    __m512i plane = swap_lane(_mm512_sllv_epi64(
        _mm512_maskz_permutexvar_epi64(is_pattern, prefix, load_vector(patterns_.data())), behind));
    blocks.planes = _mm512_xor_si512(blocks.planes, fold(planes));
    plane = _mm512_mask_and_epi64(plane, repeats, blocks.planes,
                                  _mm512_set1_epi64(static_cast<long long>(
                                      Group::swap_bytes(low_bits(syntax_.raw_bits - 1)))));
    blocks.planes = _mm512_xor_si512(blocks.planes, plane);
    const __m512i place =
        _mm512_slli_epi64(raw_planes, std::countr_zero(unsigned{Group::lane_bits}));
    scatter<std::uint64_t>(blocks.out, _mm512_or_si512(planes, _mm512_sllv_epi64(plane, place)));

    const __m512i taken = _mm512_add_epi64(raw_planes, symbol_planes);
    blocks.bit = _mm512_add_epi64(blocks.bit, _mm512_add_epi64(raw, symbol_bits));
    const unsigned malformed = _mm512_cmpgt_epu64_mask(taken, blocks.left) | outside;
    blocks.left = _mm512_sub_epi64(blocks.left, taken);
    blocks.out = _mm512_add_epi64(
        blocks.out, _mm512_slli_epi64(taken, std::countr_zero(unsigned{Group::lane_bytes})));
    if (malformed != 0) [[unlikely]]
      give_up(blocks, lane, malformed);
    const __mmask8 ends = _mm512_mask_testn_epi64_mask(
        _mm512_movepi64_mask(_mm512_xor_si512(size, _mm512_set1_epi64(-1))), blocks.left,
        blocks.left);
    blocks.left = _mm512_mask_mov_epi64(blocks.left, ends, size);
    blocks.out =
        _mm512_mask_add_epi64(blocks.out, ends, blocks.out, _mm512_set1_epi64(next_block_));
    blocks.planes = _mm512_mask_mov_epi64(blocks.planes, ends, _mm512_setzero_si512());
  }

  /// Lets the streams of malformed lanes end at once.
  void give_up(Blocks& blocks, int first, unsigned malformed) {
    store_blocks(blocks, first);
    for (int lane = first; malformed != 0; ++lane, malformed >>= 1) {
      if ((malformed & 1) == 0) continue;
      malformed_[at(lane)] = true;
      stop_[at(lane)] = 0;
      left_[at(lane)] = size_[at(lane)];
      out_[at(lane)] = limit_[at(lane)];
    }
    blocks = load_blocks(first);
  }

  /// The XOR of all lanes, in the lowest one; the others are undefined.
  static __m512i fold(__m512i planes) {
    for (int bits = 32; bits >= Group::lane_bits; bits /= 2) {
      planes = _mm512_xor_si512(planes, _mm512_srli_epi64(planes, static_cast<unsigned>(bits)));
    }
    return planes;
  }

  /// The bytes of a plane in the order of the stream.
  static __m512i swap_lane(__m512i plane) {
    if constexpr (Group::lane_bytes == 1) return plane;
    const long long order = Group::lane_bytes == 2 ? 0x8080808080800001 : 0x8080808000010203;
    return _mm512_shuffle_epi8(
        plane, _mm512_broadcast_i32x4(_mm_set_epi64x(order | 0x0808080808080808, order)));
  }

  /// Stores the low bytes of each lane at its own address.
  template <class T>
  static void scatter(__m512i addresses, __m512i values) {
    alignas(64) std::array<std::uint64_t, 8> to;
    alignas(64) std::array<std::uint64_t, 8> from;
    store_vector(to.data(), addresses);
    store_vector(from.data(), values);
    for (int i = 0; i < 8; ++i) {
      const auto value = static_cast<T>(from[at(i)]);
      std::memcpy(reinterpret_cast<void*>(to[at(i)]), &value, sizeof value);
    }
  }

  void end(int lane) {
    // As PlaneParser::is_at_end.
    const std::uint64_t bit = bit_[at(lane)];
    const bool overrun = bit > end_[at(lane)] || malformed_[at(lane)];
    const bool padding =
        !overrun && end_[at(lane)] - bit < 8 &&
        stream_window(reinterpret_cast<const std::uint8_t*>(bit >> 3), bit & 7) == 0;
    if (!overrun && !padding && out_[at(lane)] < limit_[at(lane)]) {
      stop_[at(lane)] = bit + 1;  // one more block, of less than a byte
      return;
    }
    --busy_;
    source_.done(lane, padding,
                 (out_[at(lane)] - first_block_[at(lane)]) / Group::block_lane_bytes);
    take(lane);
  }

  const PlaneSyntax<Group>& syntax_;
  Source& source_;
  std::array<std::uint8_t, 64> raw_bytes_;  // from which bit of a window each byte of planes is
  std::uint64_t raw_mask_ = 0;              // the bits of planes in such bytes
  std::array<std::uint16_t, 32> symbols_;   // by prefix: planes, and in the low byte bits
  std::array<std::uint64_t, 8> patterns_;   // by prefix: planes of ones, right-justified
  __m512i plane_scale_;                     // planes for bits, times 2^16
  __m512i run_shift_;                       // brings the length of a run to the right
  __m512i index_shift_;                     // and an index
  __m512i base_shift_;                      // and a base
  int next_block_;                          // bytes from behind a block's planes to the next one's
  std::array<std::uint8_t, 64> idle_{};     // what lanes without a stream read and write
  int busy_ = 0;                            // lanes with a stream
  // Blocks of each lane, as above; and of its stream:
  alignas(64) PerLane bit_;
  alignas(64) PerLane base_;
  alignas(64) PerLane out_;
  alignas(64) PerLane left_;
  alignas(64) PerLane planes_;
  alignas(64) PerLane size_;   // planes of a block
  alignas(64) PerLane stop_;   // address of the first bit where it may end,
  alignas(64) PerLane limit_;  // of the planes' end,
  PerLane end_;                // of the bit behind the last,
  PerLane first_block_;        // and of the first planes
  std::array<bool, lanes> malformed_;
};

}  // namespace
}  // namespace ebpc
