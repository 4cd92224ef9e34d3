// What the operators' arguments become before they reach the codec or the hardware model.

#pragma once

#include <cstdint>
#include <optional>
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
                               std::int64_t max_zero_run, const std::string& base);

Tensor int64_tensor(const Shape& shape, const std::vector<std::int64_t>& values);

}  // namespace torch_ebpc
