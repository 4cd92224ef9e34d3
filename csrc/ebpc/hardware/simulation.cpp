#include "ebpc/hardware/simulation.h"

#include <algorithm>
#include <cstddef>
#include <limits>
#include <string>
#include <utility>

#include "ebpc/bit_stream.h"
#include "ebpc/codec.h"
#include "ebpc/error.h"
#include "ebpc/hardware/limits.h"

namespace ebpc::hardware {
namespace {

constexpr std::uint64_t unbounded = std::numeric_limits<std::uint64_t>::max();

/// Counts what one stream port moves, cycle by cycle.
class TrafficCounter {
 public:
  void cycle(std::size_t words_moved, std::uint64_t fifo_words) {
    traffic_.words += words_moved;
    traffic_.fifo_high_water = std::max(traffic_.fifo_high_water, fifo_words);
    if (words_moved > 0) {
      ++burst_;
    } else {
      end_burst();
    }
  }

  StreamTraffic result() {
    end_burst();
    return traffic_;
  }

 private:
  void end_burst() {
    if (burst_ > 0) ++traffic_.bursts[std::min(burst_, traffic_.bursts.size() - 1)];
    burst_ = 0;
  }

  StreamTraffic traffic_;
  std::size_t burst_ = 0;
};

/// One stream's FIFO, as seen from the port: how many words the next burst could move. For the
/// encoder those in the FIFO, for the decoder those in memory that the FIFO has room for.
struct PortQueue {
  std::uint64_t movable = 0;
  bool ends = false;  // no more will become movable, so that a shorter burst may go
};

/// The shared port: one burst at a time.
class BurstPort {
 public:
  BurstPort(const Parameters& p, const MemoryPort& memory)
      : word_bits_(p.word_bits),
        bits_per_cycle_(memory.bits_per_cycle),
        burst_words_(std::max<std::uint64_t>(1, static_cast<std::uint64_t>(memory.burst_bytes) * 8 /
                                                    static_cast<unsigned>(p.word_bits))) {}

  std::uint64_t burst_words() const { return burst_words_; }
  bool is_busy() const { return left_ > 0; }  // in the middle of a burst

  struct Moved {
    std::size_t stream = 0;
    std::uint64_t words = 0;
  };

  /// One cycle: how many words of which stream cross the port.
  Moved cycle(const std::array<PortQueue, 2>& queues) {
    if (left_ == 0) start_burst(queues);
    if (left_ == 0) return {};
    bits_ += bits_per_cycle_;
    const auto words = std::min(left_, static_cast<std::uint64_t>(bits_ / word_bits_));
    left_ -= words;
    bits_ = left_ == 0 ? 0 : bits_ - static_cast<int>(words) * word_bits_;
    return {stream_, words};
  }

 private:
  void start_burst(const std::array<PortQueue, 2>& queues) {
    for (const std::size_t candidate : {1 - stream_, stream_}) {
      const PortQueue& queue = queues[candidate];
      if (queue.movable < burst_words_ && !(queue.ends && queue.movable > 0)) continue;
      stream_ = candidate;
      left_ = std::min(queue.movable, burst_words_);
      return;
    }
  }

  const int word_bits_;
  const int bits_per_cycle_;
  const std::uint64_t burst_words_;
  std::size_t stream_ = 0;  // of the burst under way, or of the one before
  std::uint64_t left_ = 0;  // words of it that have not moved
  int bits_ = 0;            // bits of the next word that have moved
};

void check_memory(const MemoryPort& memory, std::uint64_t burst_words) {
  if (memory.bits_per_cycle < 0 || memory.burst_bytes < 1 || memory.fifo_words < 0) {
    throw Error(ErrorCode::argument,
                "bits_per_cycle and fifo_words must be at least 0, burst_bytes at least 1");
  }
  if (memory.fifo_words > 0 && static_cast<std::uint64_t>(memory.fifo_words) < burst_words) {
    throw Error(ErrorCode::argument, "fifo_words must be at least a burst of " +
                                         std::to_string(burst_words) + " words, got " +
                                         std::to_string(memory.fifo_words));
  }
}

std::span<const std::uint32_t> words_in(const Beat& beat) {
  return {&beat.data, std::size_t{beat.keep}};
}
std::span<const std::uint32_t> words_in(const WideBeat& beat) {
  return {beat.data.data(), static_cast<std::size_t>(beat.words)};
}

/// A stream on its way from the encoder into memory.
struct Sink {
  std::vector<std::uint32_t> words{};
  TrafficCounter traffic{};
  std::uint64_t in_fifo = 0;
  bool ended = false;

