// Every kernel that this CPU runs against the plain encoder, and against the portable kernel's
// verdict: the same streams from any words, and the same words or verdict from any streams.

#include <algorithm>

#include "ebpc/bit_stream.h"
#include "ebpc/encoder.h"
#include "ebpc/kernels/dispatch.h"
#include "fuzz_input.h"

namespace ebpc::fuzz {
namespace {

struct Coded {
  StreamBits bits;
  Bytes zero;
  Bytes plane;
};

Coded encoded_plainly(const Parameters& p, WordSpan words) {
  Coded coded;
  coded.bits = code_transmission(p, words, BitCounter(), BitCounter());
  coded.zero.resize(bytes_for_bits(coded.bits.zero));
  coded.plane.resize(bytes_for_bits(coded.bits.plane));
  code_transmission(p, words, BitWriter(coded.zero.data()), BitWriter(coded.plane.data()));
  return coded;
}

/// Of all words, with the codes of plain bit-plane compression.
void check_bpc(const Kernel& kernel, const Parameters& p, WordSpan words) {
  const std::uint64_t bits = code_all_words(p, isca2016_codes, words, BitCounter());
  Bytes expected(bytes_for_bits(bits));
  code_all_words(p, isca2016_codes, words, BitWriter(expected.data()));
  Bytes stream(expected.size() + kernel_slack_bytes);
  expect(kernel.count_bpc(p, words) == bits, "the plain encoder's count");
  expect(kernel.encode_bpc(p, words, stream.data()) == bits, "the plain encoder's bits");
  expect(std::equal(expected.begin(), expected.end(), stream.begin()),
         "the plain encoder's stream");
}

Coded encoded(const Kernel& kernel, const Parameters& p, WordSpan words) {
  Coded coded;
  coded.bits = kernel.count(p, words);
  coded.zero.resize(bytes_for_bits(coded.bits.zero) + kernel_slack_bytes);
  coded.plane.resize(bytes_for_bits(coded.bits.plane) + kernel_slack_bytes);
  const StreamBits written = kernel.encode(p, words, coded.zero.data(), coded.plane.data());
  expect(written == coded.bits, "encode and count to agree");
  coded.zero.resize(bytes_for_bits(coded.bits.zero));
  coded.plane.resize(bytes_for_bits(coded.bits.plane));
  return coded;
}

/// Decodes jobs of the same streams, each into memory of its own: kernels take several in turns.
struct Decoded {
  JobStatus status;
  std::vector<Bytes> words;
};

Decoded decoded(const Kernel& kernel, const Parameters& p, const std::vector<Coded>& streams,
                std::size_t count) {
  const int bytes_per_word = bytes_for_word(p.word_bits);
  Decoded result;
  result.words.assign(streams.size(), Bytes(count * static_cast<std::size_t>(bytes_per_word)));
  std::vector<DecodeJob> jobs;
  for (std::size_t i = 0; i < streams.size(); ++i) {
    jobs.push_back({streams[i].zero.data(),
                    streams[i].zero.size(),
                    streams[i].plane.data(),
                    streams[i].plane.size(),
                    {result.words[i].data(), count, bytes_per_word}});
  }
  result.status = decode_jobs(kernel, p, jobs);
  return result;
}

void expect_same(const Decoded& a, const Decoded& b) {
  expect(a.status.job == b.status.job, "the same job to fail");
  for (std::size_t i = 0; i < a.status.job; ++i) {
    expect(a.words[i] == b.words[i], "the same words");
  }
}

}  // namespace
}  // namespace ebpc::fuzz

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace ebpc;
  using namespace ebpc::fuzz;
  Input input;
  if (!input.read(data, size)) return 0;
  if (input.free_bits >= 56) input.p.max_zero_run = 1;  // a mask
  const int bytes_per_word = bytes_for_word(input.p.word_bits);
  const Bytes memory = input.words(bytes_per_word);
  const std::size_t count = memory.size() / static_cast<std::size_t>(bytes_per_word);
  const WordSpan words{memory.data(), count, bytes_per_word};
  const Coded expected = encoded_plainly(input.p, words);

  Coded any;
  any.zero.assign(input.zero_stream.begin(), input.zero_stream.end());
  any.plane.assign(input.plane_stream.begin(), input.plane_stream.end());
  // Jobs that are well-formed beside one of any bytes.
  std::vector<Coded> jobs(1 + input.free_bits % 8, expected);
  const Decoded back = decoded(portable_kernel, input.p, jobs, count);
  expect(back.status.status.ok() && back.words[0] == memory, "words to come back");
  jobs.insert(jobs.begin() + input.free_bits % 3 % static_cast<int>(jobs.size()), any);
  const Decoded mixed = decoded(portable_kernel, input.p, jobs, count);
  const Decoded alone = decoded(portable_kernel, input.p, {any}, input.count);

  for (const Kernel* kernel : supported_kernels()) {
    const Coded coded = encoded(*kernel, input.p, words);
    check_bpc(*kernel, input.p, words);
    expect(
        coded.bits == expected.bits && coded.zero == expected.zero && coded.plane == expected.plane,
        "the same streams");
    expect_same(decoded(*kernel, input.p, jobs, count), mixed);
    expect_same(decoded(*kernel, input.p, {any}, input.count), alone);
    expect(kernel->crc32c(input.free_bits, data, size) ==
               portable_kernel.crc32c(input.free_bits, data, size),
           "the same checksum");
  }
  return 0;
}
