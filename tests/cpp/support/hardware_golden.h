// The golden streams as transmissions of the hardware model.

#pragma once

#include <string>
#include <vector>

#include "golden_cases.h"
#include "hardware_testbench.h"

namespace ebpc::test {

using namespace hardware;

struct GoldenTransmission {
  std::string name;
  Parameters p;
  Words words;
  WordStreams streams;
};

/// Every golden case with words, with the base sent and re-used: without a word there is no
/// transmission, since no beat is the last.
inline std::vector<GoldenTransmission> golden_transmissions() {
  std::vector<GoldenTransmission> transmissions;
  for (const GoldenCase& golden : golden_cases()) {
    if (golden.values.empty()) continue;
    for (const Base base : bases) {
      const Parameters p = golden.with(base);
      const auto& [bits, zero, plane] = golden.streams(base);
      transmissions.push_back(
          {golden.name,
           p,
           words_of(p, golden.values),
           {stream_words(p, zero, bits.zero), stream_words(p, plane, bits.plane)}});
    }
  }
  return transmissions;
}

}  // namespace ebpc::test
