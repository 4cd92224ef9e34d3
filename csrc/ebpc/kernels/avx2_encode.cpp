// AVX2 encoding and counting of 8-bit words in blocks of 8 behind a sent base.
//
// Words are taken in chunks that stay in the L1 cache, in three steps:
// 1. pack: a mask of the non-zero words, and those words without the gaps;
// 2. zero stream: a table over the zeros pending and eight mask bits gives the code of eight words;
// 3. plane stream: vectors turn four blocks at a time into code bytes, one per bit plane, and a
//    mask of the bits of these that count; then each block's bits are gathered by one `pext`.
// Step 3's vectors and bit writing are separate loops: in one, they are slower.

#include <immintrin.h>

#include <cstring>

#include "ebpc/kernels/avx2.h"

namespace ebpc::avx2 {
namespace {

constexpr std::size_t chunk_words = 4096;
constexpr std::size_t blocks_per_vector = 4;
constexpr std::size_t words_per_vector = blocks_per_vector * fast_block_size;

void store_big_endian(std::uint8_t* bytes, std::uint64_t x) {
  x = __builtin_bswap64(x);
  std::memcpy(bytes, &x, sizeof x);
}

std::uint64_t shift_left(std::uint64_t x, unsigned count) { return x << (count & 63); }

__m256i broadcast(unsigned byte) { return _mm256_set1_epi8(static_cast<char>(byte)); }

// ---------------------------------------------------------------------------------------- packing

/// order[mask]: a byte shuffle that moves the bytes under the ones of `mask` to the front.
struct PackTable {
  std::uint64_t order[256];
};

constexpr PackTable pack_table = [] {
  PackTable table{};
  for (unsigned mask = 0; mask < 256; ++mask) {
    int packed = 0;
    for (std::uint64_t i = 0; i < 8; ++i) {
      if (mask >> i & 1) table.order[mask] |= i << (8 * packed++);
    }
  }
  return table;
}();

std::uint64_t nonzero_mask(const std::uint8_t* words) {
  const __m256i low = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words));
  const __m256i high = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(words + 32));
  const __m256i zero = _mm256_setzero_si256();
  const auto zero_low =
      static_cast<std::uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(low, zero)));
  const auto zero_high =
      static_cast<std::uint32_t>(_mm256_movemask_epi8(_mm256_cmpeq_epi8(high, zero)));
  return ~(static_cast<std::uint64_t>(zero_high) << 32 | zero_low);
}

/// Appends the words under the ones of `mask` and returns the end; writes up to 7 bytes beyond it.
std::uint8_t* pack(const std::uint8_t* words, std::uint64_t mask, std::uint8_t* packed) {
  for (int i = 0; i < 8; ++i) {
    const auto part = static_cast<std::uint8_t>(mask >> (8 * i));
    const __m128i eight = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(words + 8 * i));
    const __m128i order =
        _mm_loadl_epi64(reinterpret_cast<const __m128i*>(&pack_table.order[part]));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(packed), _mm_shuffle_epi8(eight, order));
    packed += _mm_popcnt_u32(part);
  }
  return packed;
}

/// Packs `mask_count` times 64 words; returns the end of the packed ones.
std::uint8_t* pack_masks(const std::uint8_t* words, std::size_t mask_count, std::uint64_t* masks,
                         std::uint8_t* packed) {
  for (std::size_t i = 0; i < mask_count; ++i, words += 64) {
    masks[i] = nonzero_mask(words);
    packed = pack(words, masks[i], packed);
  }
  return packed;
}

// ------------------------------------------------------------------------------------ zero stream

constexpr unsigned max_run = fast_max_zero_run;
constexpr unsigned run_symbol_bits = 5;

/// What eight words add to the zero stream.
struct ZeroTable {
  static constexpr unsigned length_bits = 8;
  std::uint32_t
      code_and_length[max_run * 256];  // [zeros pending << 8 | mask]: code << 8 | its bits
};

