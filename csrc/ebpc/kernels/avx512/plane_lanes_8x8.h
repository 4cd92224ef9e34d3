// Plane streams of 8-bit words in blocks of 8 with the base sent, the case that matters most, back
// to words: a block of each of 8 segments in a vector's 64-bit lanes, without leaving registers.
//
// Uncompressed planes and planes of one or two ones all have codes of 8 bits. They are copied up to
// the first other code, which nearly always is a run of zero planes and ends the block. That is one
// step; what is left of other blocks is for the lane's next steps, so that no lane waits for
// another.

#pragma once

#include <array>

#include "ebpc/kernels/avx512/bits.h"
#include "ebpc/kernels/generic/jobs.h"
#include "ebpc/kernels/generic/plane_syntax.h"

namespace ebpc::avx512 {
namespace {

/// Decodes the plane streams of a batch.
class PlanePass8x8 {
 public:
  using Word = std::uint8_t;

  PlanePass8x8(const Parameters& p, JobBatch<Word>& batch)
      : jobs_(batch), lane_bytes_(lane_bytes(p)), memory_(thread_memory(lanes * lane_bytes_)) {}

  void run() {
    for (int lane = 0; lane < lanes; ++lane) take(lane);
    std::array<PlaneStreams8x8, vectors> streams;
    while (busy_ > 0) {
      for (int i = 0; i < vectors; ++i) streams[at(i)] = load_streams(8 * i);
      while (!any_at_end(streams)) {
        next_step(streams);
        jobs_.look_ahead();
      }
      for (int i = 0; i < vectors; ++i) {
        store_512(bit_.data() + 8 * i, streams[at(i)].bit);
        store_512(out_.data() + 8 * i, streams[at(i)].out);
        store_512(codes_.data() + 8 * i, streams[at(i)].codes);
        store_512(place_.data() + 8 * i, streams[at(i)].place);
        store_512(base_.data() + 8 * i, streams[at(i)].base);
      }
      for (int lane = 0; lane < lanes; ++lane) {
        if (out_[at(lane)] >= limit_[at(lane)]) end(lane);
      }
    }
  }

 private:
  static constexpr int lanes = 16;
  static constexpr int vectors = lanes / 8;
  static constexpr int base_bits = 8;
  static constexpr int block_bytes = 8;   // of words
  static constexpr int planes_bits = 72;  // the codes of 9 planes, if all have 8 bits
  using PerLane = std::array<std::uint64_t, lanes>;

  struct PlaneStreams8x8 {
    __m512i bit;  // address of the next bit
    __m512i out;  // address of the next word
    // Of the block that is not complete yet:
    __m512i codes;  // a byte for each plane, the first one's most significant
    __m512i place;  // where the next plane's goes: bits from the left, 0 before the base
    __m512i base;
  };

  PlaneStreams8x8 load_streams(int lane) const {
    return {load_512(bit_.data() + lane), load_512(out_.data() + lane),
            load_512(codes_.data() + lane), load_512(place_.data() + lane),
            load_512(base_.data() + lane)};
  }

  bool any_at_end(const std::array<PlaneStreams8x8, vectors>& streams) const {
    unsigned ends = 0;
    for (int i = 0; i < vectors; ++i) {
      ends |= _mm512_cmpge_epu64_mask(streams[at(i)].out, load_512(limit_.data() + 8 * i));
    }
    return ends != 0;
  }

  /// Gives the lane its next stream; a lane that has none decodes the same zeros for ever.
  void take(int lane) {
    std::uint8_t* const words = words_of_lane(lane);
    std::uint8_t* const stream = words + jobs_.words_bytes;
    const std::size_t job = jobs_.take(stream);
    job_[at(lane)] = job;
    if (job != jobs_.none) {
      ++busy_;
      bit_[at(lane)] = 8 * address(stream);
      end_[at(lane)] = bit_[at(lane)] + 8 * jobs_.stream_bytes(job);
      out_[at(lane)] = address(words);
      limit_[at(lane)] = out_[at(lane)] + block_bytes * jobs_.blocks(job);
      advance_[at(lane)] = ~std::uint64_t{0};
    } else {
      bit_[at(lane)] = 8 * address(idle_.data() + block_bytes);
      out_[at(lane)] = address(idle_.data());
      limit_[at(lane)] = ~std::uint64_t{0};
      advance_[at(lane)] = 0;
    }
    codes_[at(lane)] = place_[at(lane)] = base_[at(lane)] = 0;
  }

