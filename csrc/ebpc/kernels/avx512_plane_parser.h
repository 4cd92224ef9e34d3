// Plane streams back to XORed bit planes, for every setting: the prefix codes of several segments
// in turn, since each code's place depends on the one before.

#pragma once

#include <algorithm>
#include <array>
#include <vector>

#include "ebpc/kernels/avx512_plane_group.h"
#include "ebpc/kernels/avx512_zero_decoder.h"
#include "ebpc/parameters.h"

namespace ebpc {
namespace {

/// What follows from the parameters, for all streams.
template <class Group>
struct PlaneSyntax {
  using Lane = typename Group::Lane;

  /// A code other than an uncompressed plane.
  struct alignas(8) Symbol {
    Lane plane = 0;           // in big-endian order
    std::uint8_t planes = 0;  // that it is, all but the first of them zero
    std::uint8_t bits = 0;
    bool plane_is_zero = false;  // the plane before XOR, so that it repeats the last
  };

  explicit PlaneSyntax(const Parameters& p)
      : word_bits(p.word_bits),
        base_bits(p.base == Base::sent ? p.word_bits : 0),
        raw_bits(1 + plane_bits(p)),
        block_bytes(Group::lane_bytes * (p.word_bits + 1)) {
    index_bits = log2_ceil(static_cast<std::uint32_t>(p.block_size));
    run_bits = log2_ceil(static_cast<std::uint32_t>(p.word_bits));
    symbol_bits = 5 + std::max(index_bits, run_bits);
    // As many uncompressed planes at once as leave a whole symbol in 57 bits.
    const int raw_step =
        std::clamp((57 - (Group::word_bytes == 1 ? base_bits : 0) - symbol_bits) / raw_bits, 1,
                   std::max(1, 8 / Group::lane_bytes - 1));
    for (int i = 0; i < raw_step; ++i) {
      raw_prefixes |= std::uint64_t{1} << (63 - i * raw_bits);
    }
    raw_step_bits = static_cast<std::uint64_t>(raw_step * raw_bits);
    symbols.resize(std::size_t{1} << symbol_bits);
    for (std::size_t i = 0; i < symbols.size() / 2; ++i) {
      symbols[i] = symbol_of(i << (64 - symbol_bits));
    }
  }

  int word_bits;
  int base_bits;
  int raw_bits;     // of an uncompressed plane, its prefix included
  int block_bytes;  // of all lanes of a block, the top plane's included
  int index_bits;
  int run_bits;
  int symbol_bits;  // of the longest symbol

  std::uint64_t raw_step_bits;     // of the uncompressed planes that are taken at once
  std::uint64_t raw_prefixes = 0;  // their first bits, from the top
  std::vector<Symbol> symbols;     // by their first symbol_bits bits; empty where a plane follows

 private:
  Symbol symbol_of(std::uint64_t window) const {
    const int plane_size = raw_bits - 1;
    const auto symbol = [](std::uint64_t plane, int planes, int bits, bool plane_is_zero = false) {
      Symbol s;
      s.plane = static_cast<Lane>(Group::swap_bytes(plane));
      s.planes = static_cast<std::uint8_t>(planes);
      s.bits = static_cast<std::uint8_t>(bits);
      s.plane_is_zero = plane_is_zero;
      return s;
    };
    if (window >> 62 == 0b01) return symbol(0, 1, 2);
    if (window >> 61 == 0b001) {
      return symbol(0, static_cast<int>(window << 3 >> (64 - run_bits)) + 2, 3 + run_bits);
    }
    const int kind = static_cast<int>(window >> 59);
    if (kind == 0b00000) return symbol(low_bits(plane_size), 1, 5);
    if (kind == 0b00001) return symbol(0, 1, 5, true);
    const int ones = kind == 0b00010 ? 2 : 1;
    const int index = static_cast<int>(window << 5 >> (64 - index_bits));
    const int behind = plane_size - index - ones;
    // More planes than any block has, if the index is outside of the plane.
    if (behind < 0) return symbol(0, 64, 5 + index_bits);
    return symbol(low_bits(ones) << behind, 1, 5 + index_bits);
  }
};

/// A plane stream to be parsed, and where to.
template <class Word>
struct PlaneStream {
  const std::uint8_t* bytes = nullptr;  // a copy, with zeros behind it
  std::size_t byte_count = 0;
  std::uint8_t* lanes = nullptr;  // all zero, for the planes of max_blocks blocks
  Word* bases = nullptr;          // for one more than max_blocks
  std::size_t max_blocks = 0;
};

/// Parses one plane stream, a step at a time.
template <class Group>
class PlaneParser {
 public:
  using Word = typename Group::Word;
  using Lane = typename Group::Lane;

  static constexpr std::size_t bytes_read_behind = 64;
  static constexpr std::size_t bytes_written_behind = 128 * Group::lane_bytes;

  PlaneParser() = default;

