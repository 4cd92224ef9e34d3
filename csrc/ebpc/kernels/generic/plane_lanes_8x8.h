// Reading plane streams of 8-bit words in blocks of 8 behind a sent base, of several jobs in turns:
// decode.h. A turn is a block.

#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "ebpc/kernels/generic/job_lanes.h"
#include "ebpc/kernels/generic/planes.h"
#include "ebpc/kernels/kernel.h"
#include "ebpc/kernels/plane_codes.h"

namespace ebpc::EBPC_KERNEL {
namespace {
namespace w8_n8 {

constexpr unsigned word_bits = 8;
constexpr unsigned plane_total = word_bits + 1;
constexpr std::size_t block_size = 8;
constexpr std::size_t max_block_bytes = (word_bits + plane_total * 8) / 8;
constexpr std::size_t window_bytes = 8 + 1;  // a block's window may begin behind its base

constexpr std::uint64_t every_byte = 0x0101010101010101;
constexpr std::uint64_t zero_codes = 0x80 * every_byte;  // uncompressed symbols of zero X
constexpr std::uint64_t no_zero_plane = 0x80 * every_byte;

/// Blocks of one job between reading and vectors. Plane 0 has the most significant byte of each.
struct CodedBlocks {
  static constexpr std::size_t capacity = 32;
  static constexpr std::size_t slack = 4;  // what a vector may take too many

