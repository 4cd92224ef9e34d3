// Unpacker: words of W bits in, codes of any length out, most significant bit first. The reverse of
// the packer.
//
// After the beat with `last` no more is taken until the transmission has been decoded: the padding
// after the stream is dropped and words of the next transmission are not mistaken for it.
//
// Registers: buffer, W + (longest code) - 1 bits, filled from the left, zeros after; the number of
// bits in it; a flag once the last word is in.

#pragma once

#include <cstdint>
#include <string>

#include "ebpc/hardware/ports.h"
#include "ebpc/hardware/register.h"

namespace ebpc::hardware {

class BitUnpacker {
 public:
  BitUnpacker(RegisterBank& bank, const std::string& unit, int word_bits, int longest_code)
      : word_bits_(word_bits),
        capacity_(word_bits + longest_code - 1),
        buffer_(bank, unit, "buffer", capacity_),
        fill_(bank, unit, "fill", bits_to_count(capacity_)),
        closed_(bank, unit, "closed", 1) {}

  /// The bits at the front of the stream, left-justified in 64; zeros after the `available` ones.
  std::uint64_t window() const { return buffer_.get() << (64 - capacity_); }
  int available() const { return fill_.get_int(); }

  /// Whether the last word of the stream is in.
  bool closed() const { return closed_.is_set(); }

  /// The input port's ready, in a cycle in which `taken` bits leave at the front.
  bool ready(int taken) const {
    return !closed_.is_set() && fill_.get_int() - taken + word_bits_ <= capacity_;
  }

  /// Writes the registers; `taken` <= available().
  void update(int taken, const Beat& input) {
    std::uint64_t buffer = buffer_.get() << taken;
    int fill = fill_.get_int() - taken;
    if (moves(input, ready(taken))) {
      if (input.keep) {
        buffer |= std::uint64_t{input.data} << (capacity_ - fill - word_bits_);
        fill += word_bits_;
      }
      closed_.set(input.last);
    }
    buffer_.set(buffer);
    fill_.set_int(fill);
  }

  /// Writes the registers at the end of a transmission: drops the padding, opens the input again.
  void clear() {
    buffer_.set(0);
    fill_.set(0);
    closed_.set(0);
  }

 private:
  const int word_bits_;
  const int capacity_;
  Register buffer_;
  Register fill_;
  Register closed_;
};

}  // namespace ebpc::hardware
