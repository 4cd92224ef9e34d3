// The golden streams of tests/golden: made outside of this project, most of them checked against
// the authors' published hardware.

#pragma once

#include <array>
#include <fstream>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include "test_data.h"

namespace ebpc::test {

struct GoldenCase {
  std::string name;
  Parameters parameters;  // base: sent
  Values values;
  Streams sent;
  Streams reused;
  nlohmann::json baseline_bits;

  Parameters with(Base base) const {
    Parameters p = parameters;
    p.base = base;
    return p;
  }
  const Streams& streams(Base base) const { return base == Base::sent ? sent : reused; }
};

constexpr std::array bases{Base::sent, Base::reused};

inline Bytes from_hex(const std::string& text) {
  Bytes bytes;
  for (std::size_t i = 0; i < text.size(); i += 2) {
    bytes.push_back(static_cast<std::uint8_t>(std::stoi(text.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

/// All of them; that they are 253 makes sure that no test passes for lack of cases.
inline const std::vector<GoldenCase>& golden_cases() {
  static const std::vector<GoldenCase> cases = [] {
    std::ifstream file(EBPC_GOLDEN_DIR "/ebpc_streams.json");
    std::vector<GoldenCase> read;
    for (const auto& each : nlohmann::json::parse(file)) {
      const auto streams = [&each](const std::string& plane) {
        return Streams{{each.at("zero_stream_bits"), each.at(plane + "_bits")},
                       from_hex(each.at("zero_stream")),
                       from_hex(each.at(plane))};
      };
      read.push_back({each.at("name"),
                      {each.at("word_bits"), each.at("signed"), each.at("block_size"),
                       each.at("max_zero_run"), Base::sent},
                      each.at("words"),
                      streams("plane_stream"),
                      streams("plane_stream_reused_base"),
                      each.at("baseline_bits")});
    }
    if (read.size() != 253) throw std::runtime_error("expected 253 golden cases");
    return read;
  }();
  return cases;
}

}  // namespace ebpc::test
