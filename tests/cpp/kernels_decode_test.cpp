// Every kernel's decoder against the portable one: valid and corrupt streams, one and many at once.

#include <gtest/gtest.h>

#include "support/kernel_testing.h"

namespace ebpc::test {
namespace {

constexpr std::uint8_t guard = 0x5A;
constexpr std::size_t fenced_bytes = std::size_t{1} << 20;

/// Two streams and the number of words that they are said to hold.
struct Packed {
  Parameters p;
  int bytes_per_word;
  std::size_t count;
  std::vector<std::uint8_t> zero;
  std::vector<std::uint8_t> plane;

  std::size_t word_bytes() const { return count * static_cast<std::size_t>(bytes_per_word); }
};

std::ostream& operator<<(std::ostream& out, const Packed& packed) {
  return out << Words{packed.p, packed.bytes_per_word,
                      std::vector<std::uint8_t>(packed.word_bytes())}
             << ", streams of " << packed.zero.size() << " and " << packed.plane.size() << " bytes";
}

Packed pack(const Words& words) {
  Streams streams = encode_plainly(words);
  return {words.p, words.bytes_per_word, words.count(), std::move(streams.zero),
          std::move(streams.plane)};
}

class DecodeTest : public KernelTest {
 protected:
  /// Decodes one job with fences after (or in front of) its streams and its words, by the portable
  /// kernel and by this one: same verdict, and the same words where they are well-formed.
  void expect_portable_verdict(const Packed& packed, bool at_end = true) {
    DecodeJob job;
    job.zero_stream = zero_memory_.place(packed.zero, at_end).data();
    job.zero_bytes = packed.zero.size();
    job.plane_stream = plane_memory_.place(packed.plane, at_end).data();
    job.plane_bytes = packed.plane.size();

    std::vector<std::uint8_t> expected(packed.word_bytes() + 1);
    job.words = {expected.data(), packed.count, packed.bytes_per_word};
    const DecodeStatus verdict = decode_portable(packed.p, job);

    const std::size_t size = packed.word_bytes();
    std::uint8_t* words = at_end ? words_memory_.last(size) : words_memory_.first(size);
    std::fill_n(words, size, guard);
    job.words.data = words;
    const JobStatus got = decode_jobs(kernel(), packed.p, {&job, 1});
    ASSERT_EQ(got.status.ok(), verdict.ok()) << packed;
    ASSERT_EQ(got.status.bit, verdict.bit) << packed;
    if (verdict.ok()) {
      ASSERT_TRUE(std::equal(words, words + size, expected.begin())) << packed;
      // It need not, but what it hands to the plain decoder is slow; long jobs are said to be.
      if (packed.count <= 4096) {
        ASSERT_EQ(kernel().decode(packed.p, {&job, 1}), 1) << "handed back: " << packed;
      }
    }
  }

