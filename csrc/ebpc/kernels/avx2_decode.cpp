// AVX2 decoding of 8-bit words in blocks of 8 behind a sent base.
//
// Within one stream each code's place depends on the one before, so that a single job leaves most
// of the core idle. Jobs are therefore taken in batches, and several of a batch are read in turns:
// 1. plane streams: one block of each job per turn becomes eight code bytes, one per bit plane;
//    vectors turn these, four blocks at a time, into the non-zero words;
// 2. zero streams: one pair of a stretch of non-zero words and a zero run of each job per turn puts
//    the words in their places.
// Turns are only taken where no stream and no output can end; the ends are dealt with job by job. A
// job in which anything is wrong is handed back: the portable kernel says what.

#include <immintrin.h>

#include <cstring>

#include "ebpc/kernels/avx2.h"

namespace ebpc::avx2 {
namespace {

constexpr std::size_t batch_jobs = 32;
constexpr std::size_t lane_count = 4;  // jobs that are read in turns
constexpr std::size_t max_job_words = 4096;
constexpr std::size_t max_job_blocks = max_job_words / fast_block_size;
constexpr std::size_t packed_slack = 64;
constexpr std::size_t blocks_per_vector = 4;

constexpr std::size_t min(std::size_t a, std::size_t b) { return a < b ? a : b; }

/// At least 57 bits from `bit` on, left-justified. Eight bytes from that bit's byte are read.
std::uint64_t window(const std::uint8_t* bytes, std::uint64_t bit) {
  std::uint64_t x;
  std::memcpy(&x, bytes + bit / 8, sizeof x);
  return __builtin_bswap64(x) << (bit % 8);
}

// ---------------------------------------------------------------------------------- plane streams

constexpr unsigned plane_total = fast_word_bits + 1;
constexpr std::size_t max_block_bytes = (8 + plane_total * 8) / 8;
constexpr std::size_t window_bytes = 8 + 1;  // a block's window may begin behind its base

constexpr std::uint64_t every_byte = 0x0101010101010101;
constexpr std::uint64_t zero_codes = 0x80 * every_byte;  // uncompressed symbols of zero X
constexpr std::uint64_t no_zero_plane = 0x80 * every_byte;

/// Blocks of one job between reading and vectors. Plane 0 has the most significant byte of each.
struct CodedBlocks {
  static constexpr std::size_t capacity = 32;