constexpr ZeroTable zero_table = [] {
  ZeroTable table{};
  for (unsigned pending = 0; pending < max_run; ++pending) {
    for (unsigned mask = 0; mask < 256; ++mask) {
      std::uint32_t code = 0;
      unsigned length = 0;
      unsigned run = pending;
      for (unsigned i = 0; i < 8; ++i) {
        const bool nonzero = mask >> i & 1;
        run += !nonzero;
        if (run == max_run || (nonzero && run > 0)) {
          code = code << run_symbol_bits | (run - 1);
          length += run_symbol_bits;
          run = 0;
        }
        if (nonzero) {
          code = code << 1 | 1;
          ++length;
        }
      }
      table.code_and_length[pending << 8 | mask] = code << ZeroTable::length_bits | length;
    }
  }
  return table;
}();

// Writers are passed and returned by value: behind a reference their members would live in memory,
// since the bytes written might be theirs for all that the compiler knows.

/// Writes codes of at most 56 bits. The bits of the byte that is not yet full wait in a register.
class ShortCodeWriter {
 public:
  explicit ShortCodeWriter(std::uint8_t* out) : begin_(out), out_(out) {}

  void put(std::uint64_t code, unsigned count) {
    const unsigned end = filled_ + count;
    waiting_ |= shift_left(code, 64 - end);
    store_big_endian(out_, waiting_);
    out_ += end / 8;
    waiting_ = shift_left(waiting_, end & ~7U);
    filled_ = end % 8;
  }

  /// All bits so far have been stored, padded with zeros.
  std::uint64_t bits() const { return static_cast<std::uint64_t>(out_ - begin_) * 8 + filled_; }

 private:
  std::uint8_t* begin_;
  std::uint8_t* out_;
  std::uint64_t waiting_ = 0;
  unsigned filled_ = 0;
};

/// For each byte of four masks: the zeros at its end and before it in the same mask, modulo 16, as
/// far as they are not interrupted. A byte of zeros has 8 and what the bytes before it have, which
/// three steps of a prefix sum add up.
__m256i trailing_zeros(__m256i masks) {
  const __m256i nibble = broadcast(0x0F);
  const __m256i in_high =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(8, 3, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0));
  const __m256i in_low =
      _mm256_broadcastsi128_si256(_mm_setr_epi8(8, 7, 6, 6, 5, 5, 5, 5, 4, 4, 4, 4, 4, 4, 4, 4));
  const __m256i high = _mm256_and_si256(_mm256_srli_epi16(masks, 4), nibble);
  const __m256i low = _mm256_and_si256(masks, nibble);
  __m256i zeros =
      _mm256_min_epu8(_mm256_shuffle_epi8(in_high, high), _mm256_shuffle_epi8(in_low, low));
  __m256i reaches_back = _mm256_cmpeq_epi8(masks, _mm256_setzero_si256());
  zeros = _mm256_add_epi8(zeros, _mm256_and_si256(reaches_back, _mm256_slli_epi64(zeros, 8)));
  reaches_back = _mm256_and_si256(reaches_back, _mm256_slli_epi64(reaches_back, 8));
  zeros = _mm256_add_epi8(zeros, _mm256_and_si256(reaches_back, _mm256_slli_epi64(zeros, 16)));
  reaches_back = _mm256_and_si256(reaches_back, _mm256_slli_epi64(reaches_back, 16));
  return _mm256_add_epi8(zeros, _mm256_and_si256(reaches_back, _mm256_slli_epi64(zeros, 32)));
}

std::uint32_t code_of(std::uint32_t entry) { return entry >> ZeroTable::length_bits; }
unsigned length_of(std::uint32_t entry) { return static_cast<std::uint8_t>(entry); }

/// Finds the table entries for masks, of which there may be more than one chunk.
class ZeroEntries {
 public:
  /// `count` masks of 64 words each give eight entries each; up to three masks more are read.
  void find(const std::uint64_t* masks, std::size_t count, std::uint32_t* entries) {
    unsigned pending = pending_;
    for (std::size_t i = 0; i < count; i += 4) {
      const __m256i four = _mm256_load_si256(reinterpret_cast<const __m256i*>(masks + i));
      alignas(32) std::uint64_t zeros[4];
      _mm256_store_si256(reinterpret_cast<__m256i*>(zeros), trailing_zeros(four));
      const std::size_t end = count - i < 4 ? count - i : 4;
      for (std::size_t k = 0; k < end; ++k, entries += 8) {
        pending = find(masks[i + k], zeros[k], pending, entries);
      }
    }
    pending_ = pending;
  }

