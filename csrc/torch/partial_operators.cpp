// The operators on parts of containers: ranges of words, recovery, and the pieces of which
// torch_ebpc/stream.py makes an encoder and a decoder. The stable ABI has no classes, so those keep
// their state in Python, and these have none.

#include <torch/csrc/stable/library.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <tuple>
#include <vector>

#include "ebpc/container.h"
#include "ebpc/container_parse.h"
#include "ebpc/container_segments.h"
#include "torch/arguments.h"
#include "torch/tensor_words.h"

namespace torch_ebpc {
namespace {

namespace layout = ebpc::layout;

Tensor decompress_range(const Tensor& packed, std::int64_t first_word, std::int64_t words,
                        ScalarType dtype, OptionalInt max_bytes) {
  return with_named_errors([&] {
    const Tensor bytes = bytes_of("packed", packed);
    const ebpc::ContainerInfo info = ebpc::inspect(span_of(bytes));
    expect_dtype(info.tensor.dtype, dtype);
    const ebpc::WordRange range{unsigned_of("first_word", first_word), unsigned_of("words", words)};
    // Not more than the tensor has, so that the product does not wrap.
    const std::uint64_t range_bytes =
        std::min(range.count, info.words) *
        static_cast<std::uint64_t>(ebpc::traits(info.tensor.dtype).bytes);
    check_limit(max_bytes, range_bytes, span_of(bytes).size());
    Tensor out =
        empty_tensor({static_cast<std::int64_t>(std::min(range.count, info.words))}, dtype);
    ebpc::decompress_range(span_of(bytes), range, out.mutable_data_ptr(), range_bytes,
                           torch_executor());
    return out;
  });
}

std::tuple<Tensor, Tensor> recover(const Tensor& packed, Shape shape, ScalarType dtype,
                                   std::string memory_format, OptionalInt max_bytes) {
  return with_named_errors([&] {
    const Tensor bytes = bytes_of("packed", packed);
    const ebpc::TensorInfo found = ebpc::inspect_header(span_of(bytes)).tensor;
    const std::uint64_t words_bytes = expect_tensor(found, shape, dtype);
    check_limit(max_bytes, words_bytes, span_of(bytes).size());
    Tensor words = empty_tensor(shape, dtype);
    const std::vector<ebpc::WordRange> lost =
        ebpc::recover(span_of(bytes), words.mutable_data_ptr(), words_bytes, torch_executor());
    std::vector<std::int64_t> ranges;
    for (const ebpc::WordRange& range : lost) {
      ranges.push_back(static_cast<std::int64_t>(range.first));
      ranges.push_back(static_cast<std::int64_t>(range.count));
    }
    return std::tuple(laid_out(words, memory_format_named(memory_format)),
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
// -------------------------------------------------------------------------------------

std::tuple<Tensor, Tensor, Tensor> encode_segments(const Tensor& words, OptionalInt word_bits,
                                                   std::int64_t block_size,
                                                   std::int64_t max_zero_run, std::string base,
                                                   std::int64_t first_word, std::string codec) {
  return with_named_errors([&] {
    const TensorWords tensor = words_of("words", words);
    const ebpc::WordSpan span = tensor.words();
    const ebpc::Parameters p =
        parameters_of(tensor.info.dtype, word_bits, block_size, max_zero_run, base);
    const ebpc::Codec chosen = codec_named(codec);
    ebpc::check_code(tensor.info.dtype, chosen, p);
    ebpc::check_fit(p, span, unsigned_of("first_word", first_word));
    const auto table_bytes = static_cast<std::int64_t>(8 * layout::segment_count(span.count));
    Tensor table = empty_tensor({table_bytes}, ScalarType::Byte);
    ebpc::CodedTotals coded;
    Tensor payload =
        written_tensor(span.count * static_cast<std::uint64_t>(span.bytes_per_word),
                       [&](std::span<std::uint8_t> out) {
                         coded = ebpc::encode_segments(
                             chosen, p, span, static_cast<std::uint8_t*>(table.mutable_data_ptr()),
                             out.data(), torch_executor());
                         return coded.payload_bytes;
                       });
    return std::tuple(table, payload,
                      int64_tensor({2}, {static_cast<std::int64_t>(coded.bits.zero),
                                         static_cast<std::int64_t>(coded.bits.plane)}));
  });
}

Tensor make_header(const Tensor& table, Shape shape, ScalarType dtype, std::int64_t payload_bytes,
                   std::int64_t zero_stream_bits, std::int64_t plane_stream_bits,
                   std::string memory_format, OptionalInt word_bits, std::int64_t block_size,
                   std::int64_t max_zero_run, std::string base, std::string codec) {
  return with_named_errors([&] {
    const ebpc::TensorInfo info{dtype_of("dtype", dtype), memory_format_named(memory_format),
                                shape};
    const ebpc::Parameters p = parameters_of(info.dtype, word_bits, block_size, max_zero_run, base);
    const ebpc::Codec chosen = codec_named(codec);
    ebpc::check_code(info.dtype, chosen, p);
    const std::uint64_t header_bytes = ebpc::checked_header_bytes(info);
    const Tensor entries = bytes_of("table", table);
    const std::uint64_t table_bytes = 8 * layout::segment_count(ebpc::word_count(info));
    if (span_of(entries).size() != table_bytes) {
      throw ebpc::Error(ebpc::ErrorCode::argument,
                        "table must have " + std::to_string(table_bytes) + " bytes, got " +
                            std::to_string(entries.numel()));
    }
    const ebpc::CodedTotals coded{unsigned_of("payload_bytes", payload_bytes),
                                  {unsigned_of("zero_stream_bits", zero_stream_bits),
                                   unsigned_of("plane_stream_bits", plane_stream_bits)}};
    Tensor header = empty_tensor({static_cast<std::int64_t>(header_bytes)}, ScalarType::Byte);
    auto* out = static_cast<std::uint8_t*>(header.mutable_data_ptr());
    std::ranges::copy(span_of(entries), out + layout::table_offset(info));
    ebpc::write_header(out, info, chosen, p, coded);
    return header;
  });
}

// ---- Decoder
// -------------------------------------------------------------------------------------

Tensor header_bytes(const Tensor& start) {
  return with_named_errors([&] {
    const Tensor bytes = bytes_of("start", start);
    return int64_tensor({1},
                        {static_cast<std::int64_t>(layout::read_header_bytes(span_of(bytes)))});
  });
}

Tensor segment_ends(const Tensor& header) {
  return with_named_errors([&] {
    const Tensor bytes = bytes_of("header", header);
    const layout::ParsedContainer parsed = layout::parse(span_of(bytes), layout::Extent::header);
    std::vector<std::int64_t> ends;
    for (const layout::SegmentPlace& place : parsed.segments) {
      ends.push_back(static_cast<std::int64_t>(place.offset + place.bytes));
    }
    return int64_tensor({static_cast<std::int64_t>(ends.size())}, ends);
  });
}

Tensor decode_segments(const Tensor& header, const Tensor& payload, std::int64_t first_segment,
                       std::int64_t segments, std::int64_t first_byte, ScalarType dtype) {
  return with_named_errors([&] {
    const Tensor header_bytes = bytes_of("header", header);
    const Tensor bytes = bytes_of("payload", payload);
    // The checksum has been checked by segment_ends, and is not for every piece again.
    const ebpc::ContainerInfo info = layout::read_fields(span_of(header_bytes));
    expect_dtype(info.tensor.dtype, dtype);
    const std::uint64_t first = unsigned_of("first_segment", first_segment);
    const std::uint64_t count = unsigned_of("segments", segments);
    if (first > info.segments || count > info.segments - first) {
      throw ebpc::Error(ebpc::ErrorCode::argument,
                        "segments must be of the container's " + std::to_string(info.segments) +
                            ", got " + std::to_string(count) + " from " + std::to_string(first));
    }
    const std::uint64_t offset = unsigned_of("first_byte", first_byte);
    layout::TableTotals unused;
    const std::vector<layout::SegmentPlace> places =
        layout::read_table(span_of(header_bytes), info, first, first + count, offset, unused);
    const std::uint64_t words =
        std::min(count * ebpc::segment_words, info.words - first * ebpc::segment_words);
    Tensor out = empty_tensor({static_cast<std::int64_t>(count == 0 ? 0 : words)}, dtype);
    ebpc::decode_segments(
        {info, first, places, span_of(bytes), offset},
        {out.mutable_data_ptr(), count == 0 ? 0 : words, ebpc::traits(info.tensor.dtype).bytes},
        torch_executor());
    return out;
  });
}

}  // namespace
}  // namespace torch_ebpc

STABLE_TORCH_LIBRARY_FRAGMENT(torch_ebpc, m) {
  m.def(
      "decompress_range(Tensor packed, SymInt first_word, SymInt words, ScalarType dtype, "
      "int? max_bytes=None) -> Tensor");
  // lost: int64 [ranges, 2], the first word of each range and its words.
  m.def(
      "recover(Tensor packed, SymInt[] shape, ScalarType dtype, str memory_format='contiguous', "
      "int? max_bytes=None) -> (Tensor output, Tensor lost)");
  m.def("max_compressed_bytes(SymInt[] shape, ScalarType dtype) -> SymInt");
  // The words of whole segments, of which only the tensor's last may be shorter, in row-major
  // order; first_word is the number of their first, for messages. table: uint8 [8 for each
  // segment]; payload: uint8; bits: int64 [2], of the coded segments' zero streams and plane
  // streams.
  m.def(
      "encode_segments(Tensor words, int? word_bits=None, int block_size=8, int max_zero_run=16, "
      "str base='sent', SymInt first_word=0, str codec='ebpc') -> (Tensor table, Tensor payload, "
      "Tensor bits)");
  // The tables, payload bytes and bits of all segments make the header.
  m.def(
      "make_header(Tensor table, SymInt[] shape, ScalarType dtype, SymInt payload_bytes, "
      "SymInt zero_stream_bits, SymInt plane_stream_bits, str memory_format='contiguous', "
      "int? word_bits=None, int block_size=8, int max_zero_run=16, str base='sent', "
      "str codec='ebpc') -> Tensor");
  // int64 [1], by a container's first 52 bytes or more.
  m.def("header_bytes(Tensor start) -> Tensor");
  // int64 [segments]: where each segment's payload ends, from the container's start.
  m.def("segment_ends(Tensor header) -> Tensor");
  // payload begins at byte first_byte of the container, where segment first_segment does. The
  // header is one that segment_ends has accepted.
  m.def(
      "decode_segments(Tensor header, Tensor payload, SymInt first_segment, SymInt segments, "
      "SymInt first_byte, ScalarType dtype) -> Tensor");
}

STABLE_TORCH_LIBRARY_IMPL(torch_ebpc, CPU, m) {
  m.impl("decompress_range", TORCH_BOX(&torch_ebpc::decompress_range));
  m.impl("recover", TORCH_BOX(&torch_ebpc::recover));
  m.impl("encode_segments", TORCH_BOX(&torch_ebpc::encode_segments));
  m.impl("make_header", TORCH_BOX(&torch_ebpc::make_header));
  m.impl("header_bytes", TORCH_BOX(&torch_ebpc::header_bytes));
  m.impl("segment_ends", TORCH_BOX(&torch_ebpc::segment_ends));
  m.impl("decode_segments", TORCH_BOX(&torch_ebpc::decode_segments));
}

STABLE_TORCH_LIBRARY_IMPL(torch_ebpc, CompositeExplicitAutograd, m) {
  m.impl("max_compressed_bytes", TORCH_BOX(&torch_ebpc::max_compressed_bytes));
}