  /// Symbols of 8 bits as they are. The others are replaced by an uncompressed one with the same X.
  alignas(32) std::uint64_t codes[capacity + blocks_per_vector];
  /// Windows at the base.
  alignas(32) std::uint64_t bases[capacity + blocks_per_vector];
  /// For planes from one on that is all zero (DBP): this plane's byte. Otherwise bit 7.
  alignas(32) std::uint64_t zero_plane[capacity + blocks_per_vector];
};

/// Eight times the number of symbols of 8 bits (1xxxxxxx or 0001xxxx) at the front, at most 7.
unsigned bits_of_long_symbols(std::uint64_t x) {
  const std::uint64_t is_long = x | (~(x << 1 | x << 2) & x << 3);
  return static_cast<unsigned>(_lzcnt_u64((~is_long & 0x80 * every_byte) | 1)) & ~7U;
}

std::uint64_t first_bits(unsigned count) {
  return count >= 64 ? ~std::uint64_t{0} : ~(~std::uint64_t{0} >> count);
}

/// Whether a symbol of one or two ones has an index for which there is no place in seven bits.
bool has_bad_index(std::uint8_t code) { return code == 0x16 || code == 0x17 || code == 0x1F; }

/// Reads the symbols of any block, from behind its base on. Returns the bit behind them, or 0 if
/// they are malformed.
[[gnu::noinline]] std::uint64_t read_symbols(const std::uint8_t* bytes, std::uint64_t bit,
                                             std::uint64_t& codes_out,
                                             std::uint64_t& zero_plane_out) {
  std::uint64_t codes = zero_codes;
  std::uint64_t zero_plane = no_zero_plane;
  for (unsigned plane = 0; plane < plane_total;) {
    const std::uint64_t symbols = window(bytes, bit);
    const unsigned left = 8 * (plane_total - plane);
    const unsigned found = bits_of_long_symbols(symbols);
    const unsigned taken = found < left ? found : left;
    if (plane < 8) {
      const std::uint64_t place = first_bits(8 * plane + taken) & ~first_bits(8 * plane);
      codes = (codes & ~place) | (symbols >> (8 * plane) & place);
    }
    bit += taken;
    if (taken == left) {
      // Plane 8 adds nothing to the words, but its index may be wrong.
      if (has_bad_index(static_cast<std::uint8_t>(symbols >> (64 - taken)))) return 0;
      break;
    }
    plane += taken / 8;
    if (taken == 56) continue;  // the window ends here

    const auto code = static_cast<unsigned>(symbols << taken >> 58);
    if (code >= 0b01'0000) {
      ++plane;
      bit += 2;
    } else if (code >= 0b001'000) {
      plane += (code & 7) + 2;
      if (plane > plane_total) return 0;
      bit += 6;
    } else {
      if (plane < 8) {
        const std::uint64_t from_here = ~std::uint64_t{0} >> (8 * plane);
        if (code >= 0b00001'0) {
          zero_plane = (zero_plane & ~from_here) | ((7 - plane) * every_byte & from_here);
        } else {
          codes |= std::uint64_t{0xFF} << (56 - 8 * plane);
        }
      }
      ++plane;
      bit += 5;
    }
  }
  codes_out = codes;
  zero_plane_out = zero_plane;
  return bit;
}

/// Reads one block and returns the bit behind it, or 0.
[[gnu::always_inline]] inline std::uint64_t read_block(const std::uint8_t* bytes, std::uint64_t bit,
                                                       CodedBlocks& out, std::size_t index) {
  out.bases[index] = window(bytes, bit);
  const std::uint64_t symbols = window(bytes + 1, bit);
  const unsigned taken = bits_of_long_symbols(symbols);
  // Nine of ten blocks: symbols of 8 bits, then a run of zero X up to the top plane.
  if ((symbols << taken >> 58) + taken / 8 == 0b001'000 + plane_total - 2) {
    const std::uint64_t rest = ~std::uint64_t{0} >> taken;
    out.codes[index] = (symbols & ~rest) | (zero_codes & rest);
    out.zero_plane[index] = no_zero_plane;
    return bit + 8 + taken + 6;
  }
  return read_symbols(bytes, bit + 8, out.codes[index], out.zero_plane[index]);
}

/// Swaps bits i and i + distance of each lane for all i in `mask`.
template <int distance>
__m256i swap_bits(__m256i x, std::int64_t mask) {
  const __m256i difference = _mm256_and_si256(_mm256_xor_si256(x, _mm256_srli_epi64(x, distance)),
                                              _mm256_set1_epi64x(mask));
  return _mm256_xor_si256(x, _mm256_xor_si256(difference, _mm256_slli_epi64(difference, distance)));
}

/// Transposes 8 x 8 bits about the other diagonal: bit 7 - i of byte 7 - p goes to bit p of byte i.
__m256i antitranspose(__m256i x) {
  x = swap_bits<9>(x, 0x0055005500550055);
  x = swap_bits<18>(x, 0x0000333300003333);
  return swap_bits<36>(x, 0x000000000F0F0F0F);
}

__m256i load(const std::uint64_t* from) {
  return _mm256_load_si256(reinterpret_cast<const __m256i*>(from));
}

/// Turns code bytes into words. Returns false if an index was wrong.
bool decode_blocks(CodedBlocks& blocks, std::size_t count, std::uint8_t* words) {
  for (std::size_t i = count; i % blocks_per_vector != 0; ++i) blocks.codes[i] = zero_codes;
  // X of symbols with one or two ones, by their lowest four bits; bit 0 is where no X has a bit.
  const __m256i indexed_x =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(char(0xC0), 0x60, 0x30, 0x18, 0x0C, 0x06, 1, 1,
                                                char(0x80), 0x40, 0x20, 0x10, 0x08, 0x04, 0x02, 1));
  const __m256i upper_lane = _mm256_setr_epi64x(0, 8 * every_byte, 0, 8 * every_byte);
  __m256i all_x = _mm256_setzero_si256();
  for (std::size_t i = 0; i < count; i += blocks_per_vector) {
    const __m256i codes = load(&blocks.codes[i]);
    const __m256i x = _mm256_blendv_epi8(_mm256_shuffle_epi8(indexed_x, codes),
                                         _mm256_add_epi8(codes, codes), codes);
    all_x = _mm256_or_si256(all_x, x);
    __m256i planes = _mm256_xor_si256(x, _mm256_srli_epi64(x, 8));
    planes = _mm256_xor_si256(planes, _mm256_srli_epi64(planes, 16));
    planes = _mm256_xor_si256(planes, _mm256_srli_epi64(planes, 32));
    // From an all-zero plane on, what had come together until then is taken out again.
    const __m256i zero_plane = _mm256_or_si256(load(&blocks.zero_plane[i]), upper_lane);
    planes = _mm256_xor_si256(planes, _mm256_shuffle_epi8(planes, zero_plane));

    const __m256i deltas = antitranspose(planes);
    const __m256i bases = _mm256_srli_epi64(load(&blocks.bases[i]), 56);
    __m256i sums = _mm256_or_si256(_mm256_slli_epi64(deltas, 8), bases);
    sums = _mm256_add_epi8(sums, _mm256_slli_epi64(sums, 8));
    sums = _mm256_add_epi8(sums, _mm256_slli_epi64(sums, 16));
    sums = _mm256_add_epi8(sums, _mm256_slli_epi64(sums, 32));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(words + i * fast_block_size), sums);
  }
  return _mm256_testz_si256(all_x, _mm256_set1_epi8(1)) != 0;
}

