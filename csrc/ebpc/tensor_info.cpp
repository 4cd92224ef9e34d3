#include "ebpc/tensor_info.h"

#include <algorithm>
#include <array>
#include <limits>
#include <string>

#include "ebpc/error.h"

namespace ebpc {

const DTypeTraits& traits(DType dtype) {
  static constexpr std::array<DTypeTraits, dtype_count> all{{
      {"int8", 1, true, false, false},
      {"uint8", 1, false, false, false},
      {"int16", 2, true, false, false},
      {"uint16", 2, false, false, false},
      {"int32", 4, true, false, false},
      {"float16", 2, true, true, true},
      {"bfloat16", 2, true, true, true},
      {"float32", 4, true, true, true},
      {"bool", 1, false, true, false},
      {"uint32", 4, false, false, false},
      {"int64", 4, true, true, false, 2},
      {"uint64", 4, false, true, false, 2},
      {"float64", 4, true, true, true, 2},
      {"float8_e4m3fn", 1, true, true, true},
      {"float8_e5m2", 1, true, true, true},
      {"float8_e4m3fnuz", 1, true, true, false},  // the word of a negative zero is NaN
      {"float8_e5m2fnuz", 1, true, true, false},
      {"complex32", 2, true, true, true, 2},
      {"complex64", 4, true, true, true, 2},
      {"complex128", 4, true, true, true, 4},
  }};
  return all.at(static_cast<std::size_t>(dtype));
}

std::uint64_t word_count(const TensorInfo& tensor) {
  if (tensor.shape.size() > max_dims) {
    throw Error(ErrorCode::argument, "shape must have at most " + std::to_string(max_dims) +
                                         " dimensions, got " + std::to_string(tensor.shape.size()));
  }
  const auto limit = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  bool is_empty = false;
  bool is_too_large = false;
  std::uint64_t words =
      1;  // with 1 for sizes of zero: an empty tensor's strides have to fit as well
  for (const std::int64_t size : tensor.shape) {
    if (size < 0) {
      throw Error(ErrorCode::argument,
                  "shape must have no negative size, got " + std::to_string(size));
    }
    is_empty = is_empty || size == 0;
    const auto factor = static_cast<std::uint64_t>(std::max<std::int64_t>(size, 1));
    is_too_large = is_too_large || words > limit / factor;
    words *= factor;
  }
  const DTypeTraits& of = traits(tensor.dtype);
  const auto element_words = static_cast<std::uint64_t>(of.words_per_element);
  const std::uint64_t element_bytes = element_words * static_cast<std::uint64_t>(of.bytes);
  if (is_too_large || (!is_empty && words > limit / element_bytes)) {
    throw Error(ErrorCode::argument, "shape must describe less than 2^63 bytes, got more");
  }
  return is_empty ? 0 : words * element_words;
}

void check_parameters(DType dtype, const Parameters& p) {
  validate(p);
  const DTypeTraits& of = traits(dtype);
  const int width = 8 * of.bytes;
  if (of.all_bits ? p.word_bits != width : p.word_bits > width) {
    throw Error(ErrorCode::argument, std::string("word_bits must be ") +
                                         (of.all_bits ? "" : "at most ") + std::to_string(width) +
                                         " for " + std::string(of.name) + ", got " +
                                         std::to_string(p.word_bits));
  }
  if (p.is_signed != of.is_signed) {
    throw Error(ErrorCode::argument, std::string("words of ") + std::string(of.name) + " must be " +
                                         (of.is_signed ? "signed" : "unsigned"));
  }
}

Parameters parameters_for(DType dtype, int word_bits, int block_size, int max_zero_run, Base base,
                          std::int64_t zero) {
  const Parameters p{word_bits == 0 ? 8 * traits(dtype).bytes : word_bits,
                     traits(dtype).is_signed,
                     block_size,
                     max_zero_run,
                     base,
                     zero};
  check_parameters(dtype, p);
  return p;
}

}  // namespace ebpc
