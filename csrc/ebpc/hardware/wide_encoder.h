// An encoder that takes up to `lanes` words in a cycle, and writes the very streams of the narrow
// one (encoder.h), whose units it has with these differences:
//
// - A beat of the input has `lanes` words; the last one of a transmission may have fewer.
// - Zero run-length unit: the codes of all words of a beat in one cycle.
// - Delta unit: the words of a beat that are not zero move together (a network of multiplexers) and
//   become deltas in one cycle, with a subtractor for each lane. The block buffer has room for
//   lanes - 1 words of the next block; after the last word one cycle fills it up.
// - Symbol coder: `lanes` symbols a cycle of one block, the base counted as one: a block takes
//   1 to (W + 2) / lanes cycles, rounded up. Each symbol begins at the plane that the one before
//   ends at, so that they are a chain of logic: the longest path of the design.
// - Packers: a beat of an output has `lanes` words of W bits; the last one of a stream may have
//   fewer, or none.
//
// What it has in registers is counted. Its logic is not: there is no RTL of it, and no claim about
// the clock that such chains allow.

#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "ebpc/hardware/encoder.h"
#include "ebpc/hardware/plane_code.h"
#include "ebpc/hardware/register.h"
#include "ebpc/hardware/zero_code.h"
#include "ebpc/parameters.h"

namespace ebpc::hardware {

inline constexpr int most_lanes = 8;

struct WideBeat {
  bool valid = false;
  std::array<std::uint32_t, most_lanes> data{};  // W bits each
  int words = 0;                                 // that the beat has
  bool last = false;

  friend bool operator==(const WideBeat&, const WideBeat&) = default;
};

constexpr bool moves(const WideBeat& beat, bool ready) { return beat.valid && ready; }

struct WideEncoderInput {
  WideBeat word;
  bool zero_ready = false;
  bool plane_ready = false;
};

struct WideEncoderOutput {
  bool word_ready = false;
  WideBeat zero;
  WideBeat plane;
};

/// As BitPacker (bit_packer.h), with several codes in and several words out.
class WidePacker {
 public:
  WidePacker(RegisterBank& bank, const std::string& unit, int lanes, int word_bits, int most_bits);

  WideBeat output() const;
  bool ready(bool output_ready) const {
    return !ending_.is_set() && fill_after_output(output_ready) <= beat_bits_;
  }
  void update(std::span<const Code> codes, bool end, bool output_ready);

 private:
  int fill_after_output(bool output_ready) const;

  const int word_bits_;
  const int beat_bits_;
  const int capacity_;
  RegisterArray buffer_;  // bits, the first one out first
  Register fill_;
  Register ending_;
};

class WideEncoder {
 public:
  /// Throws Error(argument) as `checked` (limits.h), and if lanes are not from 1 to 8 and at most
  /// N, or the base is re-used.
  WideEncoder(const Parameters& p, int lanes);

  WideEncoderOutput cycle(const WideEncoderInput& in);

  const RegisterBank& registers() const { return bank_; }
  const EncoderStatistics& statistics() const { return statistics_; }

 private:
  /// Appends what the symbol coder writes in this cycle; returns the step after it.
  int coder_steps(std::vector<Code>& codes) const;
  /// A word that is not zero, to a position of the block buffer, which the words of the next block
  /// follow in. Returns the word, which is the one before the next.
  void store_word(std::uint64_t word, std::uint64_t previous, int position);
  void hand_over_block(int filled);

  const int lanes_;
  const int word_bits_;
  const bool is_signed_;
  const std::uint32_t zero_word_;
  const int block_size_;
  const ZeroCode zero_code_;
  const PlaneCode plane_code_;

  // As in encoder.h.
  static constexpr int step_idle = 0;
  const int step_plane_0_;
  const int step_first_;
  const int step_end_;

  RegisterBank bank_;
  Register zeros_;
  WidePacker zero_packer_;
  RegisterArray bases_;  // of the block that fills, and of the next one
  Register previous_;
  Register filled_;  // words in the block buffer, 0 to N + lanes - 1
  Register ending_;
  RegisterArray deltas_;  // of the block that fills, then of the next one
  RegisterArray coded_base_;
  RegisterArray coded_deltas_;
  Register step_;
  WidePacker plane_packer_;

  EncoderStatistics statistics_;
};

}  // namespace ebpc::hardware
