#include "torch/fingerprint.h"

#include <algorithm>
#include <bit>
#include <cstring>
#include <random>

namespace torch_ebpc {
namespace {

__extension__ using Product = unsigned __int128;

constexpr std::size_t lanes = 4;  // side by side: one multiplication does not wait for the other
constexpr std::size_t block_bytes = 16 * lanes;
using Keys = std::array<std::array<std::uint64_t, 2 * lanes>, 4>;  // by half and factor

const Keys keys = [] {
  std::random_device random;
  Keys result;
  for (auto& row : result) {
    for (std::uint64_t& key : row) key = std::uint64_t{random()} << 32 | random();
  }
  return result;
}();

std::uint64_t folded_product(std::uint64_t a, std::uint64_t b) {
  const Product product = Product{a} * b;
  return static_cast<std::uint64_t>(product >> 64) ^ static_cast<std::uint64_t>(product);
}

/// One to one for every `value`: states that differ stay different where the same bytes follow.
std::uint64_t mixed(std::uint64_t state, std::uint64_t value) {
  state = (state ^ value) * 0x9FB21C651E98DF25;
  return state ^ state >> 32;
}

/// The two halves of a fingerprint, in lanes.
struct State {
  std::array<std::array<std::uint64_t, lanes>, 2> halves{};

  void add(const std::uint8_t* block) {
    std::array<std::uint64_t, 2 * lanes> words;
    std::memcpy(words.data(), block, block_bytes);
    for (std::size_t i = 0; i < lanes; ++i) {
      const std::uint64_t a = words[2 * i];
      const std::uint64_t b = words[2 * i + 1];
      halves[0][i] = mixed(halves[0][i], folded_product(a ^ keys[0][i], b ^ keys[1][i]));
      halves[1][i] = mixed(halves[1][i], folded_product(a ^ keys[2][i], b ^ keys[3][i]));
    }
  }
};

}  // namespace

std::array<std::uint64_t, 2> fingerprint(std::span<const std::uint8_t> bytes) {
  State state;
  std::size_t at = 0;
  for (; at + block_bytes <= bytes.size(); at += block_bytes) state.add(bytes.data() + at);
  std::array<std::uint8_t, block_bytes> last{};
  std::copy(bytes.begin() + static_cast<std::ptrdiff_t>(at), bytes.end(), last.begin());
  state.add(last.data());
  std::array<std::uint64_t, 2> result{bytes.size(), bytes.size()};
  for (std::size_t half = 0; half < 2; ++half) {
    for (std::size_t i = 0; i < lanes; ++i) {
      result[half] =
          mixed(result[half], folded_product(state.halves[half][i] ^ keys[half][lanes + i],
                                             keys[2 + half][lanes + i] | 1));
    }
  }
  return result;
}

}  // namespace torch_ebpc
