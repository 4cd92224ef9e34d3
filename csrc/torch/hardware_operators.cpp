// The operators torch.ops.torch_ebpc.hardware_*: whole transmissions through the register-transfer-
// level model (csrc/ebpc/hardware), and its registers. Their Python side, with the names of all
// counters and the fake kernels, is torch_ebpc/hardware.py.

#include <torch/csrc/stable/library.h>
#include <torch/csrc/stable/ops.h>
#include <torch/csrc/stable/tensor.h>

#include <cstring>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "ebpc/error.h"
#include "ebpc/hardware/inventory.h"
#include "ebpc/hardware/simulation.h"
#include "torch/arguments.h"
#include "torch/tensor_words.h"

namespace torch_ebpc {
namespace {

namespace hardware = ebpc::hardware;

hardware::MemoryPort memory_port(std::int64_t bits_per_cycle, std::int64_t burst_bytes,
                                 std::int64_t fifo_words) {
  return {.bits_per_cycle = checked_int("bits_per_cycle", bits_per_cycle),
          .burst_bytes = checked_int("burst_bytes", burst_bytes),
          .fifo_words = checked_int("fifo_words", fifo_words)};
}

/// Words of a stream as they cross the port, one in each element.
Tensor stream_tensor(const std::vector<std::uint32_t>& words) {
  return int64_tensor({static_cast<std::int64_t>(words.size())}, {words.begin(), words.end()});
}

std::vector<std::uint32_t> stream_of(const char* argument, const Tensor& stream, int word_bits) {
  if (stream.scalar_type() != ScalarType::Long) {
    throw std::runtime_error("TypeError: " + std::string(argument) +
                             "'s dtype must be int64, got " +
                             torch::headeronly::toString(stream.scalar_type()));
  }
  if (stream.dim() != 1) {
    throw ebpc::Error(
        ebpc::ErrorCode::argument,
        std::string(argument) + " must have one dimension, got " + std::to_string(stream.dim()));
  }
  const Tensor contiguous = torch::stable::contiguous(stream);
  const std::span values{static_cast<const std::int64_t*>(contiguous.const_data_ptr()),
                         static_cast<std::size_t>(contiguous.numel())};
  std::vector<std::uint32_t> words;
  words.reserve(values.size());
  for (const std::int64_t value : values) {
    if (value < 0 || value >> word_bits != 0) {
      throw ebpc::Error(ebpc::ErrorCode::argument, std::string(argument) + " must hold words of " +
                                                       std::to_string(word_bits) + " bits, got " +
                                                       std::to_string(value));
    }
    words.push_back(static_cast<std::uint32_t>(value));
  }
  return words;
}

Tensor counters(const std::vector<std::uint64_t>& values) {
  return int64_tensor({static_cast<std::int64_t>(values.size())}, {values.begin(), values.end()});
}

Tensor burst_histograms(const hardware::StreamTraffic& zero, const hardware::StreamTraffic& plane) {
  std::vector<std::int64_t> values(zero.bursts.begin(), zero.bursts.end());
  values.insert(values.end(), plane.bursts.begin(), plane.bursts.end());
  return int64_tensor({2, static_cast<std::int64_t>(zero.bursts.size())}, values);
}

std::tuple<Tensor, Tensor, Tensor, Tensor> encode(const Tensor& input, OptionalInt word_bits,
                                                  std::int64_t block_size,
                                                  std::int64_t max_zero_run,
                                                  std::int64_t bits_per_cycle,
                                                  std::int64_t burst_bytes, std::int64_t fifo_words,
                                                  std::int64_t zero_word, std::int64_t lanes) {
  return with_named_errors([&] {
    const TensorWords tensor = words_of("input", input);
    const ebpc::Parameters p =
        parameters_of(tensor.info.dtype, word_bits, block_size, max_zero_run, "sent", zero_word);
    const hardware::EncoderRun run = hardware::run_encoder(
        p, tensor.words(), memory_port(bits_per_cycle, burst_bytes, fifo_words),
        checked_int("lanes", lanes));
    const hardware::EncoderStatistics& s = run.statistics;
    return std::tuple(stream_tensor(run.zero_stream), stream_tensor(run.plane_stream),
                      counters({s.cycles, s.words, s.zero_words, s.plane_words, s.starved,
                                s.zero_packer, s.symbol_coder, s.plane_packer, s.ending,
                                run.zero.fifo_high_water, run.plane.fifo_high_water}),
                      burst_histograms(run.zero, run.plane));
  });
}

/// W-bit patterns into the elements of a tensor, sign-extended where words are signed.
template <class Element>
void store(const ebpc::Parameters& p, const std::vector<std::uint32_t>& words, Tensor& out) {
  auto* elements = static_cast<Element*>(out.mutable_data_ptr());
  const std::uint32_t sign = p.is_signed ? std::uint32_t{1} << (p.word_bits - 1) : 0;
  for (std::size_t i = 0; i < words.size(); ++i) {
    elements[i] = static_cast<Element>((words[i] ^ sign) - sign);
  }
}

std::tuple<Tensor, Tensor, Tensor> decode(const Tensor& zero_stream, const Tensor& plane_stream,
                                          Shape shape, ScalarType dtype, OptionalInt word_bits,
                                          std::int64_t block_size, std::int64_t max_zero_run,
                                          std::int64_t bits_per_cycle, std::int64_t burst_bytes,
                                          std::int64_t fifo_words, std::int64_t zero_word) {
  return with_named_errors([&] {
    const ebpc::TensorInfo info{dtype_of("dtype", dtype), ebpc::MemoryFormat::contiguous, shape};
    const ebpc::Parameters p =
        parameters_of(info.dtype, word_bits, block_size, max_zero_run, "sent", zero_word);
    const std::uint64_t count = ebpc::word_count(info);
    if (count > UINT32_MAX) {
      throw ebpc::Error(ebpc::ErrorCode::argument,
                        "shape must be of at most 2^24 - 1 words, got " + std::to_string(count));
    }
    const hardware::DecoderRun run = hardware::run_decoder(
        p, stream_of("zero_stream", zero_stream, p.word_bits),
        stream_of("plane_stream", plane_stream, p.word_bits), static_cast<std::uint32_t>(count),
        memory_port(bits_per_cycle, burst_bytes, fifo_words));
    Tensor out = empty_tensor(shape, dtype);
    switch (ebpc::traits(info.dtype).bytes) {
      case 1:
        store<std::uint8_t>(p, run.words, out);
        break;
      case 2:
        store<std::uint16_t>(p, run.words, out);
        break;
      default:
        store<std::uint32_t>(p, run.words, out);
    }
    const hardware::DecoderStatistics& s = run.statistics;
    return std::tuple(out,
                      counters({s.cycles, s.words, s.zero_words, s.plane_words, s.idle,
                                s.word_output, s.zero_unpacker, s.symbol_decoder, s.plane_unpacker,
                                s.ending, run.zero.fifo_high_water, run.plane.fifo_high_water}),
                      burst_histograms(run.zero, run.plane));
  });
}

ebpc::Parameters design_parameters(std::int64_t word_bits, std::int64_t block_size,
                                   std::int64_t max_zero_run) {
  return {.word_bits = checked_int("word_bits", word_bits),
          .is_signed = true,
          .block_size = checked_int("block_size", block_size),
          .max_zero_run = checked_int("max_zero_run", max_zero_run),
          .base = ebpc::Base::sent};
}

std::string inventory(std::string design, std::int64_t word_bits, std::int64_t block_size,
                      std::int64_t max_zero_run, std::int64_t lanes) {
  return with_named_errors([&] {
    const ebpc::Parameters p = design_parameters(word_bits, block_size, max_zero_run);
    const auto lines = [](const hardware::RegisterBank& bank) {
      std::string text;
      for (const hardware::RegisterGroup& group : bank.groups()) {
        text += group.unit + '\t' + group.name + '\t' + std::to_string(group.count) + '\t' +
                std::to_string(group.bits) + '\n';
      }
      return text;
    };
    if (design != "encoder" && design != "decoder") {
      throw ebpc::Error(ebpc::ErrorCode::argument,
                        "design must be 'encoder' or 'decoder', got '" + design + "'");
    }
    if (lanes == 1) {
      return design == "encoder" ? lines(hardware::Encoder(p).registers())
                                 : lines(hardware::Decoder(p).registers());
    }
    if (design == "decoder") {
      throw ebpc::Error(ebpc::ErrorCode::argument,
                        "lanes must be 1 for the decoder, got " + std::to_string(lanes));
    }
    return lines(hardware::WideEncoder(p, checked_int("lanes", lanes)).registers());
  });
}

std::tuple<std::int64_t, std::int64_t> register_bits(std::int64_t word_bits,
                                                     std::int64_t block_size,
                                                     std::int64_t max_zero_run) {
  return with_named_errors([&] {
    const ebpc::Parameters p = design_parameters(word_bits, block_size, max_zero_run);
    return std::tuple<std::int64_t, std::int64_t>(hardware::encoder_register_bits(p),
                                                  hardware::decoder_register_bits(p));
  });
}

std::string growth_law() { return hardware::growth_law(); }

}  // namespace
}  // namespace torch_ebpc

