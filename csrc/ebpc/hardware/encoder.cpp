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
      zero_code_(p),
      plane_code_(p),
      step_plane_0_(plane_count(p)),
      step_first_(step_plane_0_ + (base_sent_ ? 1 : 0)),
      step_end_(step_first_ + 1),
      zeros_(bank_, "zero run-length unit", "zeros", zero_run_bits(p)),
      zero_packer_(bank_, "zero packer", word_bits_, zero_code_.longest(1)),
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

/// Symbol coder: the symbol that comes next, and the step after it.
Encoder::Step Encoder::coder_step() const {
  const int step = step_.get_int();
  if (step == step_end_) return {.code = {}, .end_of_stream = true, .next = step_idle};
  if (step > step_plane_0_) {
    return {.code = {coded_base_.get(0), word_bits_}, .next = step_plane_0_};
  }
  const int p = step_plane_0_ - step;
  const auto [code, planes] = plane_code_.code_planes(coded_deltas_, p);
  return {.code = code, .next = step - planes};
}

/// Delta unit: the word becomes the base of a block or a delta to the word before.
void Encoder::store_word(std::uint64_t word, int position) {
  const int delta = position - (base_sent_ ? 1 : 0);
  if (delta < 0) {
    base_.set(0, word);
  } else {
    deltas_.set(delta, extended(word, word_bits_, is_signed_) -
                           extended(previous_.get(), word_bits_, is_signed_));
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

  // From the block buffer to the plane buffer; after a transmission's last block, its end.
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
  const Code code = zero_code_.code(zeros_.get(), nonzero, in.word.last);
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