  std::uint32_t find(std::uint8_t mask) {
    const std::uint32_t entry = zero_table.code_and_length[pending_ << 8 | mask];
    const unsigned trailing = _lzcnt_u32(static_cast<std::uint32_t>(mask) << 24);
    pending_ = mask == 0 ? (pending_ + 8) % max_run : trailing;
    return entry;
  }

  /// The last words, less than 8. What is missing to a whole byte of the mask is taken as non-zero:
  /// that ends a pending run, and each adds one bit to the code, which is cut off.
  std::uint32_t find_last(std::uint8_t mask, unsigned count) {
    const unsigned missing = 8 - count;
    const std::uint32_t entry = find(static_cast<std::uint8_t>(mask | 0xFFU << count));
    return code_of(entry) >> missing << ZeroTable::length_bits | (length_of(entry) - missing);
  }

 private:
  /// `zeros` is what trailing_zeros gives for this mask. Returns the zeros pending behind it.
  static unsigned find(std::uint64_t mask, std::uint64_t zeros, unsigned pending,
                       std::uint32_t* entries) {
    constexpr std::uint64_t every_byte = 0x0101010101010101;
    // The bytes below the first one in the mask continue what was pending.
    const std::uint64_t still_zero = _bzhi_u64(~std::uint64_t{0}, _tzcnt_u64(mask) & ~7U);
    zeros += pending * every_byte & still_zero;
    zeros &= (max_run - 1) * every_byte;
    const std::uint64_t zeros_before = zeros << 8 | pending;
    alignas(16) std::uint16_t indices[8];
    _mm_store_si128(reinterpret_cast<__m128i*>(indices),
                    _mm_unpacklo_epi8(_mm_cvtsi64_si128(static_cast<long long>(mask)),
                                      _mm_cvtsi64_si128(static_cast<long long>(zeros_before))));
    for (int i = 0; i < 8; ++i) entries[i] = zero_table.code_and_length[indices[i]];
    return static_cast<unsigned>(zeros >> 56);
  }

  unsigned pending_ = 0;
};

/// Writes the codes of whole masks, two entries at once.
ShortCodeWriter write_entries(const std::uint32_t* entries, std::size_t mask_count,
                              ShortCodeWriter out) {
  const __m256i length_mask = _mm256_set1_epi64x((1 << ZeroTable::length_bits) - 1);
  for (std::size_t i = 0; i < mask_count; ++i) {
    // Lanes of 64 bits: an entry, and above it the one that follows.
    const __m256i two = _mm256_load_si256(reinterpret_cast<const __m256i*>(entries + 8 * i));
    const __m256i first =
        _mm256_srli_epi64(_mm256_slli_epi64(two, 32), 32 + ZeroTable::length_bits);
    const __m256i second = _mm256_srli_epi64(two, 32 + ZeroTable::length_bits);
    const __m256i first_length = _mm256_and_si256(two, length_mask);
    const __m256i second_length = _mm256_and_si256(_mm256_srli_epi64(two, 32), length_mask);
    alignas(32) std::uint64_t codes[4];
    alignas(32) std::uint64_t lengths[4];
    _mm256_store_si256(reinterpret_cast<__m256i*>(codes),
                       _mm256_or_si256(_mm256_sllv_epi64(first, second_length), second));
    _mm256_store_si256(reinterpret_cast<__m256i*>(lengths),
                       _mm256_add_epi64(first_length, second_length));
    for (int k = 0; k < 4; ++k) out.put(codes[k], static_cast<unsigned>(lengths[k]));
  }
  return out;
}

// ----------------------------------------------------------------------------------- plane stream

/// Blocks of one chunk between the vectors and the bit writing. Of a block's 64 bits, the most
/// significant byte belongs to plane 0. Plane 8 (the sign of the deltas) stands apart.
struct CodedBlocks {
  static constexpr std::size_t capacity = chunk_words / fast_block_size + 2 * blocks_per_vector;

  alignas(32) std::uint64_t codes[capacity];   // one byte per plane; 0 where X is zero
  alignas(32) std::uint64_t unused[capacity];  // bits of these that are no part of the code
  std::uint8_t zero_planes[capacity];          // bit 7 - p is set where X[p] is zero
  std::uint8_t sign_x[capacity];               // X[8], the first delta least significant
  std::uint8_t sign_plane[capacity];           // plane 8 itself, in the same order
};