/// The non-zero words of one job, in blocks.
struct PackedWords {
  alignas(32) std::uint8_t words[max_job_words + packed_slack];
  std::size_t blocks;
  bool well_formed;
};

/// A job whose plane stream is being read.
struct PlaneLane {
  const std::uint8_t* bytes;
  std::size_t byte_count;
  std::uint64_t bit;
  std::size_t max_blocks;
  PackedWords* out;

  void start(const DecodeJob& job, PackedWords& packed) {
    bytes = job.plane_stream;
    byte_count = job.plane_bytes;
    bit = 0;
    max_blocks = (job.words.count + fast_block_size - 1) / fast_block_size;
    out = &packed;
    out->blocks = 0;
    out->well_formed = true;
  }

  /// Blocks that can be read without looking at the end of the stream.
  std::size_t safe_blocks() const {
    const std::size_t at = bit / 8;
    if (!out->well_formed || at + window_bytes > byte_count) return 0;
    const std::size_t by_bytes = (byte_count - at - window_bytes) / max_block_bytes;
    return min(min(by_bytes, max_blocks - out->blocks), CodedBlocks::capacity);
  }

  void append(CodedBlocks& blocks, std::size_t count) {
    const bool ok = decode_blocks(blocks, count, out->words + out->blocks * fast_block_size);
    out->well_formed = out->well_formed && ok;
    out->blocks += count;
  }

  /// Reads what is left, with zeros behind the end.
  void finish(CodedBlocks& blocks) {
    constexpr std::size_t tail_bytes = 256;
    while (out->well_formed && byte_count - bit / 8 > tail_bytes) {
      const std::size_t count = safe_blocks();
      if (count == 0) break;
      for (std::size_t i = 0; i < count && out->well_formed; ++i) {
        bit = read_block(bytes, bit, blocks, i);
        out->well_formed = bit != 0;
      }
      append(blocks, count);
    }
    const std::size_t rest = byte_count - bit / 8;
    if (!out->well_formed || rest > tail_bytes) {
      out->well_formed = false;  // more bytes than blocks
      return;
    }
    std::uint8_t tail[tail_bytes + 2 * max_block_bytes + window_bytes] = {};
    if (rest > 0) std::memcpy(tail, bytes + bit / 8, rest);
    const std::uint64_t end = 8 * rest;
    std::uint64_t at = bit % 8;
    while (out->well_formed && at + 8 <= end) {
      std::size_t count = 0;
      while (count < CodedBlocks::capacity && at + 8 <= end && out->well_formed) {
        at = read_block(tail, at, blocks, count++);
        out->well_formed = at != 0 && at <= end && out->blocks + count <= max_blocks;
      }
      if (out->well_formed) append(blocks, count);
    }
    // Less than a byte is left: padding, which is zero.
    if (at < end && window(tail, at) != 0) out->well_formed = false;
  }
};

