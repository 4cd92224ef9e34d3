// Symbols in four streams of Huffman codes, of which each has every fourth symbol. So four codes
// can be read at a time. FORMAT.md describes how the streams lie.
//
// Plain C++, compiled once for every instruction set that includes it: kernels/generic/vectors.h
// says how.

#pragma once

#include "ebpc/bit_stream.h"
#include "ebpc/decode_status.h"
#include "ebpc/entropy/huffman.h"
#include "ebpc/kernels/generic/vectors.h"

namespace ebpc::EBPC_KERNEL {
namespace {

constexpr std::size_t stream_count = 4;
constexpr std::size_t symbols_at_once = 5;  // of a stream, whose codes fit into 64 bits
constexpr std::size_t pair_size_bytes = 2;

/// Bytes of a stream of a segment's symbols; whole qwords are written.
constexpr std::size_t max_stream_bytes = 4096 / stream_count * max_code_bits / 8 + 16;

/// Writes the codes of symbols[0], symbols[4] and so on; returns their bytes.
inline std::size_t write_stream(const std::uint32_t* codes, const std::uint8_t* symbols,
                                const std::uint8_t* end, std::uint8_t* out) {
  std::uint8_t* const begin = out;
  std::uint64_t buffer = 0;
  unsigned bits = 0;  // of the buffer, the last ones, that are not written
  constexpr std::ptrdiff_t step = stream_count;
  constexpr std::ptrdiff_t turn = step * symbols_at_once;
  const auto join = [](std::uint64_t a, std::uint32_t code) {
    return (a << (code >> 16)) | (code & 0xFFFF);
  };
  for (; end - symbols > turn - step; symbols += turn) {
    const std::uint32_t c0 = codes[symbols[0]];
    const std::uint32_t c1 = codes[symbols[step]];
    const std::uint32_t c2 = codes[symbols[2 * step]];
    const std::uint32_t c3 = codes[symbols[3 * step]];
    const std::uint32_t c4 = codes[symbols[4 * step]];
    const std::uint64_t two = join(c0 & 0xFFFF, c1);
    const std::uint64_t three = join(join(c2 & 0xFFFF, c3), c4);
    const unsigned last_bits = (c2 >> 16) + (c3 >> 16) + (c4 >> 16);
    const unsigned all_bits = (c0 >> 16) + (c1 >> 16) + last_bits;
    buffer = (buffer << all_bits) | (two << last_bits | three);
    bits += all_bits;
    store_big_endian(out, buffer << (64 - bits));
    out += bits / 8;
    bits %= 8;
  }
  for (; symbols < end; symbols += step) {
    const std::uint32_t code = codes[*symbols];
    buffer = join(buffer, code);
    bits += code >> 16;
    store_big_endian(out, buffer << (64 - bits));
    out += bits / 8;
    bits %= 8;
  }
  if (bits > 0) *out++ = static_cast<std::uint8_t>(buffer << (8 - bits));
  return static_cast<std::size_t>(out - begin);
}

/// Writes at least two different symbols behind their code's lengths; returns their bytes.
inline std::size_t write_streams(const HuffmanCode& code, const std::uint8_t* symbols,
                                 std::size_t count, std::uint8_t* out) {
  const auto codes = codes_of(code);
  std::uint8_t stream[2][max_stream_bytes];
  std::uint8_t* const sizes = out;
  out += pair_size_bytes;
  for (std::size_t pair = 0; pair < stream_count; pair += 2) {
    std::size_t bytes[2];
    for (std::size_t i = 0; i < 2; ++i) {
      bytes[i] = count > pair + i
                     ? write_stream(codes.data(), symbols + pair + i, symbols + count, stream[i])
                     : 0;
    }
    std::memcpy(out, stream[0], bytes[0]);
    out += bytes[0];
    for (std::size_t i = bytes[1]; i > 0; --i) *out++ = stream[1][i - 1];
    if (pair == 0) {
      const std::size_t size = bytes[0] + bytes[1];
      sizes[0] = static_cast<std::uint8_t>(size);
      sizes[1] = static_cast<std::uint8_t>(size >> 8);
    }
  }
  return static_cast<std::size_t>(out - sizes);
}

/// Reads streams of which every other one runs backwards. Any bytes give symbols; finish() says
/// whether they were the streams.
class StreamsReader {
 public:
  StreamsReader(const DecodeTable& table, const std::uint8_t* begin, const std::uint8_t* middle,
                const std::uint8_t* end)
      : table_(table), begin_(begin), end_(end), starts_{begin, middle, middle, end} {}

  void read(std::uint8_t* symbols, std::size_t count) {
    std::size_t done = 0;
    for (; count - done >= stream_count * symbols_at_once && is_safe();
         done += stream_count * symbols_at_once) {
      take_turn(symbols + done);
    }
    for (; done < count; ++done) {
      const std::size_t stream = done % stream_count;
      const std::uint64_t entry = table_.entries[window_at_end(stream) >> (64 - table_.bits)];
      symbols[done] = static_cast<std::uint8_t>(entry >> 8);
      bits_[stream] += entry & 0xFF;
    }
  }

