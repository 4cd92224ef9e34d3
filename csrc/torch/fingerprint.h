// What stands for bytes where they are to be found again without being kept.

#pragma once

#include <array>
#include <cstdint>
#include <span>

namespace torch_ebpc {

/// 128 bits that are the same for the same bytes, at about the speed of memory. Other bytes have
/// the same ones with a probability of about 2^-128. Keyed anew in every process, so that no data
/// are worse than others, and of no use outside of it.
std::array<std::uint64_t, 2> fingerprint(std::span<const std::uint8_t> bytes);

}  // namespace torch_ebpc
