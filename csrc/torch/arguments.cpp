#include "torch/arguments.h"

#include <algorithm>

#include "ebpc/container.h"

namespace torch_ebpc {
namespace {

std::string shape_text(const Shape& shape) {
  std::string text = "[";
  for (const std::int64_t size : shape) {
    text += (text.size() > 1 ? ", " : "") + std::to_string(size);
  }
  return text + "]";
}

}  // namespace

int checked_int(const char* argument, std::int64_t value) {
  if (value < INT32_MIN || value > INT32_MAX) {
    throw ebpc::Error(ebpc::ErrorCode::argument,
                      std::string(argument) + " is out of range: " + std::to_string(value));
  }
  return static_cast<int>(value);
}

ebpc::Parameters parameters_of(ebpc::DType dtype, OptionalInt word_bits, std::int64_t block_size,
                               std::int64_t max_zero_run, const std::string& base,
                               std::int64_t zero) {
  // 0 means the dtype's width to the codec, but is no width that a caller may ask for.
  if (word_bits == 0) {
    throw ebpc::Error(ebpc::ErrorCode::argument, "word_bits must be from 2 to 32, got 0");
  }
  return ebpc::parameters_for(dtype, checked_int("word_bits", word_bits.value_or(0)),
                              checked_int("block_size", block_size),
                              checked_int("max_zero_run", max_zero_run), base_named(base), zero);
}

std::uint64_t unsigned_of(const char* argument, std::int64_t value) {
  if (value < 0) {
    throw ebpc::Error(
        ebpc::ErrorCode::argument,
        std::string(argument) + " must not be negative, got " + std::to_string(value));
  }
  return static_cast<std::uint64_t>(value);
}

void expect_dtype(ebpc::DType found, ScalarType dtype) {
  if (dtype_of("dtype", dtype) != found) {
    throw ebpc::Error(ebpc::ErrorCode::argument, "dtype must be the container's, " +
                                                     std::string(ebpc::traits(found).name) +
                                                     ", got " + torch::headeronly::toString(dtype));
  }
}

std::uint64_t expect_tensor(const ebpc::TensorInfo& found, const Shape& shape, ScalarType dtype) {
  expect_dtype(found.dtype, dtype);
  if (shape != found.shape) {
    throw ebpc::Error(
        ebpc::ErrorCode::argument,
        "shape must be the container's, " + shape_text(found.shape) + ", got " + shape_text(shape));
  }
  return ebpc::word_count(found) * static_cast<std::uint64_t>(ebpc::traits(found.dtype).bytes);
}

void check_limit(OptionalInt max_bytes, std::uint64_t tensor_bytes, std::uint64_t container_bytes) {
  ebpc::check_max_bytes(tensor_bytes, max_bytes ? unsigned_of("max_bytes", *max_bytes)
                                                : ebpc::default_max_bytes(container_bytes));
}

std::span<const std::uint8_t> span_of(const Tensor& bytes) {
  return {static_cast<const std::uint8_t*>(bytes.const_data_ptr()),
          static_cast<std::size_t>(bytes.numel())};
}

Tensor int64_tensor(const Shape& shape, const std::vector<std::int64_t>& values) {
  Tensor tensor = empty_tensor(shape, ScalarType::Long);
  std::copy(values.begin(), values.end(), static_cast<std::int64_t*>(tensor.mutable_data_ptr()));
  return tensor;
}

}  // namespace torch_ebpc