  /// Ends the lane's stream, which has all its blocks or is malformed.
  void end(int lane) {
    const bool ok = limit_[at(lane)] != 0 && is_padding(bit_[at(lane)], end_[at(lane)]);
    --busy_;
    jobs_.finish(job_[at(lane)], ok, words_of_lane(lane));
    take(lane);
  }

  /// The state of 8 blocks.
  struct Block {
    __m512i high;   // the next 64 bits of the stream, left-justified
    __m512i low;    // those after them
    __m512i codes;  // a byte for each plane, the first one's most significant
    __m512i place;  // where the next plane's goes: bits from the left
    __m512i used;   // bits of the stream
    __mmask64 malformed = 0;
  };

  static void skip(Block& b, __m512i bits) {
    b.high = _mm512_shldv_epi64(b.high, b.low, bits);
    b.low = _mm512_sllv_epi64(b.low, bits);
    b.used = _mm512_add_epi64(b.used, bits);
  }

  /// Takes one step in each lane.
  void next_step(std::array<PlaneStreams8x8, vectors>& streams) {
    std::array<Block, vectors> blocks;
    for_each_vector<vectors>([&](int i) {
      const Windows windows = load_wide_windows(streams[at(i)].bit);
      blocks[at(i)].high = windows.high;
      blocks[at(i)].low = windows.low;
    });
    for_each_vector<vectors>([&](int i) {
      Block& b = blocks[at(i)];
      PlaneStreams8x8& s = streams[at(i)];
      const __m512i shift = _mm512_and_si512(s.bit, _mm512_set1_epi64(7));
      b.high = _mm512_shldv_epi64(b.high, b.low, shift);
      b.low = _mm512_sllv_epi64(b.low, shift);
      b.codes = s.codes;
      b.place = s.place;
      b.used = _mm512_setzero_si512();
      const __mmask8 at_base = _mm512_testn_epi64_mask(s.place, s.place);
      s.base = _mm512_mask_srli_epi64(s.base, at_base, b.high, 64 - base_bits);
      skip(b, _mm512_maskz_mov_epi64(at_base, _mm512_set1_epi64(base_bits)));
    });
    step(blocks);
    const __m512i all = _mm512_set1_epi64(planes_bits);
    unsigned any_malformed = 0;
    for_each_vector<vectors>([&](int i) {
      Block& b = blocks[at(i)];
      PlaneStreams8x8& s = streams[at(i)];
      const __m512i busy = load_512(advance_.data() + 8 * i);
      s.bit = _mm512_add_epi64(s.bit, _mm512_and_si512(b.used, busy));
      // The words of a block that is not complete are written again.
      store_lanes<std::uint64_t>(s.out, words_of(b.codes, s.base));
      const __mmask8 open = _mm512_cmplt_epu64_mask(b.place, all);
      const __m512i size = _mm512_and_si512(_mm512_set1_epi64(block_bytes), busy);
      s.out = _mm512_mask_add_epi64(s.out, static_cast<__mmask8>(~open), s.out, size);
      s.codes = _mm512_maskz_mov_epi64(open, b.codes);
      s.place = _mm512_maskz_mov_epi64(open, b.place);
      b.malformed |= _mm512_movepi8_mask(_mm512_movm_epi64(_mm512_cmpgt_epu64_mask(b.place, all)));
      any_malformed |= b.malformed != 0;
    });
    if (any_malformed != 0) [[unlikely]] {
      for (int i = 0; i < vectors; ++i) give_up(blocks[at(i)].malformed, 8 * i);
    }
  }

