// Tensors and their containers, for the container's tests.

#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "ebpc/container.h"
#include "test_data.h"

namespace ebpc::test {

inline constexpr std::array all_dtypes{DType::int8,     DType::uint8,  DType::int16,
                                       DType::uint16,   DType::int32,  DType::float16,
                                       DType::bfloat16, DType::float32};

inline Parameters default_parameters(DType dtype) {
  return parameters_for(dtype, 0, 8, 16, Base::sent);
}

inline Bytes compressed(const TensorInfo& tensor, const Parameters& p, const Bytes& memory,
                        const Executor& executor = {}, Codec codec = Codec::ebpc) {
  Bytes out(max_compressed_bytes(tensor));
  out.resize(compress(tensor, p, memory.data(), out, executor, codec));
  return out;
}

inline Bytes decompressed(const Bytes& container, const Executor& executor = {}) {
  const ContainerInfo info = inspect(container);
  Bytes memory(info.words * static_cast<std::uint64_t>(traits(info.tensor.dtype).bytes));
  decompress(container, memory.data(), memory.size(), executor);
  return memory;
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

/// A container of coded segments and of raw ones.
inline Bytes mixed_container(DType dtype) {
  Random random(20);
  const auto bytes = static_cast<std::size_t>(traits(dtype).bytes);
  Bytes memory(segment_words * bytes, 0);
  memory[10 * bytes] = 3;
  const Bytes rest = noise(random, 9 * bytes);
  memory.insert(memory.end(), rest.begin(), rest.end());
  const TensorInfo tensor{dtype, MemoryFormat::contiguous, {segment_words + 9}};
  return compressed(tensor, default_parameters(dtype), memory);
}

}  // namespace ebpc::test
