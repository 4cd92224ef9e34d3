// Every way in which the codec says no, in one list.

#pragma once

#include <stdexcept>
#include <string>

namespace ebpc {

enum class ErrorCode {
  argument,  // a parameter or size that the caller chose is out of its range
  format,    // bytes given to a decoder are not a valid container or stream
  checksum,  // bytes given to a decoder have changed since they were written
  limit,     // a valid container asks for more memory than the caller allows
};

/// The only exception that the codec throws (besides std::bad_alloc). The message names the
/// argument or the byte, what was expected and what was found.
class Error : public std::runtime_error {
 public:
  Error(ErrorCode code, const std::string& message) : std::runtime_error(message), code_(code) {}

  ErrorCode code() const noexcept { return code_; }

 private:
  ErrorCode code_;
};

}  // namespace ebpc
