// Bits in and out of bytes, most significant first, through a 64-bit buffer.

#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace ebpc {

constexpr std::uint64_t byte_swap(std::uint64_t x) { return __builtin_bswap64(x); }

inline std::uint64_t load_big_endian(const std::uint8_t* bytes) {
  std::uint64_t x;
  std::memcpy(&x, bytes, sizeof x);
  return std::endian::native == std::endian::big ? x : byte_swap(x);
}

inline std::uint64_t load_little_endian(const std::uint8_t* bytes) {
  std::uint64_t x;
  std::memcpy(&x, bytes, sizeof x);
  return std::endian::native == std::endian::little ? x : byte_swap(x);
}

inline void store_big_endian(std::uint8_t* bytes, std::uint64_t x) {
  if constexpr (std::endian::native != std::endian::big) x = byte_swap(x);
  std::memcpy(bytes, &x, sizeof x);
}

inline void store_little_endian(std::uint8_t* bytes, std::uint64_t x) {
  if constexpr (std::endian::native != std::endian::little) x = byte_swap(x);
  std::memcpy(bytes, &x, sizeof x);
}

/// The bytes that `bits` bits take, the last one padded.
constexpr std::uint64_t bytes_for_bits(std::uint64_t bits) { return bits / 8 + (bits % 8 != 0); }

/// A sink of codes that writes them. The caller provides at least bytes_for_bits(all bits put)
/// bytes; no byte after those is touched.
class BitWriter {
 public:
  explicit BitWriter(std::uint8_t* out) : begin_(out), out_(out) {}

  /// Appends the low `count` bits (1 to 64) of `code`, which has no other bits set.
  void put(std::uint64_t code, int count) {
    if (count < free_) {
      free_ -= count;
      buffer_ |= code << free_;
      return;
    }
    const int rest = count - free_;
    store_big_endian(out_, buffer_ | (code >> rest));
    out_ += 8;
    free_ = 64 - rest;
    buffer_ = rest == 0 ? 0 : code << free_;
  }

  std::uint64_t bits() const {
    return static_cast<std::uint64_t>(out_ - begin_) * 8 + static_cast<std::uint64_t>(64 - free_);
  }

  /// Writes what is left in the buffer, padded with zeros to a byte. Nothing may be put afterwards.
  void flush() {
    std::uint8_t* out = out_;
    for (int shift = 56; shift > free_ - 8; shift -= 8) {
      *out++ = static_cast<std::uint8_t>(buffer_ >> shift);
    }
  }

 private:
  std::uint8_t* begin_;
  std::uint8_t* out_;
  std::uint64_t buffer_ = 0;  // the bits not yet stored, left-justified
  int free_ = 64;             // bits of the buffer that are unused, 1 to 64
};

/// A sink of codes that only counts their bits: put where a BitWriter stands, the same logic counts
/// instead of writing.
class BitCounter {
 public:
  void put(std::uint64_t /*code*/, int count) { bits_ += static_cast<std::uint64_t>(count); }
  std::uint64_t bits() const { return bits_; }
  void flush() {}

 private:
  std::uint64_t bits_ = 0;
};

/// A source of codes. Reading past the end gives zeros and is noticed by `overrun()`, so that a
/// decoder checks once per block instead of once per code; nothing outside the given bytes is read.
class BitReader {
 public:
  BitReader(const std::uint8_t* bytes, std::uint64_t byte_count)
      : bytes_(bytes), byte_count_(byte_count) {}

  /// The next 64 bits, left-justified.
  std::uint64_t window() const {
    const std::uint64_t byte = position_ / 8;
    const int shift = static_cast<int>(position_ % 8);
    if (byte_count_ >= 9 && byte <= byte_count_ - 9) {
      const std::uint64_t high = load_big_endian(bytes_ + byte) << shift;
      return high | (static_cast<std::uint64_t>(bytes_[byte + 8]) << shift >> 8);
    }
    return window_at_end(byte, shift);
  }

  void skip(int count) { position_ += static_cast<std::uint64_t>(count); }

  /// Takes `count` bits, 1 to 64.
  std::uint64_t take(int count) {
    const std::uint64_t code = window() >> (64 - count);
    skip(count);
    return code;
  }

  std::uint64_t position() const { return position_; }  // bits taken so far
  bool overrun() const { return position_ > byte_count_ * 8; }

 private:
  std::uint64_t window_at_end(std::uint64_t byte, int shift) const {
    std::uint64_t x = 0;
    for (int i = 0; i < 8; ++i) {
      x = x << 8 | byte_at(byte + static_cast<std::uint64_t>(i));
    }
    return x << shift | (byte_at(byte + 8) << shift >> 8);
  }

  std::uint64_t byte_at(std::uint64_t byte) const {
    return byte < byte_count_ ? static_cast<std::uint64_t>(bytes_[byte]) : 0;
  }

  const std::uint8_t* bytes_;
  std::uint64_t byte_count_;
  std::uint64_t position_ = 0;
};

}  // namespace ebpc
