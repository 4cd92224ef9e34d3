// What fuzzers have found, so that it stays mended.

#include <string>

#include "ebpc/kernels/dispatch.h"
#include "support/test_data.h"

namespace ebpc::test {
namespace {

Bytes bytes_of_bits(const std::string& bits) {
  Bytes bytes((bits.size() + 7) / 8);
  for (std::size_t i = 0; i < bits.size(); ++i) {
    if (bits[i] == '1') bytes[i / 8] |= static_cast<std::uint8_t>(0x80 >> (i % 8));
  }
  return bytes;
}

// Behind seven uncompressed planes and at this bit of a byte, only the first three bits of a run
// were looked at, and a run past the top plane was taken for one of two planes.
TEST(FuzzFinding, ARunPastTheTopPlaneIsNoticedAtEveryBitOfAByte) {
  const Parameters p;  // W = 8, N = 8
  const std::string first =
      "00000101"
      "00000"
      "001110";  // 19 bits: moves what follows by three
  for (std::size_t blocks = 0; blocks < 8; ++blocks) {
    for (const std::string run : {"001000", "001001", "001011", "001111"}) {
      std::string bits;
      for (std::size_t i = 0; i < blocks; ++i) bits += first;
      bits += "00000001";
      for (int i = 0; i < 7; ++i) bits += "11010110";
      bits += run;
      const Bytes plane_stream = bytes_of_bits(bits);
      const Bytes zero_stream(blocks + 1, 0xFF);  // no zeros
      for (const Kernel* kernel : supported_kernels()) {
        SCOPED_TRACE(std::string(kernel->name) + " " + run + " after " + std::to_string(blocks));
        Bytes words(8 * (blocks + 1));
        const DecodeJob job{zero_stream.data(),
                            zero_stream.size(),
                            plane_stream.data(),
                            plane_stream.size(),
                            {words.data(), words.size(), 1}};
        EXPECT_EQ(decode_jobs(*kernel, p, {&job, 1}).status.ok(), run == "001000");
      }
    }
  }
}

}  // namespace
}  // namespace ebpc::test
