#include "ebpc/hardware/limits.h"

#include <string>

#include "ebpc/error.h"

namespace ebpc::hardware {

const Parameters& checked(const Parameters& p) {
  validate(p);
  if (p.base != Base::sent) {
    throw Error(ErrorCode::argument, "base must be sent for the hardware model, got reused");
  }
  if (p.block_size > widest_block) {
    throw Error(ErrorCode::argument, "block_size must be at most " + std::to_string(widest_block) +
                                         " for the hardware model, got " +
                                         std::to_string(p.block_size));
  }
  return p;
}

}  // namespace ebpc::hardware