/// Swaps bits i and i + distance of each lane for all i in `mask`.
template <int distance>
__m256i swap_bits(__m256i x, std::int64_t mask) {
  const __m256i difference = _mm256_and_si256(_mm256_xor_si256(x, _mm256_srli_epi64(x, distance)),
                                              _mm256_set1_epi64x(mask));
  return _mm256_xor_si256(x, _mm256_xor_si256(difference, _mm256_slli_epi64(difference, distance)));
}

/// Transposes 8 x 8 bits about the other diagonal: bit p of byte i goes to bit 7 - i of byte 7 - p.
__m256i antitranspose(__m256i x) {
  x = swap_bits<9>(x, 0x0055005500550055);
  x = swap_bits<18>(x, 0x0000333300003333);
  return swap_bits<36>(x, 0x000000000F0F0F0F);
}

/// Codes of X with one 1, or two adjacent ones, from nibbles: X has seven bits, from 7 to 1. The
/// marker makes a sum of two codes overflow into bit 7, as does `several`: then X goes as it is.
constexpr int marker = 0x60;
constexpr int several = 0x80;
constexpr int single(int index) { return marker | 0b11000 | index; }
constexpr int pair(int index) { return marker | 0b10000 | index; }

/// Code bytes of X. Zero, all ones and a zero plane are dealt with by the caller.
__m256i codes_of_x(__m256i x) {
  const __m256i nibble = broadcast(0x0F);
  const __m256i high_codes = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(0, single(3), single(2), pair(2), single(1), char(several), pair(1),
                    char(several), single(0), char(several), char(several), char(several), pair(0),
                    char(several), char(several), char(several)));
  const __m256i low_codes = _mm256_broadcastsi128_si256(
      _mm_setr_epi8(0, 0, single(6), 0, single(5), 0, pair(5), 0, single(4), 0, char(several), 0,
                    pair(4), 0, char(several), 0));
  const __m256i high =
      _mm256_shuffle_epi8(high_codes, _mm256_and_si256(_mm256_srli_epi16(x, 4), nibble));
  const __m256i low = _mm256_shuffle_epi8(low_codes, _mm256_and_si256(x, nibble));
  const __m256i sum = _mm256_adds_epu8(high, low);
  const __m256i indexed = _mm256_and_si256(sum, broadcast(0x1F));
  const __m256i raw = _mm256_or_si256(_mm256_srli_epi16(x, 1), broadcast(0x80));
  const __m256i code = _mm256_blendv_epi8(indexed, raw, sum);
  const __m256i pair_across_nibbles = _mm256_cmpeq_epi8(x, broadcast(0x18));
  return _mm256_blendv_epi8(code, broadcast(pair(3) & 0x1F), pair_across_nibbles);
}

void store_mask(std::uint8_t* out, __m256i bytes) {
  const auto mask = static_cast<std::uint32_t>(_mm256_movemask_epi8(bytes));
  std::memcpy(out, &mask, sizeof mask);
}

/// Turns `block_count` blocks (rounded up to whole vectors) of packed words into code bytes.
template <bool is_signed>
void code_blocks(const std::uint8_t* packed, std::size_t block_count, CodedBlocks& out) {
  const __m256i zero = _mm256_setzero_si256();
  const __m256i seven_bytes = _mm256_set1_epi64x(0x00FFFFFFFFFFFFFF);
  for (std::size_t b = 0; b < block_count; b += blocks_per_vector) {
    const __m256i words =
        _mm256_load_si256(reinterpret_cast<const __m256i*>(packed + b * fast_block_size));
    const __m256i next_words = _mm256_srli_epi64(words, 8);
    const __m256i deltas = _mm256_and_si256(_mm256_sub_epi8(next_words, words), seven_bytes);
    // Bit 8 of the deltas; the comparison is signed.
    const __m256i flip = broadcast(is_signed ? 0 : 0x80);
    const __m256i negative = _mm256_and_si256(
        _mm256_cmpgt_epi8(_mm256_xor_si256(words, flip), _mm256_xor_si256(next_words, flip)),
        seven_bytes);

    const __m256i planes = antitranspose(deltas);
    const __m256i x = _mm256_xor_si256(planes, _mm256_srli_epi64(planes, 8));
    const __m256i x_zero = _mm256_cmpeq_epi8(x, zero);
    const __m256i plane_zero = _mm256_andnot_si256(x_zero, _mm256_cmpeq_epi8(planes, zero));
    const __m256i all_ones = _mm256_cmpeq_epi8(x, broadcast(0xFE));
    const __m256i five_bits = _mm256_or_si256(plane_zero, all_ones);
    // Five bits with the value 1 for a zero plane, 0 for all ones, which come first.
    const __m256i codes = _mm256_sub_epi8(_mm256_andnot_si256(five_bits, codes_of_x(x)),
                                          _mm256_andnot_si256(all_ones, plane_zero));

    _mm256_store_si256(reinterpret_cast<__m256i*>(&out.codes[b]), codes);
    _mm256_store_si256(reinterpret_cast<__m256i*>(&out.unused[b]),
                       _mm256_and_si256(five_bits, broadcast(0xE0)));
    store_mask(&out.zero_planes[b], x_zero);
    store_mask(&out.sign_x[b], _mm256_xor_si256(negative, deltas));
    store_mask(&out.sign_plane[b], negative);
  }
}

