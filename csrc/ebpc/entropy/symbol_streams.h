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
constexpr std::size_t symbols_at_once = 5;  // of a stream, whose codes fit into a window
constexpr std::size_t pair_size_bytes = 2;

/// Bytes of a stream of a segment's symbols; whole qwords are written.
constexpr std::size_t max_stream_bytes = 4096 / stream_count * max_code_bits / 8 + 16;

/// One stream, written forwards or, if it is `backward`, in reverse order in front of its place.
template <bool backward>
class StreamWriter {
 public:
  explicit StreamWriter(std::uint8_t* out) : out_(out) {}

  /// Appends an entry of codes_of. Four at most fit in before store().
  [[gnu::always_inline]] void put(std::uint64_t code) {
    buffer_ |= code >> (bits_ & 63);
    bits_ += code;  // whose length is in the low byte; the bits above it are cleared by store()
  }

  /// Writes whole bytes, and up to 8 bytes after them.
  [[gnu::always_inline]] void store() {
    const std::uint64_t bytes = (bits_ & 63) / 8;
    if constexpr (backward) {
      store_little_endian(out_ - 8, buffer_);
      out_ -= bytes;
    } else {
      store_big_endian(out_, buffer_);
      out_ += bytes;
    }
    // Fewer than 8 bits stay; what is below them are parts of lengths.
    buffer_ = buffer_ << (8 * bytes) & ~(~std::uint64_t{0} >> 7);
    bits_ &= 7;
  }

  /// Writes what is left, padded with zeros; returns the stream's other end.
  std::uint8_t* finish() {
    store();
    if (bits_ == 0) return out_;
    const auto last = static_cast<std::uint8_t>(buffer_ >> 56);
    if constexpr (backward) {
      *--out_ = last;
    } else {
      *out_++ = last;
    }
    return out_;
  }

 private:
  std::uint8_t* out_;
  std::uint64_t buffer_ = 0;  // left-justified
  std::uint64_t bits_ = 0;
};

/// Writes two streams, symbols[0], symbols[4] and so on and those next to them; returns their end.
/// Up to 8 bytes after it are written.
inline std::uint8_t* write_pair(const std::uint64_t* codes, const std::uint8_t* symbols,
                                const std::uint8_t* end, std::uint8_t* out) {
  constexpr std::ptrdiff_t step = stream_count;
  constexpr std::ptrdiff_t at_once = 4;
  std::uint8_t reverse[max_stream_bytes];
  StreamWriter<false> first(out);
  StreamWriter<true> second(reverse + max_stream_bytes);
  for (; end - symbols > (at_once - 1) * step + 1; symbols += at_once * step) {
    for (std::ptrdiff_t i = 0; i < at_once; ++i) {
      first.put(codes[symbols[i * step]]);
      second.put(codes[symbols[i * step + 1]]);
    }
    first.store();
    second.store();
  }
  for (; symbols < end; symbols += step) {
    first.put(codes[symbols[0]]);
    first.store();
    if (symbols + 1 == end) break;
    second.put(codes[symbols[1]]);
    second.store();
  }
  out = first.finish();
  const std::uint8_t* const begin = second.finish();
  const auto bytes = static_cast<std::size_t>(reverse + max_stream_bytes - begin);
  std::memcpy(out, begin, bytes);
  return out + bytes;
}

/// Writes at least two different symbols after their code's lengths; returns their bytes.
inline std::size_t write_streams(const HuffmanCode& code, const std::uint8_t* symbols,
                                 std::size_t count, std::uint8_t* out) {
  const auto codes = codes_of(code);
  const std::uint8_t* const end = symbols + count;
  std::uint8_t* const middle = write_pair(codes.data(), symbols, end, out + pair_size_bytes);
  const auto size = static_cast<std::size_t>(middle - out) - pair_size_bytes;
  out[0] = static_cast<std::uint8_t>(size);
  out[1] = static_cast<std::uint8_t>(size >> 8);
  std::uint8_t* const all = count > 2 ? write_pair(codes.data(), symbols + 2, end, middle) : middle;
  return static_cast<std::size_t>(all - out);
}

/// A symbol block that is being read, into `symbols`. Any bytes give symbols: finish() says whether
/// they were a block.
class SymbolReader {
 public:
  /// Reads the code of `count` symbols, one at least, up to `end`.
  DecodeStatus open(const std::uint8_t* at, const std::uint8_t* end, std::uint8_t* symbols,
                    std::size_t count) {
    const std::uint8_t* const begin = at;
    has_streams_ = false;
    symbols_ = symbols;
    count_ = count;
    done_ = 0;
    HuffmanCode code;
    const DecodeStatus status = read_code(at, end, code);
    if (!status.ok()) return status;
    header_bits_ = 8 * static_cast<std::uint64_t>(at - begin);
    if (code.single()) {
      if (at != end) return {"the end of the stream", "more bytes", false, header_bits_};
      std::memset(symbols, static_cast<int>(code.first), count);
      done_ = count;
      return {};
    }
    if (end - at < static_cast<std::ptrdiff_t>(pair_size_bytes)) {
      return {"the bytes of two streams", "the end of the stream", false, header_bits_};
    }
    const std::ptrdiff_t pair_bytes = at[0] | at[1] << 8;
    at += pair_size_bytes;
    header_bits_ += 8 * pair_size_bytes;
    if (pair_bytes > end - at) {
      return {"the bytes of two streams up to those that are left", "more", false,
              header_bits_ - 8 * pair_size_bytes};
    }
    table_.fill(code);
    has_streams_ = true;
    starts_[0] = at;
    starts_[1] = starts_[2] = at + pair_bytes;
    starts_[3] = end;
    for (std::uint64_t& each : bits_) each = 0;
    return {};
  }