  /// Symbols of 8 bits as they are. The others are replaced by an uncompressed one with the same X.
  alignas(32) std::uint64_t codes[capacity + slack];
  /// Windows at the base.
  alignas(32) std::uint64_t bases[capacity + slack];
  /// For planes from one on that is all zero (DBP): this plane's byte. Otherwise bit 7.
  alignas(32) std::uint64_t zero_plane[capacity + slack];
};

/// X of the symbols of one or two ones, by the lowest four bits of their code: a plane's first bit
/// is the most significant. An index for which there is no place gives the bit that no X has.
constexpr std::uint8_t bad_index = 0x01;
struct IndexedX {
  std::uint8_t by_code[16];
};
constexpr IndexedX indexed_x = [] {
  IndexedX table{};
  for (unsigned i = 0; i < 16; ++i) {
    const FirstCode code = first_code_of(0x10 | i, 8, common_code_sizes);
    table.by_code[i] = code.is_valid ? static_cast<std::uint8_t>(code.x << 1) : bad_index;
  }
  return table;
}();

/// Eight times the number of symbols of 8 bits (1xxxxxxx or 0001xxxx) at the front, at most 7.
unsigned bits_of_long_symbols(std::uint64_t x) {
  const std::uint64_t is_long = x | (~(x << 1 | x << 2) & x << 3);
  return leading_zeros((~is_long & 0x80 * every_byte) | 1) & ~7U;
}

std::uint64_t first_bits(unsigned count) {
  return count >= 64 ? ~std::uint64_t{0} : ~(~std::uint64_t{0} >> count);
}

/// Whether a symbol of one or two ones has an index for which there is no place in seven bits.
bool has_bad_index(std::uint8_t code) {
  return code >> 4 == 1 && indexed_x.by_code[code & 0x0F] == bad_index;
}

/// Reads the symbols of any block, from behind its base on. Returns the bit behind them, or 0 if
/// they are malformed.
[[gnu::noinline]] std::uint64_t read_symbols(const std::uint8_t* bytes, std::uint64_t bit,
                                             std::uint64_t& codes_out,
                                             std::uint64_t& zero_plane_out) {
  std::uint64_t codes = zero_codes;
  std::uint64_t zero_plane = no_zero_plane;
  for (unsigned plane = 0; plane < plane_total;) {
    const std::uint64_t symbols = window(bytes, bit);
    const unsigned left = 8 * (plane_total - plane);
    const unsigned found = bits_of_long_symbols(symbols);
    const unsigned taken = found < left ? found : left;
    if (plane < 8) {
      const std::uint64_t place = first_bits(8 * plane + taken) & ~first_bits(8 * plane);
      codes = (codes & ~place) | (symbols >> (8 * plane) & place);
    }
    bit += taken;
    if (taken == left) {
      // Plane 8 adds nothing to the words, but its index may be wrong.
      if (has_bad_index(static_cast<std::uint8_t>(symbols >> (64 - taken)))) return 0;
      break;
    }
    plane += taken / 8;
    if (taken == 56) continue;  // the window ends here

    const auto code = static_cast<unsigned>(symbols << taken >> 58);
    if (code >= 0b01'0000) {
      ++plane;
      bit += 2;
    } else if (code >= 0b001'000) {
      plane += (code & 7) + 2;
      if (plane > plane_total) return 0;
      bit += 6;
    } else {
      if (plane < 8) {
        const std::uint64_t from_here = ~std::uint64_t{0} >> (8 * plane);
        if (code >= 0b00001'0) {
          zero_plane = (zero_plane & ~from_here) | ((7 - plane) * every_byte & from_here);
        } else {
          codes |= std::uint64_t{0xFF} << (56 - 8 * plane);
        }
      }
      ++plane;
      bit += 5;
    }
  }
  codes_out = codes;
  zero_plane_out = zero_plane;
  return bit;
}

/// A symbol that is shorter than 8 bits, by its first six.
struct ShortSymbol {
  std::uint8_t bits;
  std::uint8_t plane_bits;    // 8 for each plane that it stands for
  std::uint8_t ones;          // turns the code of a zero X into that of this one
  std::int8_t is_zero_plane;  // -1 or 0
};

struct ShortSymbolTable {
  ShortSymbol symbols[64];
};

constexpr ShortSymbolTable short_symbol_table = [] {
  ShortSymbolTable table{};
  for (unsigned code = 0; code < 64; ++code) {
    const FirstCode first = first_code_of(code, 6, common_code_sizes);
    // Not a short one: as if it went past all planes.
    const bool is_short = !first.is_raw && !first.is_indexed;
    table.symbols[code] = is_short
                              ? ShortSymbol{static_cast<std::uint8_t>(first.bits),
                                            static_cast<std::uint8_t>(8 * first.planes),
                                            static_cast<std::uint8_t>(first.x),
                                            static_cast<std::int8_t>(first.plane_is_zero ? -1 : 0)}
                              : ShortSymbol{0, 0xFF, 0, 0};
  }
  return table;
}();

/// Whether a run of zero X from this plane (at most 7) on begins here that ends with the top plane.
bool is_run_to_top(std::uint64_t symbols, unsigned plane) {
  return (symbols >> 58) + plane == 0b001'000 + plane_total - 2;
}

/// Reads one block and returns the bit behind it, or 0.
[[gnu::always_inline]] inline std::uint64_t read_block(const std::uint8_t* bytes, std::uint64_t bit,
                                                       CodedBlocks& out, std::size_t index) {
  out.bases[index] = window(bytes, bit);
  const std::uint64_t symbols = window(bytes + 1, bit);
  const unsigned taken = bits_of_long_symbols(symbols);
  const std::uint64_t rest = ~std::uint64_t{0} >> taken;
  std::uint64_t codes = (symbols & ~rest) | (zero_codes & rest);
  // Nine of ten blocks: symbols of 8 bits, then a run of zero X up to the top plane.
  // Behind seven such symbols the window may not hold all of the run.
  if (is_run_to_top(symbols << taken, taken / 8) && taken < 56) {
    out.codes[index] = codes;
    out.zero_plane[index] = no_zero_plane;
    return bit + 8 + taken + 6;
  }
  // Nearly all others: one more short symbol among the long ones. No branch but the last.
  const ShortSymbol& symbol = short_symbol_table.symbols[symbols << taken >> 58];
  const unsigned plane_bits = taken + symbol.plane_bits;
  const std::uint64_t next = bit + 8 + taken + symbol.bits;
  const std::uint64_t more = window(bytes, next);
  const unsigned more_taken = bits_of_long_symbols(more);
  const unsigned run_plane = (plane_bits + more_taken) / 8;
  if (run_plane < 8 && is_run_to_top(more << more_taken, run_plane)) {
    const std::uint64_t place = ~std::uint64_t{0} >> plane_bits;
    const std::uint64_t more_rest = place >> more_taken;
    codes |= std::uint64_t{symbol.ones} << 56 >> taken;
    codes = (codes & ~place) | (more >> plane_bits & place & ~more_rest) | (zero_codes & more_rest);
    const std::uint64_t this_plane = (7 - taken / 8) * every_byte;
    const auto change = static_cast<std::uint64_t>(std::int64_t{symbol.is_zero_plane}) & rest;
    out.codes[index] = codes;
    out.zero_plane[index] = no_zero_plane ^ (change & (no_zero_plane ^ this_plane));
    return next + more_taken + 6;
  }
  return read_symbols(bytes, bit + 8, out.codes[index], out.zero_plane[index]);
}

/// Turns blocks into words. False if an index was bad.
class BlockDecoder {
 public:
  static bool decode(CodedBlocks& blocks, std::size_t count, std::uint8_t* words) {
    for (std::size_t i = count; i % vector_qwords != 0; ++i) {
      blocks.codes[i] = zero_codes;
      blocks.zero_plane[i] = no_zero_plane;
    }
    Qwords all_x{};
    for (std::size_t i = 0; i < count; i += vector_qwords) {
      const Qwords x = x_of_codes(load_vector(blocks.codes + i));
      all_x |= x;
      Qwords planes = x ^ x >> 8;
      planes ^= planes >> 16;
      planes ^= planes >> 32;
      planes = restart_at_zero_planes(planes, load_vector(blocks.zero_plane + i));
      Qwords sums = antitranspose(planes) << 8 | load_vector(blocks.bases + i) >> 56;
      for (const int shift : {8, 16, 32}) sums = add_bytes(sums, sums << shift);
      store_words(words + i * block_size, sums);
    }
    return !is_any(all_x & bad_index * every_byte);
  }

