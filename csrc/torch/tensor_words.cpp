#include "torch/tensor_words.h"

#include <torch/csrc/stable/ops.h>

#include <array>
#include <utility>

namespace torch_ebpc {
namespace {

constexpr std::array<std::pair<ScalarType, ebpc::DType>, ebpc::dtype_count> dtypes{{
    {ScalarType::Char, ebpc::DType::int8},
    {ScalarType::Byte, ebpc::DType::uint8},
    {ScalarType::Short, ebpc::DType::int16},
    {ScalarType::UInt16, ebpc::DType::uint16},
    {ScalarType::Int, ebpc::DType::int32},
    {ScalarType::Half, ebpc::DType::float16},
    {ScalarType::BFloat16, ebpc::DType::bfloat16},
    {ScalarType::Float, ebpc::DType::float32},
}};

/// Whether the channels (dimension 1) vary fastest, as in PyTorch's
/// is_contiguous(memory_format=...).
bool has_channels_last(const Tensor& tensor) {
  std::int64_t expected = 1;
  for (std::int64_t i = 0; i < tensor.dim(); ++i) {
    // In memory order from the innermost: dimension 1, then the last to the third, then dimension
    // 0.
    const std::int64_t dim = i == 0 ? 1 : i == tensor.dim() - 1 ? 0 : tensor.dim() - i;
    if (tensor.size(dim) != 1 && tensor.stride(dim) != expected) return false;
    expected *= tensor.size(dim);
  }
  return true;
}

ebpc::MemoryFormat memory_format_of(const Tensor& tensor) {
  if (tensor.is_contiguous()) return ebpc::MemoryFormat::contiguous;
  if (tensor.dim() == 4 && has_channels_last(tensor)) return ebpc::MemoryFormat::channels_last;
  if (tensor.dim() == 5 && has_channels_last(tensor)) return ebpc::MemoryFormat::channels_last_3d;
  return ebpc::MemoryFormat::contiguous;
}

}  // namespace

ebpc::DType dtype_of(const char* argument, ScalarType type) {
  std::string names;
  for (const auto& [scalar_type, dtype] : dtypes) {
    if (scalar_type == type) return dtype;
    names += (names.empty() ? "" : ", ") + std::string(ebpc::traits(dtype).name);
  }
  throw std::runtime_error(std::string("TypeError: ") + argument + " must be one of " + names +
                           ", got " + torch::headeronly::toString(type));
}

ScalarType scalar_type_of(ebpc::DType dtype) {
  for (const auto& [scalar_type, each] : dtypes) {
    if (each == dtype) return scalar_type;
  }
  return ScalarType::Undefined;
}

ebpc::Base base_named(const std::string& name) {
  if (name == "sent") return ebpc::Base::sent;
  if (name == "reused") return ebpc::Base::reused;
  throw ebpc::Error(ebpc::ErrorCode::argument,
                    "base must be 'sent' or 'reused', got '" + name + "'");
}

ebpc::MemoryFormat memory_format_named(const std::string& name) {
  if (name == "contiguous") return ebpc::MemoryFormat::contiguous;
  if (name == "channels_last") return ebpc::MemoryFormat::channels_last;
  if (name == "channels_last_3d") return ebpc::MemoryFormat::channels_last_3d;
  throw ebpc::Error(
      ebpc::ErrorCode::argument,
      "memory_format must be 'contiguous', 'channels_last' or 'channels_last_3d', got '" + name +
          "'");
}

std::vector<std::int64_t> shape_of(const Tensor& tensor) {
  std::vector<std::int64_t> shape;
  for (std::int64_t i = 0; i < tensor.dim(); ++i) shape.push_back(tensor.size(i));
  return shape;
}

ebpc::WordSpan TensorWords::words() const {
  return {contiguous.const_data_ptr(), static_cast<std::size_t>(contiguous.numel()),
          ebpc::traits(info.dtype).bytes};
}

TensorWords words_of(const char* argument, const Tensor& tensor) {
  const ebpc::DType dtype =
      dtype_of((std::string(argument) + "'s dtype").c_str(), tensor.scalar_type());
  return {torch::stable::contiguous(tensor), {dtype, memory_format_of(tensor), shape_of(tensor)}};
}

Tensor bytes_of(const char* argument, const Tensor& tensor) {
  if (tensor.scalar_type() != ScalarType::Byte) {
    throw std::runtime_error(std::string("TypeError: ") + argument +
                             "'s dtype must be uint8, got " +
                             torch::headeronly::toString(tensor.scalar_type()));
  }
  if (tensor.dim() != 1) {
    throw ebpc::Error(
        ebpc::ErrorCode::argument,
        std::string(argument) + " must have one dimension, got " + std::to_string(tensor.dim()));
  }
  return torch::stable::contiguous(tensor);
}

Tensor empty_tensor(const std::vector<std::int64_t>& shape, ScalarType type) {
  return torch::stable::empty(shape, type);
}

Tensor laid_out(const Tensor& contiguous, ebpc::MemoryFormat format) {
  switch (format) {
    case ebpc::MemoryFormat::channels_last:
      return torch::stable::contiguous(contiguous, torch::headeronly::MemoryFormat::ChannelsLast);
    case ebpc::MemoryFormat::channels_last_3d:
      return torch::stable::contiguous(contiguous, torch::headeronly::MemoryFormat::ChannelsLast3d);
    default:
      return contiguous;
  }
}

ebpc::Executor torch_executor() {
  return {torch::stable::get_num_threads(),
          [](std::size_t workers, const std::function<void()>& work) {
            torch::stable::parallel_for(0, static_cast<std::int64_t>(workers), 1,
                                        [&work](std::int64_t first, std::int64_t last) {
                                          for (; first < last; ++first) work();
                                        });
          }};
}

}  // namespace torch_ebpc
