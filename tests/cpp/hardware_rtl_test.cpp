// The RTL (csrc/ebpc/hardware/rtl), run by Verilator, in lockstep with the C++ model: every port
// and every register, in every cycle.

#include <gtest/gtest.h>

#ifdef EBPC_HAVE_VERILATOR

#include <verilated.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "Vebpc_reused.h"
#include "Vebpc_small.h"
#include "Vebpc_standard.h"
#include "Vebpc_uneven.h"
#include "Vebpc_wide.h"
#include "Vebpc_zero_word.h"
#include "support/hardware_golden.h"
#include "support/hardware_testbench.h"

namespace ebpc::test {
namespace {

// ---- Parameters: as CMakeLists.txt gives them to Verilator
// ----------------------------------------

struct Standard {
  using Rtl = Vebpc_standard;
  static Parameters p() { return parameters(8, 8); }
  static constexpr std::uint32_t zero = 0;
};
struct Reused {
  using Rtl = Vebpc_reused;
  static Parameters p() { return parameters(8, 8, true, 16, Base::reused); }
  static constexpr std::uint32_t zero = 0;
};
struct Small {
  using Rtl = Vebpc_small;
  static Parameters p() { return parameters(4, 4); }
  static constexpr std::uint32_t zero = 0;
};
struct Wide {
  using Rtl = Vebpc_wide;
  static Parameters p() { return parameters(16, 16, false); }
  static constexpr std::uint32_t zero = 0;
};
struct ZeroWord {  // -128, as affine quantization has it after a ReLU
  using Rtl = Vebpc_zero_word;
  static Parameters p() { return with_zero(parameters(8, 8, true, 64), zero); }
  static constexpr std::uint32_t zero = 0x80;
};
struct Uneven {  // nothing is a power of two
  using Rtl = Vebpc_uneven;
  static Parameters p() { return with_zero(parameters(5, 3, false, 2, Base::reused), zero); }
  static constexpr std::uint32_t zero = 7;
};

// ---- Lockstep -----------------------------------------------------------------------------------

/// Registers one after another, the first in the lowest bits, as the RTL gives them.
class RegisterBits {
 public:
  explicit RegisterBits(const WData* words) : words_(words) {}

  std::uint64_t next(int bits) {
    std::uint64_t value = 0;
    for (int done = 0; done < bits;) {
      const int offset = (position_ + done) % 32;
      const int count = std::min(32 - offset, bits - done);
      value |= (words_[(position_ + done) / 32] >> offset & low_ones(count)) << done;
      done += count;
    }
    position_ += bits;
    return value;
  }

 private:
  const WData* words_;
  int position_ = 0;
};

void expect_equal_registers(const RegisterBank& bank, const WData* rtl) {
  const std::vector<std::uint64_t> contents = bank.scan_out();
  RegisterBits bits(rtl);
  std::size_t next = 0;
  for (const RegisterGroup& group : bank.groups()) {
    for (int i = 0; i < group.count; ++i, ++next) {
      const std::uint64_t found = bits.next(group.bits);
      if (found != contents[next]) {
        ADD_FAILURE() << group.unit << ", " << group.name << ' ' << i << ": " << found
                      << " in the RTL, " << contents[next] << " in the model";
      }
    }
  }
}

/// A new design after its reset. Registers without a reset start as zeros, as the model's do, or at
/// random.
template <class Rtl>
std::unique_ptr<Rtl> make_rtl(VerilatedContext& context, bool random_registers) {
  context.randReset(random_registers ? 2 : 0);
  auto rtl = std::make_unique<Rtl>(&context);
  for (const int clk : {0, 1, 0}) {
    rtl->rst_n = 0;
    rtl->clk = clk != 0;
    rtl->eval();
  }
  rtl->rst_n = 1;
  rtl->eval();
  return rtl;
}

/// Ports are bytes, half words or words, as their widths need.
template <class Port>
void set_port(Port& port, std::uint32_t value) {
  port = static_cast<Port>(value);
}

/// An edge of the clock, after which the outputs have settled.
template <class Rtl>
void clock_edge(Rtl& rtl) {
  rtl.clk = 1;
  rtl.eval();
  rtl.clk = 0;
  rtl.eval();
}

template <class Set>
class LockstepEncoder {
 public:
  explicit LockstepEncoder(bool random_registers = false)
      : compares_registers_(!random_registers),
        rtl_(make_rtl<typename Set::Rtl>(context_, random_registers)),
        model_(Set::p()) {}

