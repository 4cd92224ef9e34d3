// Tensors and their containers, for the container's tests.

#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "ebpc/container.h"
#include "ebpc/container_layout.h"
#include "ebpc/container_reader.h"
#include "ebpc/container_stream.h"
#include "ebpc/segment_coding.h"
#include "test_data.h"

namespace ebpc::test {

inline constexpr std::array all_dtypes{DType::int8,     DType::uint8,  DType::int16,
                                       DType::uint16,   DType::int32,  DType::float16,
                                       DType::bfloat16, DType::float32};

inline constexpr std::array all_codecs{Codec::ebpc, Codec::automatic};

inline Parameters default_parameters(DType dtype) {
  return parameters_for(dtype, 0, 8, 16, Base::sent);
}

inline Bytes compressed(const TensorInfo& tensor, const Parameters& p, const Bytes& memory,
                        const Executor& executor = {}, Codec codec = Codec::ebpc) {
  Bytes out(max_compressed_bytes(tensor));
  out.resize(compress(tensor, {codec, p}, memory.data(), out, executor));
  return out;
}

inline Bytes decompressed(const Bytes& container, const Executor& executor = {}) {
  const ContainerInfo info = inspect(container);
  Bytes memory(info.words * static_cast<std::uint64_t>(traits(info.tensor.dtype).bytes));
  ContainerReader(container).read(memory.data(), memory.size(), executor);
  return memory;
}

/// Pushes bytes of a container, and appends the words that are ready to `memory`. Returns how many
/// words came at a time.
inline std::vector<std::uint64_t> push_and_take(ContainerDecoder& decoder,
                                                std::span<const std::uint8_t> bytes,
                                                Bytes& memory) {
  std::vector<std::uint64_t> counts;
  decoder.push(bytes);
  while (const std::uint64_t count = decoder.ready_words()) {
    counts.push_back(count);
    const auto size = static_cast<std::uint64_t>(traits(decoder.info()->tensor.dtype).bytes);
    memory.resize(memory.size() + count * size);
    decoder.next(memory.data() + memory.size() - count * size, count * size);
  }
  return counts;
}

/// The memory of `count` words of that dtype: words as feature maps have them, or noise that no
/// code makes smaller.
inline Bytes random_memory(Random& random, DType dtype, std::size_t count) {
  const Parameters p = default_parameters(dtype);
  return stored(random_values(random, p, count), traits(dtype).bytes, p.is_signed);
}

inline Bytes noise(Random& random, std::size_t bytes) {
  Bytes memory(bytes);
  for (auto& byte : memory) byte = static_cast<std::uint8_t>(random());
  return memory;
}

/// Words of one segment, drawn so that any coding may be the smallest: zeros in any share and in
/// runs of any length, the other words smooth to any degree, with or without jumps.
inline Bytes segment_memory(Random& random, const Parameters& p, int bytes_per_word,
                            std::size_t count) {
  const std::int64_t low = smallest_word(p);
  const std::int64_t high = largest_word(p);
  const auto below = [&random](std::uint64_t limit) {
    return static_cast<std::int64_t>(random() % limit);
  };
  const std::uint64_t zero_run = std::uint64_t{1} << random() % 10;
  const std::uint64_t nonzero_run = std::uint64_t{1} << random() % 8;
  const int zeros_in_8 = static_cast<int>(random() % 9);
  const std::int64_t step = (high - low) >> random() % 33;
  const bool jumps = random() % 2 == 0;  // from run to run
  Values values;
  std::int64_t value = high;
  while (values.size() < count) {
    if (below(8) < zeros_in_8) {
      values.insert(values.end(), 1 + random() % zero_run, 0);
      continue;
    }
    if (jumps) value = low + below(static_cast<std::uint64_t>(high - low + 1));
    for (std::uint64_t i = random() % nonzero_run; i + 1 > 0; --i) {
      value = std::clamp(value + below(static_cast<std::uint64_t>(2 * step + 1)) - step, low, high);
      if (value == 0) value = high;
      values.push_back(value);
    }
  }
  values.resize(count);
  return stored(values, bytes_per_word, p.is_signed);
}

/// A container of coded segments and of raw ones.
inline Bytes mixed_container(DType dtype, Codec codec = Codec::ebpc) {
  Random random(20);
  const auto bytes = static_cast<std::size_t>(traits(dtype).bytes);
  Bytes memory(segment_words * bytes, 0);
  memory[10 * bytes] = 3;
  const Bytes rest = noise(random, 9 * bytes);
  memory.insert(memory.end(), rest.begin(), rest.end());
  const TensorInfo tensor{dtype, MemoryFormat::contiguous, {segment_words + 9}};
  return compressed(tensor, default_parameters(dtype), memory, {}, codec);
}

/// Those that segments are written in. The others are read, of containers that there are.
inline constexpr std::array written_codings{0U,  1U,  3U,  5U,  7U,  13U,           15U,
                                            16U, 17U, 18U, 19U, 20U, coding_default};

inline Bytes golden_container(const std::string& name) {
  std::ifstream file(EBPC_GOLDEN_DIR "/containers/" + name, std::ios::binary);
  EXPECT_TRUE(file.good()) << name;
  return {std::istreambuf_iterator<char>(file), {}};
}

inline layout::SegmentEntry first_entry(const Bytes& container) {
  const ContainerInfo info = inspect(container);
  return layout::SegmentEntry::read(&container[layout::table_offset(info.version, info.tensor)],
                                    info.version);
}

/// Small containers of one segment each: one for every coding that there is, of version 2 where it
/// has been written.
inline std::vector<Bytes> containers_of_every_coding() {
  Random random(21);
  std::vector<Bytes> written(coding_count);
  for (int round = 0; round < 100'000; ++round) {
    const DType dtype = all_dtypes[random() % all_dtypes.size()];
    const Parameters p = default_parameters(dtype);
    const std::size_t words = 1 + random() % (20 << random() % 6);
    const TensorInfo tensor{dtype, MemoryFormat::contiguous, {static_cast<std::int64_t>(words)}};
    const Bytes container = compressed(
        tensor, p, segment_memory(random, p, traits(dtype).bytes, words), {}, Codec::automatic);
    Bytes& smallest = written[first_entry(container).coding];
    if (smallest.empty() || container.size() < smallest.size()) smallest = container;
    if (round > 2000 && std::ranges::none_of(written_codings, [&](std::uint32_t coding) {
          return written[coding].empty();
        }))
      break;
  }
  std::vector<Bytes> containers;
  for (Bytes& container : written) {
    if (!container.empty()) containers.push_back(std::move(container));
  }
  for (std::uint32_t coding = 0; coding < SegmentCoding::count; ++coding) {
    std::string number = std::to_string(100 + coding).substr(1);
    containers.push_back(golden_container("v2_coding_" + number + ".ebpc"));
  }
  return containers;
}

}  // namespace ebpc::test
