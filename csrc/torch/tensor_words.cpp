#include "torch/tensor_words.h"

#include <sys/mman.h>
#include <torch/csrc/stable/ops.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

// Part of the stable ABI from PyTorch 2.11 on, so not declared by its headers for our target, 2.10.
// There the weak symbol is null.
extern "C" AOTITorchError torch_from_blob(void* data, std::int64_t ndim, const std::int64_t* sizes,
                                          const std::int64_t* strides, std::int64_t storage_offset,
                                          std::int32_t dtype, std::int32_t device_type,
                                          std::int32_t device_index, AtenTensorHandle* result,
                                          std::int32_t layout, const std::uint8_t* opaque_metadata,
                                          std::int64_t opaque_metadata_size,
                                          void (*deleter)(void* data, void* context),
                                          void* deleter_context) __attribute__((weak));

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
    {ScalarType::Bool, ebpc::DType::boolean},
    {ScalarType::UInt32, ebpc::DType::uint32},
    {ScalarType::Long, ebpc::DType::int64},
    {ScalarType::UInt64, ebpc::DType::uint64},
    {ScalarType::Double, ebpc::DType::float64},
    {ScalarType::Float8_e4m3fn, ebpc::DType::float8_e4m3fn},
    {ScalarType::Float8_e5m2, ebpc::DType::float8_e5m2},
    {ScalarType::Float8_e4m3fnuz, ebpc::DType::float8_e4m3fnuz},
    {ScalarType::Float8_e5m2fnuz, ebpc::DType::float8_e5m2fnuz},
    {ScalarType::ComplexHalf, ebpc::DType::complex32},
    {ScalarType::ComplexFloat, ebpc::DType::complex64},
    {ScalarType::ComplexDouble, ebpc::DType::complex128},
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

const pid_t loading_process = getpid();

struct Free {
  void operator()(void* memory) const { std::free(memory); }
};
using Buffer = std::unique_ptr<std::uint8_t, Free>;

/// A tensor that owns the buffer. Needs PyTorch 2.11.
Tensor adopt(Buffer buffer, std::int64_t bytes) {
  const std::int64_t stride = 1;
  AtenTensorHandle handle = nullptr;
  const AOTITorchError error = torch_from_blob(
      buffer.get(), 1, &bytes, &stride, 0, aoti_torch_dtype_uint8(), aoti_torch_device_type_cpu(),
      -1, &handle, aoti_torch_layout_strided(), nullptr, 0,
      [](void* data, void*) { std::free(data); }, nullptr);
  if (error != AOTI_TORCH_SUCCESS) throw std::runtime_error("torch_from_blob failed");
  static_cast<void>(buffer.release());
  return Tensor(handle);
}

/// Asks for huge pages in large memory that has not been written: most of the time that the first
/// writing takes is spent in faults of small ones. Only advice, and only where Linux leaves the
/// choice to programs.
void advise_huge_pages(void* memory, std::uint64_t bytes) {
#ifdef MADV_HUGEPAGE
  constexpr std::uint64_t huge_page = std::uint64_t{1} << 21;
  if (bytes < 2 * huge_page) return;
  const auto begin = reinterpret_cast<std::uintptr_t>(memory);
  const std::uint64_t to_first = -begin % huge_page;
  const std::uint64_t whole = (bytes - to_first) / huge_page * huge_page;
  madvise(static_cast<std::uint8_t*>(memory) + to_first, whole, MADV_HUGEPAGE);
#else
  static_cast<void>(memory);
  static_cast<void>(bytes);
#endif
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

ebpc::Codec codec_named(const std::string& name) {
  if (name == "ebpc") return ebpc::Codec::ebpc;
  if (name == "auto") return ebpc::Codec::automatic;
  throw ebpc::Error(ebpc::ErrorCode::argument,
                    "codec must be 'ebpc' or 'auto', got '" + name + "'");
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
  const ebpc::DTypeTraits& of = ebpc::traits(info.dtype);
  const std::int64_t words = contiguous.numel() * of.words_per_element;
  return {contiguous.const_data_ptr(), static_cast<std::size_t>(words), of.bytes};
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
  Tensor tensor = [&] {
    try {
      return torch::stable::empty(shape, type);
    } catch (const std::exception&) {  // the stable ABI does not pass PyTorch's message on
      std::int64_t elements = 1;
      for (const std::int64_t size : shape) elements *= size;
      throw std::runtime_error("there is no memory for a tensor of " + std::to_string(elements) +
                               " elements of " + torch::headeronly::toString(type));
    }
  }();
  advise_huge_pages(tensor.mutable_data_ptr(),
                    static_cast<std::uint64_t>(tensor.numel()) * tensor.element_size());
  return tensor;
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

Tensor written_tensor(std::uint64_t capacity,
                      const std::function<std::uint64_t(std::span<std::uint8_t>)>& write) {
  if (capacity == 0) return empty_tensor({static_cast<std::int64_t>(write({}))}, ScalarType::Byte);
  // Memory after what is written is never touched, so it costs nothing.
  Buffer buffer(static_cast<std::uint8_t*>(std::malloc(capacity)));
  if (buffer == nullptr) throw std::bad_alloc();
  advise_huge_pages(buffer.get(), capacity);
  const std::uint64_t bytes = write({buffer.get(), capacity});
  if (torch_from_blob != nullptr) {
    auto* shrunk = static_cast<std::uint8_t*>(std::realloc(buffer.get(), bytes));
    if (shrunk == nullptr) throw std::bad_alloc();
    static_cast<void>(buffer.release());
    return adopt(Buffer(shrunk), static_cast<std::int64_t>(bytes));
  }
  Tensor tensor = empty_tensor({static_cast<std::int64_t>(bytes)}, ScalarType::Byte);
  std::memcpy(tensor.mutable_data_ptr(), buffer.get(), bytes);
  return tensor;
}

ebpc::Executor torch_executor() {
  if (getpid() != loading_process) return {};
  return {torch::stable::get_num_threads(),
          [](std::size_t workers, const std::function<void()>& work) {
            torch::stable::parallel_for(0, static_cast<std::int64_t>(workers), 1,
                                        [&work](std::int64_t first, std::int64_t last) {
                                          for (; first < last; ++first) work();
                                        });
          }};
}

}  // namespace torch_ebpc