  /// Decodes all of them in one call, laid out side by side as in a container. The words have
  /// guards between them.
  void expect_portable_verdicts(const std::vector<Packed>& all) {
    std::vector<std::uint8_t> streams;
    std::size_t words_size = guard_bytes;
    for (const Packed& packed : all) {
      streams.insert(streams.end(), packed.zero.begin(), packed.zero.end());
      streams.insert(streams.end(), packed.plane.begin(), packed.plane.end());
      words_size += packed.word_bytes() + guard_bytes;
    }
    FencedMemory stream_memory(streams.size());
    const std::uint8_t* next = stream_memory.place(streams, true).data();
    std::vector<std::uint8_t> words(words_size, guard);
    std::uint8_t* next_words = words.data() + guard_bytes;
    std::vector<DecodeJob> jobs;
    for (const Packed& packed : all) {
      const std::uint8_t* plane = next + packed.zero.size();
      jobs.push_back({next,
                      packed.zero.size(),
                      plane,
                      packed.plane.size(),
                      {next_words, packed.count, packed.bytes_per_word}});
      next = plane + packed.plane.size();
      next_words += packed.word_bytes() + guard_bytes;
    }

    const Parameters p = all.empty() ? Parameters{} : all.front().p;
    const JobStatus got = decode_jobs(kernel(), p, jobs);
    for (std::size_t i = 0; i < jobs.size() && i <= got.job; ++i) {
      std::vector<std::uint8_t> expected(all[i].word_bytes() + 1);
      DecodeJob job = jobs[i];
      job.words.data = expected.data();
      const bool ok = decode_portable(p, job).ok();
      ASSERT_EQ(ok, i < got.job) << "job " << i << " of " << jobs.size() << ": " << all[i];
      if (ok) {
        ASSERT_EQ(std::memcmp(jobs[i].words.data, expected.data(), all[i].word_bytes()), 0)
            << "job " << i << " of " << jobs.size() << ": " << all[i];
      }
    }
    const std::uint8_t* gap = words.data();
    for (std::size_t i = 0; i <= all.size(); ++i) {
      ASSERT_TRUE(std::all_of(gap, gap + guard_bytes, [](auto byte) { return byte == guard; }))
          << "outside of job " << i << " of " << jobs.size();
      gap += guard_bytes + (i < all.size() ? all[i].word_bytes() : 0);
    }
  }

 private:
  static constexpr std::size_t guard_bytes = 64;  // keeps words aligned