/// Takes turns of `count` blocks of each lane.
void read_blocks(PlaneLane (&lanes)[lane_count], CodedBlocks (&blocks)[lane_count],
                 std::size_t count) {
  const std::uint8_t* bytes[lane_count];
  std::uint64_t bits[lane_count];
  bool well_formed[lane_count];
  for (std::size_t lane = 0; lane < lane_count; ++lane) {
    bytes[lane] = lanes[lane].bytes;
    bits[lane] = lanes[lane].bit;
    well_formed[lane] = true;
  }
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t lane = 0; lane < lane_count; ++lane) {
      const std::uint64_t next = read_block(bytes[lane], bits[lane], blocks[lane], i);
      // A malformed block is read again and again until the turns end.
      if (next != 0) [[likely]] {
        bits[lane] = next;
      } else {
        well_formed[lane] = false;
      }
    }
  }
  for (std::size_t lane = 0; lane < lane_count; ++lane) {
    lanes[lane].bit = bits[lane];
    if (well_formed[lane]) {
      lanes[lane].append(blocks[lane], count);
    } else {
      lanes[lane].out->well_formed = false;
    }
  }
}

// ----------------------------------------------------------------------------------- zero streams

constexpr std::size_t max_ones = 32;  // non-zero words that one turn puts down
constexpr std::size_t max_zeros = fast_max_zero_run;
constexpr std::size_t zero_symbol_bits = 5;
constexpr std::size_t max_pair_bits = max_ones + zero_symbol_bits;

/// A job whose zero stream is being read.
struct ZeroLane {
  const std::uint8_t* bytes;
  std::size_t byte_count;
  std::uint64_t bit;
  const std::uint8_t* packed;
  const std::uint8_t* packed_end;  // of whole blocks: the last words may be none
  std::uint8_t* words;
  std::uint8_t* words_end;

  void start(const DecodeJob& job, const PackedWords& from) {
    bytes = job.zero_stream;
    byte_count = job.zero_bytes;
    bit = 0;
    packed = from.words;
    packed_end = from.words + from.blocks * fast_block_size;
    words = static_cast<std::uint8_t*>(job.words.data);
    words_end = words + job.words.count;
  }

  /// Pairs that can be read without looking at an end of anything.
  std::size_t safe_pairs() const {
    const std::size_t at = bit / 8;
    if (at + sizeof(std::uint64_t) > byte_count) return 0;
    const std::size_t by_bits = (byte_count - at - sizeof(std::uint64_t)) * 8 / max_pair_bits;
    const std::size_t by_words =
        static_cast<std::size_t>(words_end - words) / (max_ones + max_zeros);
    const std::size_t by_packed = static_cast<std::size_t>(packed_end - packed) / max_ones;
    return min(min(by_bits, by_words), by_packed);
  }

  /// Reads and puts down one pair; writes max_ones + max_zeros bytes.
  void read_pair() {
    const std::uint64_t symbols = window(bytes, bit);
    const auto ones = static_cast<std::size_t>(_lzcnt_u64(~symbols));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(words),
                        _mm256_loadu_si256(reinterpret_cast<const __m256i*>(packed)));
    if (ones <= max_ones) [[likely]] {
      const std::size_t zeros = (symbols << ones >> (64 - zero_symbol_bits)) + 1;
      _mm_storeu_si128(reinterpret_cast<__m128i*>(words + ones), _mm_setzero_si128());
      bit += ones + zero_symbol_bits;
      packed += ones;
      words += ones + zeros;
    } else {
      bit += max_ones;
      packed += max_ones;
      words += max_ones;
    }
  }

  /// At least 57 bits, with zeros behind the end.
  std::uint64_t window_at_end() const {
    std::uint8_t tail[8] = {};
    const std::size_t at = min(bit / 8, byte_count);
    if (at < byte_count) std::memcpy(tail, bytes + at, min(byte_count - at, sizeof tail));
    return window(tail, bit % 8);
  }

  /// Reads what is left. Returns whether all is well-formed.
  bool finish() {
    while (safe_pairs() > 0) read_pair();
    while (words != words_end) {
      const auto left = static_cast<std::size_t>(words_end - words);
      const std::uint64_t symbols = window_at_end();
      std::size_t ones = min(static_cast<std::size_t>(_lzcnt_u64(~symbols)), left);
      if (ones > 0) {
        if (ones > static_cast<std::size_t>(packed_end - packed)) return false;
        std::memcpy(words, packed, ones);
        packed += ones;
        words += ones;
        bit += ones;
      } else {
        const std::size_t zeros = (symbols >> (64 - zero_symbol_bits)) + 1;
        bit += zero_symbol_bits;
        if (bit > 8 * byte_count || zeros > left) return false;
        std::memset(words, 0, zeros);
        words += zeros;
      }
    }
    const bool ends = 8 * byte_count - bit < 8 && window_at_end() == 0;
    return ends && packed_end - packed < static_cast<std::ptrdiff_t>(fast_block_size);
  }
};

