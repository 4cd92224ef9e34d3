// The operators on containers that are read or written more than once: a reader, an encoder and a
// decoder that live in C++ as long as Python holds them. The stable ABI has no classes, so a handle
// is a number, by which they are found in a table. torch_ebpc/container.py and torch_ebpc/stream.py
// make objects of them, which close their handles.

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <tuple>
#include <utility>
#include <variant>
#include <vector>

#include "ebpc/container_layout.h"
#include "ebpc/container_reader.h"
#include "ebpc/container_stream.h"
#include "torch/arguments.h"
#include "torch/tensor_words.h"

namespace torch_ebpc {
namespace {

// ---- Handles

/// A reader and the bytes that it refers to.
struct OpenContainer {
  OpenContainer(Tensor packed, ebpc::layout::Extent extent)
      : bytes(std::move(packed)), reader(span_of(bytes), extent) {}

  Tensor bytes;
  ebpc::ContainerReader reader;
};

struct OpenEncoder {
  explicit OpenEncoder(const ebpc::TensorInfo& info, const ebpc::ContainerCode& code)
      : tensor(info), encoder(info, code, torch_executor()) {}

  ebpc::TensorInfo tensor;
  ebpc::ContainerEncoder encoder;
  std::mutex mutex;
};

struct OpenDecoder {
  ebpc::ContainerDecoder decoder{torch_executor()};
  std::mutex mutex;
};

/// What is open, by its handle.
class Table {
 public:
  template <class Object>
  std::int64_t add(std::shared_ptr<Object> object) {
    const std::lock_guard lock(mutex_);
    objects_.emplace(++last_, std::move(object));
    return last_;
  }

  /// Shared, so that it outlives a call that closes it from another thread.
  template <class Object>
  std::shared_ptr<Object> find(std::int64_t handle) {
    const std::lock_guard lock(mutex_);
    const auto found = objects_.find(handle);
    if (found == objects_.end() ||
        !std::holds_alternative<std::shared_ptr<Object>>(found->second)) {
      throw ebpc::Error(ebpc::ErrorCode::argument,
                        "handle must be an open one of its kind, got " + std::to_string(handle));
    }
    return std::get<std::shared_ptr<Object>>(found->second);
  }

  void remove(std::int64_t handle) {
    const std::lock_guard lock(mutex_);
    objects_.erase(handle);
  }

 private:
  using Any = std::variant<std::shared_ptr<OpenContainer>, std::shared_ptr<OpenEncoder>,
                           std::shared_ptr<OpenDecoder>>;
  std::mutex mutex_;
  std::map<std::int64_t, Any> objects_;
  std::int64_t last_ = 0;
};

/// Never destroyed: objects of Python may close their handles while the process ends.
Table& table() {
  static auto* const table = new Table;
  return *table;
}

void close(std::int64_t handle) { table().remove(handle); }

// ---- Reader

std::string name_of(ebpc::MemoryFormat format) {
  switch (format) {
    case ebpc::MemoryFormat::channels_last:
      return "channels_last";
    case ebpc::MemoryFormat::channels_last_3d:
      return "channels_last_3d";
    default:
      return "contiguous";
  }
}

/// JSON of numbers and of names without anything to escape.
class Json {
 public:
  void field(const std::string& name, const std::string& value) {
    text_ += (text_.empty() ? "{\"" : ", \"") + name + "\": " + value;
  }
  void number(const std::string& name, std::int64_t value) { field(name, std::to_string(value)); }
  void number(const std::string& name, std::uint64_t value) { field(name, std::to_string(value)); }
  void name(const std::string& name, const std::string& value) { field(name, "\"" + value + "\""); }
  std::string text() const { return text_ + "}"; }

