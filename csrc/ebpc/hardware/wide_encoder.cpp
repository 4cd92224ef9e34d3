#include "ebpc/hardware/wide_encoder.h"

#include <algorithm>
#include <cstddef>

#include "ebpc/error.h"
#include "ebpc/hardware/limits.h"

namespace ebpc::hardware {
namespace {

int checked_lanes(const Parameters& p, int lanes) {
  checked(p);
  if (p.base != Base::sent) {
    throw Error(ErrorCode::argument, "the wide encoder sends the base");
  }
  const int most = std::min(most_lanes, p.block_size);
  if (lanes < 1 || lanes > most) {
    throw Error(ErrorCode::argument, "lanes must be from 1 to " + std::to_string(most) + ", got " +
                                         std::to_string(lanes));
  }
  return lanes;
}

}  // namespace

WidePacker::WidePacker(RegisterBank& bank, const std::string& unit, int lanes, int word_bits,
                       int most_bits)
    : word_bits_(word_bits),
      beat_bits_(lanes * word_bits),
      capacity_(beat_bits_ + most_bits),
      buffer_(bank, unit, "buffer", capacity_, 1),
      fill_(bank, unit, "fill", bits_to_count(capacity_)),
      ending_(bank, unit, "ending", 1) {}

WideBeat WidePacker::output() const {
  const int fill = fill_.get_int();
  const int bits = std::min(fill, beat_bits_);
  WideBeat beat{.valid = fill > beat_bits_ || ending_.is_set(),
                .words = (bits + word_bits_ - 1) / word_bits_,
                .last = ending_.is_set() && fill <= beat_bits_};
  for (int i = 0; i < bits; ++i) {
    const int place = word_bits_ - 1 - i % word_bits_;
    beat.data[static_cast<std::size_t>(i / word_bits_)] |=
        static_cast<std::uint32_t>(buffer_.get(i)) << place;
  }
  return beat;
}

int WidePacker::fill_after_output(bool output_ready) const {
  const int fill = fill_.get_int();
  const bool valid = fill > beat_bits_ || ending_.is_set();
  return valid && output_ready ? std::max(fill - beat_bits_, 0) : fill;
}

void WidePacker::update(std::span<const Code> codes, bool end, bool output_ready) {
  const int left = fill_.get_int() - fill_after_output(output_ready);  // bits that leave
  int fill = fill_.get_int() - left;
  if (left > 0) {
    for (int i = 0; i < fill; ++i) buffer_.set(i, buffer_.get(i + left));
  }
  for (const Code& code : codes) {
    for (int i = code.length - 1; i >= 0; --i) buffer_.set(fill++, code.bits >> i & 1);
  }
  const bool ended = ending_.is_set() && output_ready && fill_.get_int() <= beat_bits_;
  fill_.set_int(fill);
  ending_.set(end || (ending_.is_set() && !ended));
}

WideEncoder::WideEncoder(const Parameters& p, int lanes)
    : lanes_(checked_lanes(p, lanes)),
      word_bits_(p.word_bits),
      is_signed_(p.is_signed),
      zero_word_(zero_pattern(p)),
      block_size_(p.block_size),
      zero_code_(p),
      plane_code_(p),
      step_plane_0_(plane_count(p)),
      step_first_(step_plane_0_ + 1),
      step_end_(step_first_ + 1),
      zeros_(bank_, "zero run-length unit", "zeros", zero_run_bits(p)),
      zero_packer_(bank_, "zero packer", lanes, word_bits_, zero_code_.longest(lanes)),
      bases_(bank_, "delta unit", "base", lanes > 1 ? 2 : 1, word_bits_),
      previous_(bank_, "delta unit", "previous word", word_bits_),
      filled_(bank_, "delta unit", "words in buffer", bits_to_count(block_size_ + lanes - 1)),
      ending_(bank_, "delta unit", "ending", 1),
      deltas_(bank_, "block buffer", "deltas", block_size_ - 1 + std::max(lanes - 2, 0),
              word_bits_ + 1),
      coded_base_(bank_, "plane buffer", "base", 1, word_bits_),
      coded_deltas_(bank_, "plane buffer", "deltas", block_size_ - 1, word_bits_ + 1),
      step_(bank_, "symbol coder", "step", bits_to_count(step_end_)),
      plane_packer_(bank_, "plane packer", lanes, word_bits_,
                    lanes * std::max(word_bits_, plane_code_.longest())) {}

int WideEncoder::coder_steps(std::vector<Code>& codes) const {
  int step = step_.get_int();
  if (step == step_end_) return step_idle;
  for (int i = 0; i < lanes_ && step != step_idle; ++i) {
    if (step > step_plane_0_) {
      codes.push_back({coded_base_.get(0), word_bits_});
      step = step_plane_0_;
    } else {
      const auto [code, planes] = plane_code_.code_planes(coded_deltas_, step_plane_0_ - step);
      codes.push_back(code);
      step -= planes;
    }
  }
  return step;
}

void WideEncoder::store_word(std::uint64_t word, std::uint64_t previous, int position) {
  if (position % block_size_ == 0) {
    bases_.set(position / block_size_, word);
  } else {
    // In front of a delta of the next block are two bases, not one.
    deltas_.set(
        position - 1 - position / block_size_,
        extended(word, word_bits_, is_signed_) - extended(previous, word_bits_, is_signed_));
  }
}

/// The full block into the plane buffer, and the words of the next one into its place.
void WideEncoder::hand_over_block(int filled) {
  const int deltas = block_size_ - 1;
  coded_base_.set(0, bases_.get(0));
  for (int i = 0; i < deltas; ++i) coded_deltas_.set(i, deltas_.get(i));
  if (filled > block_size_) bases_.set(0, bases_.get(1));
  for (int i = 0; i < filled - block_size_ - 1; ++i) deltas_.set(i, deltas_.get(deltas + i));
  step_.set_int(step_first_);
}

WideEncoderOutput WideEncoder::cycle(const WideEncoderInput& in) {
  WideEncoderOutput out{.zero = zero_packer_.output(), .plane = plane_packer_.output()};

  // Symbol coder. It is free for a block in the cycle of its last symbols already.
  const bool coder_idle = step_.get_int() == step_idle;
  const bool end_of_stream = step_.get_int() == step_end_;
  const bool coder_moves = !coder_idle && plane_packer_.ready(in.plane_ready);
  std::vector<Code> codes;
  const int next_step = coder_moves ? coder_steps(codes) : step_.get_int();
  const bool coder_free = next_step == step_idle;
  plane_packer_.update(codes, coder_moves && end_of_stream, in.plane_ready);
  step_.set_int(next_step);

  // From the block buffer to the plane buffer; after a transmission's last block, its end.
  const int had = filled_.get_int();
  const bool block_moves = had >= block_size_ && coder_free;
  if (block_moves) hand_over_block(had);
  int filled = block_moves ? had - block_size_ : had;
  if (ending_.is_set()) {
    if (had == 0 && coder_free) {
      step_.set_int(step_end_);
      ending_.set(0);
    } else if (had > 0 && had < block_size_) {
      std::uint64_t previous = previous_.get();
      for (; filled < block_size_; ++filled, previous = 0) store_word(0, previous, filled);
    }
  }

  // The words that come in.
  codes.clear();
  std::uint64_t zeros = zeros_.get();
  std::vector<std::uint64_t> nonzero_words;
  for (int i = 0; i < in.word.words; ++i) {
    const std::uint64_t word = in.word.data[static_cast<std::size_t>(i)] & low_ones(word_bits_);
    const bool nonzero = word != zero_word_;
    const Code code = zero_code_.code(zeros, nonzero, in.word.last && i + 1 == in.word.words);
    zeros = code.length == 0 ? zeros + 1 : 0;
    codes.push_back(code);
    if (nonzero) nonzero_words.push_back(word);
  }
  const bool zero_packer_ready = zero_packer_.ready(in.zero_ready);
  const bool block_buffer_ready =
      filled + static_cast<int>(nonzero_words.size()) <= block_size_ + lanes_ - 1;
  out.word_ready = zero_packer_ready && block_buffer_ready && !ending_.is_set();
  const bool taken = moves(in.word, out.word_ready);
  if (!taken) codes.clear();
  zero_packer_.update(codes, taken && in.word.last, in.zero_ready);
  if (taken) {
    zeros_.set(zeros);
    std::uint64_t previous = previous_.get();
    for (const std::uint64_t word : nonzero_words) {
      store_word(word, previous, filled++);
      previous = word;
    }
    previous_.set(previous);
    if (in.word.last) ending_.set(1);
  }
  filled_.set_int(filled);

  // Measurement only.
  ++statistics_.cycles;
  if (taken) statistics_.words += static_cast<std::uint64_t>(in.word.words);
  if (in.zero_ready && out.zero.valid) {
    statistics_.zero_words += static_cast<std::uint64_t>(out.zero.words);
  }
  if (in.plane_ready && out.plane.valid) {
    statistics_.plane_words += static_cast<std::uint64_t>(out.plane.words);
  }
  statistics_.starved += !in.word.valid;
  if (in.word.valid && !taken) {
    ++(ending_.is_set()     ? statistics_.ending
       : !zero_packer_ready ? statistics_.zero_packer
       : coder_moves        ? statistics_.symbol_coder
                            : statistics_.plane_packer);
  }

  bank_.clock_edge();
  return out;
}

}  // namespace ebpc::hardware
