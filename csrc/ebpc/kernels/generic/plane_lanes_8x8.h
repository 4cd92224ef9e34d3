// Reading plane streams of 8-bit words in blocks of 8 behind a sent base, of several jobs in turns:
// decode.h. Here a turn is a block, since most are codes of 8 bits, then one run of zero planes up
// to the top: no need to ask after each code where it leads.

#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "ebpc/kernels/generic/plane_lanes.h"
#include "ebpc/kernels/generic/plane_words.h"
#include "ebpc/kernels/kernel.h"
#include "ebpc/kernels/plane_codes.h"

namespace ebpc::EBPC_KERNEL {
namespace {

constexpr std::uint8_t plane_zero_code = 1;  // no other code is that

/// A code that is shorter than 8 bits.
struct ShortCode {
  std::uint8_t bits = 0;
  std::uint8_t planes_bits = 0xFF;  // of the planes that it stands for
  std::uint8_t code = 0;            // of 8 bits, for the first of them
};
struct ShortCodes {
  ShortCode by_six_bits[64];
};

constexpr ShortCodes short_codes = [] {
  ShortCodes table;
  for (unsigned i = 0; i < 64; ++i) {
    const FirstCode first = first_code_of(i, 6, common_code_sizes);
    // No short one: as if it went past all planes.
    if (first.is_raw || first.is_indexed) continue;
    const unsigned code = first.plane_is_zero ? plane_zero_code : first.x == 0 ? 0 : 0xFF;
    table.by_six_bits[i] = {static_cast<std::uint8_t>(first.bits),
                            static_cast<std::uint8_t>(8 * first.planes),
                            static_cast<std::uint8_t>(code)};
  }
  return table;
}();

/// A job whose plane stream is being read. Its planes become codes of 8 bits, as in plane_words.h,
/// and all of them become words when the last one is there.
///
/// Planes are counted in the bits of their codes: 8 for each.
struct BlockLane {
  using Word = std::uint8_t;
  struct Syntax {
    explicit Syntax(const Parameters&) {}
  };

  static constexpr std::size_t block_size = 8;
  static constexpr unsigned planes_bits = 8 * 9;  // of a block
  static constexpr std::size_t max_block_bytes = (8 + planes_bits) / 8;
  static constexpr std::size_t capacity = max_job_words / block_size;

  struct Buffer {
    static constexpr std::size_t slack = 16;  // bytes that a window may have behind a block
    /// The job's, with zeros behind it for as long as a stream of that many blocks may be.
    std::uint8_t stream[capacity * max_block_bytes + slack];
    /// Of each block all but the top plane, plane 0 in the most significant byte.
    std::uint64_t codes[capacity + vector_qwords];
    /// Windows at the base.
    std::uint64_t bases[capacity + vector_qwords];
  };

  const Syntax* syntax;
  std::uint64_t bit;
  std::size_t blocks;  // that have been read
  std::size_t max_blocks;
  std::size_t byte_count;
  bool well_formed;
  Buffer* buffer;
  PackedWords<Word>* out;
  std::size_t job;

  void start(const Syntax& s, const DecodeJob& from, std::size_t index, std::size_t block_count) {
    syntax = &s;
    bit = 0;
    blocks = 0;
    max_blocks = block_count;
    byte_count = from.plane_bytes;
    job = index;
    const std::size_t max_bytes = max_blocks * max_block_bytes;
    well_formed = byte_count <= max_bytes;
    if (!well_formed) return;
    if (byte_count > 0) std::memcpy(buffer->stream, from.plane_stream, byte_count);
    std::memset(buffer->stream + byte_count, 0, max_bytes + Buffer::slack - byte_count);
  }

  std::size_t safe_turns() const { return well_formed ? max_blocks - blocks : 0; }

  /// A malformed block is read again and again until the turns end.
  [[gnu::always_inline]] void take_turn(const Syntax&) {
    buffer->bases[blocks] = window(buffer->stream, bit);
    const std::uint64_t next = read_planes(buffer->stream, bit + 8, buffer->codes[blocks]);
    ++blocks;
    if (next != 0) [[likely]] {
      bit = next;
    } else {
      well_formed = false;
    }
  }

  void append() {}

  /// Reads what is left and makes words of all.
  void finish() {
    while (safe_turns() > 0) take_turn(*syntax);
    const std::uint64_t start = 8 * address(buffer->stream);
    well_formed = well_formed && is_padding(start + bit, start + 8 * byte_count) && decode();
    out->blocks = blocks;
  }

