// What the tests of the kernels share: which kernels there are, words to code, fenced memory.

#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <new>
#include <ostream>
#include <random>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ebpc/bit_stream.h"
#include "ebpc/encoder.h"
#include "ebpc/kernels/dispatch.h"
#include "ebpc/parameters.h"
#include "ebpc/words.h"
#include "test_data.h"

namespace ebpc::test {

/// A kernel that this build must have, and whether this CPU must then be able to run it.
struct KnownKernel {
  const char* name;
  bool cpu_can_run;
};

inline std::ostream& operator<<(std::ostream& out, const KnownKernel& kernel) {
  return out << kernel.name;
}

inline std::vector<KnownKernel> known_kernels() {
  std::vector<KnownKernel> kernels;
#if defined(__x86_64__)
  kernels.push_back({"avx512", cpu_has_avx512()});
  kernels.push_back({"avx2", cpu_has_avx2()});
#endif
  kernels.push_back({"portable", true});
  return kernels;
}

inline const Kernel* find_kernel(std::string_view name) {
  for (const Kernel* kernel : supported_kernels()) {
    if (kernel->name == name) return kernel;
  }
  return nullptr;
}

/// Runs once per known kernel. One that this CPU lacks is skipped where all can see it; one that it
/// has and that the library does not offer is a failure.
class KernelTest : public ::testing::TestWithParam<KnownKernel> {
 protected:
  void SetUp() override {
    kernel_ = find_kernel(GetParam().name);
    if (kernel_ != nullptr) return;
    if (GetParam().cpu_can_run) FAIL() << "this CPU has it, but it is not in supported_kernels()";
    GTEST_SKIP() << "this CPU cannot run it";
  }

  const Kernel& kernel() const { return *kernel_; }

 private:
  const Kernel* kernel_ = nullptr;
};

inline std::string kernel_name(const ::testing::TestParamInfo<KnownKernel>& info) {
  return info.param.name;
}

/// Bytes between two pages that cannot be touched: at either end, one byte too far is a crash, in
/// builds without a sanitizer and for instructions that no sanitizer sees (gathers, masked loads).
class FencedMemory {
 public:
  explicit FencedMemory(std::size_t capacity) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    capacity_ = (capacity / page + 1) * page;
    mapped_ = capacity_ + 2 * page;
    void* memory =
        mmap(nullptr, mapped_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) throw std::bad_alloc();
    begin_ = static_cast<std::uint8_t*>(memory) + page;
    mprotect(begin_ - page, page, PROT_NONE);
    mprotect(begin_ + capacity_, page, PROT_NONE);
  }
  FencedMemory(const FencedMemory&) = delete;
  FencedMemory& operator=(const FencedMemory&) = delete;
  ~FencedMemory() { munmap(begin_ - (mapped_ - capacity_) / 2, mapped_); }

  std::uint8_t* first(std::size_t bytes) { return check(bytes), begin_; }
  std::uint8_t* last(std::size_t bytes) { return check(bytes), begin_ + (capacity_ - bytes); }

  /// Copies bytes to one end or the other.
  std::span<std::uint8_t> place(std::span<const std::uint8_t> bytes, bool at_end) {
    std::uint8_t* to = at_end ? last(bytes.size()) : first(bytes.size());
    std::copy(bytes.begin(), bytes.end(), to);
    return {to, bytes.size()};
  }

 private:
  void check(std::size_t bytes) const {
    if (bytes > capacity_) throw std::bad_alloc();
  }

  std::uint8_t* begin_;
  std::size_t capacity_;
  std::size_t mapped_;
};

/// KernelRandom numbers that are the same with every standard library.
class KernelRandom {
 public:
  explicit KernelRandom(std::uint64_t seed) : engine_(seed) {}

  std::uint64_t bits() { return engine_(); }
  std::uint64_t below(std::uint64_t limit) { return engine_() % limit; }
  bool one_in(std::uint64_t n) { return below(n) == 0; }

 private:
  std::mt19937_64 engine_;
};

