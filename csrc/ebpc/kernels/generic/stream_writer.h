// Bit writers without branches, for encoders that may store a few bytes after their stream.

#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace ebpc::EBPC_KERNEL {
namespace {

/// Stores eight bytes, the most significant first.
[[gnu::always_inline]] inline void store_stream(std::uint8_t* out, std::uint64_t x) {
  if constexpr (std::endian::native != std::endian::big) x = __builtin_bswap64(x);
  std::memcpy(out, &x, sizeof x);
}

/// Bits in the order of the stream. Every put stores 8 bytes, of which the first has bits of codes
/// before, and those after the last are zero. Loops work on a local copy, since the stores of
/// bytes might otherwise change the members.
class StreamWriter {
 public:
  explicit StreamWriter(std::uint8_t* out) : begin_(out), out_(out) {}

  /// Appends the low `count` bits (0 to 56) of `code`, which has no other bits set.
  [[gnu::always_inline]] void put(std::uint64_t code, int count) {
    const auto end = filled_ + static_cast<std::uint64_t>(count);
    waiting_ |= code << (-end & 63);  // a shift by 64 only meets code 0
    store_stream(out_, waiting_);
    out_ += end / 8;
    waiting_ <<= end & 56;
    filled_ = end % 8;
  }

  /// The same for up to 64 bits.
  [[gnu::always_inline]] void put_wide(std::uint64_t code, int count) {
    put_first_bits(code << (-count & 63), count);
  }

  /// Appends the first `count` bits (0 to 64) of `bits`, which has no others set.
  [[gnu::always_inline]] void put_first_bits(std::uint64_t bits, int count) {
    const std::uint64_t stored = waiting_ | bits >> filled_;
    store_stream(out_, stored);
    const std::uint64_t after = bits << 1 << (filled_ ^ 63);  // what did not fit
    const auto end = filled_ + static_cast<std::uint64_t>(count);
    out_ += end / 8;
    const std::uint64_t all_full = -(end / 64);  // a mask: a branch would guess badly
    waiting_ = (stored << (end & 56) & ~all_full) | (after & all_full);
    filled_ = end % 8;
  }

  /// Stores what a last put_wide has left.
  void finish() { store_stream(out_, waiting_); }

  std::uint64_t bits() const { return static_cast<std::uint64_t>(out_ - begin_) * 8 + filled_; }

 private:
  std::uint8_t* begin_;
  std::uint8_t* out_;          // the byte that is not yet full
  std::uint64_t waiting_ = 0;  // its bits, left-justified
  std::uint64_t filled_ = 0;   // how many they are, 0 to 7
};

/// The same for codes that are known long before they are written: a put waits only for where the
/// one before ends. Each stores 8 bytes from the byte on in which its code begins. Those of its
/// bits that are before the code are the end of the one before, and what does not fit is stored
/// with the next.
class CodeWriter {
 public:
  explicit CodeWriter(std::uint8_t* out) : out_(out) {}

  /// Appends the low `count` bits (7 to 64) of `code`.
  [[gnu::always_inline]] void put(std::uint64_t code, std::uint64_t count) {
    store(code << (-count & 63));
    last_ = code;
    bits_ += count;
  }

  /// Appends the low `count` bits (0 to 63) of `code`, which has no other bits set.
  [[gnu::always_inline]] void put_short(std::uint64_t code, std::uint64_t count) {
    store(code << (-count & 63));  // a shift by 64 only meets code 0
    last_ = last_ << count | code;
    bits_ += count;
  }

  /// Stores the end of the last code, and zeros after it.
  void finish() { store(0); }

  std::uint64_t bits() const { return bits_; }

 private:
  [[gnu::always_inline]] void store(std::uint64_t left_justified) {
    const std::uint64_t filled = bits_ % 8;
    store_stream(out_ + bits_ / 8, last_ << 1 << (filled ^ 63) | left_justified >> filled);
  }

  std::uint8_t* out_;
  std::uint64_t bits_ = 0;
  std::uint64_t last_ = 0;  // ends with the last 7 bits
};

}  // namespace
}  // namespace ebpc::EBPC_KERNEL