 private:
  std::string text_;
};

std::string json_of(const ebpc::ContainerInfo& info) {
  const ebpc::Parameters& p = info.code.parameters;
  Json json;
  json.number("format_version", std::int64_t{info.version});
  json.name("dtype", std::string(ebpc::traits(info.tensor.dtype).name));
  json.name("memory_format", name_of(info.tensor.memory_format));
  std::string shape;
  for (const std::int64_t size : info.tensor.shape) {
    shape += (shape.empty() ? "" : ", ") + std::to_string(size);
  }
  json.field("shape", "[" + shape + "]");
  json.name("codec", info.code.codec == ebpc::Codec::automatic ? "auto" : "ebpc");
  json.number("word_bits", std::int64_t{p.word_bits});
  json.number("block_size", std::int64_t{p.block_size});
  json.number("max_zero_run", std::int64_t{p.max_zero_run});
  json.name("base", p.base == ebpc::Base::sent ? "sent" : "reused");
  json.number("zero", p.zero);
  json.field("both_zeros", info.code.zeros == ebpc::Zeros::both_signs ? "true" : "false");
  json.number("words", info.words);
  json.number("segment_words", ebpc::segment_words);
  json.number("segments", info.segments);
  json.number("raw_segments", info.raw_segments);
  json.number("raw_words", info.raw_words);
  json.number("zero_stream_bits", info.zero_stream_bits);
  json.number("plane_stream_bits", info.plane_stream_bits);
  json.number("header_bytes", info.header_bytes);
  json.number("container_bytes", info.container_bytes);
  std::string codings;
  for (std::size_t i = 0; i < info.codings.size(); ++i) {
    if (info.codings[i].segments == 0) continue;
    codings += (codings.empty() ? "[" : ", [") + std::to_string(i) + ", " +
               std::to_string(info.codings[i].segments) + ", " +
               std::to_string(info.codings[i].words) + "]";
  }
  json.field("codings", "[" + codings + "]");
  return json.text();
}

std::int64_t open_container(const Tensor& packed, bool may_be_cut) {
  return with_named_errors([&] {
    return table().add(std::make_shared<OpenContainer>(
        bytes_of("packed", packed),
        may_be_cut ? ebpc::layout::Extent::header : ebpc::layout::Extent::whole));
  });
}

std::string container_info(std::int64_t handle) {
  return with_named_errors(
      [&] { return json_of(table().find<OpenContainer>(handle)->reader.info()); });
}

std::uint64_t tensor_bytes(const ebpc::ContainerInfo& info) {
  return info.words * static_cast<std::uint64_t>(ebpc::traits(info.tensor.dtype).bytes);
}

Tensor read_all(const ebpc::ContainerReader& reader, OptionalInt max_bytes) {
  const ebpc::ContainerInfo& info = reader.info();
  check_limit(max_bytes, tensor_bytes(info), info.container_bytes);
  Tensor words = empty_tensor(info.tensor.shape, scalar_type_of(info.tensor.dtype));
  reader.read(words.mutable_data_ptr(), tensor_bytes(info), torch_executor());
  return laid_out(words, info.tensor.memory_format);
}

Tensor container_read(std::int64_t handle, OptionalInt max_bytes) {
  return with_named_errors(
      [&] { return read_all(table().find<OpenContainer>(handle)->reader, max_bytes); });
}

/// As open_container, container_read and close, in one call.
Tensor unpack(const Tensor& packed, OptionalInt max_bytes) {
  return with_named_errors([&] {
    const Tensor bytes = bytes_of("packed", packed);
    return read_all(ebpc::ContainerReader(span_of(bytes)), max_bytes);
  });
}

Tensor container_range(std::int64_t handle, std::int64_t first_element, std::int64_t elements,
                       OptionalInt max_bytes) {
  return with_named_errors([&] {
    const auto open = table().find<OpenContainer>(handle);
    const ebpc::ContainerInfo& info = open->reader.info();
    const ebpc::DTypeTraits& dtype = ebpc::traits(info.tensor.dtype);
    const auto each = static_cast<std::uint64_t>(dtype.words_per_element);
    const std::uint64_t first = unsigned_of("first_element", first_element);
    const std::uint64_t count = unsigned_of("elements", elements);
    const std::uint64_t all = info.words / each;
    if (first > all || count > all - first) {
      throw ebpc::Error(ebpc::ErrorCode::argument,
                        "elements must be of the container's " + std::to_string(all) + ", got " +
                            std::to_string(count) + " from " + std::to_string(first));
    }
    const std::uint64_t bytes = count * each * static_cast<std::uint64_t>(dtype.bytes);
    check_limit(max_bytes, bytes, info.container_bytes);
    Tensor out = empty_tensor({elements}, scalar_type_of(info.tensor.dtype));
    open->reader.read_range({first * each, count * each}, out.mutable_data_ptr(), bytes,
                            torch_executor());
    return out;
  });
}

std::tuple<Tensor, Tensor> container_recover(std::int64_t handle, OptionalInt max_bytes) {
  return with_named_errors([&] {
    const auto open = table().find<OpenContainer>(handle);
    const ebpc::ContainerInfo& info = open->reader.info();
    check_limit(max_bytes, tensor_bytes(info), span_of(open->bytes).size());
    Tensor words = empty_tensor(info.tensor.shape, scalar_type_of(info.tensor.dtype));
    const std::vector<ebpc::WordRange> lost =
        open->reader.recover(words.mutable_data_ptr(), tensor_bytes(info), torch_executor());
    std::vector<std::int64_t> ranges;
    for (const ebpc::WordRange& range : lost) {
      ranges.push_back(static_cast<std::int64_t>(range.first));
      ranges.push_back(static_cast<std::int64_t>(range.count));
    }
    return std::tuple(laid_out(words, info.tensor.memory_format),
                      int64_tensor({static_cast<std::int64_t>(lost.size()), 2}, ranges));
  });
}

std::int64_t max_compressed_bytes(Shape shape, ScalarType dtype) {
  return with_named_errors([&] {
    return static_cast<std::int64_t>(ebpc::max_compressed_bytes(
        {dtype_of("dtype", dtype), ebpc::MemoryFormat::contiguous, shape}));
  });
}

// ---- Encoder

std::int64_t open_encoder(Shape shape, ScalarType dtype, std::string memory_format,
                          OptionalInt word_bits, std::int64_t block_size, std::int64_t max_zero_run,
                          std::string base, std::string codec, std::int64_t zero) {
  return with_named_errors([&] {
    const ebpc::TensorInfo info{dtype_of("dtype", dtype), memory_format_named(memory_format),
                                shape};
    const ebpc::ContainerCode code{
        codec_named(codec),
        parameters_of(info.dtype, word_bits, block_size, max_zero_run, base, zero)};
    return table().add(std::make_shared<OpenEncoder>(info, code));
  });
}

std::int64_t encoder_header_bytes(std::int64_t handle) {
  return with_named_errors([&] {
    return static_cast<std::int64_t>(table().find<OpenEncoder>(handle)->encoder.header_bytes());
  });
}

Tensor bytes_tensor(const std::vector<std::uint8_t>& bytes) {
  return written_tensor(bytes.size(), [&bytes](std::span<std::uint8_t> out) {
    std::copy(bytes.begin(), bytes.end(), out.begin());
    return bytes.size();
  });
}

Tensor encoder_push(std::int64_t handle, const Tensor& words) {
  return with_named_errors([&] {
    const auto open = table().find<OpenEncoder>(handle);
    const TensorWords tensor = words_of("words", words);
    expect_dtype(open->tensor.dtype, words.scalar_type());
    std::vector<std::uint8_t> payload;
    const std::lock_guard lock(open->mutex);
    open->encoder.push(tensor.words(), payload);
    return bytes_tensor(payload);
  });
}

Tensor encoder_finish(std::int64_t handle) {
  return with_named_errors([&] {
    const auto open = table().find<OpenEncoder>(handle);
    const std::lock_guard lock(open->mutex);
    return bytes_tensor(open->encoder.finish());
  });
}

// ---- Decoder

std::int64_t open_decoder() {
  return with_named_errors([] { return table().add(std::make_shared<OpenDecoder>()); });
}

void decoder_push(std::int64_t handle, const Tensor& data) {
  with_named_errors([&] {
    const auto open = table().find<OpenDecoder>(handle);
    const Tensor bytes = bytes_of("data", data);
    const std::lock_guard lock(open->mutex);
    open->decoder.push(span_of(bytes));
  });
}

/// Empty until the whole header is there.
std::string decoder_info(std::int64_t handle) {
  return with_named_errors([&] {
    const auto open = table().find<OpenDecoder>(handle);
    const std::lock_guard lock(open->mutex);
    const ebpc::ContainerInfo* const info = open->decoder.info();
    return info == nullptr ? std::string() : json_of(*info);
  });
}

/// The next words, as whole elements; none if no segment is complete.
Tensor decoder_next(std::int64_t handle) {
  return with_named_errors([&] {
    const auto open = table().find<OpenDecoder>(handle);
    const std::lock_guard lock(open->mutex);
    const std::uint64_t words = open->decoder.ready_words();
    if (words == 0) return empty_tensor({0}, ScalarType::Byte);
    const ebpc::DType dtype = open->decoder.info()->tensor.dtype;
    const ebpc::DTypeTraits& of = ebpc::traits(dtype);
    Tensor out =
        empty_tensor({static_cast<std::int64_t>(words) / std::int64_t{of.words_per_element}},
                     scalar_type_of(dtype));
    open->decoder.next(out.mutable_data_ptr(), words * static_cast<std::uint64_t>(of.bytes));
    return out;
  });
}

void decoder_finish(std::int64_t handle) {
  with_named_errors([&] {
    const auto open = table().find<OpenDecoder>(handle);
    const std::lock_guard lock(open->mutex);
    open->decoder.finish();
  });
}

}  // namespace
}  // namespace torch_ebpc

