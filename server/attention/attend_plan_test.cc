#include "server/attention/attend_plan.h"

#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/sessions/session_geometry.h"

namespace headwise {
namespace {

TEST(AttendPlanTest, BatchesCoverEveryPairOnceWithinTheirBounds) {
  for (const int64_t num_units : {1, 3, 256}) {
    for (const int64_t length : {0, 100, 9000, 1'000'000}) {
      for (const int64_t query_len : {1, 7, 300}) {
        const SessionShape shape = {.num_kv_heads = num_units,
                                    .heads_per_kv_head = 4,
                                    .head_dim = 128,
                                    .max_positions = 1'000'000};
        std::set<std::pair<int64_t, int64_t>> pairs;
        for (const AttendBatch& batch : PlanBatches(shape, length, query_len)) {
          int64_t count = 0;
          for (int64_t r = batch.row_begin; r < batch.row_end; ++r) {
            for (int64_t u = batch.unit_begin; u < batch.unit_end; ++u) {
              EXPECT_TRUE(pairs.insert({r, u}).second);
              ++count;
            }
          }
          EXPECT_TRUE(count == 1 || count * 4 * 129 * 4 * NumRanges(length) <=
                                        kMaxBatchBytes);
          EXPECT_TRUE(count == 1 ||
                      count * 4 * 128 * 4 * length <= kMaxBatchFlops);
        }
        EXPECT_EQ(static_cast<int64_t>(pairs.size()), query_len * num_units);
      }
    }
  }
}

// One query of one KV head in the largest session there can be.
TEST(AttendPlanTest, TheLargestSingleAnswerFitsAMessageOfAWorker) {
  const int64_t bytes = kMaxSessionHeadsPerKvHead * (kMaxSessionHeadDim + 1) *
                        4 * NumRanges(kMaxSessionPositions);
  EXPECT_LT(bytes, 60 << 20);
}

TEST(AttendPlanTest, RowsAreOrderedByWhatTheySee) {
  AttentionConfig config;
  const std::string none;
  const auto rows = OrderRows(
      config, {.query_len = 4, .queries = none, .visible_end = {5, 0, 9, 5}},
      9);
  ASSERT_TRUE(rows.ok()) << rows.status();
  EXPECT_THAT(rows->visible_end, testing::ElementsAre(0, 5, 5, 9));
  EXPECT_THAT(rows->row, testing::ElementsAre(1, 0, 3, 2));
}

TEST(AttendPlanTest, MoreQueriesThanPositionsNeedToSayWhatTheySee) {
  AttentionConfig config;
  const std::string none;
  const auto rows = OrderRows(config, {.query_len = 4, .queries = none}, 3);
  EXPECT_EQ(rows.status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_TRUE(
      OrderRows(config, {.query_len = 4, .queries = none, .all_keys = true}, 3)
          .ok());
}

}  // namespace
}  // namespace headwise
