// Counts what this program allocates.

#pragma once

#include <cstddef>

namespace ebpc::test {

/// The bytes that this thread has asked `new` for so far.
std::size_t allocated_bytes();

}  // namespace ebpc::test
