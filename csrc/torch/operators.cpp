// The operators torch.ops.torch_ebpc.*: schemas, checks of what comes in, and a call into the
// codec. Built on PyTorch's stable ABI alone, so that one library serves every PyTorch from 2.10
// on; their fake kernels are in torch_ebpc/_fake_kernels.py.

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <optional>
#include <ranges>
#include <span>
#include <sstream>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "ebpc/baselines.h"
#include "ebpc/container.h"
#include "ebpc/container_reader.h"
#include "ebpc/kernels/dispatch.h"
#include "ebpc/statistics.h"
#include "torch/arguments.h"
#include "torch/fingerprint.h"
#include "torch/tensor_words.h"

namespace torch_ebpc {
namespace {

Tensor uint8_tensor(const std::uint8_t* bytes, std::uint64_t count) {
  Tensor tensor = empty_tensor({static_cast<std::int64_t>(count)}, ScalarType::Byte);
  if (count > 0) std::memcpy(tensor.mutable_data_ptr(), bytes, count);
  return tensor;
}

/// Without a `zero`, the one that suits the words.
Tensor compress(const Tensor& input, OptionalInt word_bits, std::int64_t block_size,
                std::int64_t max_zero_run, std::string base, std::string codec, OptionalInt zero) {
  return with_named_errors([&] {
    const TensorWords tensor = words_of("input", input);
    ebpc::ContainerCode code{codec_named(codec),
                             parameters_of(tensor.info.dtype, word_bits, block_size, max_zero_run,
                                           base, zero.value_or(0))};
    if (!zero) code = ebpc::with_suitable_zero(tensor.info.dtype, code, tensor.words());
    return written_tensor(
        ebpc::max_compressed_bytes(tensor.info), [&](std::span<std::uint8_t> out) {
          return ebpc::compress(tensor.info, code, tensor.words().data, out, torch_executor());
        });
  });
}

Tensor decompress(const Tensor& packed, Shape shape, ScalarType dtype, std::string memory_format,
                  OptionalInt max_bytes) {
  return with_named_errors([&] {
    const Tensor bytes = bytes_of("packed", packed);
    const ebpc::ContainerReader reader(span_of(bytes));
    const std::uint64_t words_bytes = expect_tensor(reader.info().tensor, shape, dtype);
    check_limit(max_bytes, words_bytes, span_of(bytes).size());
    Tensor words = empty_tensor(shape, dtype);
    reader.read(words.mutable_data_ptr(), words_bytes, torch_executor());
    return laid_out(words, memory_format_named(memory_format));
  });
}

Tensor fingerprint_of(const Tensor& bytes) {
  return with_named_errors([&] {
    const Tensor contiguous = bytes_of("bytes", bytes);
    const std::span<const std::uint8_t> all = span_of(contiguous);
    constexpr std::size_t part_bytes = std::size_t{1} << 18;
    std::vector<std::array<std::uint64_t, 2>> parts(all.size() / part_bytes + 1);
    ebpc::for_each_index(torch_executor(), parts.size(), [&](std::size_t, std::size_t i) {
      const std::size_t begin = i * part_bytes;
      parts[i] = fingerprint(all.subspan(begin, std::min(part_bytes, all.size() - begin)));
    });
    const auto [first, second] =
        fingerprint({reinterpret_cast<const std::uint8_t*>(parts.data()), 16 * parts.size()});
    return int64_tensor({2}, {static_cast<std::int64_t>(first), static_cast<std::int64_t>(second)});
  });
}

std::tuple<Tensor, Tensor, Tensor> encode(const Tensor& input, OptionalInt word_bits,
                                          std::int64_t block_size, std::int64_t max_zero_run,
                                          std::string base, std::string method, std::int64_t zero) {
  return with_named_errors([&] {
    const TensorWords tensor = words_of("input", input);
    const ebpc::Parameters p =
        parameters_of(tensor.info.dtype, word_bits, block_size, max_zero_run, base, zero);
    std::vector<std::uint8_t> zero_stream;
    std::vector<std::uint8_t> plane_stream;
    const ebpc::StreamBits bits =
        ebpc::encode(ebpc::method_named(method), p, tensor.words(), zero_stream, plane_stream);
    return std::tuple(uint8_tensor(zero_stream.data(), zero_stream.size()),
                      uint8_tensor(plane_stream.data(), plane_stream.size()),
                      int64_tensor({2}, {static_cast<std::int64_t>(bits.zero),
                                         static_cast<std::int64_t>(bits.plane)}));
  });
}

Tensor decode(const Tensor& zero_stream, const Tensor& plane_stream, std::int64_t zero_bits,
              std::int64_t plane_bits, Shape shape, ScalarType dtype, OptionalInt word_bits,
              std::int64_t block_size, std::int64_t max_zero_run, std::string base,
              std::string method, std::int64_t zero) {
  return with_named_errors([&] {
    const ebpc::TensorInfo info{dtype_of("dtype", dtype), ebpc::MemoryFormat::contiguous, shape};
    const ebpc::Parameters p =
        parameters_of(info.dtype, word_bits, block_size, max_zero_run, base, zero);
    const std::uint64_t words = ebpc::word_count(info);
    const Tensor zeros = bytes_of("zero_stream", zero_stream);
    const Tensor planes = bytes_of("plane_stream", plane_stream);
    const ebpc::Method chosen = ebpc::method_named(method);
    const ebpc::StreamBits bits{unsigned_of("zero_bits", zero_bits),
                                unsigned_of("plane_bits", plane_bits)};
    ebpc::require_bits_for_words(chosen, p, bits, words);  // before memory is asked for
    Tensor out = empty_tensor(shape, dtype);
    ebpc::decode(chosen, p, span_of(zeros), bits.zero, span_of(planes), bits.plane,
                 {out.mutable_data_ptr(), words, ebpc::traits(info.dtype).bytes});
    return out;
  });
}

/// The parts of a tensor that are coded each by itself: every index of its first dimensions.
struct Transmissions {
  Transmissions(const TensorWords& tensor, std::int64_t dims) : all_(tensor.words()) {
    const auto input_dims = static_cast<std::int64_t>(tensor.info.shape.size());
    if (dims < 0 || dims > input_dims) {
      throw ebpc::Error(ebpc::ErrorCode::argument,
                        "transmission_dims must be from 0 to " + std::to_string(input_dims) +
                            ", input's dimensions, got " + std::to_string(dims));
    }
    shape.assign(tensor.info.shape.begin(), tensor.info.shape.begin() + dims);
    for (const std::int64_t size : shape) count *= static_cast<std::size_t>(size);
  }