 private:
  /// X of code bytes, by shifting one or two ones to their place.
  static Qwords x_of_codes(Qwords codes) {
    using Bytes = Vector<std::uint8_t>;
    const auto bytes = vector_cast<std::uint8_t>(codes);
    const auto is_raw = reinterpret_cast<Bytes>(vector_cast<std::int8_t>(codes) < 0);
    const Bytes place = bytes & ~is_raw;
    Qwords x = (~codes & 8 * every_byte) << 3 | 0x80 * every_byte;
    for (int step = 0; step < 3; ++step) {
      const auto bit = static_cast<std::uint8_t>(1 << step);
      const auto moves = vector_cast<std::uint64_t>(is_equal(place & bit, all_elements(bit)));
      const Qwords moved = x >> bit & (0xFF >> bit) * every_byte;
      x ^= (x ^ moved) & moves;
    }
    const Bytes raw = bytes + bytes;
    return vector_cast<std::uint64_t>((raw & is_raw) | (vector_cast<std::uint8_t>(x) & ~is_raw));
  }

  /// From an all-zero plane on, what had come together until then is taken out again.
  static Qwords restart_at_zero_planes(Qwords planes, Qwords zero_plane) {
    for (std::size_t i = 0; i < vector_qwords; ++i) {
      if (zero_plane[i] == no_zero_plane) [[likely]]
        continue;
      std::uint64_t sums = 0;
      for (int shift = 0; shift < 64; shift += 8) {
        const auto source = static_cast<std::uint8_t>(zero_plane[i] >> shift);
        const std::uint64_t before = source < 8 ? planes[i] >> (8 * source) : 0;
        sums |= ((planes[i] >> shift ^ before) & 0xFF) << shift;
      }
      planes[i] = sums;
    }
    return planes;
  }

  static Qwords add_bytes(Qwords a, Qwords b) {
    return vector_cast<std::uint64_t>(vector_cast<std::uint8_t>(a) + vector_cast<std::uint8_t>(b));
  }

  static void store_words(std::uint8_t* words, Qwords x) {
    if constexpr (std::endian::native == std::endian::little) {
      store_vector(words, x);
    } else {
      for (std::size_t i = 0; i < vector_qwords; ++i) store_little_endian(words + 8 * i, x[i]);
    }
  }
};

/// A job whose plane stream is being read.
struct BlockLane {
  using Word = std::uint8_t;
  struct Syntax {
    explicit Syntax(const Parameters&) {}
  };
  struct Buffer {};  // nothing is kept from turn to turn

