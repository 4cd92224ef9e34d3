// Plane streams back to XORed bit planes, for every setting: the prefix codes of several segments
// in turn, since each code's place depends on the one before.

#pragma once

#include "ebpc/kernels/avx512_plane_syntax.h"
#include "ebpc/kernels/avx512_stream_lanes.h"

namespace ebpc {
namespace {

/// The lanes of planes that one step handles: a vector of `bytes` bytes.
template <int lane_bytes, int bytes>
struct PlaneVector;

template <int lane_bytes>
struct PlaneVector<lane_bytes, 64> {
  /// Lanes as PlaneSyntax describes them. Returns them and a mask of those whose first bit is set.
  static std::uint64_t load(const void* from, const std::uint8_t* bytes, const std::uint8_t* shifts,
                            __m512i& lanes) {
    const __m512i moved = _mm512_permutexvar_epi8(load_vector(bytes), load_vector(from));
    const __m512i counts = load_vector(shifts);
    if constexpr (lane_bytes == 2) {
      lanes = _mm512_sllv_epi16(moved, counts);
      return _mm512_movepi16_mask(lanes);
    } else if constexpr (lane_bytes == 4) {
      lanes = _mm512_sllv_epi32(moved, counts);
      return _mm512_movepi32_mask(lanes);
    } else {
      lanes = _mm512_sllv_epi64(moved, counts);
      return _mm512_movepi64_mask(lanes);
    }
  }
  static void store(void* to, __m512i lanes) { store_vector(to, lanes); }
  static void store_first(void* to, __m128i lane) {
    store_vector(to, _mm512_zextsi128_si512(lane));
  }
  using Type = __m512i;
};

template <int lane_bytes>
struct PlaneVector<lane_bytes, 32> {
  static std::uint64_t load(const void* from, const std::uint8_t* bytes, const std::uint8_t* shifts,
                            __m256i& lanes) {
    const auto load = [](const void* from) {
      return _mm256_loadu_si256(static_cast<const __m256i*>(from));
    };
    const __m256i moved = _mm256_permutexvar_epi8(load(bytes), load(from));
    if constexpr (lane_bytes == 2) {
      lanes = _mm256_sllv_epi16(moved, load(shifts));
      return _mm256_movepi16_mask(lanes);
    } else {
      lanes = _mm256_sllv_epi32(moved, load(shifts));
      return _mm256_movepi32_mask(lanes);
    }
  }
  static void store(void* to, __m256i lanes) {
    _mm256_storeu_si256(static_cast<__m256i*>(to), lanes);
  }
  static void store_first(void* to, __m128i lane) { store(to, _mm256_zextsi128_si256(lane)); }
  using Type = __m256i;
};

/// Planes that are zero before the XOR: behind it, such a plane is the XOR of all before it. There
/// are too many of them for a branch that is guessed, and too few to look for, so they are noted.
template <class Group>
class RepeatedPlanes {
 public:
  static constexpr std::size_t capacity = 256;

  /// Notes planes, in a loop, where the number of them can stay in a register.
  struct Notes {
    RepeatedPlanes& planes;
    std::size_t count = planes.count_;

    /// Notes the plane at `lane`, which is zero, if it is such a one.
    [[gnu::always_inline]] void note(std::uint8_t* lane, bool repeats) {
      planes.lanes_[count] = lane;
      count += repeats;
    }
    ~Notes() { planes.count_ = count; }
  };

  bool has_room_for(std::size_t count) const { return count_ + count < capacity; }

  /// Completes all of them. The planes of all blocks lie at multiples of their size.
  void complete() {
    for (std::size_t i = 0; i < count_; ++i) complete(lanes_[i]);
    count_ = 0;
  }

 private:
  static void complete(std::uint8_t* const out) {
    constexpr std::uint64_t below = Group::block_bytes - 1;
    using Lane = typename Group::Lane;
    Lane sum = 0;
    // For a top plane, which has its place in the next block, and is not needed, there are none.
    for (std::uint64_t byte = address(out) & ~below; byte < address(out); byte += sizeof(Lane)) {
      Lane lane;
      std::memcpy(&lane, reinterpret_cast<const void*>(byte), sizeof lane);
      sum = static_cast<Lane>(sum ^ lane);
    }
    if ((address(out) & below) != 0) std::memcpy(out, &sum, sizeof sum);
  }

  std::size_t count_ = 0;
  std::array<std::uint8_t*, capacity> lanes_;
};

/// Parses one plane stream, a step at a time.
template <class Group, bool base_sent>
class PlaneParser {
 public:
  using Word = typename Group::Word;
  using Lane = typename Group::Lane;
  using Syntax = PlaneSyntax<Group>;

  static constexpr std::size_t bytes_read_behind = 64;
  static constexpr std::size_t bytes_written_behind = Group::block_bytes + 2 * 64;

  PlaneParser() = default;

  /// Begins a stream.
  PlaneParser(const Syntax& syntax, const std::uint8_t* bytes)
      : bit_(8 * address(bytes) + static_cast<std::uint64_t>(syntax.base_bits)),
        left_(syntax.planes) {}

  /// The base of the first block.
  static Word first_base(const Syntax& syntax, const std::uint8_t* bytes) {
    return base_in(syntax, stream_window(bytes, 0));
  }

  /// Lets the next blocks' planes go to `lanes`, and the bases of the blocks behind each of them to
  /// `bases`.
  void start(std::size_t blocks, std::uint8_t* lanes, Word* bases) {
    out_ = lanes;
    base_ = bases;
    limit_ = bases + blocks;
  }

