// The entropy codings, read by a plain decoder that follows FORMAT.md, and malformed ones.

#include "ebpc/entropy/entropy_coding.h"

#include <array>
#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "ebpc/bit_stream.h"
#include "ebpc/container_layout.h"
#include "ebpc/entropy/huffman.h"
#include "ebpc/kernels/dispatch.h"
#include "support/container_data.h"

namespace ebpc::test {
namespace {

/// Bit by bit, most significant first.
struct Bits {
  Bytes bytes;
  std::size_t at = 0;

  unsigned next() {
    const unsigned bit = bytes.at(at / 8) >> (7 - at % 8) & 1;
    ++at;
    return bit;
  }
};

std::vector<unsigned> symbols_by_format(Bytes block, std::size_t count) {
  const unsigned first = block.at(0);
  const unsigned last = block.at(1);
  if (first == last) return std::vector<unsigned>(count, first);
  Bits table{Bytes(block.begin() + 2, block.end())};
  std::map<std::pair<int, unsigned>, unsigned> order;  // by length and symbol
  int length = 6;
  for (unsigned symbol = first; symbol <= last; ++symbol) {
    int zeros = 0;
    while (table.next() == 0) ++zeros;
    int gamma = 1;
    while (zeros-- > 0) gamma = 2 * gamma + static_cast<int>(table.next());
    length += gamma % 2 == 1 ? gamma / 2 : -gamma / 2;
    if (length < 12) order[{length, symbol}] = 0;
  }
  std::map<std::pair<int, unsigned>, unsigned> symbols;  // by length and code
  unsigned code = 0;
  int before = 0;
  for (const auto& [key, unused] : order) {
    code <<= key.first - before;
    before = key.first;
    symbols[{before, code++}] = key.second;
  }
  block.erase(block.begin(), block.begin() + 2 + static_cast<std::ptrdiff_t>((table.at + 7) / 8));
  const auto pair = block.begin() + 2 + (block.at(0) | block.at(1) << 8);
  std::array<Bits, 4> streams{Bits{Bytes(block.begin() + 2, pair)}, Bits{},
                              Bits{Bytes(pair, block.end())}, Bits{}};
  for (const std::size_t i : {0, 2}) {
    streams[i + 1].bytes.assign(streams[i].bytes.rbegin(), streams[i].bytes.rend());
  }
  std::vector<unsigned> found;
  while (found.size() < count) {
    Bits& stream = streams[found.size() % 4];
    std::pair<int, unsigned> key{0, 0};
    while (!symbols.contains(key)) key = {key.first + 1, 2 * key.second + stream.next()};
    found.push_back(symbols[key]);
  }
  return found;
}

Values words_by_format(const Parameters& p, int bytes_per_word, const Bytes& stream,
                       std::size_t count) {
  if (count == 0) return {};
  const auto width = static_cast<unsigned>(8 * bytes_per_word);
  const unsigned k = stream.at(0) % 128;
  std::size_t at = 1;
  std::uint64_t f = 0;
  for (unsigned i = 0; i < width; i += 8) f |= std::uint64_t{stream.at(at++)} << i;
  std::vector<std::uint64_t> low(count);
  unsigned shift = 0;
  for (; shift + 8 <= k; shift += 8) {
    for (std::uint64_t& each : low) each |= std::uint64_t{stream.at(at++)} << shift;
  }
  const std::size_t first_bit = 8 * at;
  std::size_t bit = first_bit;
  for (std::uint64_t& each : low) {
    for (unsigned i = shift; i < k; ++i, ++bit) {
      each |= (std::uint64_t{stream.at(bit / 8)} >> bit % 8 & 1) << i;
    }
  }
  const Bytes block(stream.begin() + static_cast<std::ptrdiff_t>((bit + 7) / 8), stream.end());
  Values words;
  for (const unsigned symbol : symbols_by_format(block, count)) {
    std::uint64_t u = (f + symbol) << k | low[words.size()];
    if (stream[0] >= 128) {
      u = (u >> 1 | u << (width - 1));
    } else if (p.is_signed) {
      u ^= std::uint64_t{1} << (width - 1);
    }
    words.push_back(
        extended_word(u & ~std::uint64_t{0} >> (64 - width), static_cast<int>(width), p.is_signed));
  }
  return words;
}

/// Which words are not left out.
std::vector<bool> kept_by_format(std::uint32_t coding, const Bytes& stream, std::size_t count) {
  std::vector<bool> kept;
  if (coding == 16) return std::vector<bool>(count, true);
  if (coding % 2 == 1) {
    for (const unsigned group : symbols_by_format(stream, (count + 3) / 4)) {
      for (unsigned i = 0; i < 4; ++i) kept.push_back((group >> i & 1) != 0);
    }
    EXPECT_EQ(std::count(kept.begin() + static_cast<std::ptrdiff_t>(count), kept.end(), true), 0);
  } else {
    for (Bits bits{stream}; kept.size() < count;) {
      if (bits.next() != 0) {
        kept.push_back(true);
        continue;
      }
      std::size_t run = 0;
      for (int i = 0; i < 8; ++i) run = 2 * run + bits.next();
      kept.insert(kept.end(), run + 1, false);
    }
  }
  kept.resize(count);
  return kept;
}

/// Words as feature maps have them, in which any of the codings may be the smallest.
Values drawn_values(Random& random, const Parameters& p, std::size_t count) {
  const std::uint64_t range = std::uint64_t{1}
                              << random() % static_cast<std::uint64_t>(p.word_bits);
  const std::uint64_t zeros_in_8 = random() % 10;
  const std::uint64_t repeats = random() % 3 == 0 ? 1 + random() % 40 : 1;
  Values values;
  while (values.size() < count) {
    std::uint64_t word = random() % range & random() % range;  // small ones are more frequent
    if (p.is_signed && random() % 2 == 0) word = ~word;
    if (random() % 8 < zeros_in_8) word = 0;
    values.insert(values.end(), 1 + random() % repeats,
                  extended_word(word, p.word_bits, p.is_signed));
  }
  values.resize(count);
  return values;
}

struct Coded {
  EntropyStreams streams;
  Bytes zero;
  Bytes plane;
};

Coded coded(const Kernel& kernel, const Parameters& p, WordSpan words) {
  Coded found;
  found.zero.resize(entropy_room(words.count));
  found.plane.resize(entropy_room(words.count));
  found.streams =
      entropy_kernel(kernel).encode(p, {words, words}, found.zero.data(), found.plane.data());
  found.zero.resize(found.streams.zero_bytes);
  found.plane.resize(found.streams.plane_bytes);
  return found;
}

/// Decodes a segment alone, and twice side by side, which has to find the same.
DecodeStatus decoded(const Kernel& kernel, const Parameters& p, EntropyCoding coding,
                     const Bytes& zero, const Bytes& plane, int bytes_per_word, Bytes& memory) {
  const GuardedBytes first(zero, GuardedBytes::Guard::behind);
  const GuardedBytes second(plane, GuardedBytes::Guard::behind);
  const auto job_into = [&](const GuardedBytes& out) {
    return DecodeJob{first.span().data(),
                     zero.size(),
                     second.span().data(),
                     plane.size(),
                     {out.span().data(), memory.size() / static_cast<std::size_t>(bytes_per_word),
                      bytes_per_word}};
  };
  const GuardedBytes out(memory, GuardedBytes::Guard::behind);
  const GuardedBytes twin(memory, GuardedBytes::Guard::behind);
  const DecodeJob jobs[] = {job_into(out), job_into(twin), job_into(out)};
  const JobStatus alone = entropy_kernel(kernel).decode(p, coding, std::span(jobs).first(1));
  memory.assign(out.span().begin(), out.span().end());
  const JobStatus all = entropy_kernel(kernel).decode(p, coding, std::span(jobs));
  EXPECT_EQ(alone.status.ok(), all.status.ok());
  EXPECT_EQ(all.job, all.status.ok() ? 3U : 0U);
  EXPECT_EQ(alone.status.bit, all.status.bit);
  if (all.status.ok()) {
    EXPECT_EQ(Bytes(twin.span().begin(), twin.span().end()), memory);
    EXPECT_EQ(Bytes(out.span().begin(), out.span().end()), memory);
  }
  return alone.status;
}

TEST(EntropyCoding, IsWhatItsFormatSays) {
  Random random(91);
  std::map<EntropyCoding, int> seen;
  for (int round = 0; round < 300; ++round) {
    const DType dtype = all_dtypes[random() % all_dtypes.size()];
    const int bytes = traits(dtype).bytes;
    const Parameters p = default_parameters(dtype);
    const std::size_t count = round % 3 == 0 ? segment_words : 1 + random() % segment_words;
    const Values values = drawn_values(random, p, count);
    const Bytes memory = stored(values, bytes, p.is_signed);
    const WordSpan words{memory.data(), count, bytes};
    const Coded first = coded(*supported_kernels().front(), p, words);
    const EntropyCoding coding = first.streams.coding;
    SCOPED_TRACE(std::string(traits(dtype).name) + ", " + std::to_string(count) +
                 " words, coding " + std::to_string(static_cast<int>(coding)));
    for (const Kernel* kernel : supported_kernels()) {
      SCOPED_TRACE(kernel->name);
      const Coded again = coded(*kernel, p, words);
      ASSERT_EQ(again.zero, first.zero);
      ASSERT_EQ(again.plane, first.plane);
      if (first.streams.bytes() == 0) continue;
      Bytes out(memory.size());
      const DecodeStatus status = decoded(*kernel, p, coding, first.zero, first.plane, bytes, out);
      ASSERT_TRUE(status.ok()) << status.expected << ", " << status.found;
      ASSERT_EQ(out, memory);
    }
    if (first.streams.bytes() == 0) continue;  // raw
    ++seen[coding];
    const std::vector<bool> kept =
        kept_by_format(static_cast<std::uint32_t>(coding), first.zero, count);
    const Values packed =
        words_by_format(p, bytes, first.plane,
                        static_cast<std::size_t>(std::count(kept.begin(), kept.end(), true)));
    std::size_t next = 0;
    for (std::size_t i = 0; i < count; ++i) {
      const std::int64_t word = kept[i]                    ? packed.at(next++)
                                : leaves_out_zeros(coding) ? 0
                                                           : values[i - 1];
      ASSERT_EQ(word, values[i]) << i;
    }
  }
  EXPECT_EQ(seen.size(), 5U);
}

TEST(EntropyCoding, TheExampleOfItsFormat) {
  Bytes memory;
  for (int i = 0; i < 5; ++i) memory.insert(memory.end(), {1, 1, 2, 1, 3, 1, 1, 2});
  const Bytes expected{0x00, 0x81, 0x00, 0x02, 0x14, 0xE0, 0x04, 0x00,
                       0x6D, 0xB6, 0x00, 0x00, 0x92, 0x48, 0x24, 0x49};
  const Parameters p = default_parameters(DType::int8);
  const TensorInfo tensor{DType::int8, MemoryFormat::contiguous, {40}};
  const Bytes container = compressed(tensor, p, memory, {}, Codec::automatic);
  EXPECT_EQ(first_entry(container).coding, 16U);
  EXPECT_EQ(Bytes(container.end() - 16, container.end()), expected);
  EXPECT_EQ(words_by_format(p, 1, expected, 40), loaded(memory, 1, true));
}

TEST(EntropyCoding, AMalformedStreamIsRefusedByAllKernelsAlike) {
  // Behind memory that may not be read: whatever a stream says, nothing outside of it is.
  Random random(92);
  std::map<std::string, int> found;
  for (int round = 0; round < 250; ++round) {
    const DType dtype = all_dtypes[random() % all_dtypes.size()];
    const int bytes = traits(dtype).bytes;
    Parameters p = default_parameters(dtype);
    const std::size_t count = 1 + random() % 600;
    const Bytes memory = stored(drawn_values(random, p, count), bytes, p.is_signed);
    const Coded intact = coded(portable_kernel, p, {memory.data(), count, bytes});
    if (intact.streams.bytes() == 0) continue;
    for (int damage = 0; damage < 20; ++damage) {
      Bytes zero = intact.zero;
      Bytes plane = intact.plane;
      Bytes& stream = zero.empty() || (random() % 2 == 0 && !plane.empty()) ? plane : zero;
      if (random() % 8 == 0) {
        stream.resize(random() % (stream.size() + 3));
      } else {
        const std::size_t near =
            random() % 2 == 0 ? stream.size() : std::min<std::size_t>(24, stream.size());
        stream[random() % near] ^= static_cast<std::uint8_t>(1 << random() % 8);
      }
      std::optional<std::string> verdict;
      Bytes words;
      for (const Kernel* kernel : supported_kernels()) {
        Bytes out(memory.size());
        const DecodeStatus status =
            decoded(*kernel, p, intact.streams.coding, zero, plane, bytes, out);
        std::string text;
        if (!status.ok())
          text =
              std::string(status.expected) + ", " + status.found + " " + std::to_string(status.bit);
        if (verdict) {
          ASSERT_EQ(text, *verdict);
          if (status.ok()) {
            ASSERT_EQ(out, words);
          }
        }
        verdict = text;
        words = out;
        if (!status.ok()) ++found[status.expected];
      }
    }
  }
  for (const char* expected :
       {"more bits", "the end of the stream", "zero bits as padding", "a complete code",
        "a first symbol up to the last", "a length of 1 to 12", "a change of a code's length",
        "no words after the last one", "a first word", "words with a symbol of 8 bits",
        "the bytes of two streams up to those that are left"}) {
    EXPECT_GT(found[expected], 0) << expected;
  }
}

TEST(EntropyCoding, AGroupOfMoreThanFourWordsIsRefused) {
  Bytes out(8);
  const DecodeStatus status = decoded(portable_kernel, default_parameters(DType::int8),
                                      EntropyCoding::zeros_mask, {0x10, 0x10}, {}, 1, out);
  EXPECT_STREQ(status.expected, "symbols of four words");
}

TEST(EntropyCoding, WordsOfMoreBitsThanTheirsAreRefused) {
  const Bytes memory = stored(Values(300, 5), 2, true);
  Parameters p = parameters_for(DType::int16, 12, 8, 16, Base::sent);
  const Coded intact = coded(portable_kernel, p, {memory.data(), 300, 2});
  Bytes out(600);
  Bytes plane = intact.plane;
  plane[2] ^= 0x40;  // of what the symbol 0 stands for
  const DecodeStatus status =
      decoded(portable_kernel, p, intact.streams.coding, intact.zero, plane, 2, out);
  EXPECT_STREQ(status.expected, "words of word_bits bits");
}

TEST(HuffmanCode, IsCompleteAndNoLongerThanItsBound) {
  Random random(93);
  for (int round = 0; round < 2000; ++round) {
    SymbolCounts counts{};
    const std::size_t used = 2 + random() % 255;
    std::uint64_t total = 0;
    const std::uint64_t spread = random() % 12;
    for (std::size_t i = 0; i < used; ++i) {
      const auto count =
          static_cast<std::uint32_t>(1 + (random() % 4096 >> random() % (1 + spread)));
      if (total + count > 4096 - 256) break;
      counts[(i * 77) % 256] = count;
      total += count;
    }
    counts[0] += 1;
    counts[77] += 1;
    const HuffmanCode code = huffman_code(counts);
    std::uint32_t sum = 0;
    for (std::size_t s = 0; s < 256; ++s) {
      ASSERT_EQ(code.lengths[s] > 0, counts[s] > 0);
      ASSERT_LE(code.lengths[s], max_code_bits);
      if (code.lengths[s] > 0) sum += 2048U >> code.lengths[s];
    }
    ASSERT_EQ(sum, 2048U);
    Bytes written(max_code_table_bytes + 8);
    const std::size_t size = write_code(code, written.data());
    const std::uint8_t* at = written.data();
    HuffmanCode again;
    ASSERT_TRUE(read_code(at, at + size, again).ok());
    EXPECT_EQ(at, written.data() + size);
    EXPECT_EQ(again.lengths, code.lengths);
  }
}

}  // namespace
}  // namespace ebpc::test
