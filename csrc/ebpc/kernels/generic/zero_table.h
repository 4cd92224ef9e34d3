// A table for the zero stream in the default setting.

#pragma once

#include <cstdint>

namespace ebpc {

/// What eight words add to the stream where max_zero_run is 16, the default.
struct ZeroTable {
  static constexpr std::uint32_t max_run = 16;
  static constexpr int run_symbol_bits = 5;

  /// [zeros pending << 8 | mask of the non-zero words]: the code, up to 24 bits; then in 3 bits the
  /// zeros pending behind it unless all words are zero; then in 5 the number of bits of the code.
  std::uint32_t entries[max_run << 8];

  static constexpr std::uint32_t code(std::uint32_t entry) { return entry >> 8; }
  static constexpr std::uint32_t pending(std::uint32_t entry) { return entry >> 5 & 7; }
  static constexpr std::uint32_t bits(std::uint32_t entry) { return entry & 31; }
};

inline constexpr ZeroTable zero_table = [] {
  ZeroTable table{};
  for (std::uint32_t index = 0; index < ZeroTable::max_run << 8; ++index) {
    std::uint32_t code = 0;
    std::uint32_t length = 0;
    std::uint32_t run = index >> 8;
    for (int i = 0; i < 8; ++i) {
      const bool nonzero = (index >> i & 1) != 0;
      run += !nonzero;
      if (run == ZeroTable::max_run || (nonzero && run > 0)) {
        code = code << ZeroTable::run_symbol_bits | (run - 1);
        length += ZeroTable::run_symbol_bits;
        run = 0;
      }
      if (nonzero) {
        code = code << 1 | 1;
        ++length;
      }
    }
    table.entries[index] = code << 8 | (run & 7) << 5 | length;
  }
  return table;
}();

}  // namespace ebpc
