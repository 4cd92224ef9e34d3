// Every kernel's functions on segments of one feature map: bytes per second and cycles per 64
// words.
//
// Data are rectified smooth noise, half of it zero, or the words of the file that
// EBPC_BENCHMARK_FILE names (little-endian, signed; of 8 bits for settings with W = 8, and so on).
// Cycles are CPU time times the nominal frequency, which the core may exceed.

#include <benchmark/benchmark.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

#include "ebpc/bit_stream.h"
#include "ebpc/kernels/dispatch.h"
#include "ebpc/parameters.h"
#include "ebpc/words.h"

namespace ebpc {
namespace {

constexpr std::size_t segment_words = 4096;
constexpr std::size_t map_words = 256 * segment_words;

/// Words like those after a ReLU: a slow wave and noise, cut off at zero.
std::vector<std::uint8_t> make_map(const Parameters& p) {
  const int size = bytes_for_word(p.word_bits);
  std::vector<std::uint8_t> bytes(map_words * static_cast<std::size_t>(size));
  std::mt19937 random(1);
  const double top = static_cast<double>((std::int64_t{1} << (p.word_bits - p.is_signed)) - 1);
  double wave = 0;
  for (std::size_t i = 0; i < map_words; ++i) {
    const double noise = static_cast<double>(random()) / static_cast<double>(random.max()) - 0.5;
    wave = 0.9 * wave + 0.2 * noise;
    const auto word = static_cast<std::uint32_t>(std::clamp(1.5 * wave, 0.0, 1.0) * top);
    for (int byte = 0; byte < size; ++byte) {
      const std::size_t at =
          i * static_cast<std::size_t>(size) +
          static_cast<std::size_t>(std::endian::native == std::endian::little ? byte
                                                                              : size - 1 - byte);
      bytes[at] = static_cast<std::uint8_t>(word >> (8 * byte));
    }
  }
  return bytes;
}

std::vector<std::uint8_t> map_for(const Parameters& p) {
  const char* path = std::getenv("EBPC_BENCHMARK_FILE");
  if (path == nullptr) return make_map(p);
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

/// A map cut into segments.
class Segments {
 public:
  explicit Segments(const Parameters& p) : p_(p), bytes_(map_for(p)) {
    const int size = bytes_for_word(p.word_bits);
    const std::size_t count = bytes_.size() / static_cast<std::size_t>(size);
    const WordSpan all{bytes_.data(), count, size};
    for (std::size_t first = 0; first < count; first += segment_words) {
      segments_.push_back(all.part(first, std::min(segment_words, count - first)));
    }
    zero_.resize(bytes_for_bits(max_zero_stream_bits(p, segment_words)) + kernel_slack_bytes);
    plane_.resize(bytes_for_bits(max_plane_stream_bits(p, segment_words)) + kernel_slack_bytes);
  }

  std::size_t byte_count() const { return bytes_.size(); }
  const std::vector<WordSpan>& segments() const { return segments_; }

  StreamBits encode(const Kernel& kernel, WordSpan words) {
    return kernel.encode(p_, words, zero_.data(), plane_.data());
  }

  /// All segments' streams side by side, and where their words go.
  std::vector<DecodeJob> jobs() {
    std::vector<std::size_t> ends;
    for (const WordSpan& words : segments_) {
      const StreamBits bits = encode(portable_kernel, words);
      const auto append = [&](const std::vector<std::uint8_t>& stream, std::uint64_t stream_bits) {
        streams_.insert(streams_.end(), stream.data(), stream.data() + bytes_for_bits(stream_bits));
        ends.push_back(streams_.size());
      };
      append(zero_, bits.zero);
      append(plane_, bits.plane);
    }
    decoded_.resize(bytes_.size());
    std::vector<DecodeJob> jobs;
    std::size_t begin = 0;
    for (std::size_t i = 0; i < segments_.size(); ++i) {
      const std::size_t middle = ends[2 * i];
      const std::size_t end = ends[2 * i + 1];
      const auto offset = static_cast<const std::uint8_t*>(segments_[i].data) - bytes_.data();
      jobs.push_back({streams_.data() + begin,
                      middle - begin,
                      streams_.data() + middle,
                      end - middle,
                      {decoded_.data() + offset, segments_[i].count, segments_[i].bytes_per_word}});
      begin = end;
    }
    return jobs;
  }

  bool decoded_is_right() const { return decoded_ == bytes_; }

 private:
  Parameters p_;
  std::vector<std::uint8_t> bytes_;
  std::vector<WordSpan> segments_;
  std::vector<std::uint8_t> zero_;
  std::vector<std::uint8_t> plane_;
  std::vector<std::uint8_t> streams_;
  std::vector<std::uint8_t> decoded_;
};

/// Runs `work` on all segments again and again.
template <class Work>
void measure(benchmark::State& state, const Segments& data, std::size_t word_bytes, Work&& work) {
  for (auto _ : state) work();
  const double bytes =
      static_cast<double>(data.byte_count()) * static_cast<double>(state.iterations());
  state.SetBytesProcessed(static_cast<std::int64_t>(bytes));
  const double groups = bytes / (64 * static_cast<double>(word_bytes));
  state.counters["cycles/64words"] =
      benchmark::Counter(groups / benchmark::CPUInfo::Get().cycles_per_second,
                         benchmark::Counter::kIsRate | benchmark::Counter::kInvert);
}

void register_benchmarks(const Kernel& kernel, const std::string& setting, const Parameters& p) {
  const std::string suffix = std::string("/") + kernel.name + "/" + setting;
  const auto word_bytes = static_cast<std::size_t>(bytes_for_word(p.word_bits));
  const auto add = [&](const char* name, auto benchmark) {
    benchmark::RegisterBenchmark((name + suffix).c_str(), benchmark);
  };
  add("encode", [&kernel, p, word_bytes](benchmark::State& state) {
    Segments data(p);
    measure(state, data, word_bytes, [&] {
      for (const WordSpan& words : data.segments()) {
        benchmark::DoNotOptimize(data.encode(kernel, words));
      }
    });
  });
  add("count", [&kernel, p, word_bytes](benchmark::State& state) {
    const Segments data(p);
    measure(state, data, word_bytes, [&] {
      for (const WordSpan& words : data.segments()) {
        benchmark::DoNotOptimize(kernel.count(p, words));
      }
    });
  });
  add("decode", [&kernel, p, word_bytes](benchmark::State& state) {
    Segments data(p);
    const std::vector<DecodeJob> jobs = data.jobs();
    measure(state, data, word_bytes,
            [&] { benchmark::DoNotOptimize(decode_jobs(kernel, p, jobs)); });
    if (!data.decoded_is_right()) state.SkipWithError("decoded words differ");
  });
}

void register_checksum(const Kernel& kernel) {
  benchmark::RegisterBenchmark(
      (std::string("crc32c/") + kernel.name).c_str(), [&kernel](benchmark::State& state) {
        const Segments data(Parameters{});
        measure(state, data, 1, [&] {
          for (const WordSpan& words : data.segments()) {
            benchmark::DoNotOptimize(
                kernel.crc32c(0, static_cast<const std::uint8_t*>(words.data), words.count));
          }
        });
      });
}

}  // namespace
}  // namespace ebpc

int main(int argc, char** argv) {
  using ebpc::Base;
  using ebpc::Parameters;
  const std::pair<const char*, Parameters> settings[] = {
      {"w8_n8", {}},
      {"w8_n8_unsigned", {.is_signed = false}},
      {"w8_n8_reused", {.base = Base::reused}},
      {"w8_n4", {.block_size = 4}},
      {"w8_n2", {.block_size = 2}},
      {"w8_n7", {.block_size = 7}},
      {"w8_n4_reused", {.block_size = 4, .base = Base::reused}},
      {"w16_n4", {.word_bits = 16, .block_size = 4}},
      {"w32_n4", {.word_bits = 32, .block_size = 4}},
      {"w8_n16", {.block_size = 16}},
      {"w8_n16_reused", {.block_size = 16, .base = Base::reused}},
      {"w8_n32", {.block_size = 32}},
      {"w8_n63_reused", {.block_size = 63, .base = Base::reused}},
      {"w16_n8", {.word_bits = 16}},
      {"w16_n16", {.word_bits = 16, .block_size = 16}},
      {"w16_n16_reused", {.word_bits = 16, .block_size = 16, .base = Base::reused}},
      {"w32_n8", {.word_bits = 32}},
      {"w32_n16", {.word_bits = 32, .block_size = 16}},
      {"w32_n31_reused", {.word_bits = 32, .block_size = 31, .base = Base::reused}},
      {"w8_n8_mask", {.max_zero_run = 1}},
      {"w8_n8_run256", {.max_zero_run = 256}},
      {"w8_n15_reused", {.block_size = 15, .base = Base::reused}},
      {"w16_n31_reused", {.word_bits = 16, .block_size = 31, .base = Base::reused}},
      {"w32_n63_reused", {.word_bits = 32, .block_size = 63, .base = Base::reused}},
  };
  for (const ebpc::Kernel* kernel : ebpc::supported_kernels()) {
    for (const auto& [name, parameters] : settings) {
      ebpc::register_benchmarks(*kernel, name, parameters);
    }
    ebpc::register_checksum(*kernel);
  }
  benchmark::Initialize(&argc, argv);
  if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
  benchmark::RunSpecifiedBenchmarks();
  benchmark::Shutdown();
}
