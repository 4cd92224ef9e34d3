// Code bytes to words, for 8-bit words in blocks of 8 behind a sent base, several blocks side by
// side.
//
// Plain C++, compiled once for every instruction set that includes it: vectors.h says how.

#pragma once

#include "ebpc/kernels/plane_lanes_8x8.h"
#include "ebpc/kernels/planes.h"

namespace ebpc {
namespace {
namespace w8_n8 {

/// What a byte shuffle would do, for CPUs that may not have one.
struct NoShuffle {
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
};

/// Turns blocks into words. False if an index was bad.
template <class Bytes>
struct DecodeBlocks {
  bool operator()(CodedBlocks& blocks, std::size_t count, std::uint8_t* words) const {
    for (std::size_t i = count; i % vector_qwords != 0; ++i) {
      blocks.codes[i] = zero_codes;
      blocks.zero_plane[i] = no_zero_plane;
    }
    Qwords all_x{};
    for (std::size_t i = 0; i < count; i += vector_qwords) {
      const Qwords x = Bytes::x_of_codes(load_vector(blocks.codes + i));
      all_x |= x;
      Qwords planes = x ^ x >> 8;
      planes ^= planes >> 16;
      planes ^= planes >> 32;
      planes = Bytes::restart_at_zero_planes(planes, load_vector(blocks.zero_plane + i));
      Qwords sums = antitranspose(planes) << 8 | load_vector(blocks.bases + i) >> 56;
      for (const int shift : {8, 16, 32}) sums = add_bytes(sums, sums << shift);
      store_words(words + i * block_size, sums);
    }
    return !is_any(all_x & bad_index * every_byte);
  }

 private:
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

}  // namespace w8_n8
}  // namespace
}  // namespace ebpc