/// How the words of a transmission are drawn.
enum class Pattern {
  all_zero,
  none_zero,      // uniform
  half_zero,      // uniform or zero
  sparse,         // one word in 50
  extremes,       // the least and the greatest word, alternating
  extreme_mix,    // least, greatest, zero, one, minus one, in any order
  smooth,         // neighbours are close: most planes are zero
  runs,           // zero runs of R - 1, R, R + 1 and around 2 R
  feature_map,    // rectified: runs of zeros between smooth bumps
  single_planes,  // deltas with few ones: indexed symbols
};

inline constexpr Pattern all_patterns[] = {
    Pattern::all_zero,    Pattern::none_zero,    Pattern::half_zero, Pattern::sparse,
    Pattern::extremes,    Pattern::extreme_mix,  Pattern::smooth,    Pattern::runs,
    Pattern::feature_map, Pattern::single_planes};

/// Words of one transmission, as bytes.
struct Words {
  Parameters p;
  int bytes_per_word;
  std::vector<std::uint8_t> bytes;

  std::size_t count() const { return bytes.size() / static_cast<std::size_t>(bytes_per_word); }
};

inline std::ostream& operator<<(std::ostream& out, const Words& w) {
  return out << (w.p.is_signed ? "signed" : "unsigned") << " W=" << w.p.word_bits
             << " N=" << w.p.block_size << " R=" << w.p.max_zero_run
             << (w.p.base == Base::sent ? " base sent" : " base re-used") << " zero=" << w.p.zero
             << ", " << w.count() << " words of " << w.bytes_per_word << " bytes";
}

inline Words words_from(const Parameters& p, int bytes_per_word,
                        const std::vector<std::int64_t>& values) {
  const auto size = static_cast<std::size_t>(bytes_per_word);
  Words words{p, bytes_per_word, std::vector<std::uint8_t>(values.size() * size)};
  for (std::size_t i = 0; i < values.size(); ++i) {
    visit_word_type(bytes_per_word, p.is_signed, [&]<class Word>(Word*) {
      const Word word = static_cast<Word>(values[i]);
      std::memcpy(words.bytes.data() + i * size, &word, size);
    });
  }
  return words;
}

inline Words make_words(const Parameters& p, int bytes_per_word, Pattern pattern, std::size_t count,
                        KernelRandom& random) {
  const std::int64_t low = min_word(p);
  const std::int64_t high = max_word(p);
  const auto uniform = [&] {
    return low + static_cast<std::int64_t>(random.below(std::uint64_t{1} << p.word_bits));
  };
  const auto nonzero = [&] {
    const std::int64_t value = uniform();
    return value != 0 ? value : high;
  };
  const auto near = [&](std::int64_t value) {
    return std::clamp(value + static_cast<std::int64_t>(random.below(5)) - 2, low, high);
  };
  std::vector<std::int64_t> values(count);
  std::uint64_t zeros_left = 0;
  std::uint64_t ones_left = 0;
  std::int64_t value = nonzero();
  for (std::size_t i = 0; i < count; ++i) {
    switch (pattern) {
      case Pattern::all_zero:
        break;
      case Pattern::none_zero:
        values[i] = nonzero();
        break;
      case Pattern::half_zero:
        values[i] = random.one_in(2) ? uniform() : 0;
        break;
      case Pattern::sparse:
        values[i] = random.one_in(50) ? uniform() : 0;
        break;
      case Pattern::extremes:
        values[i] = i % 2 != 0 ? low : high;
        break;
      case Pattern::extreme_mix: {
        const std::int64_t choices[] = {low, high, 0, 1, std::max<std::int64_t>(low, -1)};
        values[i] = choices[random.below(5)];
        break;
      }
      case Pattern::smooth:
        values[i] = value = near(value);
        break;
      case Pattern::runs:
      case Pattern::feature_map: {
        if (zeros_left == 0 && ones_left == 0) {
          const auto run = static_cast<std::uint64_t>(p.max_zero_run);
          zeros_left = pattern == Pattern::feature_map
                           ? random.below(20)
                           : run * (1 + random.below(2)) + random.below(3) - 1;
          ones_left = 1 + random.below(pattern == Pattern::feature_map ? 20 : 3);
          value = nonzero();
        }
        if (zeros_left > 0) {
          --zeros_left;
        } else {
          --ones_left;
          values[i] = value = near(value);
        }
        break;
      }
      case Pattern::single_planes: {
        const auto flips = static_cast<std::int64_t>(
            std::uint64_t{1} << random.below(static_cast<std::uint64_t>(p.word_bits)));
        if (random.one_in(3)) value ^= flips;
        value = std::clamp(value, low, high);
        values[i] = value;
        break;
      }
    }
  }
  // The zeros are the zero word, and where that is not 0 there are as many words of 0 as of it.
  for (std::int64_t& each : values) {
    if (each == 0 || each == p.zero) each = p.zero - each;
  }
  return words_from(p, bytes_per_word, values);
}

