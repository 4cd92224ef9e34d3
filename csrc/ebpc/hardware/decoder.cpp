#include "ebpc/hardware/decoder.h"

#include <algorithm>

#include "ebpc/hardware/limits.h"

namespace ebpc::hardware {

Decoder::Decoder(const Parameters& p)
    : word_bits_(checked(p).word_bits),
      base_sent_(p.base == Base::sent),
      zero_word_(zero_pattern(p)),
      block_size_(p.block_size),
      zero_run_bits_(ebpc::zero_run_bits(p)),
      plane_code_(p),
      step_plane_0_(base_sent_ ? 1 : 0),
      step_full_(step_plane_0_ + plane_count(p)),
      words_left_(bank_, "word counter", "words left", word_count_bits),
      zero_unpacker_(bank_, "zero unpacker", word_bits_, 1 + zero_run_bits_),
      zeros_left_(bank_, "zero run-length decoder", "zeros left", zero_run_bits_),
      plane_unpacker_(bank_, "plane unpacker", word_bits_,
                      std::max(word_bits_, plane_code_.longest())),
      step_(bank_, "symbol decoder", "step", bits_to_count(step_full_)),
      base_(bank_, "plane buffer", "base", base_sent_ ? 1 : 0, word_bits_),
      planes_(bank_, "plane buffer", "planes", word_bits_, plane_code_.plane_bits()),
      word_(bank_, "delta reverse", "word", word_bits_),
      deltas_(bank_, "delta reverse", "deltas", block_size_ - 1, word_bits_),
      block_left_(bank_, "delta reverse", "words in block", bits_to_count(block_size_)) {}

/// Zero run-length decoder: a run under way, or the symbol at the front of the zero stream.
Decoder::NextWord Decoder::next_word() const {
  if (zeros_left_.get() > 0) return {.known = true, .zeros = zeros_left_.get() - 1};
  const std::uint64_t window = zero_unpacker_.window();
  const bool nonzero = window >> 63 == 1;
  const int length = nonzero ? 1 : 1 + zero_run_bits_;
  return {.known = length <= zero_unpacker_.available(),
          .nonzero = nonzero,
          .taken = length,
          .zeros = nonzero ? 0 : window << 1 >> (64 - zero_run_bits_)};
}

Beat Decoder::output() const {
  const NextWord next = next_word();
  const bool last = words_left_.get() == 1;
  // A plane stream without words ends by a beat of its own, which may come late.
  const bool ended = !last || plane_unpacker_.closed();
  return {.valid = words_left_.get() > 0 && next.known && ended &&
                   (!next.nonzero || block_left_.get() > 0),
          .data = next.nonzero ? static_cast<std::uint32_t>(word_.get()) : zero_word_,
          .last = last};
}

/// Symbol decoder: the base or one symbol at the front of the plane stream goes to the plane
/// buffer. False if it is not complete yet.
bool Decoder::decode_symbol(int step, int& taken) {
  const std::uint64_t window = plane_unpacker_.window();
  if (step < step_plane_0_) {
    if (plane_unpacker_.available() < word_bits_) return false;
    base_.set(0, window >> (64 - word_bits_));
    taken = word_bits_;
    step_.set_int(step_plane_0_);
    return true;
  }
  const PlaneSymbol symbol = plane_code_.symbol(window);
  if (plane_unpacker_.available() < symbol.length) return false;
  const int p = step - step_plane_0_;
  const std::uint64_t below = p == 0 ? 0 : planes_.get(p - 1);
  const std::uint64_t plane = symbol.plane_zero ? 0 : below ^ symbol.dbx;
  for (int i = p; i < std::min(p + symbol.planes, word_bits_); ++i) planes_.set(i, plane);
  taken = symbol.length;
  step_.set_int(std::min(step + symbol.planes, step_full_));
  return true;
}

/// Plane transposition: bit p of delta i is bit i of plane p, counted from the left.
std::uint64_t Decoder::delta(int i) const {
  std::uint64_t bits = 0;
  for (int p = word_bits_ - 1; p >= 0; --p) {
    bits = bits << 1 | (planes_.get(p) >> (plane_code_.plane_bits() - 1 - i) & 1);
  }
  return bits;
}

/// The plane buffer's registers into the delta reverse's: the first word, and deltas to the others.
void Decoder::hand_over_block() {
  word_.set(base_sent_ ? base_.get(0) : word_.get() + delta(0));
  const int first = base_sent_ ? 0 : 1;
  for (int i = 0; i < block_size_ - 1; ++i) deltas_.set(i, delta(first + i));
  block_left_.set_int(block_size_);
}

DecoderOutput Decoder::cycle(const DecoderInput& in) {
  // The word that leaves.
  DecoderOutput out{.word = output()};
  const NextWord next = next_word();
  const bool leaves = moves(out.word, in.word_ready);
  const bool word_leaves = leaves && next.nonzero;
  const bool ends = leaves && out.word.last;
  const int zero_taken = leaves ? next.taken : 0;
  if (leaves) {
    words_left_.set(words_left_.get() - 1);
    zeros_left_.set(next.zeros);
  }
  const int block_left = block_left_.get_int();
  if (word_leaves) {
    block_left_.set_int(block_left - 1);
    if (block_left > 1) word_.set(word_.get() + deltas_.get(block_size_ - block_left));
  }

  // From the plane buffer to the delta reverse, as its last word leaves or later.
  const bool reverse_free = block_left == 0 || (word_leaves && block_left == 1);
  const bool block_full = step_.get_int() == step_full_;
  const bool block_moves = block_full && reverse_free;
  if (block_moves) {
    hand_over_block();
    step_.set(0);
  }

  // The symbol decoder goes on with the next block in the same cycle.
  int plane_taken = 0;
  bool symbol_decoder_moves = false;
  if (!block_full || block_moves) {
    symbol_decoder_moves = decode_symbol(block_moves ? 0 : step_.get_int(), plane_taken);
  }

  // The three inputs.
  out.count_ready = words_left_.get() == 0;
  out.zero_ready = zero_unpacker_.ready(zero_taken);
  out.plane_ready = plane_unpacker_.ready(plane_taken);
  if (moves(in.count, out.count_ready)) words_left_.set(in.count.data);
  zero_unpacker_.update(zero_taken, in.zero);
  plane_unpacker_.update(plane_taken, in.plane);

  if (ends) {  // drops the padding of both streams and the zero words that filled the last block
    zeros_left_.set(0);
    step_.set(0);
    block_left_.set(0);
    if (!base_sent_) word_.set(0);
    zero_unpacker_.clear();
    plane_unpacker_.clear();
  }

  // Measurement only.
  ++statistics_.cycles;
  statistics_.words += leaves;
  statistics_.zero_words += moves(in.zero, out.zero_ready) && in.zero.keep;
  statistics_.plane_words += moves(in.plane, out.plane_ready) && in.plane.keep;
  if (!leaves) count_stall(next, out.word.valid, symbol_decoder_moves);

  bank_.clock_edge();
  return out;
}

void Decoder::count_stall(const NextWord& next, bool valid, bool symbol_decoder_moves) {
  if (words_left_.get() == 0) {
    ++statistics_.idle;
  } else if (valid) {
    ++statistics_.word_output;
  } else if (!next.known) {
    ++statistics_.zero_unpacker;
  } else if (next.nonzero && block_left_.get() == 0) {
    ++(symbol_decoder_moves ? statistics_.symbol_decoder : statistics_.plane_unpacker);
  } else {
    ++statistics_.ending;
  }
}

}  // namespace ebpc::hardware
