// Packer: codes of any length in, words of W bits out, most significant bit first. The "streaming
// register" with barrel shifter of the authors' hardware (README of pulp-platform/stream-ebpc).
//
// The last whole word is held back until either more bits follow or the stream ends, so that `last`
// always travels with the stream's last word. That word is padded with zeros. A stream without a
// single bit ends with a beat that carries no word (keep = 0).
//
// Registers: buffer, W + (longest code) bits, filled from the left; the number of bits in it; a
// flag while the stream ends.

#pragma once

#include <cstdint>
#include <string>

#include "ebpc/hardware/ports.h"
#include "ebpc/hardware/register.h"

namespace ebpc::hardware {

/// `length` bits to be packed, right-aligned. Length 0 is no code.
struct Code {
  std::uint64_t bits = 0;
  int length = 0;
};

constexpr Code concatenate(Code first, Code second) {
  return {first.bits << second.length | second.bits, first.length + second.length};
}

class BitPacker {
 public:
  BitPacker(RegisterBank& bank, const std::string& unit, int word_bits, int longest_code)
      : word_bits_(word_bits),
        capacity_(word_bits + longest_code),
        buffer_(bank, unit, "buffer", capacity_),
        fill_(bank, unit, "fill", bits_to_count(capacity_)),
        ending_(bank, unit, "ending", 1) {}

  /// The output port; depends on registers only.
  Beat output() const {
    const int fill = fill_.get_int();
    return {.valid = fill > word_bits_ || ending_.is_set(),
            .data = static_cast<std::uint32_t>(buffer_.get() >> (capacity_ - word_bits_)),
            .last = ending_.is_set() && fill <= word_bits_,
            .keep = fill > 0};
  }

  /// Whether a code can be taken in this cycle: whatever its length, unless a whole word waits. The
  /// room that a leaving word makes counts, which is what lets a code of W bits in on every cycle.
  bool ready(bool output_ready) const {
    return !ending_.is_set() && fill_after_output(output_ready) <= word_bits_;
  }

  /// Writes the registers. A code (and `end`, after its bits) is given only if ready.
  void update(Code code, bool end, bool output_ready) {
    const Beat out = output();
    const int kept = fill_after_output(output_ready);
    const std::uint64_t buffer =
        moves(out, output_ready) ? buffer_.get() << word_bits_ : buffer_.get();
    const int fill = kept + code.length;
    if (code.length > 0) {
      buffer_.set(buffer | code.bits << (capacity_ - fill));
    } else {
      buffer_.set(buffer);
    }
    fill_.set_int(fill);
    ending_.set(end || (ending_.is_set() && !(out.last && output_ready)));
  }

 private:
  int fill_after_output(bool output_ready) const {
    const int fill = fill_.get_int();
    if (!moves(output(), output_ready)) return fill;
    return fill > word_bits_ ? fill - word_bits_ : 0;
  }

  const int word_bits_;
  const int capacity_;
  Register buffer_;
  Register fill_;
  Register ending_;
};

}  // namespace ebpc::hardware
