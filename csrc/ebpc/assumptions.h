// What the code takes for granted of the machine, so that a compiler for another one says no.
//
// Not assumed: the byte order (the container and its raw segments are little-endian everywhere),
// IEC 559 floating point (words are bit patterns) and that memory may be read unaligned. C++20
// itself promises two's complement and arithmetic right shifts.

#pragma once

#include <bit>
#include <climits>
#include <cstddef>
#include <cstdint>

namespace ebpc {

static_assert(CHAR_BIT == 8, "streams are made of bytes of 8 bits");
static_assert(sizeof(std::size_t) == 8 && sizeof(void*) == 8,
              "sizes of tensors and containers are counted in 64 bits: a 64-bit machine is needed");
static_assert(sizeof(int) == 4, "words of up to 32 bits and their shifts are held in int");
static_assert(std::endian::native == std::endian::little || std::endian::native == std::endian::big,
              "bytes are swapped between two orders, not more");

}  // namespace ebpc
