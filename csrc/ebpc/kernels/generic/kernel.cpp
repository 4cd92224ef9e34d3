// The portable kernel: plain C++, any CPU, any settings. The other kernels are tested against it,
// and it is tested against the golden streams.

#include "ebpc/kernels/kernel.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "ebpc/bit_stream.h"
#include "ebpc/encoder.h"
#include "ebpc/kernels/generic/decode.h"
#include "ebpc/kernels/generic/encode.h"
#include "ebpc/kernels/generic/pack_words.h"
#include "ebpc/kernels/generic/quantize.h"
#include "ebpc/kernels/generic/vectors.h"
#include "ebpc/plane_decoder.h"
#include "ebpc/plane_stream.h"
#include "ebpc/zero_stream.h"

namespace ebpc {
namespace generic {
namespace {

StreamBits encode(const Parameters& p, WordSpan words, std::uint8_t* zero_stream,
                  std::uint8_t* plane_stream) {
  if (plane_bits(p) == 64)
    return code_transmission(p, words, BitWriter(zero_stream), BitWriter(plane_stream));
  return encode_any_segment(p, words, zero_stream, plane_stream);
}

StreamBits count(const Parameters& p, WordSpan words) {
  if (plane_bits(p) == 64) return code_transmission(p, words, BitCounter(), BitCounter());
  return count_any_segment(p, words);
}

std::uint64_t encode_bpc(const Parameters& p, WordSpan words, std::uint8_t* plane_stream) {
  if (plane_bits(p) == 64) return code_all_words(p, isca2016_codes, words, BitWriter(plane_stream));
  return encode_any_bpc(p, words, plane_stream);
}

std::uint64_t count_bpc(const Parameters& p, WordSpan words) {
  if (plane_bits(p) == 64) return code_all_words(p, isca2016_codes, words, BitCounter());
  return count_any_bpc(p, words);
}

template <class Word>
DecodeStatus decode_words(const Parameters& p, const DecodeJob& job, StreamBits& taken) {
  ZeroDecoder zeros(p, job.zero_stream, job.zero_bytes);
  PlaneDecoder planes(p, ebpc_codes, job.plane_stream, job.plane_bytes);
  std::array<std::int64_t, max_block_size> block;
  int used = p.block_size;  // words of the block that have been handed out
  Word* out = static_cast<Word*>(job.words.data);
  std::uint64_t remaining = job.words.count;
  while (remaining > 0) {
    const std::uint64_t bit = zeros.reader().position();
    const ZeroDecoder::Stretch stretch = zeros.next(remaining);
    if (zeros.reader().overrun()) return {"more bits", "the end of the stream", false, bit};
    if (stretch.length > remaining) {
      return {"a zero run within the words that are left", "a longer run", false, bit};
    }
    remaining -= stretch.length;
    if (stretch.zero) {
      std::fill_n(out, stretch.length, static_cast<Word>(p.zero));
      out += stretch.length;
      continue;
    }
    for (std::uint64_t left = stretch.length; left > 0;) {
      if (used == p.block_size) {
        const std::uint64_t block_bit = planes.reader().position();
        if (const auto verdict = planes.next(block); verdict != PlaneDecoder::Verdict::ok) {
          return PlaneDecoder::status_of(verdict, block_bit);
        }
        used = 0;
      }
      const auto take =
          static_cast<int>(std::min(left, static_cast<std::uint64_t>(p.block_size - used)));
      for (int i = 0; i < take; ++i) {
        *out++ = static_cast<Word>(block[static_cast<std::size_t>(used++)]);
      }
      left -= static_cast<std::uint64_t>(take);
    }
  }
  taken = {zeros.reader().position(), planes.reader().position()};
  if (const DecodeStatus status = check_end(zeros.reader(), job.zero_bytes, false); !status.ok()) {
    return status;
  }
  return check_end(planes.reader(), job.plane_bytes, true);
}

std::size_t decode(const Parameters& p, std::span<const DecodeJob> jobs) {
  if (jobs.empty()) return 0;
  if (plane_bits(p) < 64) return decode_any(p, jobs);
  const auto failed = std::find_if(jobs.begin(), jobs.end(), [&](const DecodeJob& job) {
    return !decode_portable(p, job).ok();
  });
  return static_cast<std::size_t>(failed - jobs.begin());
}

/// crc_tables[k][b]: the remainder of byte b followed by k zero bytes ("slicing": Kounavis and
/// Berry, 2005).
constexpr auto crc_tables = [] {
  constexpr std::uint32_t reflected_polynomial = 0x82F63B78;
  std::array<std::array<std::uint32_t, 256>, 16> tables{};
  for (std::uint32_t byte = 0; byte < 256; ++byte) {
    std::uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? reflected_polynomial : 0);
    tables[0][byte] = crc;
  }
  for (std::size_t k = 1; k < tables.size(); ++k) {
    for (std::size_t byte = 0; byte < 256; ++byte) {
      const std::uint32_t crc = tables[k - 1][byte];
      tables[k][byte] = crc >> 8 ^ tables[0][crc & 0xFF];
    }
  }
  return tables;
}();

/// The remainder of eight bytes followed by `zero_bytes` zero bytes.
std::uint32_t crc_of_eight(std::uint64_t eight, std::size_t zero_bytes) {
  std::uint32_t crc = 0;
  for (std::size_t i = 0; i < 8; ++i) {
    crc ^= crc_tables[zero_bytes + 7 - i][eight >> (8 * i) & 0xFF];
  }
  return crc;
}

std::uint32_t crc32c(std::uint32_t crc, const std::uint8_t* bytes, std::size_t count) {
  crc = ~crc;
  for (; count >= 16; bytes += 16, count -= 16) {
    crc = crc_of_eight(load_little_endian(bytes) ^ crc, 8) ^
          crc_of_eight(load_little_endian(bytes + 8), 0);
  }
  for (; count > 0; ++bytes, --count) crc = crc >> 8 ^ crc_tables[0][(crc ^ *bytes) & 0xFF];
  return ~crc;
}

}  // namespace
}  // namespace generic

DecodeStatus decode_portable(const Parameters& p, const DecodeJob& job, StreamBits& taken) {
  return visit_word_type(job.words.bytes_per_word, p.is_signed, [&]<class Word>(Word*) {
    return generic::decode_words<Word>(p, job, taken);
  });
}

DecodeStatus decode_portable(const Parameters& p, const DecodeJob& job) {
  StreamBits taken;
  return decode_portable(p, job, taken);
}

const Kernel portable_kernel{"portable",          generic::encode,    generic::count,
                             generic::encode_bpc, generic::count_bpc, generic::decode,
                             generic::crc32c,     generic::quantize};

}  // namespace ebpc
