// The register inventory as text, and how it grows with W and N.

#pragma once

#include <string>

#include "ebpc/hardware/register.h"
#include "ebpc/parameters.h"

namespace ebpc::hardware {

/// One line for each group of registers, with a sum for each unit and the total, in bits.
std::string inventory_table(const RegisterBank& bank);

/// The bits of all registers in closed form; equal to what the bank of a design counts.
int encoder_register_bits(const Parameters& p);
int decoder_register_bits(const Parameters& p);

/// The closed form in words and symbols, several lines of text.
std::string growth_law();

/// Counted bits of encoder and decoder for W = 4, 8, 12, 16, 32 and N = 4, 8, 16 at this R, with
/// the closed form above the table.
std::string growth_table(int max_zero_run = 16);

}  // namespace ebpc::hardware
