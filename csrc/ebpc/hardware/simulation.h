// Whole transmissions through the hardware model, with what an architect asks of it: cycles, stall
// causes, FIFO depths and bursts at a memory of a given width.

#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "ebpc/hardware/decoder.h"
#include "ebpc/hardware/encoder.h"
#include "ebpc/hardware/wide_encoder.h"
#include "ebpc/parameters.h"
#include "ebpc/words.h"

namespace ebpc::hardware {

/// The memory port that both streams share. Each stream has a FIFO in front of it; the port moves
/// one burst of one stream at a time, in turn where both could go.
struct MemoryPort {
  int bits_per_cycle = 0;  // 0: no port and no FIFOs, every beat moves at once
  int burst_bytes = 64;    // only the last burst of a stream is shorter
  int fifo_words = 0;      // depth of each FIFO in words of W bits, at least a burst;
                           // 0: without limit for the encoder, two bursts for the decoder
};

/// Element k counts the bursts of exactly k consecutive cycles in which a word moved; the last one,
/// those of that length and longer. Element 0 is not used.
using BurstHistogram = std::array<std::uint64_t, 65>;

/// One stream between the design and its FIFO. Words are W bits each; the last one is padded with
/// zeros.
struct StreamTraffic {
  std::uint64_t words = 0;
  std::uint64_t fifo_high_water = 0;  // words
  BurstHistogram bursts{};
};

struct EncoderRun {
  EncoderStatistics statistics;  // until the last beat of both streams has left the encoder
  StreamTraffic zero;
  StreamTraffic plane;
  std::vector<std::uint32_t> zero_stream;
  std::vector<std::uint32_t> plane_stream;

  double words_per_cycle() const {
    return static_cast<double>(statistics.words) / static_cast<double>(statistics.cycles);
  }
};

struct DecoderRun {
  DecoderStatistics statistics;  // until the last word has left the decoder
  StreamTraffic zero;
  StreamTraffic plane;
  std::vector<std::uint32_t> words;  // W-bit patterns, not sign-extended

  double words_per_cycle() const {
    return static_cast<double>(statistics.words) / static_cast<double>(statistics.cycles);
  }
};

/// Encodes one transmission of at least one word, offering a word on every cycle; with several
/// lanes by the wide encoder, offering so many.
///
/// Throws Error(argument) if a parameter is out of range or a word does not fit into p.word_bits.
EncoderRun run_encoder(const Parameters& p, WordSpan words, const MemoryPort& memory = {},
                       int lanes = 1);

/// Decodes one transmission of `count` words, 1 to 2^24 - 1, taking a word on every cycle.
///
/// Throws Error(argument) if a parameter is out of range and Error(format) if the decoder waits for
/// more than the streams have.
DecoderRun run_decoder(const Parameters& p, std::span<const std::uint32_t> zero_stream,
                       std::span<const std::uint32_t> plane_stream, std::uint32_t count,
                       const MemoryPort& memory = {});

/// The bytes of a stream (most significant bit first, as the codec stores them) as words of W bits,
/// the last one padded with zeros.
std::vector<std::uint32_t> stream_words(const Parameters& p, std::span<const std::uint8_t> bytes,
                                        std::uint64_t bits);

}  // namespace ebpc::hardware
