// The methods that EBPC is compared with, counted by the rules of FORMAT.md.

#pragma once

#include <array>
#include <string_view>

#include "ebpc/kernels/kernel.h"
#include "ebpc/parameters.h"
#include "ebpc/words.h"

namespace ebpc {

enum class Method {
  none,      // words as they are
  zvc,       // zero-value compression: a mask, then the non-zero words (Rhu et al., HPCA 2018)
  zero_rle,  // zero run-length coding (Eyeriss; Chen et al., JSSC 2017), non-zero words in full
  csc,   // compressed sparse columns: 4-bit relative index and word (EIE; Han et al., ISCA 2016)
  bpc,   // bit-plane compression of all words with the codes of ISCA 2016
  ebpc,  // the code of this library
};

inline constexpr std::array<std::string_view, 6> method_names{"none", "zvc", "zero_rle",
                                                              "csc",  "bpc", "ebpc"};

/// Throws Error(argument) that lists the names if there is no method of that name.
Method method_named(std::string_view name);

/// Bits of one transmission by `method`: `zero` says where words are, `plane` holds them. Throws as
/// ebpc::count_bits; a parameter that the method has no use for is ignored.
StreamBits count_bits(Method method, const Parameters& p, WordSpan words);

}  // namespace ebpc