  /// Copies codes of 8 bits up to the first other code, then takes that one.
  [[gnu::always_inline]] static void step(std::array<Block, vectors>& blocks) {
    const __m512i all = _mm512_set1_epi64(planes_bits);
    VectorArray<vectors> taken;
    VectorArray<vectors> kept;
    VectorArray<vectors> prefix;
    VectorArray<vectors> symbol;
    for_each_vector<vectors>([&](int i) {
      // Codes of 8 bits start with 1 or 0001: with bit 4 flipped, they are less than 16 as signed.
      const Block& b = blocks[at(i)];
      const __mmask64 is_eight = _mm512_cmplt_epi8_mask(
          _mm512_xor_si512(b.high, _mm512_set1_epi8(0x10)), _mm512_set1_epi8(0x10));
      const __m512i eights = _mm512_lzcnt_epi64(_mm512_movm_epi8(~is_eight));
      taken[i] = _mm512_min_epu64(_mm512_min_epu64(eights, _mm512_set1_epi64(56)),
                                  _mm512_sub_epi64(all, b.place));
    });
    for_each_vector<vectors>([&](int i) {
      Block& b = blocks[at(i)];
      kept[i] = _mm512_andnot_si512(_mm512_srlv_epi64(_mm512_set1_epi64(-1), taken[i]), b.high);
      b.codes = _mm512_or_si512(b.codes, _mm512_srlv_epi64(kept[i], b.place));
      b.place = _mm512_add_epi64(b.place, taken[i]);
      skip(b, taken[i]);
    });
    for_each_vector<vectors>([&](int i) {
      // What stands for nothing, where no plane is left, is a prefix of ones.
      const Block& b = blocks[at(i)];
      const __m512i rest = _mm512_mask_mov_epi64(b.high, _mm512_cmpge_epu64_mask(b.place, all),
                                                 _mm512_set1_epi64(-1));
      prefix[i] = _mm512_srli_epi64(rest, 59);
      symbol[i] = _mm512_and_si512(_mm512_permutexvar_epi16(prefix[i], load_512(symbols.data())),
                                   _mm512_set1_epi64(0xFFFF));
      // A run of zero planes has 3 more bits for its length.
      const __mmask8 is_run =
          _mm512_cmpeq_epi64_mask(_mm512_srli_epi64(rest, 61), _mm512_set1_epi64(1));
      const __m512i length =
          _mm512_and_si512(_mm512_srli_epi64(rest, 55 - 8), _mm512_set1_epi64(7 << 11));
      symbol[i] = _mm512_mask_add_epi64(symbol[i], is_run, symbol[i], length);
    });
    for_each_vector<vectors>([&](int i) {
      Block& b = blocks[at(i)];
      const __mmask8 is_marked = _mm512_cmplt_epu64_mask(prefix[i], _mm512_set1_epi64(2));
      const __m512i mark = _mm512_maskz_slli_epi64(
          is_marked, _mm512_add_epi64(prefix[i], _mm512_set1_epi64(all_ones_code)), 56);
      b.codes = _mm512_or_si512(b.codes, _mm512_srlv_epi64(mark, b.place));
      b.place = _mm512_add_epi64(b.place, _mm512_srli_epi64(symbol[i], 8));
      skip(b, _mm512_and_si512(symbol[i], _mm512_set1_epi64(0xFF)));
      // Indices past the end of a plane: a single one at 7, two at 6 or 7.
      b.malformed |= _mm512_cmpeq_epi8_mask(kept[i], _mm512_set1_epi8(0x1F));
      b.malformed |= _mm512_cmpeq_epi8_mask(_mm512_and_si512(kept[i], _mm512_set1_epi8(-2)),
                                            _mm512_set1_epi8(0x16));
    });
  }

