// Between tensors and the codec's words: which dtypes and layouts there are, and errors.

#pragma once

#include <torch/csrc/stable/tensor.h>
#include <torch/headeronly/core/ScalarType.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

#include "ebpc/container.h"
#include "ebpc/error.h"
#include "ebpc/executor.h"
#include "ebpc/tensor_info.h"
#include "ebpc/words.h"

namespace torch_ebpc {

using torch::headeronly::ScalarType;
using torch::stable::Tensor;

/// Runs `body` and lets its errors through as std::runtime_error, the type that PyTorch turns into
/// a RuntimeError. The message begins with the name of the Python exception that the error stands
/// for, from which torch_ebpc/errors.py makes that exception.
template <class Body>
auto with_named_errors(Body&& body) {
  try {
    return body();
  } catch (const ebpc::Error& error) {
    const char* name = error.code() == ebpc::ErrorCode::format     ? "EBPCFormatError: "
                       : error.code() == ebpc::ErrorCode::checksum ? "EBPCChecksumError: "
                       : error.code() == ebpc::ErrorCode::limit    ? "EBPCLimitError: "
                                                                   : "ValueError: ";
    throw std::runtime_error(std::string(name) + error.what());
  }
}

/// Throws a "TypeError: " that names the argument and lists the dtypes there are.
ebpc::DType dtype_of(const char* argument, ScalarType type);
ScalarType scalar_type_of(ebpc::DType dtype);

/// Throws a "ValueError: " unless it is "sent" or "reused".
ebpc::Base base_named(const std::string& name);

/// Throws a "ValueError: " unless it is "ebpc" or "auto".
ebpc::Codec codec_named(const std::string& name);

/// "contiguous", "channels_last" or "channels_last_3d".
ebpc::MemoryFormat memory_format_named(const std::string& name);

std::vector<std::int64_t> shape_of(const Tensor& tensor);

/// A tensor's words in row-major order, and what a container has to say about it.
struct TensorWords {
  Tensor contiguous;  // keeps the words alive
  ebpc::TensorInfo info;

  ebpc::WordSpan words() const;
};
TensorWords words_of(const char* argument, const Tensor& tensor);

/// The bytes of a one-dimensional uint8 tensor; throws a "TypeError: " or "ValueError: " for any
/// other.
Tensor bytes_of(const char* argument, const Tensor& tensor);

/// An uninitialized contiguous tensor, and the same words laid out in a memory format.
Tensor empty_tensor(const std::vector<std::int64_t>& shape, ScalarType type);
Tensor laid_out(const Tensor& contiguous, ebpc::MemoryFormat format);

/// A uint8 tensor of the bytes that `write` puts into a buffer of `capacity` bytes, of which it
/// returns how many they are. The tensor's storage has exactly those bytes.
Tensor written_tensor(std::uint64_t capacity,
                      const std::function<std::uint64_t(std::span<std::uint8_t>)>& write);

/// PyTorch's own threads: as many as torch.set_num_threads says. One in a forked process, where
/// PyTorch's OpenMP threads would wait for ever for those that the fork has not copied.
ebpc::Executor torch_executor();

}  // namespace torch_ebpc