  EncoderOutput cycle(const EncoderInput& in) {
    if (::testing::Test::HasFailure()) return model_.cycle(in);  // one difference makes many
    rtl_->e_word_valid = in.word.valid;
    set_port(rtl_->e_word_data, in.word.data);
    rtl_->e_word_last = in.word.last;
    rtl_->e_zero_ready = in.zero_ready;
    rtl_->e_plane_ready = in.plane_ready;
    rtl_->eval();
    const EncoderOutput out = model_.cycle(in);
    EXPECT_EQ(rtl_->e_word_ready != 0, out.word_ready);
    const Beat zero{rtl_->e_zero_valid != 0, rtl_->e_zero_data, rtl_->e_zero_last != 0,
                    rtl_->e_zero_keep != 0};
    const Beat plane{rtl_->e_plane_valid != 0, rtl_->e_plane_data, rtl_->e_plane_last != 0,
                     rtl_->e_plane_keep != 0};
    EXPECT_EQ(zero, out.zero);
    EXPECT_EQ(plane, out.plane);
    clock_edge(*rtl_);
    if (compares_registers_) expect_equal_registers(model_.registers(), rtl_->e_registers);
    return out;
  }

 private:
  const bool compares_registers_;
  VerilatedContext context_;
  std::unique_ptr<typename Set::Rtl> rtl_;
  Encoder model_;
};

template <class Set>
class LockstepDecoder {
 public:
  explicit LockstepDecoder(bool random_registers = false)
      : compares_registers_(!random_registers),
        rtl_(make_rtl<typename Set::Rtl>(context_, random_registers)),
        model_(Set::p()) {}

  DecoderOutput cycle(const DecoderInput& in) {
    if (::testing::Test::HasFailure()) return model_.cycle(in);
    rtl_->d_count_valid = in.count.valid;
    rtl_->d_count_data = in.count.data;
    rtl_->d_zero_valid = in.zero.valid;
    set_port(rtl_->d_zero_data, in.zero.data);
    rtl_->d_zero_last = in.zero.last;
    rtl_->d_zero_keep = in.zero.keep;
    rtl_->d_plane_valid = in.plane.valid;
    set_port(rtl_->d_plane_data, in.plane.data);
    rtl_->d_plane_last = in.plane.last;
    rtl_->d_plane_keep = in.plane.keep;
    rtl_->d_word_ready = in.word_ready;
    rtl_->eval();
    const DecoderOutput out = model_.cycle(in);
    EXPECT_EQ(rtl_->d_count_ready != 0, out.count_ready);
    EXPECT_EQ(rtl_->d_zero_ready != 0, out.zero_ready);
    EXPECT_EQ(rtl_->d_plane_ready != 0, out.plane_ready);
    EXPECT_EQ(rtl_->d_word_valid != 0, out.word.valid);
    if (out.word.valid) {
      EXPECT_EQ(rtl_->d_word_data, out.word.data);
      EXPECT_EQ(rtl_->d_word_last != 0, out.word.last);
    }
    clock_edge(*rtl_);
    if (compares_registers_) expect_equal_registers(model_.registers(), rtl_->d_registers);
    return out;
  }

