// The stream ports of the encoder and the decoder: valid/ready handshakes with a `last` flag, the
// subset of AXI4-Stream that the design needs.
//
// A beat moves at the clock edge of every cycle in which its producer says valid and its consumer
// says ready. A producer that has said valid keeps the beat unchanged until it has moved, and
// decides about valid without looking at ready.

#pragma once

#include <cstdint>

namespace ebpc::hardware {

/// What the producer drives.
struct Beat {
  bool valid = false;
  std::uint32_t data = 0;  // W bits
  bool last = false;       // this beat ends the transmission on this port
  bool keep = true;        // false on the one beat of a stream that has no words: it only ends it

  friend bool operator==(const Beat&, const Beat&) = default;
};

/// Whether the beat moves at the end of this cycle.
constexpr bool moves(const Beat& beat, bool ready) { return beat.valid && ready; }

}  // namespace ebpc::hardware
