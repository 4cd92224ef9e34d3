#include "ebpc/hardware/limits.h"

#include <string>

#include "ebpc/error.h"

namespace ebpc::hardware {

const Parameters& checked(const Parameters& p) {
  validate(p);
  if (plane_bits(p) > widest_plane) {
    const int largest = widest_plane + p.block_size - plane_bits(p);
    throw Error(ErrorCode::argument, "block_size must be at most " + std::to_string(largest) +
                                         " for the hardware model, got " +
                                         std::to_string(p.block_size));
  }
  return p;
}

}  // namespace ebpc::hardware
