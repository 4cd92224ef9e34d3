#include "ebpc/plane_stream.h"

#include "support/test_data.h"

namespace ebpc::test {
namespace {

TEST(PlaneStream, TransposeSwapsRowsAndColumns) {
  for (int row = 0; row < 8; ++row) {
    for (int column = 0; column < 8; ++column) {
      const auto at = [](int r, int c) { return std::uint64_t{1} << (63 - 8 * r - c); };
      EXPECT_EQ(transpose_8x8(at(row, column)), at(column, row)) << row << ", " << column;
    }
  }
}

TEST(PlaneStream, PlanesAreTheBitsOfTheDeltasFirstDeltaLeft) {
  Random random(9);
  for (int delta_count = 1; delta_count <= max_block_size; ++delta_count) {
    for (const int planes : {3, 8, 9, 16, 17, 32, 33}) {
      BlockDeltas deltas{};
      for (auto& delta : deltas) delta = random();
      BlockPlanes out;
      planes_from_deltas(deltas, delta_count, planes, out);
      for (int plane = 0; plane < planes; ++plane) {
        std::uint64_t expected = 0;
        for (int i = 0; i < delta_count; ++i) {
          expected = expected << 1 | (deltas[static_cast<std::size_t>(i)] >> plane & 1);
        }
        ASSERT_EQ(out[static_cast<std::size_t>(plane)], expected)
            << "plane " << plane << " of " << delta_count << " deltas";
      }
    }
  }
}

TEST(PlaneStream, DeltasComeBackFromTheirPlanes) {
  Random random(10);
  for (int delta_count = 1; delta_count <= max_block_size; ++delta_count) {
    for (int planes = 3; planes <= 33; ++planes) {
      BlockDeltas deltas{};
      for (auto& delta : deltas) delta = random() >> (64 - planes);
      BlockPlanes between;
      planes_from_deltas(deltas, delta_count, planes, between);
      BlockDeltas back{};
      deltas_from_planes(between, delta_count, planes, back);
      for (int i = 0; i < delta_count; ++i) {
        ASSERT_EQ(back[static_cast<std::size_t>(i)], deltas[static_cast<std::size_t>(i)])
            << i << " of " << delta_count << ", " << planes << " planes";
      }
    }
  }
}

}  // namespace
}  // namespace ebpc::test
