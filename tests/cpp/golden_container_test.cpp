// Containers of every format version that there has been: read for good, and what compress writes.

#include <bit>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <string>

#include "ebpc/container_layout.h"
#include "support/container_data.h"

namespace ebpc::test {
namespace {

/// The words in this machine's byte order.
Bytes read_words(const std::string& name, int bytes_per_word) {
  const Bytes stored = golden_container(name);
  Bytes words(stored.size());
  layout::copy_little_endian(words.data(), stored.data(), words.size(), bytes_per_word);
  return words;
}

Bytes compressed_again(const ContainerInfo& info, const Bytes& words) {
  ContainerCode code = info.code;
  if (code.codec == Codec::automatic) {
    const Parameters defaults;
    code.parameters.block_size = defaults.block_size;
    code.parameters.max_zero_run = defaults.max_zero_run;
    code.parameters.base = defaults.base;
  }
  Bytes container(max_compressed_bytes(info.tensor));
  container.resize(compress(info.tensor, code, words.data(), container));
  return container;
}

template <class Test>
void for_each_golden(Test&& test) {
  std::ifstream file(EBPC_GOLDEN_DIR "/containers/index.json");
  const nlohmann::json index = nlohmann::json::parse(file);
  ASSERT_GE(index.size(), 70U);
  for (const auto& [name, fields] : index.items()) {
    SCOPED_TRACE(name);
    const Bytes container = golden_container(name + ".ebpc");
    const ContainerInfo info = inspect(container);
    test(fields, container, info, read_words(name + ".words", traits(info.tensor.dtype).bytes));
  }
}

TEST(GoldenContainer, IsReadWithTheWordsAndTheHeaderThatItWasMadeFrom) {
  for_each_golden([](const nlohmann::json& fields, const Bytes& container,
                     const ContainerInfo& info, const Bytes& words) {
    EXPECT_EQ(decompressed(container), words);
    EXPECT_EQ(info.version, fields["format_version"]);
    EXPECT_EQ(traits(info.tensor.dtype).name, fields["dtype"].get<std::string>());
    EXPECT_EQ(info.tensor.shape, fields["shape"].get<std::vector<std::int64_t>>());
    constexpr std::array formats{"contiguous", "channels_last", "channels_last_3d"};
    EXPECT_EQ(formats.at(static_cast<std::size_t>(info.tensor.memory_format)),
              fields["memory_format"].get<std::string>());
    EXPECT_EQ(info.code.parameters.word_bits, fields["word_bits"]);
    EXPECT_EQ(info.raw_segments, fields["raw_segments"]);
    if (info.version == 3) {
      EXPECT_EQ(info.code.parameters.zero, fields["zero"]);
      EXPECT_EQ(info.code.zeros == Zeros::both_signs, fields["both_zeros"]);
    }
    if (info.code.codec == Codec::automatic) return;
    EXPECT_EQ(info.code.parameters.block_size, fields["block_size"]);
    EXPECT_EQ(info.code.parameters.max_zero_run, fields["max_zero_run"]);
    EXPECT_EQ(info.code.parameters.base == Base::sent ? "sent" : "reused",
              fields["base"].get<std::string>());
  });
}

TEST(GoldenContainer, ThereIsOneOfEveryCoding) {
  for (std::uint32_t coding = 0; coding < coding_count; ++coding) {
    const std::string version = coding < SegmentCoding::count ? "v2" : "v3";
    const std::string number = std::to_string(100 + coding).substr(1);
    const ContainerInfo info = inspect(golden_container(version + "_coding_" + number + ".ebpc"));
    EXPECT_EQ(info.codings.at(coding), (CodingCount{1, info.words})) << coding;
  }
}

TEST(GoldenContainer, IsWhatCompressWrites) {
  for_each_golden([](const nlohmann::json& fields, const Bytes& container,
                     const ContainerInfo& info, const Bytes& words) {
    if (fields.value("no_longer_written", false)) return;
    EXPECT_EQ(compressed_again(info, words), container);
  });
}

}  // namespace
}  // namespace ebpc::test