  PortQueue queue() const { return {in_fifo, ended}; }

  template <class AnyBeat>
  void take(const AnyBeat& beat, bool ready, bool has_fifo) {
    const auto moved = moves(beat, ready) ? words_in(beat) : std::span<const std::uint32_t>{};
    words.insert(words.end(), moved.begin(), moved.end());
    if (has_fifo) in_fifo += moved.size();
    ended = ended || (moves(beat, ready) && beat.last);
    traffic.cycle(moved.size(), in_fifo);
  }
};

/// A stream on its way from memory to the decoder.
struct Source {
  std::span<const std::uint32_t> words;
  TrafficCounter traffic{};
  std::uint64_t fetched = 0;  // words that have reached the FIFO
  std::uint64_t taken = 0;    // words that the decoder has taken
  bool ended = false;         // it has taken the last beat

  PortQueue queue(std::uint64_t depth) const {
    const std::uint64_t left = words.size() - fetched;
    const std::uint64_t room = depth - (fetched - taken);
    return {std::min(left, room), left <= room};
  }

  Beat beat() const {
    if (words.empty()) return {.valid = !ended, .last = true, .keep = false};
    if (fetched == taken) return {};
    return {.valid = true, .data = words[taken], .last = taken + 1 == words.size()};
  }

  void give(const Beat& beat, bool ready, bool has_fifo) {
    const bool word_moved = moves(beat, ready) && beat.keep;
    traffic.cycle(word_moved, has_fifo ? fetched - taken : 0);
    taken += word_moved;
    ended = ended || (moves(beat, ready) && beat.last);
  }
};

/// One transmission through an encoder that takes `lanes` words a cycle; `beat_of` makes a beat of
/// the words from an index on.
template <class Design, class BeatOf>
EncoderRun drive(Design& encoder, const Parameters& p, WordSpan words, const MemoryPort& memory,
                 int lanes, const BeatOf& beat_of) {
  check_words(p, words);
  if (words.count == 0) throw Error(ErrorCode::argument, "words must be at least one, got none");
  BurstPort port(p, memory);
  check_memory(memory, port.burst_words());
  const bool has_fifos = memory.bits_per_cycle > 0;
  const std::uint64_t depth =
      memory.fifo_words > 0 ? static_cast<std::uint64_t>(memory.fifo_words) : unbounded;
  const auto beat_words = static_cast<std::size_t>(lanes);

  std::array<Sink, 2> sinks;
  auto& [zero, plane] = sinks;
  std::size_t next = 0;
  while (!zero.ended || !plane.ended) {
    decltype(beat_of(0, 0)) beat{};
    const std::size_t count = std::min(beat_words, words.count - next);
    if (count > 0) beat = beat_of(next, count);
    const bool zero_ready = zero.in_fifo + beat_words <= depth;
    const bool plane_ready = plane.in_fifo + beat_words <= depth;
    const auto out =
        encoder.cycle({.word = beat, .zero_ready = zero_ready, .plane_ready = plane_ready});
    if (moves(beat, out.word_ready)) next += count;
    zero.take(out.zero, zero_ready, has_fifos);
    plane.take(out.plane, plane_ready, has_fifos);
    const BurstPort::Moved moved = port.cycle({zero.queue(), plane.queue()});
    sinks[moved.stream].in_fifo -= moved.words;
  }
  return {.statistics = encoder.statistics(),
          .zero = zero.traffic.result(),
          .plane = plane.traffic.result(),
          .zero_stream = std::move(zero.words),
          .plane_stream = std::move(plane.words)};
}

}  // namespace

EncoderRun run_encoder(const Parameters& p, WordSpan words, const MemoryPort& memory, int lanes) {
  if (lanes == 1) {
    Encoder encoder(p);
    return drive(encoder, p, words, memory, 1, [&](std::size_t first, std::size_t) {
      return Beat{.valid = true,
                  .data = static_cast<std::uint32_t>(word_at(p, words, first)),
                  .last = first + 1 == words.count};
    });
  }
  WideEncoder encoder(p, lanes);
  return drive(encoder, p, words, memory, lanes, [&](std::size_t first, std::size_t count) {
    WideBeat beat{
        .valid = true, .words = static_cast<int>(count), .last = first + count == words.count};
    for (std::size_t i = 0; i < count; ++i) {
      beat.data[i] = static_cast<std::uint32_t>(word_at(p, words, first + i));
    }
    return beat;
  });
}

DecoderRun run_decoder(const Parameters& p, std::span<const std::uint32_t> zero_stream,
                       std::span<const std::uint32_t> plane_stream, std::uint32_t count,
                       const MemoryPort& memory) {
  checked(p);
  if (count == 0 || count > low_ones(word_count_bits)) {
    throw Error(ErrorCode::argument,
                "count must be from 1 to 2^24 - 1, got " + std::to_string(count));
  }
  BurstPort port(p, memory);
  check_memory(memory, port.burst_words());
  const bool has_fifos = memory.bits_per_cycle > 0;
  const std::uint64_t depth = memory.fifo_words > 0 ? static_cast<std::uint64_t>(memory.fifo_words)
                                                    : 2 * port.burst_words();

  Decoder decoder(p);
  std::array<Source, 2> sources{Source{zero_stream}, Source{plane_stream}};
  auto& [zero, plane] = sources;
  if (!has_fifos) {
    for (Source& source : sources) source.fetched = source.words.size();
  }
  std::vector<std::uint32_t> words;
  words.reserve(count);
  bool counted = false;
  int still = 0;  // cycles in a row in which nothing moved
  while (words.size() < count) {
    bool port_at_work = false;
    if (has_fifos) {
      const BurstPort::Moved moved = port.cycle({zero.queue(depth), plane.queue(depth)});
      sources[moved.stream].fetched += moved.words;
      port_at_work = moved.words > 0 || port.is_busy();
    }
    const DecoderInput in{.count = {.valid = !counted, .data = count},
                          .zero = zero.beat(),
                          .plane = plane.beat(),
                          .word_ready = true};
    const DecoderOutput out = decoder.cycle(in);
    counted = true;  // it is ready in its first cycle
    zero.give(in.zero, out.zero_ready, has_fifos);
    plane.give(in.plane, out.plane_ready, has_fifos);
    if (out.word.valid) words.push_back(out.word.data);

    // Where nothing moves, only the symbol decoder can be at work, for at most W + 2 symbols;
    // longer means that it waits for bits that will never come. Words may be left in memory then:
    // those of the other stream, whose FIFO is full.
    const bool moved = moves(in.zero, out.zero_ready) || moves(in.plane, out.plane_ready) ||
                       out.word.valid || port_at_work;
    still = moved ? 0 : still + 1;
    if (still > 2 * (p.word_bits + 2)) {
      throw Error(ErrorCode::format, "expected more of the streams after word " +
                                         std::to_string(words.size()) + " of " +
                                         std::to_string(count) + ", found their end");
    }
  }
  return {.statistics = decoder.statistics(),
          .zero = zero.traffic.result(),
          .plane = plane.traffic.result(),
          .words = std::move(words)};
}

std::vector<std::uint32_t> stream_words(const Parameters& p, std::span<const std::uint8_t> bytes,
                                        std::uint64_t bits) {
  const auto width = static_cast<std::uint64_t>(p.word_bits);
  std::vector<std::uint32_t> words;
  BitReader reader(bytes.data(), bytes.size());  // reads zeros past the end
  while (reader.position() < bits) {
    words.push_back(static_cast<std::uint32_t>(reader.take(static_cast<int>(width))));
  }
  return words;
}

}  // namespace ebpc::hardware
