// What the tests share: words in memory, random words, memory with guards around it, and errors.

#pragma once

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "ebpc/codec.h"
#include "ebpc/error.h"
#include "ebpc/parameters.h"
#include "ebpc/words.h"

namespace ebpc::test {

using Bytes = std::vector<std::uint8_t>;
using Values = std::vector<std::int64_t>;
using Random = std::mt19937_64;

inline std::int64_t smallest_word(const Parameters& p) { return min_word(p); }
inline std::int64_t largest_word(const Parameters& p) { return max_word(p); }

/// Values as words in memory, and back.
inline Bytes stored(const Values& values, int bytes_per_word, bool is_signed) {
  Bytes memory(values.size() * static_cast<std::size_t>(bytes_per_word));
  visit_word_type(bytes_per_word, is_signed, [&]<class Word>(Word*) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      const Word word = static_cast<Word>(values[i]);
      std::memcpy(&memory[i * sizeof(Word)], &word, sizeof(Word));
    }
  });
  return memory;
}

inline Values loaded(const Bytes& memory, int bytes_per_word, bool is_signed) {
  Values values(memory.size() / static_cast<std::size_t>(bytes_per_word));
  visit_word_type(bytes_per_word, is_signed, [&]<class Word>(Word*) {
    for (std::size_t i = 0; i < values.size(); ++i) {
      Word word;
      std::memcpy(&word, &memory[i * sizeof(Word)], sizeof(Word));
      values[i] = static_cast<std::int64_t>(word);
    }
  });
  return values;
}

struct Streams {
  StreamBits bits;
  Bytes zero;
  Bytes plane;
};

inline Streams encode_values(const Parameters& p, const Values& values) {
  const int bytes_per_word = bytes_for_word(p.word_bits);
  const Bytes memory = stored(values, bytes_per_word, p.is_signed);
  Streams streams;
  streams.bits =
      encode(p, {memory.data(), values.size(), bytes_per_word}, streams.zero, streams.plane);
  return streams;
}

inline Values decode_values(const Parameters& p, const Streams& streams, std::size_t count) {
  const int bytes_per_word = bytes_for_word(p.word_bits);
  Bytes memory(count * static_cast<std::size_t>(bytes_per_word));
  decode(p, streams.zero, streams.bits.zero, streams.plane, streams.bits.plane,
         {memory.data(), count, bytes_per_word});
  return loaded(memory, bytes_per_word, p.is_signed);
}

inline StreamBits count_values(const Parameters& p, const Values& values) {
  const int bytes_per_word = bytes_for_word(p.word_bits);
  const Bytes memory = stored(values, bytes_per_word, p.is_signed);
  return count_bits(p, {memory.data(), values.size(), bytes_per_word});
}

/// Words as feature maps have them: runs of zeros between walks of small and of large steps.
inline Values random_values(Random& random, const Parameters& p, std::size_t count) {
  const std::int64_t low = smallest_word(p);
  const std::int64_t high = largest_word(p);
  const auto below = [&random](std::uint64_t limit) {
    return static_cast<std::int64_t>(random() % limit);
  };
  Values values;
  while (values.size() < count) {
    const std::int64_t length = 1 + below(24);
    if (below(2) == 0) {
      values.insert(values.end(), static_cast<std::size_t>(length), 0);
      continue;
    }
    const std::int64_t step = std::max<std::int64_t>(1, (high - low) >> below(32));
    std::int64_t value = low + below(static_cast<std::uint64_t>(high - low + 1));
    for (std::int64_t i = 0; i < length; ++i) {
      values.push_back(value);
      value = std::clamp(value + below(static_cast<std::uint64_t>(2 * step + 1)) - step, low, high);
    }
  }
  values.resize(count);
  for (std::int64_t& each : values) {  // zeros are the zero word
    if (each == 0 || each == p.zero) each = p.zero - each;
  }
  return values;
}

/// Parameters over their whole range for words of that width.
inline Parameters random_parameters(Random& random, int word_bits, bool is_signed) {
  Parameters p{word_bits, is_signed, 2 + static_cast<int>(random() % 63),
               1 << (1 + static_cast<int>(random() % 16)),
               random() % 2 == 0 ? Base::sent : Base::reused};
  if (random() % 2 == 0) {
    p.zero = min_word(p) + static_cast<std::int64_t>(random() >> (64 - word_bits));
  }
  return p;
}

/// For SCOPED_TRACE.
inline std::string text(const Parameters& p) {
  return "W=" + std::to_string(p.word_bits) + (p.is_signed ? " signed" : " unsigned") +
         " N=" + std::to_string(p.block_size) + " R=" + std::to_string(p.max_zero_run) +
         (p.base == Base::sent ? " sent" : " reused") + " zero=" + std::to_string(p.zero);
}

/// A copy of bytes that begins or ends exactly at a page that may not be touched: reading or
/// writing one byte outside of it kills the test.
class GuardedBytes {
 public:
  enum class Guard { before, behind };

  GuardedBytes(std::span<const std::uint8_t> bytes, Guard guard) : size_(bytes.size()) {
    const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
    const std::size_t room = std::max<std::size_t>(1, (size_ + page - 1) / page) * page;
    mapped_ = room + 2 * page;
    void* map = mmap(nullptr, mapped_, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (map == MAP_FAILED) throw std::bad_alloc();
    map_ = static_cast<std::uint8_t*>(map);
    if (mprotect(map_ + page, room, PROT_READ | PROT_WRITE) != 0) throw std::bad_alloc();
    data_ = map_ + page + (guard == Guard::behind ? room - size_ : 0);
    std::copy(bytes.begin(), bytes.end(), data_);
  }
  ~GuardedBytes() { munmap(map_, mapped_); }
  GuardedBytes(const GuardedBytes&) = delete;
  GuardedBytes& operator=(const GuardedBytes&) = delete;

  std::span<std::uint8_t> span() const { return {data_, size_}; }

 private:
  std::size_t size_;
  std::size_t mapped_;
  std::uint8_t* map_;
  std::uint8_t* data_;
};

/// The message of the Error of that code that `body` throws; anything else fails the test.
template <class Body>
std::string error_of(ErrorCode code, Body&& body) {
  try {
    body();
  } catch (const Error& error) {
    EXPECT_EQ(static_cast<int>(error.code()), static_cast<int>(code)) << error.what();
    return error.what();
  }
  ADD_FAILURE() << "no ebpc::Error was thrown";
  return {};
}

}  // namespace ebpc::test