/// The streams that the plain encoder writes, which follows FORMAT.md and which all kernels are
/// compared with.
inline Streams encode_plainly(const Words& words) {
  Streams streams;
  const std::size_t count = words.count();
  streams.zero.resize(bytes_for_bits(max_zero_stream_bits(words.p, count)));
  streams.plane.resize(bytes_for_bits(max_plane_stream_bits(words.p, count)));
  // A copy of its own: a vector's bytes are aligned for words, and empty ones have an address.
  std::vector<std::uint8_t> bytes = words.bytes;
  bytes.reserve(1);
  streams.bits = code_transmission(words.p, {bytes.data(), count, words.bytes_per_word},
                                   BitWriter(streams.zero.data()), BitWriter(streams.plane.data()));
  streams.zero.resize(bytes_for_bits(streams.bits.zero));
  streams.plane.resize(bytes_for_bits(streams.bits.plane));
  return streams;
}

inline std::int64_t random_word(const Parameters& p, KernelRandom& random) {
  return min_word(p) + static_cast<std::int64_t>(random.below(std::uint64_t{1} << p.word_bits));
}

/// Settings over the whole range of each parameter, not all of their combinations.
inline std::vector<Parameters> all_settings() {
  std::vector<Parameters> settings;
  KernelRandom random(0);
  int run_bits = 0;  // of a mask
  for (int word_bits = min_word_bits; word_bits <= max_word_bits; ++word_bits) {
    for (int block_size = min_block_size; block_size <= max_block_size; ++block_size) {
      for (const bool is_signed : {true, false}) {
        for (const Base base : {Base::sent, Base::reused}) {
          Parameters p{word_bits, is_signed, block_size, 1 << run_bits, base};
          // Every third with another zero word than 0.
          if (settings.size() % 3 == 0) p.zero = random_word(p, random);
          settings.push_back(p);
        }
      }
      run_bits = (run_bits + 1) % 17;  // 63 block sizes: each word width meets every run length
    }
  }
  return settings;
}

/// Settings that people use, and some at the edges of the kernels' ways.
inline std::vector<Parameters> common_settings() {
  std::vector<Parameters> settings;
  for (const Base base : {Base::sent, Base::reused}) {
    for (const bool is_signed : {true, false}) {
      for (const int block_size : {8, 16}) {
        for (const int word_bits : {8, 16, 32}) {
          settings.push_back({word_bits, is_signed, block_size, 16, base});
        }
      }
    }
    settings.push_back({12, true, 8, 16, base});
    settings.push_back({4, true, 4, 16, base});
    settings.push_back({8, true, 8, 2, base});
    settings.push_back({8, true, 8, 1 << 16, base});
    settings.push_back({8, true, 7, 32, base});
    settings.push_back({8, false, 64, 8, base});
  }
  // What containers choose from.
  for (const int word_bits : {8, 16, 32}) {
    for (const int max_zero_run : {1, 16, 256}) {
      for (const int block_size : {15, 31, 63}) {
        settings.push_back({word_bits, word_bits == 8, block_size, max_zero_run, Base::reused});
      }
    }
  }
  // Other zero words than 0: zero points, and the bits of -0.0.
  for (const int word_bits : {8, 16, 32}) {
    for (const int max_zero_run : {1, 16}) {
      for (const Base base : {Base::sent, Base::reused}) {
        Parameters p{word_bits, true, base == Base::sent ? 8 : 15, max_zero_run, base};
        p.zero = min_word(p);
        settings.push_back(p);
      }
    }
  }
  settings.push_back({8, false, 8, 16, Base::sent, 128});
  settings.push_back({12, true, 8, 16, Base::sent, -3});
  return settings;
}

}  // namespace ebpc::test