STABLE_TORCH_LIBRARY_FRAGMENT(torch_ebpc, m) {
  m.def("unpack(Tensor packed, int? max_bytes=None) -> Tensor");
  m.def("open_container(Tensor packed, bool may_be_cut=False) -> int");
  // JSON, whose fields are those of torch_ebpc.ContainerInfo.
  m.def("container_info(int handle) -> str");
  m.def("container_read(int handle, int? max_bytes=None) -> Tensor");
  m.def(
      "container_range(int handle, int first_element, int elements, int? max_bytes=None) -> "
      "Tensor");
  // lost: int64 [ranges, 2], the first word of each range and its words.
  m.def("container_recover(int handle, int? max_bytes=None) -> (Tensor output, Tensor lost)");
  m.def("max_compressed_bytes(SymInt[] shape, ScalarType dtype) -> SymInt");
  m.def(
      "open_encoder(int[] shape, ScalarType dtype, str memory_format='contiguous', "
      "int? word_bits=None, int block_size=8, int max_zero_run=16, str base='sent', "
      "str codec='ebpc', int zero=0) -> int");
  m.def("encoder_header_bytes(int handle) -> int");
  // The tensor's next elements in row-major order; returns bytes of the payload.
  m.def("encoder_push(int handle, Tensor words) -> Tensor");
  m.def("encoder_finish(int handle) -> Tensor");
  m.def("open_decoder() -> int");
  m.def("decoder_push(int handle, Tensor data) -> ()");
  m.def("decoder_info(int handle) -> str");
  m.def("decoder_next(int handle) -> Tensor");
  m.def("decoder_finish(int handle) -> ()");
  // Closing what is not open does nothing.
  m.def("close(int handle) -> ()");
}

