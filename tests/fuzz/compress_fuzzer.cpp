// Any words with any parameters: they come back, the container is not larger than promised, and the
// encoder that takes pieces writes the same one.

#include "ebpc/container.h"
#include "ebpc/container_stream.h"
#include "fuzz_input.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ebpc;
  using namespace ebpc::fuzz;
  Input input;
  if (!input.read(data, size)) return 0;
  // The integer dtype of these words, or the floating-point one that is coded like them.
  const bool floating = input.p.is_signed && input.free_bits % 2 == 1;
  const DType dtype = input.p.word_bits <= 8    ? (input.p.is_signed ? DType::int8 : DType::uint8)
                      : input.p.word_bits <= 16 ? (!input.p.is_signed ? DType::uint16
                                                   : floating         ? DType::bfloat16
                                                                      : DType::int16)
                                                : (floating ? DType::float32 : DType::int32);
  const DTypeTraits& of = traits(dtype);
  input.p.is_signed = of.is_signed;
  if (of.is_floating) input.p.word_bits = 8 * of.bytes;

  // The same words again and again, so that small inputs reach several segments.
  const Bytes some = input.words(of.bytes);
  Bytes memory;
  for (int i = 0; i <= input.free_bits && memory.size() < 20'000; ++i) {
    memory.insert(memory.end(), some.begin(), some.end());
  }
  const std::uint64_t words = memory.size() / static_cast<std::uint64_t>(of.bytes);
  const TensorInfo tensor{dtype, MemoryFormat::contiguous, {static_cast<std::int64_t>(words)}};
  Bytes container(max_compressed_bytes(tensor));
  expect(100 * container.size() <= 101 * memory.size() + 25'600,
         "the bound to be the tensor, 1 % and 256 bytes");
  container.resize(compress(tensor, input.p, memory.data(), container));

  Bytes back(memory.size());
  decompress(container, back.data(), back.size());
  expect(back == memory, "words to come back");

  ContainerEncoder encoder(tensor, input.p);
  Bytes payload;
  const WordSpan all{memory.data(), words, of.bytes};
  const std::size_t cut = words == 0 ? 0 : input.count % words;
  encoder.push(all.part(0, cut), payload);
  encoder.push(all.part(cut, words - cut), payload);
  Bytes streamed = encoder.finish();
  streamed.insert(streamed.end(), payload.begin(), payload.end());
  expect(streamed == container, "the encoder to write the bytes of compress");
  return 0;
}
