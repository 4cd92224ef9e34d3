// The streaming decoder, register by register: the reverse of the encoder (encoder.h), after the
// same block diagrams. rtl/ebpc_decoder.sv is the same in SystemVerilog.
//
//   word count --> words left ----------------------------------------+
//   zero stream --> unpacker --> zero run-length decoder -------------+--> word out
//   plane stream --> unpacker --> symbol decoder --> plane buffer ==> delta reverse
//                                                    (fills)  a block  (words leave)
//
// - The symbol decoder takes a cycle for the base and one for each symbol, a run of zero planes
//   included: 2 to W+2 cycles a block.
// - Deltas are added modulo 2^W, so of the W+1 planes only W are stored.
// - A complete block moves to the delta reverse in one cycle, transposed by wiring. There one adder
//   makes the next non-zero word ready while the one before leaves.
// - Neither stream says how many words there are: the count comes first, on a port of its own.
//
// Damaged streams: nothing is checked (the container has checksums); a run of planes past the top
// ends at the top, an index past the end of a plane sets no bit, a stream that ends early stalls.
//
// Paths within one cycle: the readiness of the word output reaches the ready of both stream inputs.

#pragma once

#include <cstdint>

#include "ebpc/hardware/bit_unpacker.h"
#include "ebpc/hardware/plane_code.h"
#include "ebpc/hardware/ports.h"
#include "ebpc/hardware/register.h"
#include "ebpc/parameters.h"

namespace ebpc::hardware {

struct DecoderInput {
  Beat count;               // words of the transmission that follows, 24 bits; 0 is skipped
  Beat zero;                // with `last`, and `keep` as the encoder drives it
  Beat plane;               // with `last`, and `keep` as the encoder drives it
  bool word_ready = false;  // of the consumer
};

struct DecoderOutput {
  bool count_ready = false;
  bool zero_ready = false;
  bool plane_ready = false;
  Beat word;
};

/// Counted while simulating. Not state: no logic reads it, and it has no registers.
struct DecoderStatistics {
  std::uint64_t cycles = 0;
  std::uint64_t words = 0;        // that have left
  std::uint64_t zero_words = 0;   // taken of the zero stream, W bits each
  std::uint64_t plane_words = 0;  // taken of the plane stream, W bits each
  std::uint64_t idle = 0;         // cycles without a transmission
  // Cycles within a transmission in which no word left, by cause:
  std::uint64_t word_output = 0;     // the consumer was not ready
  std::uint64_t zero_unpacker = 0;   // symbol of the zero stream not complete
  std::uint64_t symbol_decoder = 0;  // block not complete, symbol decoder at work
  std::uint64_t plane_unpacker = 0;  // block not complete, symbol decoder waits for bits
  std::uint64_t ending = 0;          // the last word waits for the last beat of the plane stream
};

class Decoder {
 public:
  /// Throws Error(argument) as `checked` (limits.h).
  explicit Decoder(const Parameters& p);

  /// The word output in this cycle: a function of registers alone.
  Beat output() const;

  /// One clock cycle: the ports' signals settle, then the clock edge.
  DecoderOutput cycle(const DecoderInput& in);

  RegisterBank& registers() { return bank_; }
  const RegisterBank& registers() const { return bank_; }
  const DecoderStatistics& statistics() const { return statistics_; }

 private:
  /// What the zero run-length decoder says of the next word.
  struct NextWord {
    bool known = false;
    bool nonzero = false;
    int taken = 0;            // bits of the zero stream that say so
    std::uint64_t zeros = 0;  // zero words after it in the same run
  };

  NextWord next_word() const;
  bool decode_symbol(int step, int& taken);
  std::uint64_t delta(int i) const;
  void hand_over_block();
  void count_stall(const NextWord& next, bool valid, bool symbol_decoder_moves);

  // Wiring: constants.
  const int word_bits_;
  const bool base_sent_;
  const std::uint32_t zero_word_;
  const int block_size_;
  const int zero_run_bits_;
  const PlaneCode plane_code_;

  // Values of step_: 0 is the base, where it is sent,
  const int step_plane_0_;  // this and more are the planes,
  const int step_full_;     // and this is a complete block.

  RegisterBank bank_;
  Register words_left_;
  BitUnpacker zero_unpacker_;
  Register zeros_left_;  // zero words of the run that are still to come, 0 to R - 1
  BitUnpacker plane_unpacker_;
  Register step_;
  RegisterArray base_;
  RegisterArray planes_;
  Register word_;         // the next non-zero word; between blocks of re-used bases the last one
  RegisterArray deltas_;  // modulo 2^W
  Register block_left_;   // non-zero words of the block that are still to leave, 0 to N

  DecoderStatistics statistics_;
};

}  // namespace ebpc::hardware
