// Plane streams of words that fill 8 or 16 bits, in blocks of 8 with the base sent, back to words:
// a block of each of four segments in a vector's 64-bit elements.
//
// Uncompressed planes and planes of one or two ones all have codes of 8 bits. Such codes are
// copied, the base in front of them too, up to the first other code: that is one step, without a
// branch. What is left of a block is for the segment's next steps. So a block becomes bytes, one
// for each code, which are turned into words when the segment has them all.

#pragma once

#include <immintrin.h>

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "ebpc/kernels/generic/jobs.h"
#include "ebpc/kernels/generic/planes.h"
#include "ebpc/kernels/kernel.h"
#include "ebpc/kernels/plane_codes.h"

namespace ebpc::avx2 {
namespace {

inline __m256i each_byte(int x) { return _mm256_set1_epi8(static_cast<char>(x)); }
inline __m256i each_qword(long long x) { return _mm256_set1_epi64x(x); }
inline __m256i table_of(__m128i x) { return _mm256_broadcastsi128_si256(x); }

/// The bytes of each element in the other order.
[[gnu::always_inline]] inline __m256i swap_bytes(__m256i x) {
  return _mm256_shuffle_epi8(x, table_of(_mm_set_epi64x(0x08090A0B0C0D0E0F, 0x0001020304050607)));
}

/// Four qwords at these addresses.
[[gnu::always_inline]] inline __m256i load_four(const std::uint8_t* from, std::size_t apart) {
  const auto load = [&](std::size_t i) {
    std::int64_t x;
    std::memcpy(&x, from + i * apart, sizeof x);
    return x;
  };
  const __m128i low = _mm_insert_epi64(_mm_cvtsi64_si128(load(0)), load(1), 1);
  const __m128i high = _mm_insert_epi64(_mm_cvtsi64_si128(load(2)), load(3), 1);
  return _mm256_inserti128_si256(_mm256_castsi128_si256(low), high, 1);
}

/// What stands for a plane that is zero before the XOR, and for a plane of ones, which is an
/// uncompressed one. A plane whose X is zero is 0.
constexpr int plane_zero_byte = 2;
constexpr int all_ones_byte = 0xFF;

/// X of planes of one or two ones, by the lowest four bits of their code: a plane's first bit is
/// the most significant.
struct XOfIndexedCodes {
  alignas(16) std::uint8_t by_code[16];
};
constexpr XOfIndexedCodes x_of_indexed_codes = [] {
  XOfIndexedCodes table{};
  for (unsigned i = 0; i < 16; ++i)
    table.by_code[i] =
        static_cast<std::uint8_t>(first_code_of(0x10 | i, 8, common_code_sizes).x << 1);
  return table;
}();

/// The codes of a segment, byte by byte, to words: of each block its base, and a byte for each
/// plane.
template <class Word>
class CodeBytes {
 public:
  static constexpr std::size_t base_bytes = sizeof(Word);
  static constexpr std::size_t block_bytes = base_bytes + 8 * sizeof(Word) + 1;

  /// Words of whole vectors of blocks are written, and their bytes are read.
  static void decode(const std::uint8_t* bytes, std::size_t blocks, Word* words) {
    for (std::size_t b = 0; b < blocks; b += 4, bytes += 4 * block_bytes, words += 4 * 8) {
      const __m256i base = load_four(bytes, block_bytes);
      EightPlanes low{swap_bytes(load_four(bytes + base_bytes, block_bytes))};
      if constexpr (sizeof(Word) == 1) {
        __m256i sums =
            _mm256_or_si256(deltas(low.planes), _mm256_and_si256(base, each_qword(0xFF)));
        sums = _mm256_add_epi8(sums, _mm256_slli_epi64(sums, 8));
        sums = _mm256_add_epi8(sums, _mm256_slli_epi64(sums, 16));
        sums = _mm256_add_epi8(sums, _mm256_slli_epi64(sums, 32));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(words), sums);
      } else {
        EightPlanes high{swap_bytes(load_four(bytes + base_bytes + 8, block_bytes))};
        // The last of the low planes is the one before all high ones, up to where they begin anew.
        const __m256i last = _mm256_shuffle_epi8(
            low.planes, table_of(_mm_set_epi64x(0x0808080808080808, 0x0000000000000000)));
        high.planes = _mm256_xor_si256(high.planes, _mm256_andnot_si256(high.begun, last));
        // The base is sent with the most significant byte first.
        const __m256i first =
            _mm256_or_si256(_mm256_and_si256(_mm256_srli_epi64(base, 8), each_qword(0xFF)),
                            _mm256_and_si256(_mm256_slli_epi64(base, 8), each_qword(0xFF00)));
        const __m256i lower = deltas(low.planes);
        const __m256i upper = deltas(high.planes);
        const __m256i zero = _mm256_setzero_si256();
        // Blocks 0 and 2, then 1 and 3.
        const __m256i even = sums(_mm256_or_si256(_mm256_unpacklo_epi8(lower, upper),
                                                  _mm256_unpacklo_epi64(first, zero)));
        const __m256i odd = sums(_mm256_or_si256(_mm256_unpackhi_epi8(lower, upper),
                                                 _mm256_unpackhi_epi64(first, zero)));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(words),
                            _mm256_permute2x128_si256(even, odd, 0x20));
        _mm256_storeu_si256(reinterpret_cast<__m256i*>(words + 16),
                            _mm256_permute2x128_si256(even, odd, 0x31));
      }
    }
  }

