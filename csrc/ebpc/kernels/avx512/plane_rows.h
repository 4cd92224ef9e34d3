// The memory of plane streams while they are parsed.

#pragma once

#include <array>
#include <utility>

#include "ebpc/kernels/avx512/plane_syntax.h"
#include "ebpc/kernels/avx512/stream_lanes.h"

namespace ebpc::avx512 {
namespace {

/// The memory of some streams of up to max_job_words words that are parsed in turn. It lies in one
/// piece: first the bases of all streams, then for each stream its planes and its bytes.
template <class Group, int slots>
class PlaneMemory {
 public:
  using Word = typename Group::Word;

  explicit PlaneMemory(const Parameters& p)
      : max_blocks_((max_job_words + static_cast<std::size_t>(p.block_size) - 1) /
                    static_cast<std::size_t>(p.block_size)),
        lanes_bytes_(round_up((max_blocks_ + 1) * Group::block_bytes + written_behind)),
        stream_bytes_(round_up(max_plane_stream_bits(p, max_job_words) / 8 + 1 + read_behind)) {}

  std::size_t max_blocks() const { return max_blocks_; }
  std::size_t size() const { return lanes(slots); }

  /// The greatest size for any setting: blocks of two words of 32 bits take the most memory.
  static constexpr std::size_t most_bytes() {
    constexpr std::size_t block_bits = 32 + 33 * 6;
    constexpr std::size_t rounding = 2048;
    return base(slots, 1) + rounding +
           index(slots) * (max_job_words / 2 * (32 + block_bits / 8 + 1) + rounding);
  }

  /// Where the base of a block goes, by the number in the position.
  static constexpr std::size_t base(int slot, std::uint64_t block) {
    return (index(slot) * most_blocks + block) * sizeof(Word);
  }
  std::size_t lanes(int slot) const {
    return round_up(base(slots, 1) + 64) + index(slot) * (lanes_bytes_ + stream_bytes_);
  }
  std::size_t stream(int slot) const { return lanes(slot) + lanes_bytes_; }

  /// Puts a base there, with which `window` begins.
  [[gnu::always_inline]] static void put_base(std::uint8_t* memory, std::size_t slot,
                                              std::uint64_t block, std::uint64_t window,
                                              int base_shift) {
    const auto word = static_cast<Word>(window >> base_shift);
    std::memcpy(memory + base(static_cast<int>(slot), block), &word, sizeof word);
  }

 private:
  // By a row of planes, and by a symbol and the zeros behind it up to the end of a block.
  static constexpr std::size_t written_behind = 32 * Group::lane_bytes + 2 * 64;
  static constexpr std::size_t read_behind = 64;

  std::size_t max_blocks_;
  std::size_t lanes_bytes_;
  std::size_t stream_bytes_;
};

// ---- Rows of uncompressed planes from plane streams to lanes.

/// Vectors of 32 or 64 bytes, whose lanes become half as wide.
template <int bytes>
struct WideVector;

template <>
struct WideVector<32> {
  static __m256i load(const std::uint8_t* from) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  }
  static __m256i permute(__m256i indices, __m256i a) { return _mm256_permutexvar_epi8(indices, a); }

  /// Shifts lanes to the right by `counts`, each, and keeps their lower half.
  template <int half_bytes>
  static __m128i shift_and_halve(__m256i a, __m256i counts) {
    if constexpr (half_bytes == 1) return _mm256_cvtepi16_epi8(_mm256_srlv_epi16(a, counts));
    if constexpr (half_bytes == 2) return _mm256_cvtepi32_epi16(_mm256_srlv_epi32(a, counts));
  }
  template <int half_bytes>
  static std::uint64_t testn(__m256i a, __m256i b) {
    if constexpr (half_bytes == 1) return bits_of(_mm256_testn_epi16_mask(a, b));
    if constexpr (half_bytes == 2) return bits_of(_mm256_testn_epi32_mask(a, b));
  }