  /// Reads on in several blocks side by side, `turn` symbols of each stream at a time, as long as
  /// all blocks have as many.
  template <std::size_t blocks, std::size_t turn = symbols_at_once>
  static void read_turns(SymbolReader* const (&readers)[blocks]) {
    const auto may_go_on = [&readers] {
      bool all = true;
      for (const SymbolReader* each : readers) all = all && each->has_turn(turn);
      return all;
    };
    while (may_go_on()) {
      // The windows' lowest bit is set, after all bits that are asked for: the zeros after it tell
      // how many have been taken.
      std::uint64_t windows[blocks][stream_count];
      for (std::size_t b = 0; b < blocks; ++b) {
        const SymbolReader& from = *readers[b];
        windows[b][0] = from.window<0>() | 1;
        windows[b][1] = from.window<1>() | 1;
        windows[b][2] = from.window<2>() | 1;
        windows[b][3] = from.window<3>() | 1;
      }
      const std::uint16_t* entries[blocks];
      std::uint8_t* to[blocks];
      for (std::size_t b = 0; b < blocks; ++b) {
        entries[b] = readers[b]->table_.entries.data();
        to[b] = readers[b]->symbols_ + readers[b]->done_;
      }
      for (std::size_t i = 0; i < turn; ++i) {
        for (std::size_t b = 0; b < blocks; ++b) {
          for (std::size_t k = 0; k < stream_count; ++k) {
            const std::uint64_t entry = entries[b][windows[b][k] >> (64 - max_code_bits)];
            windows[b][k] <<= entry & 63;
            to[b][stream_count * i + k] = static_cast<std::uint8_t>(entry >> 8);
          }
        }
      }
      for (std::size_t b = 0; b < blocks; ++b) {
        readers[b]->done_ += stream_count * turn;
        for (std::size_t k = 0; k < stream_count; ++k) {
          readers[b]->bits_[k] += static_cast<std::uint64_t>(__builtin_ctzll(windows[b][k]));
        }
      }
    }
  }

  /// Reads the symbols that are left. Each pair of streams has to take its bytes, and to be padded
  /// with zeros.
  DecodeStatus finish() {
    if (!has_streams_) return {};  // all symbols are one
    read_turns<1>({this});
    read_turns<1, 1>({this});
    for (; done_ < count_; ++done_) {
      const std::size_t stream = done_ % stream_count;
      const std::uint64_t entry = table_.entries[window_at_end(stream) >> (64 - max_code_bits)];
      symbols_[done_] = static_cast<std::uint8_t>(entry >> 8);
      bits_[stream] += entry & 0xFF;
    }
    for (std::size_t i = 0; i < stream_count; i += 2) {
      const auto size = static_cast<std::uint64_t>(starts_[i + 1] - starts_[i]);
      const std::uint64_t taken = (bits_[i] + 7) / 8 + (bits_[i + 1] + 7) / 8;
      const std::uint64_t bit =
          header_bits_ + 8 * static_cast<std::uint64_t>(starts_[i] - starts_[0]) + bits_[i];
      if (taken != size) {
        return {taken > size ? "more bits" : "the end of the stream",
                taken > size ? "the end of the stream" : "more bytes", false, bit};
      }
      for (std::size_t k = i; k < i + 2; ++k) {
        const std::uint64_t used = bits_[k] % 8;
        if (used > 0 && (byte_at(k, bits_[k] / 8) << used & 0xFF) != 0) {
          return {"zero bits as padding", "a one bit", false, bit};
        }
      }
    }
    return {};
  }

 private:
  static constexpr bool is_forward(std::size_t stream) { return stream % 2 == 0; }

  /// The bytes that a stream may read; they may go on in the next stream.
  std::ptrdiff_t room(std::size_t stream) const {
    return is_forward(stream) ? starts_[3] - starts_[stream] : starts_[stream] - starts_[0];
  }

  /// Whether there are so many symbols left of each stream, and a qword of it.
  bool has_turn(std::size_t turn) const {
    bool all = count_ - done_ >= stream_count * turn;
    for (std::size_t k = 0; k < stream_count; ++k) {
      all = all && room(k) - static_cast<std::ptrdiff_t>(bits_[k] / 8) >= 8;
    }
    return all;
  }

  /// 57 bits at least.
  template <std::size_t stream>
  std::uint64_t window() const {
    const std::uint64_t byte = bits_[stream] / 8;
    const std::uint64_t bytes = is_forward(stream) ? load_big_endian(starts_[stream] + byte)
                                                   : load_little_endian(starts_[stream] - byte - 8);
    return bytes << bits_[stream] % 8;
  }

  std::uint8_t byte_at(std::size_t stream, std::uint64_t byte) const {
    return is_forward(stream) ? starts_[stream][byte] : *(starts_[stream] - byte - 1);
  }

  /// The same with zeros where there are no bytes; 57 bits are as many as are asked for.
  std::uint64_t window_at_end(std::size_t stream) const {
    const std::uint64_t byte = bits_[stream] / 8;
    const auto bytes_left = static_cast<std::uint64_t>(room(stream));
    std::uint64_t bytes = 0;
    for (std::uint64_t i = 0; i < 8 && byte + i < bytes_left; ++i) {
      bytes |= std::uint64_t{byte_at(stream, byte + i)} << (56 - 8 * i);
    }
    return bytes << bits_[stream] % 8;
  }

  bool has_streams_;
  DecodeTable table_;
  const std::uint8_t* starts_[stream_count];  // of backward streams, their ends
  std::uint64_t bits_[stream_count];          // taken
  std::uint64_t header_bits_;
  std::uint8_t* symbols_;
  std::size_t count_;
  std::size_t done_;
};

}  // namespace
}  // namespace ebpc::EBPC_KERNEL
