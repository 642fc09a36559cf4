#include "worker/collectives/sum_parts.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <vector>

#include "worker/collectives/shard.h"

namespace headwise {
namespace {

TEST(SumPartsTest, WrapsModulo2To64) {
  const std::vector<int64_t> a = {std::numeric_limits<int64_t>::max(), -5};
  const std::vector<int64_t> b = {1, std::numeric_limits<int64_t>::min()};
  std::vector<int64_t> sum(2);
  SumParts({a.data(), b.data()}, 2, sum.data());
  EXPECT_EQ(sum[0], std::numeric_limits<int64_t>::min());
  EXPECT_EQ(sum[1], std::numeric_limits<int64_t>::max() - 4);
}

// Blocks end at 256 values; the result may take the place of any part.
TEST(SumPartsTest, MayReplaceAnyPart) {
  for (const int64_t n : {0, 1, 255, 256, 257, 1000}) {
    for (int target = 0; target < 3; ++target) {
      SCOPED_TRACE(testing::Message() << n << " values into " << target);
      std::vector<std::vector<int64_t>> parts(3, std::vector<int64_t>(n));
      for (int64_t i = 0; i < n; ++i) {
        for (int p = 0; p < 3; ++p) parts[p][i] = i * (p + 1) + 100 * p;
      }
      SumParts({parts[0].data(), parts[1].data(), parts[2].data()}, n,
               parts[target].data());
      for (int64_t i = 0; i < n; ++i) {
        ASSERT_EQ(parts[target][i], 6 * i + 300) << i;
      }
    }
  }
}

// (1 + 2^-24) + 2^-24 is 1, 1 + (2^-24 + 2^-24) is not.
TEST(SumPartsTest, AddsFloatsFromLeftToRight) {
  const float one = 1.0f;
  const float half_ulp = 0x1p-24f;
  float sum = 0.0f;
  SumParts({&one, &half_ulp, &half_ulp}, 1, &sum);
  EXPECT_EQ(sum, 1.0f);
  SumParts({&half_ulp, &half_ulp, &one}, 1, &sum);
  EXPECT_EQ(sum, 1.0f + 0x1p-23f);
}

TEST(ShardTest, ShardsCoverAllValuesOnceAndNearlyEvenly) {
  for (const int64_t num_values : {0, 1, 7, 8, 9, 576, 16384, 100003}) {
    for (int world_size = 1; world_size <= 9; ++world_size) {
      int64_t next = 0;
      for (int rank = 0; rank < world_size; ++rank) {
        const Shard shard = ShardOf<int64_t>(rank, world_size, num_values);
        EXPECT_EQ(shard.begin, next);
        EXPECT_GE(shard.size(), 0);
        EXPECT_LE(shard.size(), num_values / world_size + 15);
        EXPECT_TRUE(shard.begin % 8 == 0 || shard.begin == num_values);
        next = shard.end;
      }
      EXPECT_EQ(next, num_values);
    }
  }
}

}  // namespace
}  // namespace headwise