/// The codes of the zero X among planes 0 to 7, and which bits of the code bytes count: for a run,
/// those of its first plane. Indexed by CodedBlocks::zero_planes.
struct ZeroPlanesTable {
  std::uint64_t codes[256];
  std::uint64_t used[256];
};

constexpr ZeroPlanesTable make_zero_planes_table(bool sign_is_zero) {
  ZeroPlanesTable table{};
  for (unsigned zero_planes = 0; zero_planes < 256; ++zero_planes) {
    const auto is_zero = [&](int p) {
      return p < 8 ? (zero_planes >> (7 - p) & 1) != 0 : sign_is_zero;
    };
    for (int plane = 0; plane < 8; ++plane) {
      std::uint64_t code = 0;
      std::uint64_t used = 0xFF;
      if (is_zero(plane)) {
        std::uint64_t run = 1;
        for (int next = plane + 1; next <= 8 && is_zero(next); ++next) ++run;
        const bool first = plane == 0 || !is_zero(plane - 1);
        code = !first ? 0 : run == 1 ? 0b01 : 0b001'000 | (run - 2);
        used = !first ? 0 : run == 1 ? 0x03 : 0x3F;
      }
      table.codes[zero_planes] |= code << (8 * (7 - plane));
      table.used[zero_planes] |= used << (8 * (7 - plane));
    }
  }
  return table;
}

constexpr ZeroPlanesTable zeros_below_zero_sign = make_zero_planes_table(true);
constexpr ZeroPlanesTable zeros_below_nonzero_sign = make_zero_planes_table(false);

struct Code {
  std::uint64_t bits;
  unsigned count;
};

