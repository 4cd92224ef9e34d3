// BITSTREAM.md read aloud: streams as text of '0' and '1', a bit at a time. Slow, and written
// without a look at the codec, so that what it agrees with is right for more than the golden
// parameters.

#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "ebpc/parameters.h"
#include "test_data.h"

namespace ebpc::test {

/// The low `bits` bits of a number, the most significant first.
inline std::string binary(std::int64_t number, int bits) {
  std::string text;
  for (int i = bits - 1; i >= 0; --i) text += (number >> i & 1) != 0 ? '1' : '0';
  return text;
}

/// The smallest k with 2^k >= x.
inline int log2c(int x) {
  int k = 0;
  while ((std::int64_t{1} << k) < x) ++k;
  return k;
}

/// Padded with zeros to bytes.
inline Bytes packed(const std::string& bits) {
  Bytes bytes((bits.size() + 7) / 8);
  for (std::size_t i = 0; i < bits.size(); ++i) {
    if (bits[i] == '1') bytes[i / 8] |= static_cast<std::uint8_t>(0x80 >> (i % 8));
  }
  return bytes;
}

inline std::string reference_zero_stream(const Parameters& p, const Values& values) {
  std::string stream;
  for (std::size_t i = 0; i < values.size();) {
    if (values[i] != p.zero) {
      stream += '1';
      ++i;
      continue;
    }
    std::int64_t run = 0;
    while (i < values.size() && values[i] == p.zero && run < p.max_zero_run) {
      ++run;
      ++i;
    }
    stream += '0' + binary(run - 1, log2c(p.max_zero_run));
  }
  return stream;
}

/// The symbols of one block; `deltas` of W + 1 bits each.
inline std::string reference_block(const Parameters& p, const Values& deltas,
                                   const std::string& single_zero, const std::string& zero_run) {
  const std::string none(deltas.size(), '0');
  const std::string all(deltas.size(), '1');
  std::string stream;
  std::string below = none;
  int zeros = 0;
  const auto end_zeros = [&] {
    if (zeros == 1) stream += single_zero;
    if (zeros > 1) stream += zero_run + binary(zeros - 2, log2c(p.word_bits));
    zeros = 0;
  };
  for (int plane_number = 0; plane_number <= p.word_bits; ++plane_number) {
    std::string plane;
    for (const std::int64_t delta : deltas) plane += (delta >> plane_number & 1) != 0 ? '1' : '0';
    std::string x;
    for (std::size_t i = 0; i < plane.size(); ++i) x += plane[i] != below[i] ? '1' : '0';
    below = plane;
    if (x == none) {
      ++zeros;
      continue;
    }
    end_zeros();
    const auto ones = std::count(x.begin(), x.end(), '1');
    const auto first = x.find('1');
    if (x == all) {
      stream += "00000";
    } else if (plane == none) {
      stream += "00001";
    } else if (ones == 2 && x[first + 1] == '1') {
      stream += "00010" + binary(static_cast<std::int64_t>(first), log2c(p.block_size));
    } else if (ones == 1) {
      stream += "00011" + binary(static_cast<std::int64_t>(first), log2c(p.block_size));
    } else {
      stream += '1' + x;
    }
  }
  end_zeros();
  return stream;
}

/// The plane stream of all of `words`: for EBPC those are the non-zero ones.
inline std::string reference_plane_stream(const Parameters& p, Values words,
                                          const std::string& single_zero = "01",
                                          const std::string& zero_run = "001") {
  while (words.size() % static_cast<std::size_t>(p.block_size) != 0) words.push_back(0);
  std::string stream;
  std::int64_t last = 0;
  for (auto word = words.begin(); word != words.end();) {
    const auto end = word + p.block_size;
    if (p.base == Base::sent) {
      last = *word++;
      stream += binary(last, p.word_bits);
    }
    Values deltas;
    for (; word != end; last = *word++) deltas.push_back(*word - last);
    stream += reference_block(p, deltas, single_zero, zero_run);
  }
  return stream;
}

inline Values without_zeros(const Parameters& p, Values values) {
  std::erase(values, p.zero);
  return values;
}

}  // namespace ebpc::test