STABLE_TORCH_LIBRARY_IMPL(torch_ebpc, CPU, m) {
  m.impl("unpack", TORCH_BOX(&torch_ebpc::unpack));
  m.impl("open_container", TORCH_BOX(&torch_ebpc::open_container));
  m.impl("encoder_push", TORCH_BOX(&torch_ebpc::encoder_push));
  m.impl("decoder_push", TORCH_BOX(&torch_ebpc::decoder_push));
}

STABLE_TORCH_LIBRARY_IMPL(torch_ebpc, CompositeExplicitAutograd, m) {
  m.impl("container_info", TORCH_BOX(&torch_ebpc::container_info));
  m.impl("container_read", TORCH_BOX(&torch_ebpc::container_read));
  m.impl("container_range", TORCH_BOX(&torch_ebpc::container_range));
  m.impl("container_recover", TORCH_BOX(&torch_ebpc::container_recover));
  m.impl("max_compressed_bytes", TORCH_BOX(&torch_ebpc::max_compressed_bytes));
  m.impl("open_encoder", TORCH_BOX(&torch_ebpc::open_encoder));
  m.impl("encoder_header_bytes", TORCH_BOX(&torch_ebpc::encoder_header_bytes));
  m.impl("encoder_finish", TORCH_BOX(&torch_ebpc::encoder_finish));
  m.impl("open_decoder", TORCH_BOX(&torch_ebpc::open_decoder));
  m.impl("decoder_info", TORCH_BOX(&torch_ebpc::decoder_info));
  m.impl("decoder_next", TORCH_BOX(&torch_ebpc::decoder_next));
  m.impl("decoder_finish", TORCH_BOX(&torch_ebpc::decoder_finish));
  m.impl("close", TORCH_BOX(&torch_ebpc::close));
}