  const std::uint8_t* bytes;
  std::size_t byte_count;
  std::uint64_t bit;
  std::size_t max_blocks;
  bool well_formed;
  Buffer* buffer;
  PackedWords<Word>* out;
  std::size_t job;

  void start(const Syntax&, const DecodeJob& from, std::size_t index, std::size_t nonzero) {
    bytes = from.plane_stream;
    byte_count = from.plane_bytes;
    bit = 0;
    max_blocks = (nonzero + block_size - 1) / block_size;
    well_formed = true;
    out->blocks = 0;
    job = index;
  }

  /// Blocks that can be read without looking at the end of the stream.
  std::size_t safe_turns() const {
    const std::size_t at = bit / 8;
    if (!well_formed || at + window_bytes > byte_count) return 0;
    const std::size_t by_bytes = (byte_count - at - window_bytes) / max_block_bytes;
    return min(min(by_bytes, max_blocks - out->blocks), CodedBlocks::capacity);
  }

  void append(CodedBlocks& blocks, std::size_t count) {
    const bool ok = BlockDecoder::decode(blocks, count, out->words + out->blocks * block_size);
    well_formed = well_formed && ok;
    out->blocks += count;
  }

  /// Reads what is left, with zeros behind the end.
  void finish() {
    constexpr std::size_t tail_bytes = 256;
    CodedBlocks blocks;
    while (well_formed && byte_count - bit / 8 > tail_bytes) {
      const std::size_t count = safe_turns();
      if (count == 0) break;
      for (std::size_t i = 0; i < count && well_formed; ++i) {
        bit = read_block(bytes, bit, blocks, i);
        well_formed = bit != 0;
      }
      append(blocks, count);
    }
    const std::size_t rest = byte_count - bit / 8;
    if (!well_formed || rest > tail_bytes) {
      well_formed = false;  // more bytes than blocks
      return;
    }
    std::uint8_t tail[tail_bytes + 2 * max_block_bytes + window_bytes] = {};
    if (rest > 0) std::memcpy(tail, bytes + bit / 8, rest);
    const std::uint64_t end = 8 * rest;
    std::uint64_t at = bit % 8;
    while (well_formed && at + 8 <= end) {
      std::size_t count = 0;
      while (count < CodedBlocks::capacity && at + 8 <= end && well_formed) {
        at = read_block(tail, at, blocks, count++);
        well_formed = at != 0 && at <= end && out->blocks + count <= max_blocks;
      }
      if (well_formed) append(blocks, count);
    }
    // Less than a byte is left: padding, which is zero.
    if (at < end && window(tail, at) != 0) well_formed = false;
  }
};

/// Takes turns of `count` blocks of each lane.
void take_turns(BlockLane (&lanes)[lane_count], std::size_t count) {
  const std::uint8_t* bytes[lane_count];
  std::uint64_t bits[lane_count];
  bool well_formed[lane_count];
  CodedBlocks blocks[lane_count];
  for (std::size_t lane = 0; lane < lane_count; ++lane) {
    bytes[lane] = lanes[lane].bytes;
    bits[lane] = lanes[lane].bit;
    well_formed[lane] = true;
  }
  for (std::size_t i = 0; i < count; ++i) {
    const auto take_turn = [&](int lane) {
      const std::uint64_t next = read_block(bytes[lane], bits[lane], blocks[lane], i);
      // A malformed block is read again and again until the turns end.
      if (next != 0) [[likely]] {
        bits[lane] = next;
      } else {
        well_formed[lane] = false;
      }
    };
    take_turn(0);
    take_turn(1);
    take_turn(2);
    take_turn(3);
  }
  for (std::size_t lane = 0; lane < lane_count; ++lane) {
    lanes[lane].bit = bits[lane];
    if (well_formed[lane]) {
      lanes[lane].append(blocks[lane], count);
    } else {
      lanes[lane].well_formed = false;
    }
  }
}

}  // namespace w8_n8
}  // namespace
}  // namespace ebpc::EBPC_KERNEL