  std::size_t words_each() const { return all_.count / std::max<std::size_t>(count, 1); }

  ebpc::WordSpan words(std::size_t index) const {
    return all_.part(index * words_each(), words_each());
  }

  std::size_t workers(const ebpc::Executor& executor) const {
    return std::max<std::size_t>(1, ebpc::worker_count(executor, tasks()));
  }

  /// Calls body(worker, index) for each, from several threads. Small ones are taken many at a time,
  /// since to take one costs a thread as much as to count its words.
  template <class Body>
  void for_each(const ebpc::Executor& executor, const Body& body) const {
    ebpc::for_each_index(executor, tasks(), [&](std::size_t worker, std::size_t task) {
      const std::size_t end = std::min(count, (task + 1) * each_task());
      for (std::size_t i = task * each_task(); i < end; ++i) body(worker, i);
    });
  }

  /// An element for the bits of each, as StreamBits has them, after dimensions of other sizes.
  Tensor bits_tensor(Shape sizes = {}) const {
    sizes.insert(sizes.end(), shape.begin(), shape.end());
    sizes.push_back(2);
    return empty_tensor(sizes, ScalarType::Long);
  }

  Shape shape;
  std::size_t count = 1;

 private:
  std::size_t each_task() const {
    constexpr std::size_t enough_words = 4096;
    return std::max<std::size_t>(1, enough_words / std::max<std::size_t>(1, words_each()));
  }
  std::size_t tasks() const { return count / each_task() + (count % each_task() != 0); }

