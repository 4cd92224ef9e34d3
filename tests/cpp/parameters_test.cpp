#include "ebpc/parameters.h"

#include <string>

#include "ebpc/baselines.h"
#include "ebpc/kernels/dispatch.h"
#include "ebpc/tensor_info.h"
#include "support/test_data.h"

namespace ebpc::test {
namespace {

std::string error_of_parameters(const Parameters& p) {
  Bytes memory(4), zero, plane;
  const std::string message =
      error_of(ErrorCode::argument, [&] { encode(p, {memory.data(), 1, 4}, zero, plane); });
  // All ways in say the same.
  EXPECT_EQ(error_of(ErrorCode::argument, [&] { count_bits(p, {memory.data(), 1, 4}); }), message);
  EXPECT_EQ(
      error_of(ErrorCode::argument, [&] { decode(p, zero, 0, plane, 0, {memory.data(), 1, 4}); }),
      message);
  return message;
}

TEST(Parameters, OutOfRangeIsAnErrorThatSaysWhatTheyMayBe) {
  const auto word_bits = [](int value) { return Parameters{.word_bits = value}; };
  EXPECT_EQ(error_of_parameters(word_bits(1)), "word_bits must be from 2 to 32, got 1");
  EXPECT_EQ(error_of_parameters(word_bits(33)), "word_bits must be from 2 to 32, got 33");
  EXPECT_EQ(error_of_parameters(word_bits(-8)), "word_bits must be from 2 to 32, got -8");
  EXPECT_EQ(error_of_parameters({.block_size = 1}), "block_size must be from 2 to 64, got 1");
  EXPECT_EQ(error_of_parameters({.block_size = 65}), "block_size must be from 2 to 64, got 65");
  EXPECT_EQ(error_of_parameters({.max_zero_run = 1}),
            "max_zero_run must be from 2 to 65536, got 1");
  EXPECT_EQ(error_of_parameters({.max_zero_run = 131072}),
            "max_zero_run must be from 2 to 65536, got 131072");
  EXPECT_EQ(error_of_parameters({.max_zero_run = 24}),
            "max_zero_run must be a power of two, got 24");
}

TEST(Parameters, WordsWiderThanTheirMemoryAreAnError) {
  Bytes memory(8), zero, plane;
  EXPECT_EQ(error_of(ErrorCode::argument,
                     [&] { encode({.word_bits = 9}, {memory.data(), 1, 1}, zero, plane); }),
            "word_bits must be at most 8, the width of the dtype, got 9");
  EXPECT_EQ(error_of(ErrorCode::argument,
                     [&] { decode({.word_bits = 17}, {}, 0, {}, 0, {memory.data(), 1, 2}); }),
            "word_bits must be at most 16, the width of the dtype, got 17");
  EXPECT_EQ(error_of(ErrorCode::argument,
                     [&] { encode({.word_bits = 8}, {memory.data(), 1, 3}, zero, plane); }),
            "bytes_per_word must be 1, 2 or 4, got 3");
}

TEST(Parameters, OfADtypeFollowFromIt) {
  for (int i = 0; i < dtype_count; ++i) {
    const DTypeTraits& of = traits(static_cast<DType>(i));
    const Parameters p = parameters_for(static_cast<DType>(i), 0, 8, 16, Base::sent);
    EXPECT_EQ(p.word_bits, 8 * of.bytes) << of.name;
    EXPECT_EQ(p.is_signed, of.is_signed) << of.name;
  }
  EXPECT_EQ(parameters_for(DType::int16, 12, 8, 16, Base::sent).word_bits, 12);
}

TEST(Parameters, ThatDoNotGoWithADtypeAreAnError) {
  const auto message = [](DType dtype, int word_bits) {
    return error_of(ErrorCode::argument,
                    [&] { parameters_for(dtype, word_bits, 8, 16, Base::sent); });
  };
  EXPECT_EQ(message(DType::int8, 9), "word_bits must be at most 8 for int8, got 9");
  EXPECT_EQ(message(DType::uint16, 17), "word_bits must be at most 16 for uint16, got 17");
  EXPECT_EQ(message(DType::float16, 12), "word_bits must be 16 for float16, got 12");
  EXPECT_EQ(message(DType::float32, 16), "word_bits must be 32 for float32, got 16");
  EXPECT_EQ(error_of(ErrorCode::argument,
                     [] { check_parameters(DType::uint8, {.word_bits = 8, .is_signed = true}); }),
            "words of uint8 must be unsigned");
  EXPECT_EQ(error_of(ErrorCode::argument,
                     [] { check_parameters(DType::int8, {.word_bits = 8, .is_signed = false}); }),
            "words of int8 must be signed");
}

TEST(Parameters, MethodsAreFoundByNameAndOthersListed) {
  for (std::size_t i = 0; i < method_names.size(); ++i) {
    EXPECT_EQ(static_cast<std::size_t>(method_named(method_names[i])), i);
  }
  EXPECT_EQ(error_of(ErrorCode::argument, [] { method_named("lz4"); }),
            "method must be one of 'none', 'zvc', 'zero_rle', 'csc', 'bpc', 'ebpc', got 'lz4'");
}

TEST(Kernels, AreFoundByNameAndOthersAreAnErrorThatListsThem) {
  ASSERT_FALSE(supported_kernels().empty());
  EXPECT_STREQ(supported_kernels().back()->name, "portable");
  for (const Kernel* kernel : supported_kernels()) {
    EXPECT_EQ(&kernel_named(kernel->name), kernel);
  }
  const std::string message = error_of(ErrorCode::argument, [] { kernel_named("mmx"); });
  EXPECT_NE(message.find("kernel (TORCH_EBPC_KERNEL) must be one of "), std::string::npos)
      << message;
  EXPECT_NE(message.find("portable"), std::string::npos) << message;
  EXPECT_NE(message.find("got 'mmx'"), std::string::npos) << message;
}

// RFC 3720, appendix B.4, and the check value of the Rocksoft model.
TEST(Kernels, ChecksumIsCrc32C) {
  const Bytes zeros(32, 0x00), ones(32, 0xFF);
  Bytes up(32), down(32);
  for (std::uint8_t i = 0; i < 32; ++i) {
    up[i] = i;
    down[i] = static_cast<std::uint8_t>(31 - i);
  }
  const std::string digits = "123456789";
  for (const Kernel* kernel : supported_kernels()) {
    SCOPED_TRACE(kernel->name);
    const auto crc = [&](const Bytes& bytes) {
      return kernel->crc32c(0, bytes.data(), bytes.size());
    };
    EXPECT_EQ(crc({}), 0U);
    EXPECT_EQ(crc(zeros), 0x8A9136AAU);
    EXPECT_EQ(crc(ones), 0x62A8AB43U);
    EXPECT_EQ(crc(up), 0x46DD794EU);
    EXPECT_EQ(crc(down), 0x113FDB5CU);
    EXPECT_EQ(crc(Bytes(digits.begin(), digits.end())), 0xE3069283U);
    for (std::size_t cut = 0; cut <= up.size(); ++cut) {  // continued from any place
      const std::uint32_t first = kernel->crc32c(0, up.data(), cut);
      EXPECT_EQ(kernel->crc32c(first, up.data() + cut, up.size() - cut), 0x46DD794EU) << cut;
    }
  }
}

}  // namespace
}  // namespace ebpc::test