 private:
  /// Eight planes of each block, the first one most significant, and the XOR taken back.
  struct EightPlanes {
    explicit EightPlanes(__m256i codes) {
      const __m256i x_of_index =
          table_of(_mm_load_si128(reinterpret_cast<const __m128i*>(x_of_indexed_codes.by_code)));
      const __m256i indexed = _mm256_and_si256(_mm256_shuffle_epi8(x_of_index, codes),
                                               _mm256_cmpgt_epi8(codes, each_byte(0x0F)));
      planes = _mm256_blendv_epi8(indexed, _mm256_add_epi8(codes, codes), codes);
      begun = _mm256_cmpeq_epi8(codes, each_byte(plane_zero_byte));
      scan<8>();
      scan<16>();
      scan<32>();
    }

    __m256i planes;
    __m256i begun;  // from a plane on that is zero before the XOR

   private:
    template <int bits>
    void scan() {
      planes =
          _mm256_xor_si256(planes, _mm256_andnot_si256(begun, _mm256_srli_epi64(planes, bits)));
      begun = _mm256_or_si256(begun, _mm256_srli_epi64(begun, bits));
    }
  };

  /// A byte of each delta, after one of zero for the base.
  static __m256i deltas(__m256i planes) {
    return _mm256_slli_epi64(
        reinterpret_cast<__m256i>(antitranspose(reinterpret_cast<Qwords>(planes))), 8);
  }

  static __m256i sums(__m256i x) {
    x = _mm256_add_epi16(x, _mm256_slli_si256(x, 2));
    x = _mm256_add_epi16(x, _mm256_slli_si256(x, 4));
    return _mm256_add_epi16(x, _mm256_slli_si256(x, 8));
  }
};

/// Decodes the plane streams of a batch, of eight segments at a time.
template <class WordType>
class CodeLanes {
 public:
  using Word = WordType;

  CodeLanes(const Parameters&, JobBatch<Word>& batch)
      : jobs_(batch), memory_(*reinterpret_cast<Memory*>(thread_memory(sizeof(Memory)))) {}

  void run() {
    for (std::size_t lane = 0; lane < lanes; ++lane) take(lane);
    while (busy_ > 0) {
      take_steps();
      for (std::size_t lane = 0; lane < lanes; ++lane) {
        if (out_[lane] >= limit_[lane]) end(lane);
      }
    }
  }

 private:
  using Bytes = CodeBytes<Word>;
  static constexpr std::size_t vectors = 2;
  static constexpr std::size_t lanes = 4 * vectors;
  static constexpr std::size_t after = 96;
  static constexpr std::size_t max_blocks = max_job_words / 8;
  static constexpr std::uint64_t block_bits = 8 * Bytes::block_bytes;

  struct LaneMemory {
    std::uint8_t stream[max_blocks * Bytes::block_bytes + 2 * after];
    std::uint8_t bytes[(max_blocks + 4) * Bytes::block_bytes + after];
  };
  struct Memory {
    LaneMemory of[lanes];
    alignas(32) std::uint8_t words[JobBatch<Word>::words_bytes];  // of the job that ends
  };

  /// Gives a lane its next stream. One that has none reads the same zeros over and over.
  void take(std::size_t lane) {
    LaneMemory& memory = memory_.of[lane];
    const std::size_t job = jobs_.take(memory.stream);
    const bool is_busy = job != jobs_.none;
    job_[lane] = job;
    left_[lane] = block_bits;
    malformed_[lane] = 0;
    advance_[lane] = is_busy ? ~std::uint64_t{0} : 0;
    bit_[lane] = 8 * address(is_busy ? memory.stream : idle_);
    out_[lane] = address(is_busy ? memory.bytes : idle_ + 32);
    limit_[lane] = ~std::uint64_t{0} >> 1;
    if (!is_busy) return;
    ++busy_;
    end_[lane] = bit_[lane] + 8 * jobs_.stream_bytes(job);
    const std::size_t bytes = jobs_.blocks(job) * Bytes::block_bytes;
    limit_[lane] = out_[lane] + bytes;
    std::memset(memory.bytes, 0, bytes + after);
  }

