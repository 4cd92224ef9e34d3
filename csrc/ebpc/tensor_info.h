// What a container says about the tensor inside it: dtype, shape, memory format.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

#include "ebpc/parameters.h"

namespace ebpc {

/// The values are part of the container's format.
enum class DType : std::uint8_t {
  int8 = 0,
  uint8 = 1,
  int16 = 2,
  uint16 = 3,
  int32 = 4,
  float16 = 5,
  bfloat16 = 6,
  float32 = 7,
  // From here on since version 3 of the container.
  boolean = 8,
  uint32 = 9,
  int64 = 10,
  uint64 = 11,
  float64 = 12,
  float8_e4m3fn = 13,
  float8_e5m2 = 14,
  float8_e4m3fnuz = 15,
  float8_e5m2fnuz = 16,
  complex32 = 17,
  complex64 = 18,
  complex128 = 19,
};
inline constexpr int dtype_count = 20;
inline constexpr int dtypes_before_version_3 = 8;

/// An element is one word or several: of 64-bit integers and floating-point numbers the less
/// significant half first, of complex numbers the real part first. So an array of elements in
/// memory is one of words on little-endian machines, and of one-word elements on all.
struct DTypeTraits {
  std::string_view name;
  int bytes;               // of one word in memory
  bool is_signed;          // as words: floating-point patterns are two's complement integers
  bool all_bits;           // word_bits is the width of a word: bits are no integer's to leave out
  bool has_negative_zero;  // the word whose top bit alone is set counts as zero too
  int words_per_element = 1;
};

const DTypeTraits& traits(DType dtype);

/// The values are part of the container's format. Words are always coded in the tensor's logical
/// (row-major) order; this says how the tensor is laid out in memory again.
enum class MemoryFormat : std::uint8_t { contiguous = 0, channels_last = 1, channels_last_3d = 2 };
inline constexpr int memory_format_count = 3;

/// More dimensions would not fit into the 260 bytes that a container may add to a tensor.
inline constexpr std::size_t max_dims = 24;

struct TensorInfo {
  DType dtype = DType::int8;
  MemoryFormat memory_format = MemoryFormat::contiguous;
  std::vector<std::int64_t> shape;

  friend bool operator==(const TensorInfo&, const TensorInfo&) = default;
};

/// The number of words, which is that of the elements times traits(dtype).words_per_element. Throws
/// Error(argument) if a size is negative, there are more than max_dims dimensions, the tensor's
/// bytes do not fit into 63 bits, or, if it is empty, its other sizes' product does not.
std::uint64_t word_count(const TensorInfo& tensor);

/// The parameters for words of this dtype: word_bits 0 stands for the dtype's width. Throws
/// Error(argument) if they are out of range or do not go with the dtype.
Parameters parameters_for(DType dtype, int word_bits, int block_size, int max_zero_run, Base base,
                          std::int64_t zero = 0);

/// Throws Error(argument) if p is out of range or does not go with the dtype.
void check_parameters(DType dtype, const Parameters& p);

}  // namespace ebpc
