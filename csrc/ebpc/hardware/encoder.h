// The streaming encoder, register by register; rtl/ebpc_encoder.sv is the same in SystemVerilog,
// and equal in every register and every cycle. Units and data flow follow the block diagrams of
// JETCAS 2019 (arXiv 1908.11645) and the README of pulp-platform/stream-ebpc:
//
//              +--> zero run-length unit ---------------------------------> packer --> zero stream
//   word in ---+
//              +--> delta unit --> block buffer ==> plane buffer --> symbol
//                   (non-zero)     (fills)  a block  (is coded)      coder --> packer --> plane
//                   stream
//
// - The delta unit has one subtractor; it writes N-1 deltas of W+1 bits, word by word.
// - A full block moves to the plane buffer in one cycle, so that one block fills while the one
//   before is coded. Plane p is bit p of every delta: transposition is wiring and a multiplexer.
// - The symbol coder takes a cycle for the base and one for each symbol. It sees from the plane
//   buffer how many planes from p on have a zero DBX, so that a run of them is one symbol and one
//   cycle, without a run counter: 2 to W+2 cycles a block.
// - Behind the last word the block is filled up with words of 0, one a cycle.
// - With the base re-used there are N deltas and no base, and the first word of a transmission is a
//   delta to 0.
//
// The two streams are meant to pass through a memory. A decoder that is to run from this encoder
// without one needs a buffer for the zero stream, which runs ahead of the plane stream by a block
// of non-zero words and all zero words between them; no fixed depth is enough for every input.
//
// Paths within one cycle: both output readies reach the input's ready, and so does whether the
// offered word is zero (a zero word does not wait for the block buffer).

#pragma once

#include <cstdint>

#include "ebpc/hardware/bit_packer.h"
#include "ebpc/hardware/plane_code.h"
#include "ebpc/hardware/ports.h"
#include "ebpc/hardware/register.h"
#include "ebpc/hardware/zero_code.h"
#include "ebpc/parameters.h"

namespace ebpc::hardware {

struct EncoderInput {
  Beat word;                 // two's complement or unsigned, as parameters say; keep is not used
  bool zero_ready = false;   // of the memory behind the zero stream
  bool plane_ready = false;  // of the memory behind the plane stream
};

struct EncoderOutput {
  bool word_ready = false;
  Beat zero;
  Beat plane;
};

/// Counted while simulating. Not state: no logic reads it, and it has no registers.
struct EncoderStatistics {
  std::uint64_t cycles = 0;
  std::uint64_t words = 0;        // taken, zero or not
  std::uint64_t zero_words = 0;   // of the zero stream that have left, W bits each
  std::uint64_t plane_words = 0;  // of the plane stream that have left, W bits each
  std::uint64_t starved = 0;      // cycles in which no word was offered
  // Cycles in which a word was offered and not taken, by cause:
  std::uint64_t zero_packer = 0;   // no room for the zero stream's symbol
  std::uint64_t symbol_coder = 0;  // block buffer full, symbol coder at work on the block before
  std::uint64_t plane_packer = 0;  // block buffer full, symbol coder waits for room in the packer
  std::uint64_t ending = 0;        // the transmission before is being filled up and closed
};

class Encoder {
 public:
  /// The zero word is a constant in hardware. Throws Error(argument) as `checked` (limits.h).
  explicit Encoder(const Parameters& p);

  /// The output ports in this cycle: functions of registers alone. word_ready is not set.
  EncoderOutput outputs() const {
    return {.zero = zero_packer_.output(), .plane = plane_packer_.output()};
  }

  /// One clock cycle: the ports' signals settle, then the clock edge.
  EncoderOutput cycle(const EncoderInput& in);

  RegisterBank& registers() { return bank_; }
  const RegisterBank& registers() const { return bank_; }
  const EncoderStatistics& statistics() const { return statistics_; }

 private:
  /// What the symbol coder would do in this cycle, given room in the packer.
  struct Step {
    Code code;
    bool end_of_stream = false;
    int next = 0;
  };

  Step coder_step() const;
  void store_word(std::uint64_t word, int position);
  void hand_over_block();
  void count_stall(bool zero_packer_ready, bool coder_moves);

  // Wiring: constants.
  const int word_bits_;
  const bool is_signed_;
  const bool base_sent_;
  const std::uint32_t zero_word_;
  const int block_size_;
  const ZeroCode zero_code_;
  const PlaneCode plane_code_;

  // Values of step_, which counts down, so that after plane W it is idle.
  static constexpr int step_idle = 0;
  const int step_plane_0_;  // plane p is this - p
  const int step_first_;    // of a block: the base, or plane 0 where none is sent
  const int step_end_;      // the end of the stream

  RegisterBank bank_;
  Register zeros_;  // zero words not yet coded, 0 to R - 1
  BitPacker zero_packer_;
  RegisterArray base_;  // the first word of the block that fills, where it is sent
  Register previous_;   // the word before, for the next delta
  Register filled_;     // words of the block that fills, 0 to N
  Register ending_;     // the last word is in, its block and the end are still to be handed over
  RegisterArray deltas_;
  RegisterArray coded_base_;
  RegisterArray coded_deltas_;
  Register step_;
  BitPacker plane_packer_;

  EncoderStatistics statistics_;
};

}  // namespace ebpc::hardware
