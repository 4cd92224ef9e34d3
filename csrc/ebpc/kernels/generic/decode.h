// Decoding of many jobs in two passes: zero streams become masks (zero_masks.h); then plane streams
// become non-zero words (plane_pass.h), which a mask puts in their places as soon as a job's are
// all there (unpack_words.h).
//
// Plain C++, compiled once for every instruction set that includes it: vectors.h says how.

#pragma once

#include <cstddef>
#include <span>

#include "ebpc/kernels/generic/jobs.h"
#include "ebpc/kernels/generic/plane_pass.h"
#include "ebpc/kernels/generic/plane_words.h"
#include "ebpc/kernels/generic/zero_masks.h"
#include "ebpc/kernels/kernel.h"

namespace ebpc::EBPC_KERNEL {
namespace {

/// Decodes jobs of any setting but those with planes of 64 bits, as Kernel::decode.
std::size_t decode_any(const Parameters& p, std::span<const DecodeJob> jobs) {
  const auto decode = [&]<class Syntax>(Syntax*) {
    using Planes = PlanePass<Syntax, PlaneRows<Syntax>, PlaneWords<Syntax>>;
    return decode_with<ZeroTurns, Planes>(p, jobs);
  };
  return visit_group<PlaneGroup>(
      jobs.front().words.bytes_per_word, p.block_size, [&]<class Group>(Group*) {
        if (p.base == Base::reused)
          return decode(static_cast<PlaneSyntax<Group, false, false>*>(nullptr));
        if constexpr (Group::slots == 8) {
          if (p.block_size == 8)
            return decode(static_cast<PlaneSyntax<Group, true, true>*>(nullptr));
        }
        return decode(static_cast<PlaneSyntax<Group, true, false>*>(nullptr));
      });
}

}  // namespace
}  // namespace ebpc::EBPC_KERNEL
