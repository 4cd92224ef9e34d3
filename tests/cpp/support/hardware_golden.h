// The golden streams as transmissions of the hardware model.

#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

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
  std::ifstream file(EBPC_GOLDEN_DIR "/ebpc_streams.json");
  EXPECT_TRUE(file) << EBPC_GOLDEN_DIR;
  const auto bytes_of = [](const std::string& hex) {
    std::vector<std::uint8_t> bytes;
    for (std::size_t i = 0; i < hex.size(); i += 2) {
      bytes.push_back(static_cast<std::uint8_t>(std::stoi(hex.substr(i, 2), nullptr, 16)));
    }
    return bytes;
  };
  std::vector<GoldenTransmission> transmissions;
  for (const auto& golden : nlohmann::json::parse(file)) {
    if (golden["words"].empty()) continue;
    for (const Base base : {Base::sent, Base::reused}) {
      const Parameters p = parameters(golden["word_bits"], golden["block_size"], golden["signed"],
                                      golden["max_zero_run"], base);
      const std::string plane = base == Base::sent ? "plane_stream" : "plane_stream_reused_base";
      transmissions.push_back(
          {golden["name"],
           p,
           words_of(p, golden["words"]),
           {stream_words(p, bytes_of(golden["zero_stream"]), golden["zero_stream_bits"]),
            stream_words(p, bytes_of(golden[plane]), golden[plane + "_bits"])}});
    }
  }
  return transmissions;
}

}  // namespace ebpc::test
