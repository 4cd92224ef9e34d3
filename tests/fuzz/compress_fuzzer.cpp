// Any words with any parameters, or with those that segments choose: they come back, the container
// is not larger than promised, and the encoder that takes pieces writes the same one. A container
// whose segments choose is not larger than one with any of their choices for all.

#include "ebpc/container.h"
#include "ebpc/container_reader.h"
#include "ebpc/container_stream.h"
#include "ebpc/segment_coding.h"
#include "fuzz_input.h"

namespace ebpc::fuzz {
namespace {

/// Returns the container.
Bytes check(const ContainerCode& code, const TensorInfo& tensor, const Bytes& memory,
            std::size_t cut) {
  Bytes container(max_compressed_bytes(tensor));
  expect(100 * container.size() <= 101 * memory.size() + 26'000,
         "the bound to be the tensor, 1 % and 260 bytes");
  container.resize(compress(tensor, code, memory.data(), container));

  Bytes back(memory.size());
  ContainerReader(container).read(back.data(), back.size());
  expect(back == memory, "words to come back");

  ContainerEncoder encoder(tensor, code);
  Bytes payload;
  const std::uint64_t words = word_count(tensor);
  const WordSpan all{memory.data(), words, traits(tensor.dtype).bytes};
  encoder.push(all.part(0, cut), payload);
  encoder.push(all.part(cut, words - cut), payload);
  Bytes streamed = encoder.finish();
  streamed.insert(streamed.end(), payload.begin(), payload.end());
  expect(streamed == container, "the encoder to write the bytes of compress");
  return container;
}

}  // namespace
}  // namespace ebpc::fuzz

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
  if (of.all_bits) input.p.word_bits = 8 * of.bytes;
  input.p.zero =
      extended_word(static_cast<std::uint64_t>(input.p.zero), input.p.word_bits, input.p.is_signed);

  // The same words again and again, so that small inputs reach several segments.
  const Bytes some = input.words(of.bytes);
  Bytes memory;
  for (int i = 0; i <= input.free_bits && memory.size() < 20'000; ++i) {
    memory.insert(memory.end(), some.begin(), some.end());
  }
  const std::uint64_t words = memory.size() / static_cast<std::uint64_t>(of.bytes);
  const TensorInfo tensor{dtype, MemoryFormat::contiguous, {static_cast<std::int64_t>(words)}};
  const std::size_t cut = words == 0 ? 0 : input.count % words;
  const ContainerCode code{Codec::ebpc, input.p};
  check(code, tensor, memory, cut);
  check(with_suitable_zero(dtype, code, {memory.data(), words, of.bytes}), tensor, memory, cut);

  Parameters p;
  p.word_bits = input.p.word_bits;
  p.is_signed = input.p.is_signed;
  p.zero = input.p.zero;
  const Bytes chosen = check({Codec::automatic, p}, tensor, memory, cut);
  const SegmentCoding coding{ZeroCoding::runs_256, input.free_bits % 2 == 0
                                                       ? PlaneCoding::blocks_15
                                                       : PlaneCoding::blocks_63};
  const Bytes fixed = check({Codec::ebpc, coding.parameters(p)}, tensor, memory, cut);
  // Of few words, all of them are counted; the header of version 3 is 8 bytes longer.
  expect(words > 900 || chosen.size() <= fixed.size() + 8, "the chosen codings to be the smallest");
  return 0;
}