STABLE_TORCH_LIBRARY_FRAGMENT(torch_ebpc, m) {
  // Streams are int64, one element for each word; counters are named in torch_ebpc/hardware.py;
  // bursts is int64 [2 streams, 65 lengths].
  m.def(
      "hardware_encode(Tensor input, int? word_bits=None, int block_size=8, int max_zero_run=16, "
      "int bits_per_cycle=0, int burst_bytes=64, int fifo_words=0, int zero_word=0, int lanes=1) "
      "-> (Tensor zero_stream, Tensor plane_stream, Tensor counters, Tensor bursts)");
  m.def(
      "hardware_decode(Tensor zero_stream, Tensor plane_stream, SymInt[] shape, ScalarType dtype, "
      "int? word_bits=None, int block_size=8, int max_zero_run=16, int bits_per_cycle=0, "
      "int burst_bytes=64, int fifo_words=0, int zero_word=0) "
      "-> (Tensor words, Tensor counters, Tensor bursts)");
  // A line for each group of registers: unit, name, registers, bits of each, by tabs.
  m.def(
      "hardware_inventory(str design, int word_bits=8, int block_size=8, int max_zero_run=16, "
      "int lanes=1) -> str");
  m.def(
      "hardware_register_bits(int word_bits=8, int block_size=8, int max_zero_run=16) "
      "-> (int encoder, int decoder)");
  m.def("hardware_growth_law() -> str");
}

STABLE_TORCH_LIBRARY_IMPL(torch_ebpc, CPU, m) {
  m.impl("hardware_encode", TORCH_BOX(&torch_ebpc::encode));
  m.impl("hardware_decode", TORCH_BOX(&torch_ebpc::decode));
}

STABLE_TORCH_LIBRARY_IMPL(torch_ebpc, CompositeExplicitAutograd, m) {
  m.impl("hardware_inventory", TORCH_BOX(&torch_ebpc::inventory));
  m.impl("hardware_register_bits", TORCH_BOX(&torch_ebpc::register_bits));
  m.impl("hardware_growth_law", TORCH_BOX(&torch_ebpc::growth_law));
}
