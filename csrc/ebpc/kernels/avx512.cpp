// The AVX-512 kernel: see avx512_encode.cpp and avx512_decode.cpp.
//
// The avx512*.cpp files are compiled with
//   -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512cd -mavx512vbmi -mavx512vbmi2 -mavx512bitalg
//   -mavx512vpopcntdq -mgfni -mvpclmulqdq -mpclmul -mbmi -mbmi2 -mlzcnt -mpopcnt
// and run only where dispatch.cpp finds all of these.

#include "ebpc/kernels/avx512.h"

namespace ebpc {
namespace {

// Other zero words than 0 and plain bit-plane compression are AVX2's, which every CPU with these
// instructions has.

StreamBits encode(const Parameters& p, WordSpan words, std::uint8_t* zero_stream,
                  std::uint8_t* plane_stream) {
  return p.zero == 0 ? avx512::encode(p, words, zero_stream, plane_stream)
                     : avx2_kernel.encode(p, words, zero_stream, plane_stream);
}

StreamBits count(const Parameters& p, WordSpan words) {
  return p.zero == 0 ? avx512::count(p, words) : avx2_kernel.count(p, words);
}

std::uint64_t encode_bpc(const Parameters& p, WordSpan words, std::uint8_t* plane_stream) {
  return avx2_kernel.encode_bpc(p, words, plane_stream);
}

std::uint64_t count_bpc(const Parameters& p, WordSpan words) {
  return avx2_kernel.count_bpc(p, words);
}

std::size_t decode(const Parameters& p, std::span<const DecodeJob> jobs) {
  return p.zero == 0 ? avx512::decode(p, jobs) : avx2_kernel.decode(p, jobs);
}

}  // namespace

const Kernel avx512_kernel{"avx512", encode, count, encode_bpc, count_bpc, decode, avx512::crc32c};

}  // namespace ebpc