  /// Of a half: a mask of bytes other than 1xxxxxxx and 0001xxxx. With bit 4 flipped, those are
  /// less than 16 as signed ones.
  static std::uint64_t not_eights(__m128i a) {
    const __m128i bit_4 = _mm_set1_epi8(0x10);
    return bits_of(_mm_cmpge_epi8_mask(_mm_xor_si128(a, bit_4), bit_4));
  }
  static void store_half(std::uint8_t* to, __m128i a) {
    _mm_storeu_si128(reinterpret_cast<__m128i*>(to), a);
  }
};

template <>
struct WideVector<64> {
  static __m512i load(const std::uint8_t* from) { return load_512(from); }
  static __m512i permute(__m512i indices, __m512i a) { return _mm512_permutexvar_epi8(indices, a); }
  template <int half_bytes>
  static __m256i shift_and_halve(__m512i a, __m512i counts) {
    if constexpr (half_bytes == 1) return _mm512_cvtepi16_epi8(_mm512_srlv_epi16(a, counts));
    if constexpr (half_bytes == 2) return _mm512_cvtepi32_epi16(_mm512_srlv_epi32(a, counts));
    if constexpr (half_bytes == 4) return _mm512_cvtepi64_epi32(_mm512_srlv_epi64(a, counts));
  }
  template <int half_bytes>
  static std::uint64_t testn(__m512i a, __m512i b) {
    if constexpr (half_bytes == 1) return bits_of(_mm512_testn_epi16_mask(a, b));
    if constexpr (half_bytes == 2) return bits_of(_mm512_testn_epi32_mask(a, b));
    if constexpr (half_bytes == 4) return bits_of(_mm512_testn_epi64_mask(a, b));
  }
  static std::uint64_t not_eights(__m256i a) {
    const __m256i bit_4 = _mm256_set1_epi8(0x10);
    return bits_of(_mm256_cmpge_epi8_mask(_mm256_xor_si256(a, bit_4), bit_4));
  }
  static void store_half(std::uint8_t* to, __m256i a) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), a);
  }
};

/// Copies rows of planes, each from any bit of a stream on, to lanes.
template <class Group, class Syntax>
class PlaneRows {
 public:
  /// Planes that are copied at once. In blocks of 64, one takes all of a window.
  static constexpr int planes =
      Group::slots == 64
          ? 1
          : std::clamp(Group::planes, 16 / Group::lane_bytes, 32 / Group::lane_bytes);
  static constexpr int store_bytes = planes * Group::lane_bytes;

  explicit PlaneRows(const Syntax& syntax) {
    // A lane is cut out of the bits of one twice as wide, which begins with a whole byte.
    for (int shift = 0; shift < 8; ++shift) {
      for (int i = 0; i < 64; ++i) {
        const int bit = shift + i / wide_lane_bytes * (1 + syntax.plane_size);
        const int byte = wide_lane_bytes - 1 - i % wide_lane_bytes;  // in the order of the stream
        const int behind = Group::lane_bits - bit % 8 - (Syntax::base_sent ? 0 : 1);
        bytes_[index(shift)][index(i)] = static_cast<std::uint8_t>(bit / 8 + byte);
        first_bits_[index(shift)][index(i)] =
            static_cast<std::uint8_t>(byte == 0 ? 0x80 >> bit % 8 : 0);
        counts_[index(shift)][index(i)] =
            static_cast<std::uint8_t>(i % wide_lane_bytes == 0 ? behind : 0);
      }
    }
  }

  /// Copies planes, whether there are any or not. Returns a mask in which the bits of those from
  /// the first on that are uncompressed ones are 0, and the one behind them is 1.
  [[gnu::always_inline]] std::uint32_t copy(const std::uint8_t* from, std::uint64_t shift,
                                            std::uint8_t* to) const {
    if constexpr (Group::slots == 64) {
      const std::uint64_t plane_bit = shift + (Syntax::base_sent ? 0 : 1);
      const std::uint64_t next = from[(plane_bit >> 3) + 8];
      const std::uint64_t plane = window(from, plane_bit) | next >> (8 - (plane_bit & 7));
      std::memcpy(to, &plane, sizeof plane);
      return *from >> (7 - shift) & 1 ? 2 : 1;
    } else {
      const std::uint64_t entry = 64 * shift;
      const auto load = [entry](const Table& table) {
        return Vector::load(table.front().data() + entry);
      };
      const auto wide = Vector::permute(load(bytes_), Vector::load(from));
      const auto lanes = Vector::template shift_and_halve<Group::lane_bytes>(wide, load(counts_));
      Vector::store_half(to, lanes);
      std::uint32_t others;
      if constexpr (Syntax::eights) {
        others = static_cast<std::uint32_t>(Vector::not_eights(lanes));
      } else {
        others = static_cast<std::uint32_t>(
            Vector::template testn<Group::lane_bytes>(wide, load(first_bits_)));
      }
      // Where a row has nearly all planes of a block, one that is full is one that goes too far.
      return planes < Group::planes ? others | std::uint32_t{1} << planes : others;
    }
  }