  /// Ends a lane's stream, which has all its blocks or is malformed.
  void end(std::size_t lane) {
    auto* const words = reinterpret_cast<Word*>(memory_.words);
    const bool ok =
        malformed_[lane] == 0 && out_[lane] == limit_[lane] && is_padding(bit_[lane], end_[lane]);
    if (ok) Bytes::decode(memory_.of[lane].bytes, jobs_.blocks(job_[lane]), words);
    --busy_;
    jobs_.finish(job_[lane], ok, words);
    take(lane);
  }

  /// Takes steps until a lane is done.
  void take_steps() {
    Streams streams[vectors];
    for (std::size_t i = 0; i < vectors; ++i) streams[i] = load(4 * i);
    int done;
    do {
      done = 0;
      for (std::size_t i = 0; i < vectors; ++i) done |= step(streams[i]);
      jobs_.look_ahead();
    } while (done == 0);
    for (std::size_t i = 0; i < vectors; ++i) store(streams[i], 4 * i);
  }

  struct Streams {
    __m256i bit;   // addresses of bits are those of bytes times 8
    __m256i out;   // address of the next code's byte
    __m256i left;  // of the block: 8 for each byte that is still to come
    __m256i limit;
    __m256i advance;    // ones if there is a stream
    __m256i malformed;  // if not zero
  };

