// What the operators share: their arguments as the codec takes them, checked.

#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ebpc/parameters.h"
#include "ebpc/tensor_info.h"
#include "torch/tensor_words.h"

namespace torch_ebpc {

using OptionalInt = std::optional<std::int64_t>;
using Shape = std::vector<std::int64_t>;

/// Throws a "ValueError: " that names the argument if the value is no int.
int checked_int(const char* argument, std::int64_t value);

/// Throws a "ValueError: " for what no dtype can have; the codec checks the rest.
ebpc::Parameters parameters_of(ebpc::DType dtype, OptionalInt word_bits, std::int64_t block_size,
                               std::int64_t max_zero_run, const std::string& base,
                               std::int64_t zero);

/// Throws a "ValueError: " if it is negative.
std::uint64_t unsigned_of(const char* argument, std::int64_t value);

/// Throws a "ValueError: " if the caller expects another shape or dtype than the container has;
/// returns the tensor's bytes.
std::uint64_t expect_tensor(const ebpc::TensorInfo& found, const Shape& shape, ScalarType dtype);
void expect_dtype(ebpc::DType found, ScalarType dtype);

/// Throws an "EBPCLimitError: " if a tensor of so many bytes is larger than max_bytes, or than its
/// default for a container of so many.
void check_limit(OptionalInt max_bytes, std::uint64_t tensor_bytes, std::uint64_t container_bytes);

std::span<const std::uint8_t> span_of(const Tensor& bytes);
Tensor int64_tensor(const Shape& shape, const std::vector<std::int64_t>& values);

}  // namespace torch_ebpc