 private:
  using Vector = WideVector<std::max(32, 2 * store_bytes)>;
  using Table = std::array<std::array<std::uint8_t, 64>, 8>;
  static constexpr int wide_lane_bytes = 2 * Group::lane_bytes;

  alignas(64) Table bytes_;       // which make a wide lane
  alignas(64) Table first_bits_;  // of codes, in wide lanes
  alignas(64) Table counts_;      // by which wide lanes are shifted
};

// ---- Plane streams back to XORed bit planes, for planes of any width: a row of uncompressed
// planes and the symbol behind it are one step.

/// Planes that are zero before the XOR: behind it, such a plane is the XOR of all before it. There
/// are too many of them for a branch that is guessed, and too few for each step to look at all
/// planes, so their places are noted.
template <class Group, class Syntax>
class RepeatedPlanes {
 public:
  static constexpr std::size_t capacity = 256;

  /// Notes the plane at `lane`, which is zero, if it is such a one. `count` are those noted so far.
  [[gnu::always_inline]] void note(std::size_t& count, std::uint8_t* lane, std::size_t is_one) {
    lanes_[count] = lane;
    count += is_one;
  }

  void complete(std::size_t count) const {
    for (std::size_t i = 0; i < count; ++i) complete(lanes_[i]);
  }

 private:
  using Lane = typename Group::Lane;

  static void complete(std::uint8_t* const lane) {
    // Blocks lie at multiples of their size. A top plane, which is not needed, has its place in the
    // next one.
    const std::uint8_t* at = lane - (address(lane) & (Group::block_bytes - 1));
    if (at == lane) return;
    Lane sum = 0;
    for (; at < lane; at += sizeof(Lane)) {
      Lane plane;
      std::memcpy(&plane, at, sizeof plane);
      if constexpr (Syntax::eights) plane = plane_of_code(plane);
      sum = static_cast<Lane>(sum ^ plane);
    }
    if constexpr (Syntax::eights) sum |= 0x80;  // an uncompressed one
    std::memcpy(lane, &sum, sizeof sum);
  }

  std::array<std::uint8_t*, capacity> lanes_;
};

/// Takes steps of several streams.
template <class Group, class Syntax>
class PlaneRowSteps {
 public:
  static constexpr int slots = 6;
  using Positions = std::array<Position, slots>;
  using Memory = PlaneMemory<Group, slots>;

  explicit PlaneRowSteps(const Syntax& syntax) : syntax_(syntax), rows_(syntax) {}

  /// Where the blocks of a stream are that begins there.
  static Position begin(const Syntax& syntax, std::uint64_t bit, std::uint64_t out,
                        std::uint64_t block) {
    return position(bit, out, block, syntax.planes);
  }

  /// Takes steps in all slots until one is at its end or went too far, and calls `between` between
  /// them.
  template <class Between>
  void run(std::uint8_t* memory, Positions& positions, Between&& between) {
    run_steps(memory, positions, between, std::make_index_sequence<slots>());
  }

  /// Takes the last step of a slot once more if it went too far: by a row that seems to go on
  /// behind the block, or by a malformed symbol. Returns false if it is malformed.
  [[gnu::always_inline]] bool settle(std::uint8_t* memory, int slot, Position& at) {
    return !is_too_far(at) || take_careful_step(memory, slot, at);
  }

 private:
  using Word = typename Group::Word;
  using RowSymbol = typename Syntax::RowSymbol;

  struct RowStep {
    std::uint32_t others;     // the lowest 1 is behind the uncompressed planes
    std::uint64_t window;     // of the stream, behind these
    std::uint64_t code_bits;  // in its low 6 bits, those of the symbol there
  };