  Streams load(std::size_t lane) const {
    const auto from = [lane](const std::uint64_t* x) {
      return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(x + lane));
    };
    return {from(bit_), from(out_), from(left_), from(limit_), from(advance_), from(malformed_)};
  }

  void store(const Streams& s, std::size_t lane) {
    const auto to = [lane](std::uint64_t* x, __m256i y) {
      _mm256_storeu_si256(reinterpret_cast<__m256i*>(x + lane), y);
    };
    to(bit_, s.bit);
    to(out_, s.out);
    to(left_, s.left);
    to(malformed_, s.malformed);
  }

  /// Copies codes of 8 bits up to the first other code, then takes that one. Returns whether any
  /// lane is done.
  [[gnu::always_inline]] static int step(Streams& s) {
    alignas(32) std::uint64_t from[4];
    _mm256_store_si256(reinterpret_cast<__m256i*>(from), _mm256_srli_epi64(s.bit, 3));
    const auto load_16 = [&](std::size_t lane) {
      return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from[lane]));
    };
    const __m256i even = _mm256_inserti128_si256(_mm256_castsi128_si256(load_16(0)), load_16(2), 1);
    const __m256i odd = _mm256_inserti128_si256(_mm256_castsi128_si256(load_16(1)), load_16(3), 1);
    __m256i high = swap_bytes(_mm256_unpacklo_epi64(even, odd));
    __m256i low = swap_bytes(_mm256_unpackhi_epi64(even, odd));
    const __m256i shift = _mm256_and_si256(s.bit, each_qword(7));
    const __m256i all_bits = each_qword(64);
    high = _mm256_or_si256(_mm256_sllv_epi64(high, shift),
                           _mm256_srlv_epi64(low, _mm256_sub_epi64(all_bits, shift)));
    low = _mm256_sllv_epi64(low, shift);

    // Codes of 8 bits start with 1 or 0001: with bit 4 flipped, they are less than 16 as signed.
    const __m256i is_new = _mm256_cmpeq_epi64(s.left, each_qword(block_bits));
    const __m256i is_base = _mm256_slli_epi64(is_new, 64 - 8 * static_cast<int>(Bytes::base_bytes));
    const __m256i others = _mm256_andnot_si256(
        is_base, _mm256_cmpgt_epi8(_mm256_xor_si256(high, each_byte(0x10)), each_byte(0x0F)));
    const __m256i turned = swap_bytes(others);
    const __m256i before = _mm256_andnot_si256(turned, _mm256_add_epi64(turned, each_qword(-1)));
    __m256i taken = _mm256_sad_epu8(_mm256_and_si256(before, each_byte(8)), _mm256_setzero_si256());
    taken = _mm256_min_epu32(taken, _mm256_min_epu32(s.left, each_qword(56)));
    const __m256i kept = _mm256_andnot_si256(_mm256_srlv_epi64(each_qword(-1), taken), high);
    // Indices past the end of a plane: a single one at 7, two at 6 or 7.
    const __m256i bad_index = _mm256_or_si256(
        _mm256_cmpeq_epi8(kept, each_byte(0x1F)),
        _mm256_cmpeq_epi8(_mm256_and_si256(kept, each_byte(0xFE)), each_byte(0x16)));
    s.malformed = _mm256_or_si256(s.malformed, _mm256_andnot_si256(is_base, bad_index));

    __m256i rest = _mm256_or_si256(_mm256_sllv_epi64(high, taken),
                                   _mm256_srlv_epi64(low, _mm256_sub_epi64(all_bits, taken)));
    __m256i left = _mm256_sub_epi64(s.left, taken);
    // Where no plane is left, there is no code either: as if the next one had 8 bits.
    rest = _mm256_or_si256(rest, _mm256_cmpeq_epi64(left, _mm256_setzero_si256()));
    // By five bits; a table has 0 for an index with the most significant bit set.
    const __m256i index = _mm256_add_epi64(_mm256_srli_epi64(rest, 64 - short_prefix_bits),
                                           each_qword(static_cast<long long>(0x8080808080808070)));
    const auto look_up = [&](int five, int zero, int run) {
      const char f = static_cast<char>(five), z = static_cast<char>(zero),
                 r = static_cast<char>(run);
      return _mm256_shuffle_epi8(
          table_of(_mm_setr_epi8(f, f, 0, 0, r, r, r, r, z, z, z, z, z, z, z, z)), index);
    };
    constexpr int run_bits = sizeof(Word) == 1 ? 3 : 4;
    constexpr int length_mask = 8 * ((1 << run_bits) - 1);
    const __m256i bits = look_up(short_prefix_bits, ebpc_codes.single_zero.bits,
                                 ebpc_codes.zero_run.bits + run_bits);
    const __m256i length =
        _mm256_and_si256(_mm256_srli_epi64(rest, 58 - run_bits), look_up(0, 0, length_mask));
    const __m256i planes = _mm256_add_epi64(look_up(8, 8, 16), length);
    const __m256i mark =
        _mm256_shuffle_epi8(table_of(_mm_setr_epi8(char(all_ones_byte), plane_zero_byte, 0, 0, 0, 0,
                                                   0, 0, 0, 0, 0, 0, 0, 0, 0, 0)),
                            index);
    const __m256i bytes =
        swap_bytes(_mm256_or_si256(kept, _mm256_srlv_epi64(_mm256_slli_epi64(mark, 56), taken)));
    alignas(32) std::uint64_t to[4];
    _mm256_store_si256(reinterpret_cast<__m256i*>(to), s.out);
    const auto store_two = [&to](std::size_t lane, __m128i two) {
      const std::int64_t values[] = {_mm_cvtsi128_si64(two), _mm_extract_epi64(two, 1)};
      std::memcpy(reinterpret_cast<void*>(to[lane]), &values[0], sizeof values[0]);
      std::memcpy(reinterpret_cast<void*>(to[lane + 1]), &values[1], sizeof values[1]);
    };
    store_two(0, _mm256_castsi256_si128(bytes));
    store_two(2, _mm256_extracti128_si256(bytes, 1));

    const __m256i put = _mm256_and_si256(_mm256_add_epi64(taken, planes), s.advance);
    s.bit = _mm256_add_epi64(s.bit, _mm256_and_si256(_mm256_add_epi64(taken, bits), s.advance));
    s.out = _mm256_add_epi64(s.out, _mm256_srli_epi64(put, 3));
    left = _mm256_sub_epi64(s.left, put);
    s.malformed = _mm256_or_si256(s.malformed, _mm256_cmpgt_epi64(_mm256_setzero_si256(), left));
    s.left = _mm256_add_epi64(
        left,
        _mm256_and_si256(_mm256_cmpeq_epi64(left, _mm256_setzero_si256()), each_qword(block_bits)));
    return ~_mm256_movemask_epi8(_mm256_cmpgt_epi64(s.limit, s.out));
  }

  alignas(32) std::uint64_t bit_[lanes];
  alignas(32) std::uint64_t end_[lanes];
  alignas(32) std::uint64_t out_[lanes];
  alignas(32) std::uint64_t limit_[lanes];
  alignas(32) std::uint64_t left_[lanes];
  alignas(32) std::uint64_t advance_[lanes];
  alignas(32) std::uint64_t malformed_[lanes];
  JobBatch<Word>& jobs_;
  Memory& memory_;
  std::size_t busy_ = 0;    // lanes that have a job
  std::size_t job_[lanes];  // of each lane
  std::uint8_t idle_[64] = {};
};

}  // namespace
}  // namespace ebpc::avx2
