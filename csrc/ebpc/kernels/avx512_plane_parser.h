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
  struct Symbol {
    Lane plane = 0;           // in big-endian order
    std::uint16_t bytes = 0;  // of lanes that it fills, all but the first with zeros
    std::uint8_t bits = 0;
    bool plane_is_zero = false;  // the plane before XOR, so that it repeats the last
  };

  explicit PlaneSyntax(const Parameters& p)
      : word_bits(p.word_bits),
        base_bits(p.base == Base::sent ? p.word_bits : 0),
        raw_bits(1 + plane_bits(p)),
        raw_fills_lane(raw_bits == Group::lane_bits),
        block_bytes(Group::lane_bytes * (p.word_bits + 1)) {
    const int index_bits = log2_ceil(static_cast<std::uint32_t>(p.block_size));
    const int run_bits = log2_ceil(static_cast<std::uint32_t>(p.word_bits));
    symbol_bits = 5 + std::max(index_bits, run_bits);
    // As many uncompressed planes at once as leave a whole symbol in 57 bits.
    const int raw_step = std::clamp((57 - symbol_bits) / raw_bits, 1, 8 / Group::lane_bytes);
    for (int i = 0; i < raw_step; ++i) {
      raw_prefixes |= std::uint64_t{1} << (63 - i * raw_bits);
      raw_lanes |= low_bits(raw_bits) << (64 - Group::lane_bits * (i + 1));
    }
    raw_step_bits = static_cast<std::uint64_t>(raw_step * raw_bits);
    raw_scale = static_cast<std::uint64_t>((Group::lane_bytes << 16) / raw_bits + 1);
    symbols.resize(std::size_t{1} << symbol_bits);
    for (std::size_t i = 0; i < symbols.size() / 2; ++i) {
      symbols[i] = symbol_of(i << (64 - symbol_bits), index_bits, run_bits);
    }
  }

  int word_bits;
  int base_bits;
  int raw_bits;  // of an uncompressed plane, its prefix included
  bool raw_fills_lane;
  int block_bytes;  // of all lanes of a block, the top plane's included
  int symbol_bits;
  std::uint64_t raw_step_bits;     // of the uncompressed planes that are taken at once
  std::uint64_t raw_prefixes = 0;  // their first bits, from the top
  std::uint64_t raw_lanes = 0;     // where their bits go
  std::uint64_t raw_scale;         // bytes of lanes for bits of the stream, times 2^16
  std::vector<Symbol> symbols;     // by their first symbol_bits bits; empty where a plane follows

 private:
  Symbol symbol_of(std::uint64_t window, int index_bits, int run_bits) const {
    const int plane_size = raw_bits - 1;
    const auto symbol = [](std::uint64_t plane, int planes, int bits, bool plane_is_zero = false) {
      Symbol s;
      s.plane = static_cast<Lane>(Group::swap_bytes(plane));
      s.bytes = static_cast<std::uint16_t>(planes * Group::lane_bytes);
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

/// Parses one plane stream, a step at a time.
template <class Group>
class PlaneParser {
 public:
  using Word = typename Group::Word;
  using Lane = typename Group::Lane;

  static constexpr std::size_t bytes_read_behind = 64;
  static constexpr std::size_t bytes_written_behind = 64 * Group::lane_bytes;

  PlaneParser() = default;

  /// `bytes` is a copy of the plane stream with zeros behind it; `lanes`, all zero, has room for
  /// `max_blocks` blocks, and `bases` for one more than these.
  PlaneParser(const std::uint8_t* bytes, std::size_t byte_count, std::uint8_t* lanes, Word* bases,
              std::size_t max_blocks)
      : bytes_(bytes),
        end_bit_(8 * byte_count),
        stop_bit_(byte_count > 0 ? 8 * byte_count - 7 : 0),
        lanes_(lanes),
        limit_(lanes + max_blocks * Group::block_lane_bytes),
        block_(lanes),
        out_(lanes),
        base_(bases) {}

  /// Takes the base, if a block begins, then uncompressed planes, then one other symbol, as they
  /// come. False at the end of the stream.
  template <bool raw_fills_lane>
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

    const bool begins = out == block;
    const auto first_word =
        static_cast<Word>(stream_window(bytes, bit) >> 1 >> (63 - syntax.base_bits));
    bit += static_cast<std::uint64_t>(begins ? syntax.base_bits : 0);
    const Word base_before = *base;

    std::uint64_t window = stream_window(bytes, bit);
    if constexpr (Group::lane_bits == 64) {
      window |= static_cast<std::uint64_t>(bytes[(bit >> 3) + 8]) >> (8 - (bit & 7));
    }
    std::uint8_t* const block_end = block + syntax.block_bytes;
    const auto bytes_left = static_cast<std::uint64_t>(block_end - out);
    const std::uint64_t bits_left =
        raw_fills_lane
            ? 8 * bytes_left
            : bytes_left / Group::lane_bytes * static_cast<std::uint64_t>(syntax.raw_bits);
    std::uint64_t raw =
        std::min<std::uint64_t>(_lzcnt_u64(~window & syntax.raw_prefixes), syntax.raw_step_bits);
    raw = std::min(raw, bits_left);
    const std::uint64_t raw_bytes = raw_fills_lane ? raw / 8 : raw * syntax.raw_scale >> 16;
    std::uint64_t planes;
    if constexpr (Group::lane_bits == 64) {
      planes = raw == 0 ? 0 : window >> (64 - syntax.raw_bits);
    } else {
      planes = window & ~(~std::uint64_t{0} >> raw);
      if constexpr (!raw_fills_lane) {
        planes = _pdep_u64(planes >> (64 - syntax.raw_step_bits), syntax.raw_lanes);
      }
    }
    bit += raw;
    const std::uint64_t rest = Group::lane_bits == 64 ? stream_window(bytes, bit) : window << raw;
    const std::uint64_t last_symbol = syntax.symbols.size() - 1;
    const std::uint64_t prefix =
        raw_bytes == bytes_left ? last_symbol : rest >> (64 - syntax.symbol_bits);
    const auto& symbol = syntax.symbols[prefix];

    *base = begins ? first_word : base_before;
    planes = __builtin_bswap64(planes);
    std::memcpy(out, &planes, sizeof planes);
    out += raw_bytes;
    std::memcpy(out, &symbol.plane, sizeof symbol.plane);
    if (symbol.plane_is_zero) [[unlikely]]
      repeat_plane(block, out, syntax);
    out += symbol.bytes;
    bit += symbol.bits;
    if (out > block_end) [[unlikely]] {
      malformed_ = true;
      stop_bit_ = 0;
    }
    const bool ends = out >= block_end;
    block_ = ends ? block + Group::block_lane_bytes : block;
    out_ = ends ? block + Group::block_lane_bytes : out;
    base_ = base + ends;
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
    Lane sum = 0;
    for (const std::uint8_t* at = block; at < out; at += sizeof(Lane)) {
      Lane lane;
      std::memcpy(&lane, at, sizeof lane);
      sum = static_cast<Lane>(sum ^ lane);
    }
    sum = static_cast<Lane>(sum & Group::swap_bytes(low_bits(syntax.raw_bits - 1)));
    std::memcpy(out, &sum, sizeof sum);
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
