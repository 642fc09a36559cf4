#include "worker/executor/weight_check.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/executor/executor_fixture.h"

namespace headwise {
namespace {

using testing::HasSubstr;

class WeightCheckTest : public testing::Test {
 protected:
  // Flips a bit of the last byte of an MLP tile's storage, or flips it back.
  void Flip(int layer, int tile) {
    const auto content =
        weights_.layers[layer].mlp_tiles[tile].storage->content();
    const_cast<uint8_t&>(content.back()) ^= 0x10;
  }

  const TinyModel model_{TinyModelOptions()};
  ThreadTeam team_{1, {}};
  const ShardWeights weights_ =
      *PackShard(*model_, ShardOf(*model_, 0, 1), team_, nullptr);
  WeightCheck check_{weights_};
};

TEST_F(WeightCheckTest, AllAtOnceNamesThePieceThatChanged) {
  EXPECT_EQ(check_.bytes(), weights_.bytes);
  EXPECT_TRUE(check_.Check(weights_.bytes).ok());
  Flip(1, 0);
  const absl::Status status = check_.Check(weights_.bytes);
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(status.message(), HasSubstr("layer 1, MLP tile 0 has CRC-32C"));
  Flip(1, 0);
  EXPECT_TRUE(check_.Check(weights_.bytes).ok());
}

// Also if it changed behind the place where a turn stands.
TEST_F(WeightCheckTest, InSmallBitesItIsFoundWithinTwoTurns) {
  for (const int64_t bite : {1000, 4096, 100'000}) {
    SCOPED_TRACE(bite);
    EXPECT_TRUE(check_.Check(bite).ok());
    Flip(0, 0);
    absl::Status status;
    for (int64_t done = 0; done < 2 * weights_.bytes && status.ok();
         done += bite) {
      status = check_.Check(bite);
    }
    EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
    Flip(0, 0);
  }
}

TEST_F(WeightCheckTest, AllAtOnceFindsItInTheMiddleOfATurn) {
  EXPECT_TRUE(check_.Check(weights_.bytes / 2).ok());
  Flip(0, 0);
  EXPECT_FALSE(check_.Check(weights_.bytes).ok());
}

}  // namespace
}  // namespace headwise