 private:
  const bool compares_registers_;
  VerilatedContext context_;
  std::unique_ptr<typename Set::Rtl> rtl_;
  Decoder model_;
};

/// One transmission through both, whatever they have done before.
template <class Set>
void expect_lockstep(LockstepEncoder<Set>& encoder, LockstepDecoder<Set>& decoder,
                     const Words& words, Random& random, const Rates& rates) {
  SCOPED_TRACE(std::to_string(words.size()) + " words");
  const Parameters p = Set::p();
  const WordStreams expected = codec_streams(p, words);
  ASSERT_EQ(encode_in_hardware(encoder, p, words, rates, random), expected);
  ASSERT_EQ(decode_in_hardware(decoder, p, expected, words.size(), rates, random), words);
}

/// Words of which so many are not the zero word.
template <class Set>
Words random_words(std::size_t count, double density, Random& random) {
  std::bernoulli_distribution nonzero(density);
  Words words = any_words(Set::p(), count, 1.0, random);
  for (auto& word : words) word = nonzero(random) ? word : Set::zero;
  return words;
}

template <class Set>
class HardwareRtl : public ::testing::Test {
 protected:
  void transmit(const Words& words, const Rates& rates = {}) {
    expect_lockstep(encoder_, decoder_, words, random_, rates);
  }