  ebpc::WordSpan all_;
};

/// Into a tensor of Transmissions::bits_tensor.
void put_bits(Tensor& bits, std::size_t index, const ebpc::StreamBits& of) {
  auto* const out = static_cast<std::int64_t*>(bits.mutable_data_ptr()) + 2 * index;
  out[0] = static_cast<std::int64_t>(of.zero);
  out[1] = static_cast<std::int64_t>(of.plane);
}

bool has_no_gaps(const Tensor& tensor) {
  std::int64_t spanned = 1;
  for (std::int64_t i = 0; i < tensor.dim(); ++i) {
    spanned += (tensor.size(i) - 1) * tensor.stride(i);
  }
  return tensor.numel() == 0 || spanned == tensor.numel();
}

/// The words of a span of memory without gaps; see torch_ebpc/quantizer.py.
Tensor quantize(const Tensor& x, Tensor words, double scale, OptionalInt word_bits,
                std::int64_t zero_point, bool to_nearest) {
  return with_named_errors([&] {
    const ebpc::DType dtype = dtype_of("words' dtype", words.scalar_type());
    const ebpc::Parameters p = parameters_of(dtype, word_bits, 8, 16, "sent", zero_point);
    const ebpc::DTypeTraits& of = ebpc::traits(dtype);
    if (x.scalar_type() != ScalarType::Float || of.all_bits || of.bytes > 2) {
      throw std::runtime_error(
          std::string("TypeError: x must be of dtype float32 and words of int8, uint8, int16 or "
                      "uint16, got ") +
          torch::headeronly::toString(x.scalar_type()) + " and " +
          torch::headeronly::toString(words.scalar_type()));
    }
    if (!std::ranges::equal(x.sizes(), words.sizes()) ||
        !std::ranges::equal(x.strides(), words.strides()) || !has_no_gaps(words)) {
      throw ebpc::Error(ebpc::ErrorCode::argument,
                        "words must have the shape and the strides of x, and no gaps");
    }
    const ebpc::Quantization q{static_cast<float>(scale), p.zero, ebpc::min_word(p),
                               ebpc::max_word(p), to_nearest};
    if (!(q.scale > 0 && std::isfinite(q.scale))) {
      std::ostringstream message;
      message << "scale must be positive and finite in float32, got " << scale;
      throw ebpc::Error(ebpc::ErrorCode::argument, message.str());
    }
    const auto count = static_cast<std::size_t>(x.numel());
    const auto* const values = static_cast<const float*>(x.const_data_ptr());
    const ebpc::MutableWordSpan all{words.mutable_data_ptr(), count, of.bytes};
    constexpr std::size_t task_words = 1 << 16;
    std::vector<ebpc::QuantizedValues> found(count / task_words + 1);
    ebpc::for_each_index(torch_executor(), found.size(), [&](std::size_t, std::size_t task) {
      const std::size_t first = task * task_words;
      found[task] = ebpc::active_kernel().quantize(
          q, values + first, all.part(first, std::min(task_words, count - first)));
    });
    ebpc::QuantizedValues sum;
    for (const ebpc::QuantizedValues& each : found) sum += each;
    if (!sum.finite) {
      throw ebpc::Error(ebpc::ErrorCode::argument,
                        "x must be finite to be quantized, got inf or NaN");
    }
    return int64_tensor(
        {2}, {static_cast<std::int64_t>(sum.below), static_cast<std::int64_t>(sum.above)});
  });
}

/// The bits of all transmissions by each method in turn; `sizes` are the tensor's first ones.
Tensor count(const Tensor& input, const std::vector<ebpc::Method>& methods, Shape sizes,
             OptionalInt word_bits, std::int64_t block_size, std::int64_t max_zero_run,
             const std::string& base, std::int64_t transmission_dims, std::int64_t zero) {
  const TensorWords tensor = words_of("input", input);
  const ebpc::Parameters p =
      parameters_of(tensor.info.dtype, word_bits, block_size, max_zero_run, base, zero);
  const Transmissions transmissions(tensor, transmission_dims);
  Tensor bits = transmissions.bits_tensor(std::move(sizes));
  transmissions.for_each(torch_executor(), [&](std::size_t, std::size_t i) {
    for (std::size_t each = 0; each < methods.size(); ++each) {
      put_bits(bits, each * transmissions.count + i,
               ebpc::count_bits(methods[each], p, transmissions.words(i)));
    }
  });
  return bits;
}

Tensor count_bits(const Tensor& input, std::string method, OptionalInt word_bits,
                  std::int64_t block_size, std::int64_t max_zero_run, std::string base,
                  std::int64_t transmission_dims, std::int64_t zero) {
  return with_named_errors([&] {
    return count(input, {ebpc::method_named(method)}, {}, word_bits, block_size, max_zero_run, base,
                 transmission_dims, zero);
  });
}

Tensor count_methods(const Tensor& input, std::string methods, OptionalInt word_bits,
                     std::int64_t block_size, std::int64_t max_zero_run, std::string base,
                     std::int64_t transmission_dims, std::int64_t zero) {
  return with_named_errors([&] {
    std::vector<ebpc::Method> each;
    for (const auto& name : std::views::split(methods, ',')) {
      each.push_back(ebpc::method_named(std::string(name.begin(), name.end())));
    }
    return count(input, each, {static_cast<std::int64_t>(each.size())}, word_bits, block_size,
                 max_zero_run, base, transmission_dims, zero);
  });
}

std::tuple<Tensor, Tensor> round_trip(const Tensor& input, std::string method,
                                      OptionalInt word_bits, std::int64_t block_size,
                                      std::int64_t max_zero_run, std::string base,
                                      std::int64_t transmission_dims, std::int64_t zero) {
  return with_named_errors([&] {
    const TensorWords tensor = words_of("input", input);
    const ebpc::Parameters p =
        parameters_of(tensor.info.dtype, word_bits, block_size, max_zero_run, base, zero);
    const ebpc::Method chosen = ebpc::method_named(method);
    const Transmissions transmissions(tensor, transmission_dims);
    const ebpc::Executor executor = torch_executor();
    Tensor output = empty_tensor(tensor.info.shape, input.scalar_type());
    const ebpc::MutableWordSpan decoded{output.mutable_data_ptr(), tensor.words().count,
                                        tensor.words().bytes_per_word};
    Tensor bits = transmissions.bits_tensor();
    struct Streams {
      std::vector<std::uint8_t> zero;
      std::vector<std::uint8_t> plane;
    };
    std::vector<Streams> streams(transmissions.workers(executor));  // each thread's own
    transmissions.for_each(executor, [&](std::size_t worker, std::size_t i) {
      auto& [zero_stream, plane_stream] = streams[worker];
      const ebpc::StreamBits written =
          ebpc::encode(chosen, p, transmissions.words(i), zero_stream, plane_stream);
      ebpc::decode(chosen, p, zero_stream, written.zero, plane_stream, written.plane,
                   decoded.part(i * transmissions.words_each(), transmissions.words_each()));
      put_bits(bits, i, written);
    });
    return std::tuple(output, bits);
  });
}

Tensor statistics(const Tensor& input, OptionalInt word_bits, std::int64_t block_size,
                  std::int64_t max_zero_run, std::string base, std::int64_t transmission_dims,
                  std::int64_t zero) {
  return with_named_errors([&] {
    const TensorWords tensor = words_of("input", input);
    const ebpc::Parameters p =
        parameters_of(tensor.info.dtype, word_bits, block_size, max_zero_run, base, zero);
    const Transmissions transmissions(tensor, transmission_dims);
    const ebpc::Executor executor = torch_executor();
    // One sum for each thread. An input without any transmissions has the counts of no words.
    std::vector<ebpc::Statistics> sums(transmissions.workers(executor));
    sums[0] = ebpc::collect_statistics(p, {nullptr, 0, tensor.words().bytes_per_word});
    transmissions.for_each(executor, [&](std::size_t worker, std::size_t i) {
      sums[worker] += ebpc::collect_statistics(p, transmissions.words(i));
    });
    for (std::size_t i = 1; i < sums.size(); ++i) sums[0] += sums[i];
    const ebpc::Statistics& sum = sums[0];
    std::vector<std::int64_t> fields;
    const auto append = [&fields](const auto& counts) {
      for (const std::uint64_t count : counts) fields.push_back(static_cast<std::int64_t>(count));
    };
    append(std::array{sum.words, sum.nonzero_words, sum.blocks});
    append(sum.symbols);
    append(sum.planes);
    append(sum.bursts);
    append(sum.deltas);
    append(sum.zero_runs);
    return int64_tensor({static_cast<std::int64_t>(fields.size())}, fields);
  });
}

/// JSON of numbers.
std::string constants() {
  const std::vector<std::pair<std::string, std::size_t>> all{
      {"segment_words", ebpc::segment_words},
      {"max_dims", ebpc::max_dims},
      {"plane_symbols", ebpc::plane_symbol_count},
      {"longest_burst", ebpc::longest_burst},
      {"delta_bins", ebpc::delta_bins}};
  std::string text;
  for (const auto& [name, value] : all) {
    text += (text.empty() ? "{\"" : ", \"") + name + "\": " + std::to_string(value);
  }
  return text + "}";
}

std::string dtypes() {
  std::string all;
  for (int i = 0; i < ebpc::dtype_count; ++i) {
    const ebpc::DTypeTraits& of = ebpc::traits(static_cast<ebpc::DType>(i));
    if (i > 0) all += ' ';
    all += of.name;
    for (const int field : {8 * of.bytes, of.words_per_element, int{of.has_negative_zero}}) {
      all += ':';
      all += std::to_string(field);
    }
  }
  return all;
}

std::string version() { return TORCH_EBPC_VERSION; }

std::string kernels() {
  std::string names;
  for (const ebpc::Kernel* kernel : ebpc::supported_kernels()) {
    if (!names.empty()) names += ' ';
    names += kernel->name;
  }
  return names;
}

void use_kernel(std::string name) {
  with_named_errors([&] { ebpc::use_kernel(name); });
}

std::string kernel() {
  return with_named_errors([] { return std::string(ebpc::active_kernel().name); });
}

}  // namespace
}  // namespace torch_ebpc