  /// A step takes uncompressed planes, then one other symbol, as they come, and the next block's
  /// base if they complete a block. Most of it waits for what it has just looked up; so it comes in
  /// pieces, for those of several streams to be taken in turn.
  struct Step {
    std::uint64_t bit;
    std::uint8_t* out;
    std::int64_t left;
    std::uint64_t raw;     // a mask of the lanes that may be uncompressed planes
    std::uint64_t window;  // behind these
    const typename Syntax::Symbol* symbol;
  };

  /// Stores uncompressed planes, and something behind them.
  [[gnu::always_inline]] void take_planes(const Syntax& syntax, Step& step) const {
    step.bit = bit_;
    step.out = out_;
    const auto* const from = reinterpret_cast<const std::uint8_t*>(bit_ >> 3);
    const std::uint64_t shift = bit_ & 7;
    if constexpr (Group::slots == 64) {
      // Such a plane takes all of a window: one at a time.
      const std::uint64_t plane_bit = shift + static_cast<std::uint64_t>(1 - syntax.first_slot);
      const std::uint64_t next = from[(plane_bit >> 3) + 8];
      const std::uint64_t plane = stream_window(from, plane_bit) | next >> (8 - (plane_bit & 7));
      std::memcpy(out_, &plane, sizeof plane);
      step.raw = *from >> (7 - shift) & 1;
    } else {
      typename Vector::Type lanes;
      step.raw = Vector::load(from, syntax.bytes[shift].data(), syntax.shifts[shift].data(), lanes);
      Vector::store(out_, lanes);
    }
  }

  /// Finds the symbol behind them.
  [[gnu::always_inline]] void find_symbol(const Syntax& syntax, Step& step) const {
    const std::int64_t planes = std::countr_zero(~step.raw | std::uint64_t{1} << left_);
    step.left = left_ - planes;
    step.out += planes * Group::lane_bytes;
    step.bit += static_cast<std::uint64_t>(planes * syntax.raw_bits);
    step.window = stream_window(step.bit);
  }

  [[gnu::always_inline]] void look_up_symbol(const Syntax& syntax, Step& step) const {
    step.symbol = &syntax.symbols[step.window >> syntax.symbol_shift];
    if (step.left == 0) [[unlikely]]
      step.symbol = &syntax.no_symbol;
  }

  [[gnu::always_inline]] void take_symbol(typename RepeatedPlanes<Group>::Notes& repeated,
                                          Step& step) const {
    Vector::store_first(step.out, first_lane(*step.symbol));
    for (int i = Group::step_bytes; i < Group::block_bytes; i += 64) {
      store_vector(step.out + i, _mm512_setzero_si512());
    }
    repeated.note(step.out, step.symbol->repeats);
    const std::int64_t planes = step.symbol->planes;
    step.left -= planes;
    step.out += planes * Group::lane_bytes;
    step.bit += step.symbol->bits;
  }

  /// False behind the last of the blocks, or if the stream is malformed.
  [[gnu::always_inline]] bool finish(const Syntax& syntax, Step& step) {
    if (step.left < 0) [[unlikely]]
      return give_up();
    // If that was the block's end, a base follows.
    const std::int64_t ends = (step.left - 1) >> 63;
    Word* const base = base_;
    if constexpr (base_sent) {
      *base = base_in(syntax, step.window << step.symbol->bits);
      step.bit += static_cast<std::uint64_t>(syntax.base_bits & ends);
    }
    bit_ = step.bit;
    base_ = base - ends;
    left_ = step.left + (syntax.planes & ends);
    out_ = step.out + (syntax.next_block & ends);
    return base_ < limit_;
  }

  bool ok() const { return bit_ != malformed; }

  /// Behind the last block: whether the stream ended there, too, with zeros up to the next byte.
  bool ends_at(const Syntax& syntax, const std::uint8_t* end) const {
    return is_padding(bit_ - static_cast<std::uint64_t>(syntax.base_bits), 8 * address(end));
  }

 private:
  static constexpr std::uint64_t malformed = ~std::uint64_t{0};
  using Vector = PlaneVector<Group::lane_bytes, Group::step_bytes>;

  static std::uint64_t stream_window(std::uint64_t bit) {
    return ebpc::stream_window(reinterpret_cast<const std::uint8_t*>(bit >> 3), bit & 7);
  }
  static std::uint64_t stream_window(const std::uint8_t* bytes, std::uint64_t bit) {
    return ebpc::stream_window(bytes, bit);
  }

  static Word base_in(const Syntax& syntax, std::uint64_t window) {
    return static_cast<Word>(window >> (64 - syntax.base_bits));
  }

  static __m128i first_lane(const typename Syntax::Symbol& symbol) {
    if constexpr (sizeof symbol.plane == 8) {
      return _mm_cvtsi64_si128(static_cast<long long>(symbol.plane));
    } else {
      return _mm_cvtsi32_si128(static_cast<int>(symbol.plane));
    }
  }

  bool give_up() {
    bit_ = malformed;
    return false;
  }

  std::uint64_t bit_ = 0;        // address of the next bit
  std::uint8_t* out_ = nullptr;  // where the next plane goes
  Word* base_ = nullptr;         // where the next block's base goes
  const Word* limit_ = nullptr;  // where that of the block behind the last one's goes
  std::int64_t left_ = 0;        // planes of the block that are still to come
};

}  // namespace
}  // namespace ebpc