  Random random_{17};
  LockstepEncoder<Set> encoder_;  // not reset between transmissions
  LockstepDecoder<Set> decoder_;
};

using Sets = ::testing::Types<Standard, Reused, Small, Wide, ZeroWord, Uneven>;
TYPED_TEST_SUITE(HardwareRtl, Sets);

TYPED_TEST(HardwareRtl, EqualsTheModelOnTheGoldenWords) {
  for (const auto& [name, p, words, streams] : golden_transmissions()) {
    if (p.base != Base::sent || words.size() > 300) continue;
    SCOPED_TRACE(name);
    Words cut = words;
    for (auto& word : cut) word &= static_cast<std::uint32_t>(low_ones(TypeParam::p().word_bits));
    this->transmit(cut);
    if (this->HasFailure()) return;
  }
}

TYPED_TEST(HardwareRtl, EqualsTheModelWhateverThePortsPartnersDo) {
  for (const double density : {0.1, 0.5, 0.9, 1.0}) {
    for (int repeat = 0; repeat < 6; ++repeat) {
      this->transmit(random_words<TypeParam>(300, density, this->random_),
                     random_rates(this->random_));
      this->transmit(relu_like(TypeParam::p(), 300, density, this->random_),
                     random_rates(this->random_));
      if (this->HasFailure()) return;
    }
  }
}

TYPED_TEST(HardwareRtl, EqualsTheModelAtTheEndsOfTransmissions) {
  for (std::size_t length = 1; length <= 2 * static_cast<std::size_t>(TypeParam::p().block_size);
       ++length) {
    for (const std::size_t zeros : {0u, 1u, 17u}) {  // the last words are zero
      Words words = random_words<TypeParam>(length, 0.9, this->random_);
      words.insert(words.end(), zeros, TypeParam::zero);
      this->transmit(words);
      this->transmit(words, random_rates(this->random_));
      this->transmit(Words(length, TypeParam::zero));  // all of them
      if (this->HasFailure()) return;
    }
  }
}

TYPED_TEST(HardwareRtl, DamagedStreamsDoTheSameInBoth) {
  for (int repeat = 0; repeat < 30; ++repeat) {
    const Parameters p = TypeParam::p();
    LockstepDecoder<TypeParam> decoder;
    const Words zero = any_words(p, 20, 1.0, this->random_);
    const Words plane = any_words(p, 60, 1.0, this->random_);
    Producer zeros(zero, true);
    Producer planes(plane, true);
    for (int cycle = 0; cycle < 300; ++cycle) {
      const DecoderInput in{.count = {.valid = true, .data = 150},
                            .zero = zeros.offer(true),
                            .plane = planes.offer(true),
                            .word_ready = this->random_() % 4 > 0};
      const DecoderOutput out = decoder.cycle(in);
      zeros.settle(out.zero_ready);
      planes.settle(out.plane_ready);
    }
    if (this->HasFailure()) return;
  }
}

TYPED_TEST(HardwareRtl, RegistersWithoutAResetNeedNone) {
  LockstepEncoder<TypeParam> encoder(true);
  LockstepDecoder<TypeParam> decoder(true);
  for (const std::size_t length : {1u, 40u, 300u}) {
    expect_lockstep(encoder, decoder, random_words<TypeParam>(length, 0.7, this->random_),
                    this->random_, random_rates(this->random_));
  }
}

// ---- ResNet-34's recorded maps ------------------------------------------------------------------

constexpr std::size_t words_of_a_part = 2048;

/// As evaluation/hardware/recorded_words.py writes them.
std::vector<Words> recorded_maps(const char* path) {
  std::ifstream file(path, std::ios::binary);
  const std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
  const auto byte = [&](std::size_t i) {
    return std::uint32_t{static_cast<unsigned char>(bytes.at(i))};
  };
  std::vector<Words> maps;
  for (std::size_t at = 0; at < bytes.size();) {
    const std::size_t count =
        byte(at) | byte(at + 1) << 8 | byte(at + 2) << 16 | byte(at + 3) << 24;
    at += 4;
    Words& words = maps.emplace_back();
    for (std::size_t i = 0; i < count; ++i) words.push_back(byte(at + i));
    at += count;
  }
  return maps;
}

/// All maps one after another through the same encoder and decoder, without stalls and with stalls
/// on every port: of each a part and the last one whole, or with EBPC_ALL_WORDS every word.
/// `zero` is the word that stands for 0: a word x of a map becomes x + zero.
template <class Set>
void expect_recorded_maps_in_lockstep(std::uint32_t zero) {
  const char* path = std::getenv("EBPC_RECORDED_WORDS");
  if (path == nullptr) GTEST_SKIP() << "EBPC_RECORDED_WORDS names no file of recorded maps";
  std::vector<Words> maps = recorded_maps(path);
  ASSERT_EQ(maps.size(), 33u);
  Random random(21);
  std::uniform_real_distribution<double> rate(0.3, 1.0);
  LockstepEncoder<Set> encoder;
  LockstepDecoder<Set> decoder;
  std::size_t words_compared = 0;
  for (Words& words : maps) {
    if (&words != &maps.back() && std::getenv("EBPC_ALL_WORDS") == nullptr) {
      words.resize(words_of_a_part);
    }
    for (auto& word : words) word = (word + zero) & 0xFF;
    for (const Rates& rates : {Rates{}, Rates{rate(random), rate(random), rate(random)}}) {
      expect_lockstep(encoder, decoder, words, random, rates);
      if (::testing::Test::HasFailure()) return;
    }
    words_compared += words.size();
  }
  ::testing::Test::RecordProperty("words", std::to_string(words_compared));
}

TEST(HardwareRtlMaps, ResNet34sAreEqualInEveryRegisterAndCycle) {
  expect_recorded_maps_in_lockstep<Standard>(0);
}

TEST(HardwareRtlMaps, ResNet34sAreEqualWithMinus128AsTheZeroWord) {
  expect_recorded_maps_in_lockstep<ZeroWord>(ZeroWord::zero);
}

// ---- What the published RTL's history mended; hardware_test.cpp has the same for the model
// -------

// 434fc9e: a last word of zero reached the transmission that followed. e6ed764, d286728, b1dc45b:
// transmissions in a row.
TYPED_TEST(HardwareRtl, AZeroAsTheLastWordDoesNotReachTheNextTransmission) {
  for (std::size_t zeros = 1; zeros <= 17; ++zeros) {
    Words words = random_words<TypeParam>(20, 0.6, this->random_);
    words.insert(words.end(), zeros, TypeParam::zero);
    this->transmit(words);
    this->transmit(random_words<TypeParam>(9, 1.0, this->random_));
    this->transmit(random_words<TypeParam>(1, 1.0, this->random_), random_rates(this->random_));
    if (this->HasFailure()) return;
  }
}

// 7eee1e8: the plane stream's last flag, which the consumers hold the encoder to. a2ead73: the
// words of 0 that fill the last block up.
TYPED_TEST(HardwareRtl, ThePlaneStreamsLastFlagComesOnceWhateverItsLength) {
  for (std::size_t length = 1; length <= 32; ++length) {
    Words words = relu_like(TypeParam::p(), length, 1.0, this->random_);
    words.push_back(TypeParam::zero);
    this->transmit(words);
    if (this->HasFailure()) return;
  }
}

}  // namespace
}  // namespace ebpc::test

#else

TEST(HardwareRtl, EqualsTheModel) { GTEST_SKIP() << "this build found no Verilator"; }

#endif
