#include "ebpc/statistics.h"

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <functional>

#include "ebpc/bit_stream.h"
#include "ebpc/codec.h"
#include "ebpc/encoder.h"

namespace ebpc {
namespace {

struct Collection {
  Statistics statistics;
  std::uint64_t burst = 0;  // non-zero words since the last zero run

  void end_burst() {
    if (burst > 0) ++statistics.bursts[std::min<std::uint64_t>(burst, longest_burst) - 1];
    burst = 0;
  }
};

/// Fills a collection; both encoders have a copy of it.
struct Collector {
  Collection* to;

  void zero_run(std::uint32_t length) {
    to->end_burst();
    ++to->statistics.zero_runs[length - 1];
  }
  void nonzero_words(int count) {
    to->burst += static_cast<std::uint64_t>(count);
    to->statistics.nonzero_words += static_cast<std::uint64_t>(count);
  }
  void delta(std::int64_t delta) {
    const auto magnitude = static_cast<std::uint64_t>(std::abs(delta));
    ++to->statistics.deltas[static_cast<std::size_t>(std::bit_width(magnitude))];
  }
  void symbol(PlaneSymbol symbol, int planes) {
    const auto index = static_cast<std::size_t>(symbol);
    ++to->statistics.symbols[index];
    to->statistics.planes[index] += static_cast<std::uint64_t>(planes);
  }
  void block() { ++to->statistics.blocks; }
};

template <class Counts>
void add(Counts& to, const Counts& counts) {
  std::transform(to.begin(), to.end(), counts.begin(), to.begin(), std::plus<>());
}

}  // namespace

Statistics& Statistics::operator+=(const Statistics& other) {
  words += other.words;
  nonzero_words += other.nonzero_words;
  blocks += other.blocks;
  add(symbols, other.symbols);
  add(planes, other.planes);
  if (zero_runs.size() < other.zero_runs.size()) zero_runs.resize(other.zero_runs.size());
  std::transform(other.zero_runs.begin(), other.zero_runs.end(), zero_runs.begin(),
                 zero_runs.begin(), std::plus<>());
  add(bursts, other.bursts);
  add(deltas, other.deltas);
  return *this;
}

Statistics collect_statistics(const Parameters& p, WordSpan words) {
  check_words(p, words);
  Collection collection;
  collection.statistics.words = words.count;
  collection.statistics.zero_runs.resize(static_cast<std::size_t>(p.max_zero_run));
  code_transmission(p, words, BitCounter(), BitCounter(), Collector{&collection});
  collection.end_burst();
  return collection.statistics;
}

}  // namespace ebpc
