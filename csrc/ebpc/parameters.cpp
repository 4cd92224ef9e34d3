#include "ebpc/parameters.h"

#include <algorithm>
#include <string>

#include "ebpc/error.h"

namespace ebpc {
namespace {

void check_range(const char* name, std::int64_t value, std::int64_t low, std::int64_t high) {
  if (value < low || value > high) {
    throw Error(ErrorCode::argument, std::string(name) + " must be from " + std::to_string(low) +
                                         " to " + std::to_string(high) + ", got " +
                                         std::to_string(value));
  }
}

}  // namespace

void validate(const Parameters& p) {
  check_range("word_bits", p.word_bits, min_word_bits, max_word_bits);
  check_range("block_size", p.block_size, min_block_size, max_block_size);
  check_range("max_zero_run", p.max_zero_run, min_max_zero_run, max_max_zero_run);
  if (!std::has_single_bit(static_cast<unsigned>(p.max_zero_run))) {
    throw Error(ErrorCode::argument,
                "max_zero_run must be a power of two, got " + std::to_string(p.max_zero_run));
  }
  check_range("zero", p.zero, min_word(p), max_word(p));
}

std::uint64_t max_zero_stream_bits(const Parameters& p, std::uint64_t words) {
  // Runs of one zero between single non-zero words cost the most.
  const std::uint64_t runs = words / 2 + words % 2;
  return runs * static_cast<std::uint64_t>(1 + zero_run_bits(p)) + words / 2;
}

std::uint64_t max_plane_stream_bits(const Parameters& p, std::uint64_t words) {
  const auto block_size = static_cast<std::uint64_t>(p.block_size);
  const std::uint64_t blocks = words / block_size + (words % block_size != 0);
  const int longest_symbol =
      std::max(1 + plane_bits(p), 5 + log2_ceil(static_cast<std::uint32_t>(p.block_size)));
  const int base_bits = p.base == Base::sent ? p.word_bits : 0;
  return blocks * static_cast<std::uint64_t>(base_bits + plane_count(p) * longest_symbol);
}

}  // namespace ebpc
