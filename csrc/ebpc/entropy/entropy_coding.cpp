#include "ebpc/entropy/entropy_coding.h"

#include <algorithm>

#include "ebpc/bit_stream.h"
#include "ebpc/zero_stream.h"

namespace ebpc {
namespace {

constexpr Parameters run_parameters{.max_zero_run = entropy_max_run};

template <class Sink>
std::uint64_t put_runs(std::span<const std::uint64_t> masks, std::size_t words, Sink sink) {
  ZeroEncoder encoder(run_parameters, sink);
  for (std::size_t i = 0; 64 * i < words; ++i) {
    encoder.push(masks[i], static_cast<int>(std::min<std::size_t>(64, words - 64 * i)));
  }
  encoder.finish();
  return bytes_for_bits(sink.bits());
}

}  // namespace

const EntropyKernel& entropy_kernel(const Kernel& kernel) {
#ifdef EBPC_HAVE_X86_KERNELS
  if (&kernel == &avx512_kernel) return avx512_entropy_kernel;
  if (&kernel == &avx2_kernel) return avx2_entropy_kernel;
#endif
  (void)kernel;
  return portable_entropy_kernel;
}

std::uint64_t run_bytes(std::span<const std::uint64_t> masks, std::size_t words) {
  return put_runs(masks, words, BitCounter());
}

void write_runs(std::span<const std::uint64_t> masks, std::size_t words, std::uint8_t* out) {
  put_runs(masks, words, BitWriter(out));
}

DecodeStatus read_runs(const std::uint8_t* bytes, std::size_t byte_count, std::size_t words,
                       std::uint64_t* masks) {
  std::fill_n(masks, (words + 63) / 64, 0);
  ZeroDecoder decoder(run_parameters, bytes, byte_count);
  for (std::size_t word = 0; word < words;) {
    const std::uint64_t bit = decoder.reader().position();
    const ZeroDecoder::Stretch stretch = decoder.next(words - word);
    if (decoder.reader().overrun()) return {"more bits", "the end of the stream", false, bit};
    if (stretch.length > words - word) {
      return {"a run within the words that are left", "a longer run", false, bit};
    }
    const std::size_t end = word + stretch.length;
    for (; word < end && !stretch.zero; ++word) masks[word / 64] |= std::uint64_t{1} << word % 64;
    word = end;
  }
  return check_end(decoder.reader(), byte_count, false);
}

}  // namespace ebpc
