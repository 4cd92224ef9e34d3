#include "layer_table.h"

#include <algorithm>
#include <cstdint>
#include <iomanip>
#include <ostream>
#include <stdexcept>
#include <string_view>
#include <vector>

namespace {

constexpr std::string_view calls_buffer = ".ebpc_calls";

/// A row of the buffer ebpc_calls; torch_ebpc/_compressed_layer.py names its columns.
struct Call {
  std::string name;
  std::int64_t images = 0;
  std::int64_t values = 0;
  std::int64_t nonzero_values = 0;
  std::int64_t uncompressed_bits = 0;
  std::int64_t stream_bits = 0;
  std::int64_t container_bytes = 0;
  std::int64_t position = 0;

  void add(const Call& other) {
    images = std::max(images, other.images);
    values += other.values;
    nonzero_values += other.nonzero_values;
    uncompressed_bits += other.uncompressed_bits;
    stream_bits += other.stream_bits;
    container_bytes += other.container_bytes;
  }
};

std::vector<Call> calls_in(const std::map<std::string, at::Tensor>& buffers) {
  std::vector<Call> calls;
  for (const auto& [name, buffer] : buffers) {
    if (!name.ends_with(calls_buffer)) continue;
    const std::string layer = name.substr(0, name.size() - calls_buffer.size());
    const at::Tensor table = buffer.contiguous();
    for (std::int64_t i = 0; i < table.size(0); ++i) {
      const std::int64_t* row = table.const_data_ptr<std::int64_t>() + i * table.size(1);
      const std::int64_t number = row[8];
      calls.push_back({number == 0 ? layer : layer + '#' + std::to_string(number), row[0], row[1],
                       row[2], row[3], row[4] + row[5], row[6], row[7]});
    }
  }
  if (calls.empty()) throw std::runtime_error("the model has no compression in it");
  std::stable_sort(calls.begin(), calls.end(),
                   [](const Call& a, const Call& b) { return a.position < b.position; });
  return calls;
}

double ratio(std::int64_t numerator, std::int64_t denominator) {
  return denominator == 0 ? 1 : static_cast<double>(numerator) / static_cast<double>(denominator);
}

}  // namespace

void print_layers(std::ostream& out, const std::map<std::string, at::Tensor>& buffers) {
  const std::vector<Call> calls = calls_in(buffers);
  Call total;
  total.name = "total";
  std::size_t width = total.name.size();
  for (const Call& call : calls) {
    total.add(call);
    width = std::max(width, call.name.size());
  }

  // Words of all layers have one width: torch_ebpc.insert_compression sets it for a model.
  const std::int64_t word_bits = total.values == 0 ? 0 : total.uncompressed_bits / total.values;
  out << calls.size() << (calls.size() == 1 ? " call, " : " calls, ") << total.images
      << (total.images == 1 ? " sample" : " samples") << " each; ratios against " << word_bits
      << "-bit words\n"
      << std::left << std::setw(static_cast<int>(width)) << "layer" << std::right
      << "      values  zeros %  EBPC ratio  ZVC ratio  container ratio\n"
      << std::fixed;
  const auto print = [&](const Call& call) {
    // Zero-value compression: a bit for each word, and the words that are not zero.
    const std::int64_t zvc_bits = call.values + call.nonzero_values * word_bits;
    out << std::left << std::setw(static_cast<int>(width)) << call.name << std::right;
    out << std::setw(12) << call.values << std::setprecision(1);
    out << std::setw(9) << 100 * (1 - ratio(call.nonzero_values, call.values));
    out << std::setprecision(2);
    out << std::setw(12) << ratio(call.uncompressed_bits, call.stream_bits);
    out << std::setw(11) << ratio(call.uncompressed_bits, zvc_bits);
    out << std::setw(17) << ratio(call.uncompressed_bits, 8 * call.container_bytes) << '\n';
  };
  for (const Call& call : calls) print(call);
  print(total);
}