  /// Whether each pair of streams takes its bytes, and is padded with zeros.
  DecodeStatus finish() const {
    for (std::size_t i = 0; i < stream_count; i += 2) {
      const auto size = static_cast<std::uint64_t>(starts_[i + 1] - starts_[i]);
      const std::uint64_t taken = (bits_[i] + 7) / 8 + (bits_[i + 1] + 7) / 8;
      if (taken != size) {
        return {taken > size ? "more bits" : "the end of the stream",
                taken > size ? "the end of the stream" : "more bytes", false,
                8 * static_cast<std::uint64_t>(starts_[i] - begin_) + bits_[i]};
      }
      for (std::size_t k = i; k < i + 2; ++k) {
        const std::uint64_t used = bits_[k] % 8;
        if (used > 0 && window_at_end(k) >> (56 + used) != 0) {
          return {"zero bits as padding", "a one bit", false,
                  8 * static_cast<std::uint64_t>(starts_[i] - begin_) + bits_[i]};
        }
      }
    }
    return {};
  }

 private:
  static constexpr bool is_forward(std::size_t stream) { return stream % 2 == 0; }

  /// Whether a qword of each stream lies within all bytes; it may go on in the next stream.
  bool is_safe() const {
    for (std::size_t i = 0; i < stream_count; ++i) {
      const auto byte = static_cast<std::ptrdiff_t>(bits_[i] / 8);
      const std::ptrdiff_t room = is_forward(i) ? end_ - starts_[i] : starts_[i] - begin_;
      if (room - byte < 8) return false;
    }
    return true;
  }

  /// 57 bits at least.
  template <std::size_t stream>
  std::uint64_t window() const {
    const std::uint64_t byte = bits_[stream] / 8;
    const std::uint64_t bytes = is_forward(stream) ? load_big_endian(starts_[stream] + byte)
                                                   : load_little_endian(starts_[stream] - byte - 8);
    return bytes << bits_[stream] % 8;
  }

  /// The same with zeros where there are no bytes; 57 bits are as many as are asked for.
  std::uint64_t window_at_end(std::size_t stream) const {
    const std::uint64_t byte = bits_[stream] / 8;
    const auto room = static_cast<std::uint64_t>(is_forward(stream) ? end_ - starts_[stream]
                                                                    : starts_[stream] - begin_);
    std::uint64_t bytes = 0;
    for (std::uint64_t i = 0; i < 8 && byte + i < room; ++i) {
      const std::uint8_t next =
          is_forward(stream) ? starts_[stream][byte + i] : *(starts_[stream] - byte - i - 1);
      bytes |= std::uint64_t{next} << (56 - 8 * i);
    }
    return bytes << bits_[stream] % 8;
  }

  void take_turn(std::uint8_t* symbols) {
    std::uint64_t windows[stream_count] = {window<0>(), window<1>(), window<2>(), window<3>()};
    std::uint64_t taken[stream_count] = {};
    const int unseen = 64 - table_.bits;
    const std::uint16_t* const entries = table_.entries.data();
    for (std::size_t i = 0; i < symbols_at_once; ++i) {
      for (std::size_t k = 0; k < stream_count; ++k) {
        const std::uint64_t entry = entries[windows[k] >> unseen];
        windows[k] <<= entry & 63;
        taken[k] += entry;
        *symbols++ = static_cast<std::uint8_t>(entry >> 8);
      }
    }
    for (std::size_t k = 0; k < stream_count; ++k) bits_[k] += taken[k] & 0xFF;
  }

  const DecodeTable& table_;
  const std::uint8_t* begin_;
  const std::uint8_t* end_;
  const std::uint8_t* starts_[stream_count];  // of backward ones, their ends
  std::uint64_t bits_[stream_count] = {};     // taken
};

/// Reads `count` symbols, one at least, behind their code's lengths, up to `end`.
inline DecodeStatus read_symbols(const std::uint8_t* at, const std::uint8_t* end,
                                 std::uint8_t* symbols, std::size_t count) {
  const std::uint8_t* const begin = at;
  HuffmanCode code;
  DecodeStatus status = read_code(at, end, code);
  if (!status.ok()) return status;
  const std::uint64_t bit = 8 * static_cast<std::uint64_t>(at - begin);
  if (code.single()) {
    if (at != end) return {"the end of the stream", "more bytes", false, bit};
    std::memset(symbols, static_cast<int>(code.first), count);
    return {};
  }
  if (end - at < static_cast<std::ptrdiff_t>(pair_size_bytes)) {
    return {"the bytes of two streams", "the end of the stream", false, bit};
  }
  const std::ptrdiff_t pair_bytes = at[0] | at[1] << 8;
  at += pair_size_bytes;
  if (pair_bytes > end - at) {
    return {"the bytes of two streams up to those that are left", "more", false, bit};
  }
  DecodeTable table;
  table.fill(code);
  StreamsReader reader(table, at, at + pair_bytes, end);
  reader.read(symbols, count);
  status = reader.finish();
  status.bit += bit + 8 * pair_size_bytes;
  return status;
}

}  // namespace
}  // namespace ebpc::EBPC_KERNEL
