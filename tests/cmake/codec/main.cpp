// There and back: 1000 words of 16 bits, most of them zero.

#include <cstdint>
#include <iostream>
#include <vector>

#include "ebpc/container.h"
#include "ebpc/container_reader.h"
#include "ebpc/kernels/dispatch.h"

int main() {
  std::vector<std::int16_t> words(1000);
  for (std::size_t i = 0; i < words.size(); i += 7) words[i] = static_cast<std::int16_t>(i);

  const ebpc::TensorInfo tensor{ebpc::DType::int16, ebpc::MemoryFormat::contiguous, {10, 100}};
  const ebpc::Parameters parameters = ebpc::parameters_for(
      tensor.dtype, /*word_bits=*/16, /*block_size=*/8, /*max_zero_run=*/16, ebpc::Base::sent);
  std::vector<std::uint8_t> container(ebpc::max_compressed_bytes(tensor));
  container.resize(
      ebpc::compress(tensor, {ebpc::Codec::ebpc, parameters}, words.data(), container));

  std::vector<std::int16_t> decoded(words.size());
  ebpc::ContainerReader(container).read(decoded.data(), 2 * decoded.size());
  std::cout << container.size() << " bytes by " << ebpc::active_kernel().name << '\n';
  return decoded == words ? 0 : 1;
}
