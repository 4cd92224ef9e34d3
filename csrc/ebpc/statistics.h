// What a transmission is made of: symbols, zero runs, bursts of non-zero words and deltas, as the
// encoder itself sees them.

#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "ebpc/observer.h"
#include "ebpc/parameters.h"
#include "ebpc/words.h"

namespace ebpc {

/// Bursts of non-zero words are counted by length up to this one, which stands for longer ones too.
inline constexpr std::size_t longest_burst = 64;

/// Deltas are counted by the bits of their magnitude: 0, 1, 2 to 3, 4 to 7, and so on to W bits.
inline constexpr std::size_t delta_bins = max_word_bits + 1;

struct Statistics {
  std::uint64_t words = 0;
  std::uint64_t nonzero_words = 0;
  std::uint64_t blocks = 0;
  std::array<std::uint64_t, plane_symbol_count> symbols{};  // codes, by PlaneSymbol
  std::array<std::uint64_t, plane_symbol_count> planes{};   // bit planes that they stand for
  std::vector<std::uint64_t> zero_runs;  // [i]: symbols of i + 1 zero words; max_zero_run of them
  std::array<std::uint64_t, longest_burst> bursts{};  // [i]: of i + 1 non-zero words side by side
  std::array<std::uint64_t, delta_bins> deltas{};     // [i]: magnitudes of i bits

  /// Adds those of other words with the same parameters.
  Statistics& operator+=(const Statistics& other);
  friend bool operator==(const Statistics&, const Statistics&) = default;
};

/// The statistics of one transmission. The words that fill up the last block count with its
/// planes and deltas, but not as words. Throws as ebpc::encode.
Statistics collect_statistics(const Parameters& p, WordSpan words);

}  // namespace ebpc