  /// The 8 words of each block: base and 7 sums of deltas.
  static __m512i words_of(__m512i codes, __m512i base) {
    const __mmask64 is_raw = _mm512_movepi8_mask(codes);
    __m512i planes = _mm512_mask_blend_epi8(
        is_raw, _mm512_permutexvar_epi8(codes, load_512(planes_of_codes.by_code)),
        _mm512_and_si512(codes, _mm512_set1_epi8(0x7F)));
    // XOR from the first plane on, but from a plane on that is zero before the XOR anew.
    __m512i begins = _mm512_movm_epi8(_mm512_cmpeq_epi8_mask(codes, _mm512_set1_epi8(plane_zero)));
    planes = scan<8>(planes, begins);
    planes = scan<16>(planes, begins);
    planes = scan<32>(planes, begins);
    // The identity times the matrix of planes transposes them: byte i becomes word i's delta.
    __m512i words = _mm512_gf2p8affine_epi64_epi8(_mm512_set1_epi64(0x0102040810204000), planes, 0);
    words = _mm512_add_epi8(words, base);
    words = _mm512_add_epi8(words, _mm512_slli_epi64(words, 8));
    words = _mm512_add_epi8(words, _mm512_slli_epi64(words, 16));
    return _mm512_add_epi8(words, _mm512_slli_epi64(words, 32));
  }

  template <int bits>
  static __m512i scan(__m512i planes, __m512i& begins) {
    constexpr int a_xor_b_and_not_c = 0xB4;  // planes ^ (shifted & ~begins)
    const __m512i shifted = _mm512_srli_epi64(planes, bits);
    planes = _mm512_ternarylogic_epi64(planes, shifted, begins, a_xor_b_and_not_c);
    begins = _mm512_or_si512(begins, _mm512_srli_epi64(begins, bits));
    return planes;
  }

  void give_up(std::uint64_t malformed, int first) {
    for (int lane = first; malformed != 0; ++lane, malformed >>= 8) {
      if ((malformed & 0xFF) == 0 || advance_[at(lane)] == 0) continue;
      limit_[at(lane)] = 0;
    }
  }

  // In `codes`, this stands for a plane that is zero before the XOR; a zero plane is 0.
  static constexpr int plane_zero = 2;

  /// Codes that have not 8 bits, by 5 bits: 8 times the planes, and in the low byte the bits.
  static constexpr auto symbols = [] {
    std::array<std::uint16_t, 32> symbols{};
    for (std::size_t prefix = 8; prefix < 16; ++prefix) symbols[prefix] = 8 << 8 | 2;
    for (std::size_t prefix = 4; prefix < 8; ++prefix) symbols[prefix] = 16 << 8 | 6;
    symbols[0] = symbols[1] = 8 << 8 | 5;
    return symbols;
  }();

  /// A lane's memory has its words, and after them its stream.
  std::uint8_t* words_of_lane(int lane) const { return memory_ + at(lane) * lane_bytes_; }
  static std::size_t lane_bytes(const Parameters& p) {
    constexpr std::size_t read_after = 64;
    return JobBatch<Word>::words_bytes +
           round_up(max_plane_stream_bits(p, max_job_words) / 8 + 1 + read_after);
  }

  JobBatch<Word>& jobs_;
  std::size_t lane_bytes_;
  std::uint8_t* memory_;
  std::array<std::size_t, lanes> job_;   // of each lane
  std::array<std::uint8_t, 64> idle_{};  // what lanes without a stream write, and read
  int busy_ = 0;                         // lanes with a stream
  // Addresses in each lane's stream:
  alignas(64) PerLane bit_;
  PerLane end_;  // of the bit after the last
  alignas(64) PerLane out_;
  alignas(64) PerLane limit_;  // of the words' end
  alignas(64) PerLane codes_;
  alignas(64) PerLane place_;
  alignas(64) PerLane base_;
  alignas(64) PerLane advance_;  // all ones if the lane has a stream
};

}  // namespace
}  // namespace ebpc::avx512