/// Takes `count` turns.
void read_pairs(ZeroLane (&lanes)[lane_count], std::size_t count) {
  ZeroLane local[lane_count];  // nothing that is written could be one of these
  for (std::size_t lane = 0; lane < lane_count; ++lane) local[lane] = lanes[lane];
  for (std::size_t i = 0; i < count; ++i) {
    for (std::size_t lane = 0; lane < lane_count; ++lane) local[lane].read_pair();
  }
  for (std::size_t lane = 0; lane < lane_count; ++lane) lanes[lane] = local[lane];
}

// ---------------------------------------------------------------------------------------- batches

/// Fewer turns than this are not worth looking for more.
constexpr std::size_t min_turns = 4;

void decode_planes(const DecodeJob* jobs, std::size_t count, PackedWords* packed) {
  PlaneLane lanes[lane_count];
  CodedBlocks blocks[lane_count];
  std::size_t started = 0;
  std::size_t active = 0;
  for (; active < lane_count && started < count; ++active, ++started) {
    lanes[active].start(jobs[started], packed[started]);
  }
  while (active == lane_count) {
    std::size_t turns = CodedBlocks::capacity;
    for (const PlaneLane& lane : lanes) turns = min(turns, lane.safe_blocks());
    if (turns >= min_turns) {
      read_blocks(lanes, blocks, turns);
      continue;
    }
    for (std::size_t lane = 0; lane < active; ++lane) {
      if (lanes[lane].safe_blocks() >= min_turns) continue;
      lanes[lane].finish(blocks[lane]);
      if (started < count) {
        lanes[lane].start(jobs[started], packed[started]);
        ++started;
      } else {
        lanes[lane--] = lanes[--active];
      }
    }
  }
  for (std::size_t lane = 0; lane < active; ++lane) lanes[lane].finish(blocks[lane]);
}

/// Returns the first job that is not well-formed, or `count`.
std::size_t decode_zeros(const DecodeJob* jobs, std::size_t count, const PackedWords* packed) {
  ZeroLane lanes[lane_count];
  std::size_t job_of[lane_count];
  std::size_t started = 0;
  std::size_t active = 0;
  std::size_t failed = count;
  const auto finish = [&](std::size_t lane) {
    if (!lanes[lane].finish()) failed = min(failed, job_of[lane]);
  };
  const auto start_next = [&](std::size_t lane) {
    for (; started < count; ++started) {
      if (packed[started].well_formed) {
        job_of[lane] = started;
        lanes[lane].start(jobs[started], packed[started]);
        ++started;
        return true;
      }
      failed = min(failed, started);
    }
    return false;
  };
  while (active < lane_count && start_next(active)) ++active;
  while (active == lane_count) {
    std::size_t turns = max_job_words;
    for (const ZeroLane& lane : lanes) turns = min(turns, lane.safe_pairs());
    if (turns >= min_turns) {
      read_pairs(lanes, turns);
      continue;
    }
    for (std::size_t lane = 0; lane < active; ++lane) {
      if (lanes[lane].safe_pairs() >= min_turns) continue;
      finish(lane);
      if (!start_next(lane)) {
        --active;
        lanes[lane] = lanes[active];
        job_of[lane] = job_of[active];
        --lane;
      }
    }
  }
  for (std::size_t lane = 0; lane < active; ++lane) finish(lane);
  return failed;
}

}  // namespace

std::size_t decode_w8_n8(std::span<const DecodeJob> jobs) {
  PackedWords packed[batch_jobs];
  for (std::size_t done = 0; done < jobs.size();) {
    std::size_t count = 0;
    const std::size_t left = min(jobs.size() - done, batch_jobs);
    while (count < left && jobs[done + count].words.count <= max_job_words) ++count;
    decode_planes(&jobs[done], count, packed);
    const std::size_t decoded = decode_zeros(&jobs[done], count, packed);
    done += decoded;
    if (decoded < left) return done;
  }
  return jobs.size();
}

}  // namespace ebpc::avx2