  /// Takes steps in all slots, as long as all go on. In each, uncompressed planes are taken, then
  /// one other symbol, as they come, and the next block's base if they complete a block. Most of a
  /// step waits for what it has just looked up; so it comes in pieces, each for all slots in turn.
  template <class Between, std::size_t... slot>
  void run_steps(std::uint8_t* const memory, Positions& positions, Between&& between,
                 std::index_sequence<slot...>) {
    Positions at = positions;
    Positions before;
    std::size_t repeated = 0;
    Position any;
    do {
      std::array<RowStep, slots> steps;
      (take_row(memory, at[slot], steps[slot]), ...);
      before = at;
      (find_symbol(memory, at[slot], steps[slot]), ...);
      (put_symbol(memory, at[slot], steps[slot], repeated), ...);
      (finish(memory, slot, at[slot], steps[slot]), ...);
      any = (at[slot] | ...);
      between();
    } while (!is_too_far(any) && !is_at_end(any) && repeated + slots <= repeated_.capacity);
    positions = at;
    before_ = before;
    repeated_.complete(repeated);
  }

  [[gnu::always_inline]] void take_row(std::uint8_t* memory, Position at, RowStep& step) const {
    step.others = rows_.copy(memory + byte_of(at), at & 7, memory + out_of(at));
  }

  [[gnu::always_inline]] void find_symbol(const std::uint8_t* memory, Position& at,
                                          RowStep& step) const {
    at += static_cast<std::uint64_t>(std::countr_zero(step.others)) * syntax_.raw_step;
    step.window = window(memory + byte_of(at), at & 7);
  }

  [[gnu::always_inline]] void put_symbol(std::uint8_t* memory, Position& at, RowStep& step,
                                         std::size_t& repeated) {
    const RowSymbol& symbol = syntax_.symbols[step.window >> syntax_.symbol_shift];
    std::uint8_t* const to = memory + out_of(at);
    put_lane(to, symbol);
    repeated_.note(repeated, to, symbol.repeats);
    at += symbol.step;
    step.code_bits = symbol.step;
  }

  /// Stores a symbol's first plane, and zeros behind it up to the end of the block.
  [[gnu::always_inline]] static void put_lane(std::uint8_t* to, const RowSymbol& symbol) {
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

  [[gnu::always_inline]] void finish(std::uint8_t* memory, std::size_t slot, Position& at,
                                     const RowStep& step) const {
    if constexpr (Syntax::base_sent) {
      // If that was the block's end, a base follows.
      Memory::put_base(memory, slot, block_of(at) + 1, step.window << (step.code_bits & 63),
                       syntax_.base_shift);
    }
    const auto ends =
        static_cast<std::uint64_t>((static_cast<std::int64_t>(left_of(at)) - 1) >> 63);
    at += syntax_.block_step & ends;
  }

  [[gnu::noinline]] bool take_careful_step(std::uint8_t* const memory, int slot, Position& at) {
    at = before_[index(slot)];
    RowStep step;
    take_row(memory, at, step);
    const auto row =
        static_cast<std::uint64_t>(std::min(std::countr_zero(step.others), Rows::planes));
    const std::uint64_t left = left_of(at);
    if (row < left) {
      // A symbol, unless the row is only a full one.
      at += row * syntax_.raw_step;
      step.window = window(memory + byte_of(at), at & 7);
      std::size_t repeated = 0;
      put_symbol(memory, at, step, repeated);
      repeated_.complete(repeated);
    } else {
      at += left * syntax_.raw_step;
      step.window = window(memory + byte_of(at), at & 7);
      step.code_bits = 0;
      if constexpr (Syntax::eights) {
        // Neither the top plane's code is kept, nor may what the row has copied from behind the
        // block stand where a block of fewer planes has none.
        const std::uint8_t top = memory[out_of(at) - 1];
        if (top < 0x80 && plane_of_code(top) >= 0x80) return false;
        std::memset(memory + out_of(at), 0, Group::block_bytes);
      }
    }
    if (is_too_far(at)) return false;
    finish(memory, index(slot), at, step);
    return true;
  }

  using Rows = PlaneRows<Group, Syntax>;

  const Syntax& syntax_;
  const Rows rows_;
  RepeatedPlanes<Group, Syntax> repeated_;
  Positions before_;  // before the last step
};

}  // namespace
}  // namespace ebpc::avx512