/// The code of plane 8, whose bits have the first delta least significant.
Code sign_code(std::size_t b, const CodedBlocks& blocks) {
  const unsigned x = blocks.sign_x[b];
  if (x == 0) {
    const bool continues_run = (blocks.zero_planes[b] & 1) != 0;
    return continues_run ? Code{0, 0} : Code{0b01, 2};
  }
  if (x == 0x7F) return {0b00000, 5};
  if (blocks.sign_plane[b] == 0) return {0b00001, 5};
  const unsigned index = _tzcnt_u32(x);
  const unsigned from_first = x >> index;
  if (from_first == 0b1) return {0b00011'000 | index, 8};
  if (from_first == 0b11) return {0b00010'000 | index, 8};
  unsigned raw = 1;
  for (int i = 0; i < 7; ++i) raw = raw << 1 | (x >> i & 1);
  return {raw, 8};
}

/// Codes of a chunk's blocks, in order, and of the block before. A block that takes more than 64
/// bits has two.
class PlaneCodes {
 public:
  PlaneCodes() { codes_[0] = 0; }

  /// Appends the codes of blocks.
  void append(const std::uint8_t* packed, std::size_t block_count, const CodedBlocks& blocks) {
    std::size_t size = size_;
    for (std::size_t b = 0; b < block_count; ++b) {
      const std::uint64_t base = packed[b * fast_block_size];
      const unsigned zero_planes = blocks.zero_planes[b];
      const std::uint64_t used = ~blocks.unused[b] & zeros_below_zero_sign.used[zero_planes];
      const auto count = static_cast<unsigned>(_mm_popcnt_u64(used));
      // Nearly always a run of zero planes reaches the top, and the block fits 64 bits.
      if ((zero_planes & 1) != 0 && blocks.sign_x[b] == 0 && count <= 64 - fast_word_bits) {
        const std::uint64_t codes = blocks.codes[b] | zeros_below_zero_sign.codes[zero_planes];
        codes_[size] = shift_left(base, count) | _pext_u64(codes, used);
        counts_[size++] = fast_word_bits + count;
      } else {
        size = append_any(base, b, blocks, size);
      }
    }
    size_ = size;
  }

  /// Writes the codes, four at a time, and keeps the rest. `bit` is where the first one goes.
  ///
  /// Each is stored as eight bytes from the byte on in which it begins. What belongs to others in
  /// that byte are bits of the code before, since none has less than 7; the last bits of a code
  /// that do not fit are stored with the one that follows.
  std::uint64_t write(std::uint8_t* out, std::uint64_t bit) {
    const __m256i swap_bytes = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8));
    const __m256i bits_of_word = _mm256_set1_epi64x(64);
    __m256i before = _mm256_set1_epi64x(static_cast<long long>(bit));
    std::size_t i = 1;
    for (; i + 4 <= size_; i += 4) {
      const __m256i codes = load(&codes_[i]);
      const __m256i counts = load(&counts_[i]);
      const __m256i in_pairs = _mm256_add_epi64(counts, _mm256_slli_si256(counts, 8));
      const __m256i first_pair = _mm256_blend_epi32(
          _mm256_setzero_si256(), _mm256_permute4x64_epi64(in_pairs, 0b01'01'01'01), 0xF0);
      const __m256i ends = _mm256_add_epi64(before, _mm256_add_epi64(in_pairs, first_pair));
      const __m256i starts = _mm256_sub_epi64(ends, counts);
      before = _mm256_permute4x64_epi64(ends, 0b11'11'11'11);

      // Shifts by 64 give zero.
      const __m256i filled = _mm256_and_si256(starts, _mm256_set1_epi64x(7));
      const __m256i justified = _mm256_sllv_epi64(codes, _mm256_sub_epi64(bits_of_word, counts));
      const __m256i previous =
          _mm256_sllv_epi64(load(&codes_[i - 1]), _mm256_sub_epi64(bits_of_word, filled));
      const __m256i stored = _mm256_shuffle_epi8(
          _mm256_or_si256(previous, _mm256_srlv_epi64(justified, filled)), swap_bytes);
      alignas(32) std::uint64_t at[4];
      _mm256_store_si256(reinterpret_cast<__m256i*>(at), _mm256_srli_epi64(starts, 3));
      const __m128i low = _mm256_castsi256_si128(stored);
      const __m128i high = _mm256_extracti128_si256(stored, 1);
      _mm_storel_epi64(reinterpret_cast<__m128i*>(out + at[0]), low);
      _mm_storeu_si64(out + at[1], _mm_unpackhi_epi64(low, low));
      _mm_storel_epi64(reinterpret_cast<__m128i*>(out + at[2]), high);
      _mm_storeu_si64(out + at[3], _mm_unpackhi_epi64(high, high));
    }
    codes_[0] = codes_[i - 1];
    std::size_t kept = 1;
    for (; i < size_; ++i, ++kept) {
      codes_[kept] = codes_[i];
      counts_[kept] = counts_[i];
    }
    size_ = kept;
    return static_cast<std::uint64_t>(_mm256_extract_epi64(before, 0));
  }

  /// Writes all, and zeros as padding.
  std::uint64_t finish(std::uint8_t* out, std::uint64_t bit) {
    // Codes of no bits, at least one of them: each stores the end of the last code once more.
    for (int i = 0; i < 4; ++i, ++size_) {
      codes_[size_] = codes_[size_ - 1];
      counts_[size_] = 0;
    }
    return write(out, bit);
  }

 private:
  static __m256i load(const std::uint64_t* from) {
    return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
  }

  /// Appends one or two codes for a block of any kind.
  std::size_t append_any(std::uint64_t base, std::size_t b, const CodedBlocks& blocks,
                         std::size_t size) {
    const bool sign_zero = blocks.sign_x[b] == 0;
    const ZeroPlanesTable& zeros = sign_zero ? zeros_below_zero_sign : zeros_below_nonzero_sign;
    const unsigned zero_planes = blocks.zero_planes[b];
    const std::uint64_t used = ~blocks.unused[b] & zeros.used[zero_planes];
    const std::uint64_t bits = _pext_u64(blocks.codes[b] | zeros.codes[zero_planes], used);
    const auto count = static_cast<unsigned>(_mm_popcnt_u64(used));
    const Code sign = sign_code(b, blocks);
    // In the second code, if there are two, half of what belongs to planes 0 to 7.
    const unsigned second = fast_word_bits + count + sign.count <= 64 ? 0 : 32;
    if (second != 0) {
      codes_[size] = base << (count - second) | bits >> second;
      counts_[size++] = fast_word_bits + count - second;
      codes_[size] = (bits & 0xFFFFFFFF) << sign.count | sign.bits;
      counts_[size++] = second + sign.count;
    } else {
      codes_[size] = (base << count | bits) << sign.count | sign.bits;
      counts_[size++] = fast_word_bits + count + sign.count;
    }
    return size;
  }

  static constexpr std::size_t capacity = 1 + 2 * CodedBlocks::capacity + 8;

  std::uint64_t codes_[capacity];
  std::uint64_t counts_[capacity];
  std::size_t size_ = 1;  // the first one has been written
};

// ------------------------------------------------------------------------------------- everything

struct CodeCounter {
  std::uint64_t bits = 0;

  void put(std::uint64_t, unsigned count) { bits += count; }
};

/// Codes the zeros of the last words, less than 64, and packs them. Returns the number of blocks
/// that are packed now, the last one filled up with zeros.
template <class Sink>
std::size_t finish_words(const std::uint8_t* words, std::size_t count, const std::uint8_t* packed,
                         std::uint8_t* packed_end, ZeroEntries& zeros, Sink& zero_sink) {
  std::uint8_t last_words[64] = {};
  if (count > 0) std::memcpy(last_words, words, count);
  std::uint64_t mask = nonzero_mask(last_words);
  packed_end = pack(last_words, mask, packed_end);
  for (; count >= 8; mask >>= 8, count -= 8) {
    const std::uint32_t entry = zeros.find(static_cast<std::uint8_t>(mask));
    zero_sink.put(code_of(entry), length_of(entry));
  }
  const std::uint32_t last =
      zeros.find_last(static_cast<std::uint8_t>(mask), static_cast<unsigned>(count));
  zero_sink.put(code_of(last), length_of(last));

  std::memset(packed_end, 0, words_per_vector);
  return (static_cast<std::size_t>(packed_end - packed) + fast_block_size - 1) / fast_block_size;
}

template <bool is_signed>
StreamBits encode_words(const std::uint8_t* words, std::size_t count, std::uint8_t* zero_stream,
                        std::uint8_t* plane_stream) {
  // Packed words of a chunk behind those that the last one left, which fill no vector.
  alignas(32) std::uint8_t packed[words_per_vector + chunk_words + 64];
  alignas(32) std::uint64_t masks[chunk_words / 64];
  alignas(32) std::uint32_t entries[chunk_words / 8];
  CodedBlocks blocks;
  PlaneCodes plane_codes;
  ZeroEntries zeros;
  ShortCodeWriter zero_writer(zero_stream);
  std::uint64_t plane_bits = 0;
  std::uint8_t* packed_end = packed;
  while (count >= 64) {
    const std::size_t mask_count = (count < chunk_words ? count : chunk_words) / 64;
    packed_end = pack_masks(words, mask_count, masks, packed_end);
    words += mask_count * 64;
    count -= mask_count * 64;
    zeros.find(masks, mask_count, entries);
    zero_writer = write_entries(entries, mask_count, zero_writer);

    const auto whole_vectors =
        static_cast<std::size_t>(packed_end - packed) / words_per_vector * words_per_vector;
    code_blocks<is_signed>(packed, whole_vectors / fast_block_size, blocks);
    plane_codes.append(packed, whole_vectors / fast_block_size, blocks);
    plane_bits = plane_codes.write(plane_stream, plane_bits);
    packed_end -= whole_vectors;
    std::memcpy(packed, packed + whole_vectors, words_per_vector);
  }

  const std::size_t block_count =
      finish_words(words, count, packed, packed_end, zeros, zero_writer);
  code_blocks<is_signed>(packed, block_count, blocks);
  plane_codes.append(packed, block_count, blocks);
  plane_bits = plane_codes.finish(plane_stream, plane_bits);
  return {zero_writer.bits(), plane_bits};
}

/// The lengths of all entries of whole masks.
std::uint64_t count_entries(const std::uint32_t* entries, std::size_t mask_count) {
  const __m256i length_mask = _mm256_set1_epi32((1 << ZeroTable::length_bits) - 1);
  __m256i sum = _mm256_setzero_si256();
  for (std::size_t i = 0; i < mask_count; ++i) {
    const __m256i eight = _mm256_load_si256(reinterpret_cast<const __m256i*>(entries + 8 * i));
    const __m256i lengths = _mm256_and_si256(eight, length_mask);
    sum = _mm256_add_epi64(sum, _mm256_sad_epu8(lengths, _mm256_setzero_si256()));
  }
  alignas(32) std::uint64_t parts[4];
  _mm256_store_si256(reinterpret_cast<__m256i*>(parts), sum);
  return parts[0] + parts[1] + parts[2] + parts[3];
}

/// The lengths of the codes that PlaneCodes::append makes.
std::uint64_t count_blocks(std::size_t block_count, const CodedBlocks& blocks) {
  std::uint64_t bits = fast_word_bits * block_count;
  for (std::size_t b = 0; b < block_count; ++b) {
    const unsigned zero_planes = blocks.zero_planes[b];
    const bool sign_zero = blocks.sign_x[b] == 0;
    const ZeroPlanesTable& zeros = sign_zero ? zeros_below_zero_sign : zeros_below_nonzero_sign;
    bits += static_cast<std::uint64_t>(_mm_popcnt_u64(~blocks.unused[b] & zeros.used[zero_planes]));
    if (!sign_zero || (zero_planes & 1) == 0) bits += sign_code(b, blocks).count;
  }
  return bits;
}

template <bool is_signed>
StreamBits count_words(const std::uint8_t* words, std::size_t count) {
  alignas(32) std::uint8_t packed[words_per_vector + chunk_words + 64];
  alignas(32) std::uint64_t masks[chunk_words / 64];
  alignas(32) std::uint32_t entries[chunk_words / 8];
  CodedBlocks blocks;
  ZeroEntries zeros;
  StreamBits bits;
  std::uint8_t* packed_end = packed;
  while (count >= 64) {
    const std::size_t mask_count = (count < chunk_words ? count : chunk_words) / 64;
    packed_end = pack_masks(words, mask_count, masks, packed_end);
    words += mask_count * 64;
    count -= mask_count * 64;
    zeros.find(masks, mask_count, entries);
    bits.zero += count_entries(entries, mask_count);

    const auto whole_vectors =
        static_cast<std::size_t>(packed_end - packed) / words_per_vector * words_per_vector;
    code_blocks<is_signed>(packed, whole_vectors / fast_block_size, blocks);
    bits.plane += count_blocks(whole_vectors / fast_block_size, blocks);
    packed_end -= whole_vectors;
    std::memcpy(packed, packed + whole_vectors, words_per_vector);
  }
  CodeCounter zero_counter;
  const std::size_t block_count =
      finish_words(words, count, packed, packed_end, zeros, zero_counter);
  code_blocks<is_signed>(packed, block_count, blocks);
  bits.zero += zero_counter.bits;
  bits.plane += count_blocks(block_count, blocks);
  return bits;
}

}  // namespace

StreamBits encode_w8_n8(bool is_signed, const std::uint8_t* words, std::size_t count,
                        std::uint8_t* zero_stream, std::uint8_t* plane_stream) {
  return is_signed ? encode_words<true>(words, count, zero_stream, plane_stream)
                   : encode_words<false>(words, count, zero_stream, plane_stream);
}

StreamBits count_w8_n8(bool is_signed, const std::uint8_t* words, std::size_t count) {
  return is_signed ? count_words<true>(words, count) : count_words<false>(words, count);
}

}  // namespace ebpc::avx2
