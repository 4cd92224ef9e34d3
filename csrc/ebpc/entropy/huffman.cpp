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

/// Depths in Huffman's tree of counts that are sorted in ascending order, at least two. Leaves and
/// inner nodes are two queues, of which the smaller head is taken next, without a branch: which one
/// it is cannot be foretold.
void replace_by_depths(std::span<std::uint32_t> counts) {
  constexpr std::uint32_t none = ~std::uint32_t{0};
  const std::size_t n = counts.size();
  std::array<std::uint32_t, max_symbols + 1> leaves;
  std::array<std::uint32_t, max_symbols + 1> nodes;
  std::array<std::uint16_t, 2 * max_symbols> parents;  // of leaves, and from n on of nodes
  std::copy(counts.begin(), counts.end(), leaves.begin());
  leaves[n] = none;
  std::fill_n(nodes.begin(), n + 1, none);
  std::size_t leaf = 0;
  std::size_t node = 0;
  for (std::size_t next = 0; next + 1 < n; ++next) {
    const auto take = [&] {
      const bool is_leaf = leaves[leaf] <= nodes[node];
      const std::uint32_t count = is_leaf ? leaves[leaf] : nodes[node];
      parents[is_leaf ? leaf : n + node] = static_cast<std::uint16_t>(next);
      leaf += is_leaf;
      node += !is_leaf;
      return count;
    };
    const std::uint32_t first = take();
    nodes[next] = first + take();
  }
  nodes[n - 2] = 0;  // from here on depths
  for (std::size_t i = n - 2; i-- > 0;) nodes[i] = nodes[parents[n + i]] + 1;
  for (std::size_t i = 0; i < n; ++i) counts[i] = nodes[parents[i]] + 1;
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

/// Sorts counts of up to segment_words, above their symbols in the low 8 bits, in ascending order,
/// by the lower half of the counts' bits and then by the upper one.
void sort_keys(std::span<std::uint32_t> keys) {
  constexpr int digit_bits = 7;
  static_assert(segment_words < 1 << 2 * digit_bits);
  std::array<std::uint32_t, max_symbols> sorted;
  const auto sort_by = [](int shift, std::span<const std::uint32_t> from, std::uint32_t* to) {
    std::array<std::uint16_t, 1 << digit_bits> places{};
    const auto digit = [shift](std::uint32_t key) {
      return key >> shift & ((1 << digit_bits) - 1);
    };
    for (const std::uint32_t key : from) ++places[digit(key)];
    std::uint16_t place = 0;
    for (std::uint16_t& each : places) {
      place = static_cast<std::uint16_t>(place + std::exchange(each, place));
    }
    for (const std::uint32_t key : from) to[places[digit(key)]++] = key;
  };
  sort_by(8, keys, sorted.data());
  sort_by(8 + digit_bits, std::span(sorted).first(keys.size()), keys.data());
}

void put_gamma(BitWriter& writer, std::uint32_t value) {
  writer.put(value, 2 * std::bit_width(value) - 1);
}

/// Symbols that have a code, in the order of their codes: by length, and then by symbol.
class CodeOrder {
 public:
  explicit CodeOrder(const HuffmanCode& code) {
    std::array<std::uint32_t, unused_length + 1> counts{};
    for (unsigned s = code.first; s <= code.last; ++s) ++counts[code.lengths[s]];
    counts[0] = 0;
    std::array<std::uint32_t, unused_length + 1> places{};
    for (std::size_t i = 1; i < places.size(); ++i) places[i] = places[i - 1] + counts[i - 1];
    count_ = places.back();
    // Symbols without a code lie after the others.
    places[0] = count_;
    for (unsigned s = code.first; s <= code.last; ++s) {
      symbols_[places[code.lengths[s]]++] = static_cast<std::uint8_t>(s);
    }
  }

  std::span<const std::uint8_t> symbols() const { return {symbols_.data(), count_}; }

 private:
  std::array<std::uint8_t, max_symbols> symbols_;
  std::size_t count_;
};

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

HuffmanCode huffman_code(std::span<const std::uint32_t> counts) {
  HuffmanCode code;
  std::array<std::uint32_t, max_symbols + 1> keys{};
  std::size_t used = 0;
  for (std::uint32_t s = 0; s < counts.size(); ++s) {
    keys[used] = counts[s] << 8 | s;
    used += counts[s] > 0;
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
  constexpr int longest = 9;  // of a change's codes
  std::uint64_t window = 0;
  int left = 0;  // of the window
  for (unsigned s = code.first; s <= code.last && !code.single(); ++s) {
    if (left < longest) {
      window = reader.window();
      left = 64;
    }
    const int zeros = std::countl_zero(window | 1);
    if (zeros > longest / 2) return fail("a change of a code's length", "a longer one");
    const int bits = 2 * zeros + 1;
    const int gamma = static_cast<int>(window >> (64 - bits));
    window <<= bits;
    left -= bits;
    reader.skip(bits);
    length += gamma % 2 == 0 ? -(gamma / 2) : gamma / 2;
    if (length < 1 || length > unused_length) {
      return fail("a length of 1 to 12", "another one");
    }
    code.lengths[s] = length == unused_length ? 0 : static_cast<std::uint8_t>(length);
    sum += weight(length);  // 0 of one without a code
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

std::array<std::uint64_t, max_symbols> codes_of(const HuffmanCode& code) {
  std::array<std::uint64_t, max_symbols> codes{};
  std::uint64_t place = 0;  // of 2^64 windows; wraps after the last symbol
  const CodeOrder order(code);
  for (const std::uint8_t symbol : order.symbols()) {
    const std::uint64_t length = code.lengths[symbol];
    codes[symbol] = place | length;
    place += std::uint64_t{1} << (64 - length);
  }
  return codes;
}

void DecodeTable::fill(const HuffmanCode& code) {
  std::uint16_t* at = entries.data();
  const CodeOrder order(code);
  for (const std::uint8_t symbol : order.symbols()) {
    const int length = code.lengths[symbol];
    const auto entry = static_cast<std::uint16_t>(symbol << 8 | length);
    std::uint16_t* const end = at + weight(length);
    // What is too much, the next symbol writes over.
    for (std::uint16_t* to = at; to < end; to += at_once) std::fill_n(to, at_once, entry);
    at = end;
  }
}

std::uint64_t entropy_of(std::span<const std::uint32_t> counts, std::uint64_t total) {
  std::uint64_t sum = 0;
  for (const std::uint32_t count : counts) sum += scaled_logarithms[count];
  return scaled_logarithms[total] - std::min<std::uint64_t>(sum, scaled_logarithms[total]);
}

}  // namespace ebpc
