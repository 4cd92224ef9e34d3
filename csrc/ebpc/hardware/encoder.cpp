#include "ebpc/hardware/encoder.h"

#include <algorithm>

#include "ebpc/hardware/limits.h"

namespace ebpc::hardware {

Encoder::Encoder(const Parameters& p)
    : word_bits_(checked(p).word_bits),
      is_signed_(p.is_signed),
      base_sent_(p.base == Base::sent),
      zero_word_(zero_pattern(p)),
      block_size_(p.block_size),
      max_zero_run_(p.max_zero_run),
      zero_run_bits_(ebpc::zero_run_bits(p)),
      plane_code_(p),
      step_plane_0_(plane_count(p)),
      step_first_(step_plane_0_ + (base_sent_ ? 1 : 0)),
      step_end_(step_first_ + 1),
      zeros_(bank_, "zero run-length unit", "zeros", zero_run_bits_),
      zero_packer_(bank_, "zero packer", word_bits_, 1 + zero_run_bits_ + 1),
      base_(bank_, "delta unit", "base", base_sent_ ? 1 : 0, word_bits_),
      previous_(bank_, "delta unit", "previous word", word_bits_),
      filled_(bank_, "delta unit", "words in block", bits_to_count(block_size_)),
      ending_(bank_, "delta unit", "ending", 1),
      deltas_(bank_, "block buffer", "deltas", plane_code_.plane_bits(), word_bits_ + 1),
      coded_base_(bank_, "plane buffer", "base", base_sent_ ? 1 : 0, word_bits_),
      coded_deltas_(bank_, "plane buffer", "deltas", plane_code_.plane_bits(), word_bits_ + 1),
      step_(bank_, "symbol coder", "step", bits_to_count(step_end_)),
      plane_packer_(bank_, "plane packer", word_bits_,
                    std::max(word_bits_, plane_code_.longest())) {}

/// The zero stream's code of the word that comes in, with the run before it where that ends: up to
/// 2 + log2(R) bits. Empty while a run goes on.
Code Encoder::zero_code(bool nonzero, bool last) const {
  const std::uint64_t zeros = zeros_.get();
  const int run_length = 1 + zero_run_bits_;  // bits of `0` and the length - 1
  if (nonzero) return zeros == 0 ? Code{1, 1} : Code{(zeros - 1) << 1 | 1, run_length + 1};
  const bool run_ends = last || zeros_.get_int() == max_zero_run_ - 1;
  return run_ends ? Code{zeros, run_length} : Code{};
}

/// Plane p (DBP): bit p of every delta, the first delta leftmost.
std::uint64_t Encoder::plane(int p) const {
  std::uint64_t bits = 0;
  for (int i = 0; i < plane_code_.plane_bits(); ++i) {
    bits = bits << 1 | (coded_deltas_.get(i) >> p & 1);
  }
  return bits;
}

/// Symbol coder: the symbol that comes next, and the step behind it.
Encoder::Step Encoder::coder_step() const {
  const int step = step_.get_int();
  if (step == step_end_) return {.code = {}, .end_of_stream = true, .next = step_idle};
  if (step > step_plane_0_) {
    return {.code = {coded_base_.get(0), word_bits_}, .next = step_plane_0_};
  }
  const int p = step_plane_0_ - step;
  const std::uint64_t below = p == 0 ? 0 : plane(p - 1);
  int zero_planes = 0;  // from p on: in hardware, a priority encoder over W + 1 NOR gates
  while (p + zero_planes <= word_bits_ && plane(p + zero_planes) == below) ++zero_planes;
  return {.code = zero_planes > 0 ? plane_code_.zero_planes(zero_planes)
                                  : plane_code_.plane(plane(p) ^ below, plane(p)),
          .next = step - std::max(zero_planes, 1)};
}

/// A W-bit pattern as an integer: the subtractor is one bit wider than the words.
std::uint64_t Encoder::extend(std::uint64_t word) const {
  const bool negative = is_signed_ && (word >> (word_bits_ - 1) & 1) != 0;
  return negative ? word | ~low_ones(word_bits_) : word;
}

/// Delta unit: the word becomes the base of a block or a delta to the word before.
void Encoder::store_word(std::uint64_t word, int position) {
  const int delta = position - (base_sent_ ? 1 : 0);
  if (delta < 0) {
    base_.set(0, word);
  } else {
    deltas_.set(delta, extend(word) - extend(previous_.get()));
  }
  previous_.set(word);
  filled_.set_int(position + 1);
}

/// The block buffer's registers into the plane buffer's.
void Encoder::hand_over_block() {
  if (base_sent_) coded_base_.set(0, base_.get(0));
  for (int i = 0; i < plane_code_.plane_bits(); ++i) coded_deltas_.set(i, deltas_.get(i));
  step_.set_int(step_first_);
  filled_.set(0);
}

EncoderOutput Encoder::cycle(const EncoderInput& in) {
  EncoderOutput out = outputs();

  // Symbol coder. It is free for a block in the cycle of its last symbol already.
  const bool coder_idle = step_.get_int() == step_idle;
  const Step step = coder_idle ? Step{} : coder_step();
  const bool coder_moves = !coder_idle && plane_packer_.ready(in.plane_ready);
  const bool coder_free = coder_idle || (coder_moves && step.next == step_idle);
  plane_packer_.update(coder_moves ? step.code : Code{}, coder_moves && step.end_of_stream,
                       in.plane_ready);
  if (coder_moves) step_.set_int(step.next);

  // From the block buffer to the plane buffer; behind a transmission's last block, its end.
  const bool block_full = filled_.get_int() == block_size_;
  const bool block_moves = block_full && coder_free;
  if (block_moves) hand_over_block();
  if (ending_.is_set()) {
    if (filled_.get_int() == 0 && coder_free) {
      step_.set_int(step_end_);
      ending_.set(0);
      if (!base_sent_) previous_.set(0);
    } else if (filled_.get_int() > 0 && !block_full) {
      store_word(0, filled_.get_int());
    }
  }

  // The word that comes in.
  const std::uint64_t word = in.word.data & low_ones(word_bits_);
  const bool nonzero = word != zero_word_;
  const Code code = zero_code(nonzero, in.word.last);
  const bool zero_packer_ready = zero_packer_.ready(in.zero_ready);
  const bool block_buffer_ready = !nonzero || !block_full || block_moves;
  out.word_ready = zero_packer_ready && block_buffer_ready && !ending_.is_set();
  const bool taken = moves(in.word, out.word_ready);
  zero_packer_.update(taken ? code : Code{}, taken && in.word.last, in.zero_ready);
  if (taken) {
    const bool run_goes_on = code.length == 0;
    zeros_.set(run_goes_on ? zeros_.get() + 1 : 0);
    if (nonzero) store_word(word, block_moves ? 0 : filled_.get_int());
    if (in.word.last) ending_.set(1);
  }

  // Measurement only.
  ++statistics_.cycles;
  statistics_.words += taken;
  statistics_.zero_words += moves(out.zero, in.zero_ready) && out.zero.keep;
  statistics_.plane_words += moves(out.plane, in.plane_ready) && out.plane.keep;
  statistics_.starved += !in.word.valid;
  if (in.word.valid && !taken) count_stall(zero_packer_ready, coder_moves);

  bank_.clock_edge();
  return out;
}

void Encoder::count_stall(bool zero_packer_ready, bool coder_moves) {
  if (ending_.is_set()) {
    ++statistics_.ending;
  } else if (!zero_packer_ready) {
    ++statistics_.zero_packer;
  } else if (coder_moves) {
    ++statistics_.symbol_coder;
  } else {
    ++statistics_.plane_packer;
  }
}

}  // namespace ebpc::hardware
