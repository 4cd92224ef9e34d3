// Raw streams, which have no checksum: any of them decodes to words or is refused. Words that come
// out can be coded, and come back.

#include "ebpc/bit_stream.h"
#include "ebpc/codec.h"
#include "ebpc/error.h"
#include "fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ebpc;
  using namespace ebpc::fuzz;
  Input input;
  if (!input.read(data, size)) return 0;
  const int bytes_per_word = bytes_for_word(input.p.word_bits);
  Bytes memory(input.count * static_cast<std::size_t>(bytes_per_word));
  // Of the last byte, as many bits as the input likes.
  const auto bits = [&](std::span<const std::uint8_t> stream, int unused) {
    return 8 * stream.size() - (stream.empty() ? 0 : static_cast<std::size_t>(unused % 8));
  };
  // In memory of exactly that size, so that a step outside is noticed.
  const Bytes zero_stream(input.zero_stream.begin(), input.zero_stream.end());
  const Bytes plane_stream(input.plane_stream.begin(), input.plane_stream.end());
  try {
    decode(input.p, zero_stream, bits(zero_stream, input.free_bits), plane_stream,
           bits(plane_stream, input.free_bits >> 3), {memory.data(), input.count, bytes_per_word});
  } catch (const Error& error) {
    expect(error.code() == ErrorCode::format, "streams to be refused for their format");
    return 0;
  }
  Bytes zero_again;
  Bytes plane_again;
  const StreamBits coded =
      encode(input.p, {memory.data(), input.count, bytes_per_word}, zero_again, plane_again);
  Bytes back(memory.size());
  decode(input.p, zero_again, coded.zero, plane_again, coded.plane,
         {back.data(), input.count, bytes_per_word});
  expect(back == memory, "decoded words to come back");
  return 0;
}
