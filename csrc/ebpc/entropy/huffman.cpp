#include "ebpc/entropy/huffman.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "ebpc/bit_stream.h"
#include "ebpc/container.h"

namespace ebpc {
namespace {

constexpr std::uint32_t whole = std::uint32_t{1} << max_code_bits;
constexpr int unused_length = max_code_bits + 1;  // as which a symbol without a code is written
constexpr int length_before_first = 6;

/// The share of all windows that begin with a code of this length, of `whole`.
constexpr std::uint32_t weight(int length) { return whole >> length; }

/// Depths in Huffman's tree of counts that are sorted in ascending order, at least two (Moffat and
/// Katajainen, 1995: in place).
void replace_by_depths(std::span<std::uint32_t> a) {
  const std::size_t n = a.size();
  std::size_t leaf = 0;
  std::size_t root = 0;
  for (std::size_t next = 0; next + 1 < n; ++next) {
    const auto take = [&] {
      if (leaf >= n || (root < next && a[root] < a[leaf])) {
        const std::uint32_t count = a[root];
        a[root++] = static_cast<std::uint32_t>(next);
        return count;
      }
      return a[leaf++];
    };
    const std::uint32_t first = take();
    a[next] = first + take();
  }
  a[n - 2] = 0;
  for (std::size_t next = n - 2; next-- > 0;) a[next] = a[a[next]] + 1;
  std::uint32_t depth = 0;
  std::size_t available = 1;
  std::size_t place = n;
  for (std::size_t inner = n - 1; available > 0; ++depth) {
    std::size_t used = 0;
    for (; inner > 0 && a[inner - 1] == depth; --inner) ++used;
    for (; available > used; --available) a[--place] = depth;
    available = 2 * used;
  }
}

/// Bounds lengths, which are those of ascending counts, and makes the code complete again.
void bound_lengths(std::span<std::uint32_t> lengths) {
  if (lengths.front() <= max_code_bits) return;  // the longest
  std::uint32_t sum = 0;
  for (std::uint32_t& length : lengths) {
    length = std::min<std::uint32_t>(length, max_code_bits);
    sum += weight(static_cast<int>(length));
  }
  for (auto length = lengths.begin(); sum > whole; ++length) {
    for (; *length < max_code_bits && sum > whole; ++*length) {
      sum -= weight(static_cast<int>(*length) + 1);
    }
  }
  for (auto length = lengths.rbegin(); sum < whole; ++length) {  // the most frequent first
    for (; sum + weight(static_cast<int>(*length)) <= whole; --*length) {
      sum += weight(static_cast<int>(*length));
    }
  }
}

/// Sorts counts of up to segment_words, in the upper bits, and their symbols, in ascending order.
void sort_keys(std::span<std::uint32_t> keys) {
  std::array<std::uint32_t, max_symbols> sorted;
  for (const int shift : {8, 14}) {
    std::array<std::uint16_t, 129> places{};
    const auto digit = [shift](std::uint32_t key) {
      return key >> shift & (shift == 8 ? 63 : 127);
    };
    for (const std::uint32_t key : keys) ++places[digit(key) + 1];
    for (std::size_t i = 1; i < places.size(); ++i) {
      places[i] = static_cast<std::uint16_t>(places[i] + places[i - 1]);
    }
    for (const std::uint32_t key : keys) sorted[places[digit(key)]++] = key;
    std::copy_n(sorted.begin(), keys.size(), keys.begin());
  }
}

void put_gamma(BitWriter& writer, std::uint32_t value) {
  writer.put(value, 2 * std::bit_width(value) - 1);
}

/// Calls visit(symbol, place in the order of codes), by length and then by symbol; a place counts
/// windows of max_code_bits.
template <class Visit>
void for_each_place(const HuffmanCode& code, Visit&& visit) {
  std::array<std::uint32_t, unused_length> places{};
  for (unsigned s = code.first; s <= code.last; ++s) {
    if (code.lengths[s] > 0) places[code.lengths[s]] += weight(code.lengths[s]);
  }
  std::uint32_t place = 0;
  for (std::uint32_t& each : places) place += std::exchange(each, place);
  for (unsigned s = code.first; s <= code.last; ++s) {
    const int length = code.lengths[s];
    if (length == 0) continue;
    visit(s, places[static_cast<std::size_t>(length)]);
    places[static_cast<std::size_t>(length)] += weight(length);
  }
}

/// [c]: c log2 c in 1/256 bits, for counts within a segment.
constexpr auto scaled_logarithms = [] {
  std::array<std::uint32_t, segment_words + 1> table{};
  for (std::uint32_t c = 2; c <= segment_words; ++c) {
    // Bit by bit: a square of 2 or more has a logarithm of 1 or more.
    const int exponent = std::bit_width(c) - 1;
    std::uint64_t x = std::uint64_t{c} << (30 - exponent);  // 1 to 2, in 2^-30
    std::uint32_t logarithm = static_cast<std::uint32_t>(exponent);
    for (int i = 0; i < 12; ++i) {
      x = x * x >> 30;
      logarithm = logarithm << 1 | static_cast<std::uint32_t>(x >> 31);
      x >>= x >> 31;
    }
    table[c] = (c * logarithm + 8) / 16;
  }
  return table;
}();

}  // namespace

HuffmanCode huffman_code(const SymbolCounts& counts) {
  HuffmanCode code;
  std::array<std::uint32_t, max_symbols> keys;
  std::size_t used = 0;
  for (std::uint32_t s = 0; s < max_symbols; ++s) {
    if (counts[s] > 0) keys[used++] = counts[s] << 8 | s;
  }
  code.first = keys[0] & 0xFF;
  code.last = keys[used - 1] & 0xFF;
  if (used == 1) return code;
  sort_keys(std::span(keys).first(used));
  std::array<std::uint32_t, max_symbols> depths;
  for (std::size_t i = 0; i < used; ++i) depths[i] = keys[i] >> 8;
  const std::span lengths(depths.data(), used);
  replace_by_depths(lengths);
  bound_lengths(lengths);
  for (std::size_t i = 0; i < used; ++i) {
    code.lengths[keys[i] & 0xFF] = static_cast<std::uint8_t>(lengths[i]);
  }
  return code;
}

std::size_t write_code(const HuffmanCode& code, std::uint8_t* out) {
  BitWriter writer(out);
  writer.put(code.first, 8);
  writer.put(code.last, 8);
  int before = length_before_first;
  for (unsigned s = code.first; s <= code.last && !code.single(); ++s) {
    const int length = code.lengths[s] > 0 ? code.lengths[s] : unused_length;
    const int change = std::exchange(before, length) - length;
    put_gamma(writer, static_cast<std::uint32_t>(change > 0 ? 2 * change : 1 - 2 * change));
  }
  writer.flush();
  return bytes_for_bits(writer.bits());
}

DecodeStatus read_code(const std::uint8_t*& at, const std::uint8_t* end, HuffmanCode& code) {
  BitReader reader(at, static_cast<std::uint64_t>(end - at));
  const auto fail = [&reader](const char* expected, const char* found) {
    return DecodeStatus{expected, found, false, reader.position()};
  };
  code.first = static_cast<unsigned>(reader.take(8));
  code.last = static_cast<unsigned>(reader.take(8));
  if (code.first > code.last) return fail("a first symbol up to the last", "a larger one");
  std::uint32_t sum = 0;
  int length = length_before_first;
  for (unsigned s = code.first; s <= code.last && !code.single(); ++s) {
    const int zeros = std::countl_zero(reader.window() | 1);
    if (zeros > 4) return fail("a change of a code's length", "a longer one");
    const int gamma = static_cast<int>(reader.take(2 * zeros + 1));
    length += gamma % 2 == 0 ? -(gamma / 2) : gamma / 2;
    if (length < 1 || length > unused_length) {
      return fail("a length of 1 to 12", "another one");
    }
    code.lengths[s] = length == unused_length ? 0 : static_cast<std::uint8_t>(length);
    if (length != unused_length) sum += weight(length);
  }
  if (!code.single() && sum != whole) return fail("a complete code", "another one");
  if (reader.position() % 8 != 0) {
    const int padding = 8 - static_cast<int>(reader.position() % 8);
    if (reader.take(padding) != 0) return fail("zero bits as padding", "a one bit");
  }
  if (reader.overrun()) return fail("more bits", "the end of the stream");
  at += reader.position() / 8;
  return {};
}

std::array<std::uint32_t, max_symbols> codes_of(const HuffmanCode& code) {
  std::array<std::uint32_t, max_symbols> codes{};
  for_each_place(code, [&](unsigned symbol, std::uint32_t place) {
    const std::uint32_t length = code.lengths[symbol];
    codes[symbol] = place >> (max_code_bits - length) | length << 16;
  });
  return codes;
}

void DecodeTable::fill(const HuffmanCode& code) {
  bits = *std::max_element(code.lengths.begin() + code.first, code.lengths.begin() + code.last + 1);
  const int unseen = max_code_bits - bits;
  for_each_place(code, [&](unsigned symbol, std::uint32_t place) {
    const int length = code.lengths[symbol];
    std::fill_n(entries.begin() + (place >> unseen), weight(length) >> unseen,
                static_cast<std::uint16_t>(symbol << 8 | static_cast<unsigned>(length)));
  });
}

std::uint64_t entropy_of(std::span<const std::uint32_t> counts, std::uint64_t total) {
  std::uint64_t sum = 0;
  for (const std::uint32_t count : counts) sum += scaled_logarithms[count];
  return scaled_logarithms[total] - std::min<std::uint64_t>(sum, scaled_logarithms[total]);
}

}  // namespace ebpc