  FencedMemory zero_memory_{fenced_bytes};
  FencedMemory plane_memory_{fenced_bytes};
  FencedMemory words_memory_{fenced_bytes};
};

Pattern any_pattern(KernelRandom& random) {
  return all_patterns[random.below(std::size(all_patterns))];
}

/// Changes one of the streams, or the number of words, so that it may not be well-formed any more.
void corrupt(Packed& packed, KernelRandom& random) {
  std::vector<std::uint8_t>& stream = random.one_in(2) ? packed.zero : packed.plane;
  switch (random.below(8)) {
    case 0:
      stream.resize(random.below(stream.size() + 1));
      break;
    case 1:
      stream.resize(stream.size() + 1 + random.below(9));
      break;
    case 2:
      if (!stream.empty()) stream.pop_back();
      break;
    case 3:
      packed.count += 1 + random.below(9);
      break;
    case 4:
      packed.count -= std::min(packed.count, 1 + random.below(9));
      break;
    case 5:
      for (std::uint8_t& byte : stream) byte = static_cast<std::uint8_t>(random.bits());
      break;
    default:
      for (std::size_t flips = 1 + random.below(3); flips > 0 && !stream.empty(); --flips) {
        stream[random.below(stream.size())] ^= static_cast<std::uint8_t>(1 << random.below(8));
      }
  }
}

TEST_P(DecodeTest, GivesBackTheWordsOfAllSettings) {
  KernelRandom random(1);
  for (const Parameters& p : all_settings()) {
    const int bytes_per_word = std::max(bytes_for_word(p.word_bits), 1 << random.below(3));
    const Words words =
        make_words(p, bytes_per_word, any_pattern(random), random.below(700), random);
    expect_portable_verdict(pack(words), random.one_in(2));
    if (HasFatalFailure()) return;
  }
}

TEST_P(DecodeTest, GivesBackTheWordsOfAllPatterns) {
  KernelRandom random(2);
  for (const Parameters& p : common_settings()) {
    for (const Pattern pattern : all_patterns) {
      for (const std::size_t length : {4096U, 4096U + 77U, 20000U}) {
        expect_portable_verdict(
            pack(make_words(p, bytes_for_word(p.word_bits), pattern, length, random)));
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(DecodeTest, GivesBackTheWordsOfEveryLength) {
  KernelRandom random(3);
  for (const Parameters& p : common_settings()) {
    for (std::size_t length = 0; length <= 200; ++length) {
      expect_portable_verdict(
          pack(make_words(p, bytes_for_word(p.word_bits), any_pattern(random), length, random)),
          length % 2 == 0);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(DecodeTest, GivesBackAnyNumberOfJobsAtOnce) {
  KernelRandom random(4);
  std::vector<std::size_t> numbers;
  for (std::size_t n = 0; n <= 40; ++n) numbers.push_back(n);
  for (const std::size_t n : {63U, 64U, 65U, 255U, 256U, 257U, 600U}) numbers.push_back(n);
  for (const Parameters& p :
       {Parameters{}, Parameters{.is_signed = false}, Parameters{.word_bits = 16},
        Parameters{.block_size = 16}, Parameters{.base = Base::reused}}) {
    for (const std::size_t number : numbers) {
      std::vector<Packed> jobs;
      for (std::size_t i = 0; i < number; ++i) {
        // Mostly whole segments of one size, as a container has them; some that are not.
        const std::size_t length = random.one_in(8) ? random.below(600) : 256;
        jobs.push_back(pack(make_words(
            p, bytes_for_word(p.word_bits),
            random.one_in(2) ? Pattern::feature_map : any_pattern(random), length, random)));
      }
      expect_portable_verdicts(jobs);
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(DecodeTest, NeedsNoMemoryForNoWords) {
  for (const Parameters& p : common_settings()) {
    DecodeJob job;
    job.words = {nullptr, 0, bytes_for_word(p.word_bits)};
    EXPECT_TRUE(decode_jobs(kernel(), p, {&job, 1}).status.ok());
  }
}

TEST_P(DecodeTest, JudgesCorruptStreamsLikePortable) {
  KernelRandom random(5);
  for (const Parameters& p : common_settings()) {
    for (int i = 0; i < 1000; ++i) {
      Packed packed = pack(make_words(p, bytes_for_word(p.word_bits), any_pattern(random),
                                      1 + random.below(300), random));
      corrupt(packed, random);
      expect_portable_verdict(packed, random.one_in(2));
      if (HasFatalFailure()) return;
    }
  }
}

TEST_P(DecodeTest, JudgesCorruptStreamsOfAllSettingsLikePortable) {
  KernelRandom random(6);
  for (const Parameters& p : all_settings()) {
    Packed packed = pack(make_words(p, bytes_for_word(p.word_bits), any_pattern(random),
                                    1 + random.below(300), random));
    corrupt(packed, random);
    expect_portable_verdict(packed, random.one_in(2));
    if (HasFatalFailure()) return;
  }
}

TEST_P(DecodeTest, JudgesEveryBitFlipAndTruncationLikePortable) {
  KernelRandom random(7);
  for (const Parameters& p : common_settings()) {
    const Packed good =
        pack(make_words(p, bytes_for_word(p.word_bits), Pattern::feature_map, 90, random));
    for (auto stream : {&Packed::zero, &Packed::plane}) {
      for (std::size_t bit = 0; bit < 8 * (good.*stream).size(); ++bit) {
        Packed packed = good;
        (packed.*stream)[bit / 8] ^= static_cast<std::uint8_t>(0x80 >> bit % 8);
        expect_portable_verdict(packed);
        if (HasFatalFailure()) return;
      }
      for (std::size_t size = 0; size < (good.*stream).size(); ++size) {
        Packed packed = good;
        (packed.*stream).resize(size);
        expect_portable_verdict(packed);
        if (HasFatalFailure()) return;
      }
    }
  }
}

/// Codes one after the other, as text, in a plane stream; after all words' zero stream.
Packed pack_codes(const Parameters& p, std::size_t words, const std::string& codes) {
  Packed packed{p, bytes_for_word(p.word_bits), words, {}, {}};
  packed.zero.assign(words / 8, 0xFF);
  if (words % 8 != 0) packed.zero.push_back(static_cast<std::uint8_t>(0xFF00 >> words % 8));
  packed.plane.resize(bytes_for_bits(codes.size()));
  for (std::size_t i = 0; i < codes.size(); ++i) {
    if (codes[i] == '1') packed.plane[i / 8] |= static_cast<std::uint8_t>(0x80 >> i % 8);
  }
  return packed;
}

TEST_P(DecodeTest, JudgesRowsOfPlanesThatGoOnBehindABlockLikePortable) {
  const auto repeated = [](std::size_t count, const std::string& code) {
    std::string codes;
    for (std::size_t i = 0; i < count; ++i) codes += code;
    return codes;
  };
  for (const Parameters& p :
       {Parameters{32, true, 7, 16, Base::sent}, Parameters{32, true, 6, 16, Base::reused},
        Parameters{16, true, 16, 16, Base::sent}, Parameters{8, true, 8, 16, Base::sent}}) {
    const std::string base(p.base == Base::sent ? static_cast<std::size_t>(p.word_bits) : 0, '1');
    const std::string plane(1 + static_cast<std::size_t>(plane_bits(p)), '1');
    const auto index_bits =
        static_cast<std::size_t>(log2_ceil(static_cast<std::uint32_t>(p.block_size)));
    const auto planes = static_cast<std::size_t>(plane_count(p));
    // A row, a single zero plane, a row that may end the block or go on after it, an index that is
    // past the end of a plane, another row: as long as a reader may take them for planes.
    for (std::size_t first = planes - 3; first < planes; ++first) {
      for (std::size_t second = 0; second <= 33; ++second) {
        for (std::size_t third = 0; third <= 64; ++third) {
          expect_portable_verdict(
              pack_codes(p, static_cast<std::size_t>(p.block_size),
                         base + repeated(first, plane) + "01" + repeated(second, plane) + "00011" +
                             std::string(index_bits, '1') + repeated(third, plane)));
          if (HasFatalFailure()) return;
        }
      }
    }
  }
}

TEST_P(DecodeTest, JudgesConstantWordsWithAnyBitFlippedLikePortable) {
  KernelRandom random(9);
  for (const Parameters& p : common_settings()) {
    const int bytes_per_word = bytes_for_word(p.word_bits);
    for (const int eights : {1, 2, 3}) {
      std::vector<std::int64_t> values(static_cast<std::size_t>(8 * eights * p.block_size),
                                       1 + static_cast<std::int64_t>(random.below(2)));
      if (random.one_in(2)) values.insert(values.begin() + 3, random.below(40), 0);
      const Packed good = pack(words_from(p, bytes_per_word, values));
      expect_portable_verdict(good);
      for (std::size_t bit = 0; bit < 8 * good.plane.size(); ++bit) {
        Packed packed = good;
        packed.plane[bit / 8] ^= static_cast<std::uint8_t>(0x80 >> bit % 8);
        expect_portable_verdict(packed);
        if (HasFatalFailure()) return;
      }
      for (const int words : {-1, 1, p.block_size}) {
        Packed packed = good;
        packed.count += static_cast<std::size_t>(words);
        packed.zero =
            pack(words_from(p, bytes_per_word, std::vector<std::int64_t>(packed.count, 1))).zero;
        expect_portable_verdict(packed);
        if (HasFatalFailure()) return;
      }
    }
  }
}

TEST_P(DecodeTest, FindsTheFirstCorruptJobAmongMany) {
  KernelRandom random(8);
  for (const Parameters& p :
       {Parameters{}, Parameters{.is_signed = false}, Parameters{.word_bits = 16},
        Parameters{.block_size = 16}, Parameters{.base = Base::reused}}) {
    for (int round = 0; round < 120; ++round) {
      std::vector<Packed> jobs;
      const std::size_t number = 1 + random.below(90);
      for (std::size_t i = 0; i < number; ++i) {
        jobs.push_back(
            pack(make_words(p, bytes_for_word(p.word_bits), any_pattern(random), 200, random)));
      }
      for (std::size_t bad = 1 + random.below(3); bad > 0; --bad) {
        corrupt(jobs[random.below(number)], random);
      }
      expect_portable_verdicts(jobs);
      if (HasFatalFailure()) return;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Kernel, DecodeTest, ::testing::ValuesIn(known_kernels()), kernel_name);

}  // namespace
}  // namespace ebpc::test
