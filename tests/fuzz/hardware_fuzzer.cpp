// The hardware model against the codec: the same streams from any words, the words back from them,
// and from any streams the words that the codec finds in them, or any others, but an end.

#include "ebpc/codec.h"
#include "ebpc/error.h"
#include "ebpc/hardware/limits.h"
#include "ebpc/hardware/simulation.h"
#include "fuzz_input.h"

namespace ebpc::fuzz {
namespace {

std::vector<std::uint32_t> patterns(const Parameters& p, WordSpan words) {
  std::vector<std::uint32_t> found;
  const std::uint32_t mask = ~std::uint32_t{0} >> (32 - p.word_bits);
  for (std::size_t i = 0; i < words.count; ++i) {
    found.push_back(static_cast<std::uint32_t>(word_at(p, words, i)) & mask);
  }
  return found;
}

void check_words(const Parameters& p, WordSpan words, const hardware::MemoryPort& memory) {
  Bytes zero;
  Bytes plane;
  const StreamBits bits = encode(p, words, zero, plane);
  const auto zero_words = hardware::stream_words(p, zero, bits.zero);
  const auto plane_words = hardware::stream_words(p, plane, bits.plane);
  const hardware::EncoderRun run = hardware::run_encoder(p, words, memory);
  expect(run.zero_stream == zero_words && run.plane_stream == plane_words,
         "the hardware encoder to write the codec's streams");
  const auto count = static_cast<std::uint32_t>(words.count);
  expect(
      hardware::run_decoder(p, zero_words, plane_words, count, memory).words == patterns(p, words),
      "the hardware decoder to give the words back");
}

void check_streams(const Input& input, const hardware::MemoryPort& memory) {
  const Parameters& p = input.p;
  const int bytes_per_word = bytes_for_word(p.word_bits);
  Bytes words(input.count * static_cast<std::size_t>(bytes_per_word));
  // By bytes, as containers are judged: what the last bytes have after the streams is padding.
  const DecodeJob job{input.zero_stream.data(),
                      input.zero_stream.size(),
                      input.plane_stream.data(),
                      input.plane_stream.size(),
                      {words.data(), input.count, bytes_per_word}};
  const bool valid = decode_portable(p, job).ok();
  try {
    const auto found =
        hardware::run_decoder(
            p, hardware::stream_words(p, input.zero_stream, 8 * input.zero_stream.size()),
            hardware::stream_words(p, input.plane_stream, 8 * input.plane_stream.size()),
            static_cast<std::uint32_t>(input.count), memory)
            .words;
    expect(!valid || found == patterns(p, {words.data(), input.count, bytes_per_word}),
           "the hardware decoder to find the codec's words");
  } catch (const Error& error) {
    expect(!valid && error.code() == ErrorCode::format, "only malformed streams to be refused");
  }
}

}  // namespace
}  // namespace ebpc::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ebpc;
  using namespace ebpc::fuzz;
  Input input;
  if (!input.read(data, size)) return 0;
  input.count %= 512;  // the model takes every cycle
  input.p.block_size = std::min(input.p.block_size, hardware::widest_plane);
  const hardware::MemoryPort memory{
      .bits_per_cycle = input.free_bits % 4 == 0 ? 0 : 8 << input.free_bits % 4,
      .burst_bytes = 16 << input.free_bits / 4 % 4,
      .fifo_words = 0};
  const int bytes_per_word = bytes_for_word(input.p.word_bits);
  const Bytes words = input.words(bytes_per_word);
  if (!words.empty()) {
    check_words(
        input.p,
        {words.data(), words.size() / static_cast<std::size_t>(bytes_per_word), bytes_per_word},
        memory);
  }
  if (input.count > 0) check_streams(input, memory);
  return 0;
}