STABLE_TORCH_LIBRARY(torch_ebpc, m) {
  m.def(
      "compress(Tensor input, int? word_bits=None, int block_size=8, int max_zero_run=16, "
      "str base='sent', str codec='ebpc', int? zero=0) -> Tensor");
  m.def(
      "decompress(Tensor packed, SymInt[] shape, ScalarType dtype, "
      "str memory_format='contiguous', int? max_bytes=None) -> Tensor");
  // int64 [2], the same for the same bytes in this process: csrc/torch/fingerprint.h.
  m.def("fingerprint(Tensor bytes) -> Tensor");
  // bits: int64 [2], of the zero stream and of the plane stream.
  m.def(
      "encode(Tensor input, int? word_bits=None, int block_size=8, int max_zero_run=16, "
      "str base='sent', str method='ebpc', int zero=0) -> (Tensor zero_stream, "
      "Tensor plane_stream, "
      "Tensor bits)");
  m.def(
      "decode(Tensor zero_stream, Tensor plane_stream, SymInt zero_bits, SymInt plane_bits, "
      "SymInt[] shape, ScalarType dtype, int? word_bits=None, int block_size=8, "
      "int max_zero_run=16, str base='sent', str method='ebpc', int zero=0) -> Tensor");
  // int64 [the first transmission_dims sizes of input, 2]: each such index is a transmission of its
  // own; the last dimension holds the bits that say where words are and the bits of the words.
  m.def(
      "count_bits(Tensor input, str method='ebpc', int? word_bits=None, int block_size=8, "
      "int max_zero_run=16, str base='sent', int transmission_dims=0, int zero=0) -> Tensor");
  // The same for several methods, separated by commas: int64 [methods, ..., 2].
  m.def(
      "count_methods(Tensor input, str methods, int? word_bits=None, int block_size=8, "
      "int max_zero_run=16, str base='sent', int transmission_dims=0, int zero=0) -> Tensor");
  // As encode and then decode, for each transmission: what comes back, of input's shape, and the
  // bits that were written, as of count_bits.
  m.def(
      "round_trip(Tensor input, str method='ebpc', int? word_bits=None, int block_size=8, "
      "int max_zero_run=16, str base='sent', int transmission_dims=0, int zero=0) -> "
      "(Tensor output, Tensor bits)");
  // int64, the sum over all transmissions; the fields are named in torch_ebpc/statistics.py.
  m.def(
      "statistics(Tensor input, int? word_bits=None, int block_size=8, int max_zero_run=16, "
      "str base='sent', int transmission_dims=0, int zero=0) -> Tensor");
  // Values of float32 to words of fixed point, which have the strides of x and no gaps: int64 [2],
  // how many values were below and above the range of the words.
  m.def(
      "quantize(Tensor x, Tensor(a!) words, float scale, int? word_bits=None, int zero_point=0, "
      "bool to_nearest=True) -> Tensor");
  // JSON of the numbers that Python shares with C++.
  m.def("constants() -> str");
  // The dtypes that can be compressed, in the order of their numbers in the container, separated by
  // spaces, each as NAME:BITS_OF_A_WORD:WORDS_OF_AN_ELEMENT:HAS_NEGATIVE_ZERO.
  m.def("dtypes() -> str");
  m.def("version() -> str");
  m.def("kernel() -> str");
  // Separated by spaces, the fastest first.
  m.def("kernels() -> str");
  m.def("use_kernel(str name) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(torch_ebpc, CPU, m) {
  m.impl("compress", TORCH_BOX(&torch_ebpc::compress));
  m.impl("decompress", TORCH_BOX(&torch_ebpc::decompress));
  m.impl("fingerprint", TORCH_BOX(&torch_ebpc::fingerprint_of));
  m.impl("encode", TORCH_BOX(&torch_ebpc::encode));
  m.impl("decode", TORCH_BOX(&torch_ebpc::decode));
  m.impl("count_bits", TORCH_BOX(&torch_ebpc::count_bits));
  m.impl("count_methods", TORCH_BOX(&torch_ebpc::count_methods));
  m.impl("quantize", TORCH_BOX(&torch_ebpc::quantize));
  m.impl("round_trip", TORCH_BOX(&torch_ebpc::round_trip));
  m.impl("statistics", TORCH_BOX(&torch_ebpc::statistics));
}

STABLE_TORCH_LIBRARY_IMPL(torch_ebpc, CompositeExplicitAutograd, m) {
  m.impl("constants", TORCH_BOX(&torch_ebpc::constants));
  m.impl("dtypes", TORCH_BOX(&torch_ebpc::dtypes));
  m.impl("version", TORCH_BOX(&torch_ebpc::version));
  m.impl("kernel", TORCH_BOX(&torch_ebpc::kernel));
  m.impl("kernels", TORCH_BOX(&torch_ebpc::kernels));
  m.impl("use_kernel", TORCH_BOX(&torch_ebpc::use_kernel));
}
