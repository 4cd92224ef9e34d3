#include "ebpc/hardware/inventory.h"

#include <algorithm>
#include <iomanip>
#include <sstream>

#include "ebpc/hardware/decoder.h"
#include "ebpc/hardware/encoder.h"
#include "ebpc/hardware/limits.h"
#include "ebpc/hardware/plane_code.h"

namespace ebpc::hardware {
namespace {

constexpr const char* closed_form =
    "L = max(W, N, 5 + log2 N, 3 + log2 W), the plane stream's longest code; z = log2 R;\n"
    "c(x) = bits that count to x. Logarithms are rounded up.\n"
    "encoder = 2 (N-1) (W+1)    deltas of two blocks\n"
    "        + 5 W + L + 2 z    two bases, the word before, zeros of a run, packers W+L and W+z+2\n"
    "        + c(N) + c(W+3) + c(W+L) + c(W+z+2) + 5    counters and flags\n"
    "decoder = 2 (N-1) W        planes of one block, deltas of another (modulo 2^W)\n"
    "        + 4 W + L + 2 z    base, next word, zeros of a run, unpackers W+L-1 and W+z\n"
    "        + 24 + c(N) + c(W+2) + c(W+L-1) + c(W+z) + 1    counters and flags\n";

struct CodeLengths {
  int plane;  // L
  int zero;   // z
};

CodeLengths code_lengths(const Parameters& p) {
  return {std::max(p.word_bits, PlaneCode(p).longest()), zero_run_bits(p)};
}

int bases(const Parameters& p) { return p.base == Base::sent ? 1 : 0; }

}  // namespace

std::string inventory_table(const RegisterBank& bank) {
  std::ostringstream out;
  const auto line = [&out](const std::string& unit, const std::string& name,
                           const std::string& shape, int bits) {
    out << std::left << std::setw(25) << unit << std::setw(17) << name << std::right << std::setw(8)
        << shape << std::setw(6) << bits << '\n';
  };
  const auto& groups = bank.groups();
  for (auto group = groups.begin(); group != groups.end();) {
    const std::string& unit = group->unit;
    int unit_bits = 0;
    for (; group != groups.end() && group->unit == unit; ++group) {
      const std::string shape =
          group->count == 1 ? ""
                            : std::to_string(group->count) + " x " + std::to_string(group->bits);
      line(unit, group->name, shape, group->total_bits());
      unit_bits += group->total_bits();
    }
    line("", "", "unit", unit_bits);
  }
  line("total", "", "", bank.total_bits());
  return out.str();
}

int encoder_register_bits(const Parameters& p) {
  const auto [L, z] = code_lengths(checked(p));
  const int W = p.word_bits;
  const int N = p.block_size;
  const int B = bases(p);
  return 2 * (N - B) * (W + 1) + (2 * B + 3) * W + L + 2 * z + bits_to_count(N) +
         bits_to_count(W + 2 + B) + bits_to_count(W + L) + bits_to_count(W + z + 2) + 5;
}

int decoder_register_bits(const Parameters& p) {
  const auto [L, z] = code_lengths(checked(p));
  const int W = p.word_bits;
  const int N = p.block_size;
  const int B = bases(p);
  return (2 * N - 1 - B) * W + (B + 3) * W + L + 2 * z + word_count_bits + bits_to_count(N) +
         bits_to_count(W + 1 + B) + bits_to_count(W + L - 1) + bits_to_count(W + z) + 1;
}

std::string growth_law() { return closed_form; }

std::string growth_table(int max_zero_run) {
  std::ostringstream out;
  out << "Register bits, R = " << max_zero_run << '\n'
      << closed_form << "\n  W    N  encoder  decoder\n";
  for (const int word_bits : {4, 8, 12, 16, 32}) {
    for (const int block_size : {4, 8, 16}) {
      const Parameters p{.word_bits = word_bits,
                         .is_signed = true,
                         .block_size = block_size,
                         .max_zero_run = max_zero_run,
                         .base = Base::sent};
      out << std::setw(3) << word_bits << std::setw(5) << block_size << std::setw(9)
          << Encoder(p).registers().total_bits() << std::setw(9)
          << Decoder(p).registers().total_bits() << '\n';
    }
  }
  return out.str();
}

}  // namespace ebpc::hardware
