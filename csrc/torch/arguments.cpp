#include "torch/arguments.h"

#include <algorithm>

#include "ebpc/error.h"

namespace torch_ebpc {

int checked_int(const char* argument, std::int64_t value) {
  if (value < INT32_MIN || value > INT32_MAX) {
    throw ebpc::Error(ebpc::ErrorCode::argument,
                      std::string(argument) + " is out of range: " + std::to_string(value));
  }
  return static_cast<int>(value);
}

ebpc::Parameters parameters_of(ebpc::DType dtype, OptionalInt word_bits, std::int64_t block_size,
                               std::int64_t max_zero_run, const std::string& base) {
  // 0 means the dtype's width to the codec, but is no width that a caller may ask for.
  if (word_bits == 0) {
    throw ebpc::Error(ebpc::ErrorCode::argument, "word_bits must be from 2 to 32, got 0");
  }
  return ebpc::parameters_for(dtype, checked_int("word_bits", word_bits.value_or(0)),
                              checked_int("block_size", block_size),
                              checked_int("max_zero_run", max_zero_run), base_named(base));
}

Tensor int64_tensor(const Shape& shape, const std::vector<std::int64_t>& values) {
  Tensor tensor = empty_tensor(shape, ScalarType::Long);
  std::copy(values.begin(), values.end(), static_cast<std::int64_t*>(tensor.mutable_data_ptr()));
  return tensor;
}

}  // namespace torch_ebpc
