#include "model/head_plan/kv_forecast.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/head_plan/kv_retention.h"
#include "model/head_plan/test_head_plans.h"

namespace headwise {
namespace {

using testing::ElementsAre;

constexpr int64_t kPositionBytes = 2 * 64 * 2;  // fp16, head_dim 64
constexpr int64_t kBlockBytes = 64 * kPositionBytes;

KvForecastOptions At(int64_t context_len) {
  return {
      .head_dim = 64, .context_len = context_len, .prompt_len = context_len};
}

HeadPlan OneUnit(UnitPolicy policy) {
  HeadPlan plan = FullPlan(1, 3, 1);
  plan.units[0] = policy;
  return plan;
}

const UnitPolicy kStreamingPolicy = {
    .kind = PolicyKind::kStreaming, .num_sinks = 64, .window = 256};

TEST(KvForecastTest, FullUnitsHoldWholeBlocks) {
  for (const auto& [length, blocks] :
       {std::pair(0, 0), {1, 1}, {64, 1}, {65, 2}, {8192, 128}}) {
    const KvForecast forecast = ForecastKv(FullPlan(30, 9, 3), At(length));
    EXPECT_EQ(forecast.total, (KvBytes{.held = 90 * blocks * kBlockBytes,
                                       .reserved = 90 * blocks * kBlockBytes,
                                       .read = 90 * length * kPositionBytes}));
    EXPECT_EQ(forecast.full, forecast.total);
    EXPECT_EQ(forecast.units.size(), 90u);
  }
}

// methods: half of the units full, 64 sinks, window 256, 8,192 positions:
// 93.5 MiB of 180 MiB before blocks are counted whole.
TEST(KvForecastTest, StreamingUnitsHoldSinksAndWindow) {
  HeadPlan plan = FullPlan(30, 9, 3);
  for (size_t i = 0; i < 45; ++i) plan.units[2 * i] = kStreamingPolicy;
  const KvForecast forecast = ForecastKv(plan, At(8192));
  // [0, 64) and [7937, 8192): 255 positions before the next query's own.
  EXPECT_EQ(forecast.units[0].held, 5 * kBlockBytes);
  EXPECT_EQ(forecast.units[0].read, (64 + 256) * kPositionBytes);
  EXPECT_EQ(forecast.total.held, (45 * 128 + 45 * 5) * kBlockBytes);
  EXPECT_EQ(forecast.total.read, 45 * (8192 + 320) * kPositionBytes);
  EXPECT_EQ(forecast.full.held, 180 << 20);
  // Steps in flight: more, and never less.
  EXPECT_GT(forecast.units[0].reserved, forecast.units[0].held);
  EXPECT_EQ(forecast.units[0].reserved,
            MaxBlocksHeld(kStreamingPolicy, 8192, 8192) * kBlockBytes);
}

TEST(KvForecastTest, TypesOfUnitsComeBeforeTheServers) {
  HeadPlan plan = FullPlan(1, 4, 4);
  plan.units[0].kv_type = PlanKvType::kInt8;
  plan.units[1].kv_type = PlanKvType::kFp32;
  plan.units[2].kv_type = PlanKvType::kBf16;
  KvForecastOptions options = At(64);
  options.kv_type = KvType::kInt8;
  const KvForecast forecast = ForecastKv(plan, options);
  const int64_t int8_block = 64 * (2 * 64 + 2 * 4);
  EXPECT_EQ(forecast.units[0].held, int8_block);
  EXPECT_EQ(forecast.units[1].held, 2 * kBlockBytes);
  EXPECT_EQ(forecast.units[2].held, kBlockBytes);
  EXPECT_EQ(forecast.units[3].held, int8_block);
  // The plan that it is compared with is of the server's type.
  EXPECT_EQ(forecast.full.held, 4 * int8_block);
}

TEST(KvForecastTest, SummariesAreHeldAndReadBesideTheBlocks) {
  const int64_t n = 65536;
  const int64_t vector_bytes = 64 * 4;
  const KvBytes razor = ForecastKv(OneUnit({.kind = PolicyKind::kRazor,
                                            .num_sinks = 4,
                                            .window = 256,
                                            .window_divisor = 8}),
                                   At(n))
                            .total;
  // Sinks in a block, 8191 positions of the window before the next query's.
  // The compensation slot keeps its sums in double.
  EXPECT_EQ(razor.held, (1 + 128) * kBlockBytes + 4 * vector_bytes);
  EXPECT_EQ(razor.read, (4 + 8192) * kPositionBytes + 2 * vector_bytes);
  EXPECT_EQ(razor.reserved, n / 64 * kBlockBytes + 4 * vector_bytes);

  UnitPolicy policy = {
      .kind = PolicyKind::kLongHeads, .chunk_len = 256, .num_chunks = 16};
  KvBytes chosen = ForecastKv(OneUnit(policy), At(n)).total;
  EXPECT_EQ(chosen.held,
            n / 64 * kBlockBytes + 3 * (2 * n / 256 + 256) * vector_bytes)
      << "chunk keys lie in blocks that have room for values";
  EXPECT_EQ(chosen.read,
            16 * 256 * kPositionBytes + 3 * n / 256 * vector_bytes);
  policy.per_query_head = true;
  EXPECT_EQ(ForecastKv(OneUnit(policy), At(n)).total.read,
            3 * 16 * 256 * kPositionBytes + 3 * n / 256 * vector_bytes);

  policy = {.kind = PolicyKind::kQuest, .chunk_len = 64, .num_chunks = 32};
  chosen = ForecastKv(OneUnit(policy), At(n)).total;
  EXPECT_EQ(chosen.held, n / 64 * (kBlockBytes + 2 * vector_bytes));
  EXPECT_EQ(chosen.read, 32 * 64 * kPositionBytes + n / 64 * 2 * vector_bytes);

  policy.kind = PolicyKind::kLandmarkOracle;
  EXPECT_EQ(ForecastKv(OneUnit(policy), At(n)).total.read, n * kPositionBytes);

  policy.kind = PolicyKind::kLandmark;
  chosen = ForecastKv(OneUnit(policy), At(n)).total;
  EXPECT_EQ(chosen.held, n / 64 * (kBlockBytes + 2 * vector_bytes))
      << "keys of landmarks lie in blocks that have room for values";
  EXPECT_EQ(chosen.read, 32 * 64 * kPositionBytes + n / 64 * vector_bytes);
}

TEST(KvForecastTest, RanksHoldTheirUnits) {
  HeadPlan plan = FullPlan(1, 3, 3);
  plan.units[1] = kStreamingPolicy;
  KvForecastOptions options = At(6400);
  options.unit_rank = {0, 2, 2};
  const KvForecast forecast = ForecastKv(plan, options);
  EXPECT_THAT(
      forecast.ranks,
      ElementsAre(
          forecast.units[0], KvBytes{},
          KvBytes{forecast.units[1].held + forecast.units[2].held,
                  forecast.units[1].reserved + forecast.units[2].reserved,
                  forecast.units[1].read + forecast.units[2].read}));
  EXPECT_EQ(forecast.total.held, 205 * kBlockBytes);
}

// 6,400 positions are 12 short ranges and a half.
TEST(KvForecastTest, RanksHoldTheirRangesOfFullUnits) {
  HeadPlan plan = FullPlan(1, 3, 3);
  plan.units[1] = kStreamingPolicy;
  KvForecastOptions options = At(6400);
  options.unit_rank = {0, 1, 1};
  options.range_rank = {{0, 1}, {2}, {1, 1, 0}};
  const KvForecast forecast = ForecastKv(plan, options);
  ASSERT_EQ(forecast.ranks.size(), 3u);
  EXPECT_EQ(forecast.ranks[0].held, (52 + 32) * kBlockBytes);
  EXPECT_EQ(forecast.ranks[1].held,
            (48 + 68) * kBlockBytes + forecast.units[1].held)
      << "a streaming unit is whole where its output is";
  EXPECT_EQ(forecast.ranks[2], KvBytes{});
  EXPECT_EQ(forecast.ranks[0].held + forecast.ranks[1].held,
            forecast.total.held);
}

TEST(LongestContextTest, OneMoreWouldNotFit) {
  HeadPlan mixed = FullPlan(2, 6, 3);
  mixed.units[0] = kStreamingPolicy;
  mixed.units[3] = {
      .kind = PolicyKind::kLongHeads, .chunk_len = 256, .num_chunks = 4};
  mixed.units[4] = {.kind = PolicyKind::kRazor, .window = 9};
  for (const HeadPlan& plan : {FullPlan(2, 6, 3), mixed}) {
    for (const int64_t bytes : {int64_t{1} << 20, int64_t{7} << 20,
                                int64_t{1} << 30, int64_t{1} << 35}) {
      const int64_t longest = LongestContext(plan, At(0), {bytes});
      EXPECT_LE(ForecastKv(plan, At(longest)).total.reserved, bytes);
      EXPECT_GT(ForecastKv(plan, At(longest + 1)).total.reserved, bytes);
      EXPECT_GT(longest, 0);
    }
  }
}

TEST(LongestContextTest, TheTightestRankDecides) {
  KvForecastOptions options = At(0);
  options.unit_rank = {0, 1};
  const HeadPlan plan = FullPlan(1, 2, 2);
  EXPECT_EQ(
      LongestContext(plan, options, {10 * kBlockBytes, 7 * kBlockBytes + 1}),
      7 * 64);
}

TEST(LongestContextTest, HasEnds) {
  EXPECT_EQ(LongestContext(FullPlan(1, 1, 1), At(0), {kBlockBytes - 1}), 0);
  // A streaming unit never grows.
  EXPECT_EQ(LongestContext(OneUnit(kStreamingPolicy), At(0), {1 << 20}),
            kMaxForecastContext);
}

}  // namespace
}  // namespace headwise