 private:
  /// The bits of the codes of 8 bits (1xxxxxxx or 0001xxxx) at the front of a window, at most 56.
  static unsigned long_codes_at(std::uint64_t x) {
    const std::uint64_t is_long = x | (~(x << 1 | x << 2) & x << 3);
    return leading_zeros((~is_long & 0x80 * lane_ones<8>) | 1) & ~7U;
  }

  static std::uint64_t behind(unsigned bits) { return ~std::uint64_t{0} >> bits; }

  /// Whether a run of zero X from this plane (at most 7) on begins here that ends with the top one.
  static bool is_run_to_top(std::uint64_t codes, unsigned before_bits) {
    return (codes >> 58) + before_bits / 8 == 0b001'000 + 7;
  }

  /// Reads the planes of one block. Returns the bit behind them, or 0 if they are malformed.
  [[gnu::always_inline]] static std::uint64_t read_planes(const std::uint8_t* bytes,
                                                          std::uint64_t bit, std::uint64_t& out) {
    const std::uint64_t first = window(bytes, bit);
    const unsigned taken = long_codes_at(first);
    const std::uint64_t codes = first & ~behind(taken);
    // Nine of ten blocks: codes of 8 bits, then a run of zero X up to the top plane.
    // Behind seven such codes the window may not hold all of the run.
    if (is_run_to_top(first << taken, taken) && taken < 56) {
      out = codes;
      return bit + taken + 6;
    }
    // Nearly all others: one more short code among the long ones. No branch but the last.
    const ShortCode& symbol = short_codes.by_six_bits[first << taken >> 58];
    const unsigned before = taken + symbol.planes_bits;
    const std::uint64_t next = bit + taken + symbol.bits;
    const std::uint64_t second = window(bytes, next);
    const unsigned more = long_codes_at(second);
    if (before + more < 64 && is_run_to_top(second << more, before + more)) {
      out = codes | std::uint64_t{symbol.code} << 56 >> taken | (second & ~behind(more)) >> before;
      return next + more + 6;
    }
    return read_any_planes(bytes, bit, out);
  }

  /// The same, for any.
  [[gnu::noinline]] static std::uint64_t read_any_planes(const std::uint8_t* bytes,
                                                         std::uint64_t bit, std::uint64_t& out) {
    out = 0;
    unsigned before = 0;
    while (before < planes_bits) {
      const std::uint64_t first = window(bytes, bit);
      const auto taken = static_cast<unsigned>(min(long_codes_at(first), planes_bits - before));
      const std::uint64_t codes = first & ~behind(taken);
      if (before < 64) out |= codes >> before;
      before += taken;
      bit += taken;
      // The top plane adds nothing to words, but its index may be wrong.
      if (before == planes_bits && has_bad_index(static_cast<std::uint8_t>(codes >> (64 - taken))))
        return 0;
      if (before == planes_bits || taken == 56) continue;
      const ShortCode& symbol = short_codes.by_six_bits[first << taken >> 58];
      if (before < 64) out |= std::uint64_t{symbol.code} << 56 >> before;
      before += symbol.planes_bits;
      bit += symbol.bits;
    }
    return before == planes_bits ? bit : 0;
  }

  /// False if an index was bad.
  bool decode() const {
    const std::uint64_t* const codes = buffer->codes;
    for (std::size_t i = 0; i < vector_qwords; ++i) buffer->codes[blocks + i] = 0;
    Qwords malformed{};
    for (std::size_t i = 0; i < blocks; i += vector_qwords) {
      const Qwords code = load_vector(codes + i);
      Qwords planes = doubled_x_of_eights(code);
      malformed |= planes;
      // From a zero plane on, what had come together until then does not count.
      auto restart = vector_cast<std::uint64_t>(
          is_equal(vector_cast<std::uint8_t>(code), all_elements(plane_zero_code)));
      for (const int shift : {8, 16, 32}) {
        planes ^= planes >> shift & ~restart;
        restart |= restart >> shift;
      }
      Qwords sums = antitranspose(planes) << 8 | load_vector(buffer->bases + i) >> 56;
      for (const int shift : {8, 16, 32}) {
        sums = vector_cast<std::uint64_t>(vector_cast<std::uint8_t>(sums) +
                                          vector_cast<std::uint8_t>(sums << shift));
      }
      for (std::size_t k = 0; k < vector_qwords; ++k)
        store_little_endian(out->words + block_size * (i + k), sums[k]);
    }
    return !is_any(malformed & lane_ones<8>);
  }
};

}  // namespace
}  // namespace ebpc::EBPC_KERNEL