  explicit PlaneParser(const PlaneStream<Word>& stream)
      : bytes_(stream.bytes),
        end_bit_(8 * stream.byte_count),
        stop_bit_(end_bit_ - std::min<std::uint64_t>(7, end_bit_)),
        lanes_(stream.lanes),
        limit_(stream.lanes + stream.max_blocks * Group::block_lane_bytes),
        block_(stream.lanes),
        out_(stream.lanes),
        base_(stream.bases) {}

  /// Takes the base, if a block begins, then uncompressed planes, then one other symbol, as they
  /// come. False at the end of the stream.
  [[gnu::always_inline]] bool step(const PlaneSyntax<Group>& syntax) {
    if (bit_ >= stop_bit_ || block_ >= limit_) [[unlikely]] {
      if (is_at_end()) return false;
    }
    // The stores of bytes might change members, so all are read before and written behind them.
    const std::uint8_t* const bytes = bytes_;
    std::uint8_t* const block = block_;
    std::uint8_t* out = out_;
    Word* const base = base_;
    std::uint64_t bit = bit_;

    // If no block begins, the next one's base takes this one's place.
    const std::uint64_t begins = mask_if(out == block);
    *base = static_cast<Word>(stream_window(bytes, bit) >> 1 >> (63 - syntax.base_bits));
    bit += static_cast<std::uint64_t>(syntax.base_bits) & begins;

    const std::uint64_t window = stream_window(bytes, bit);
    const std::uint64_t behind =
        static_cast<std::uint64_t>(bytes[(bit >> 3) + 8]) >> (8 - (bit & 7));
    std::uint8_t* const block_end = block + syntax.block_bytes;
    const auto bytes_left = static_cast<std::uint64_t>(block_end - out);
    const std::uint64_t has_raw = mask_if(bytes_left > 0) & mask_if(window >> 63 != 0);
    std::uint64_t planes = (window | behind) >> (64 - syntax.raw_bits) & has_raw;
    const std::uint64_t raw_bytes = sizeof(Lane) & has_raw;
    bit += static_cast<std::uint64_t>(syntax.raw_bits) & has_raw;
    const std::uint64_t rest = stream_window(bytes, bit);
    // The upper half of the table is for what is no symbol.
    const std::uint64_t none = mask_if(raw_bytes == bytes_left) & syntax.symbols.size() / 2;
    const auto& symbol = syntax.symbols[rest >> (64 - syntax.symbol_bits) | none];

    planes = __builtin_bswap64(planes);
    std::memcpy(out, &planes, sizeof planes);
    out += raw_bytes;
    std::memcpy(out, &symbol.plane, sizeof symbol.plane);
    if (symbol.plane_is_zero) [[unlikely]]
      repeat_plane(block, out, syntax);
    out += symbol.planes * Group::lane_bytes;
    bit += symbol.bits;
    if (out > block_end) [[unlikely]] {
      malformed_ = true;
      stop_bit_ = 0;
    }
    const std::uint64_t ends = mask_if(out >= block_end);
    block_ = block + (Group::block_lane_bytes & ends);
    // Back where a malformed symbol went past the end: a signed offset.
    out_ = out + ((block + Group::block_lane_bytes - out) & static_cast<std::ptrdiff_t>(ends));
    base_ = base - static_cast<std::int64_t>(begins);
    bit_ = bit;
    return true;
  }

  /// Whether the stream was well-formed, once step has returned false.
  bool ok() const { return !malformed_; }
  std::size_t blocks() const {
    return static_cast<std::size_t>(block_ - lanes_) / Group::block_lane_bytes;
  }

 private:
  bool is_at_end() {
    if (malformed_) return true;
    const bool begins = out_ == block_;
    const bool overrun = bit_ > end_bit_;
    // A block does not fit into fewer than 8 bits that are all zero.
    const bool padding =
        begins && !overrun && end_bit_ - bit_ < 8 && stream_window(bytes_, bit_) == 0;
    malformed_ = overrun || (begins && !padding && block_ >= limit_);
    return malformed_ || padding;
  }

  /// A plane that is zero before the XOR is, behind it, the plane before: the XOR of all so far.
  static void repeat_plane(const std::uint8_t* block, std::uint8_t* out,
                           const PlaneSyntax<Group>& syntax) {
    // Behind `out`, all lanes are zero.
    std::uint64_t sums = 0;
    for (; block < out; block += 8) {
      std::uint64_t lanes;
      std::memcpy(&lanes, block, sizeof lanes);
      sums ^= lanes;
    }
    sums &= Group::swap_bytes(low_bits(syntax.raw_bits - 1));
    std::memcpy(out, &sums, sizeof sums);
  }

  const std::uint8_t* bytes_ = nullptr;
  std::uint64_t bit_ = 0;
  std::uint64_t end_bit_ = 0;
  std::uint64_t stop_bit_ = 0;  // from here on, the end may come
  std::uint8_t* lanes_ = nullptr;
  std::uint8_t* limit_ = nullptr;
  std::uint8_t* block_ = nullptr;
  std::uint8_t* out_ = nullptr;  // where the next plane goes
  Word* base_ = nullptr;
  bool malformed_ = false;
};

}  // namespace
}  // namespace ebpc
