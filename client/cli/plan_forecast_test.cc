#include "client/cli/plan_forecast.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/head_plan/test_head_plans.h"

namespace headwise {
namespace {

using testing::HasSubstr;

// One layer of two units on two workers, the second half as fast; a third holds
// no unit.
v1::HeadMap SmallMap() {
  v1::HeadMap map;
  const double speeds[] = {1, 0.5, 1};
  for (uint32_t rank = 0; rank < 3; ++rank) {
    v1::WorkerShare& worker = *map.add_workers();
    worker.set_name("w" + std::to_string(rank));
    worker.set_rank(rank);
    worker.set_speed(speeds[rank]);
    worker.set_num_units(rank < 2 ? 1 : 0);
    worker.set_weight_bytes(1 << 20);
  }
  for (uint32_t kv_head = 0; kv_head < 2; ++kv_head) {
    v1::UnitPlacement& unit = *map.add_units();
    unit.set_kv_head(kv_head);
    unit.set_rank(1 - kv_head);
  }
  return map;
}

HeadPlan SmallPlan() {
  HeadPlan plan = FullPlan(1, 4, 2);
  plan.units[1] = {
      .kind = PolicyKind::kStreaming, .num_sinks = 64, .window = 256};
  return plan;
}

PlanForecastOptions At(int64_t context_len) {
  return {.kv = {.head_dim = 64,
                 .context_len = context_len,
                 .prompt_len = context_len},
          .bytes_per_second = 1e9};
}

TEST(PlanForecastTest, WorkersHoldWhatTheMapGivesThem) {
  const PlanForecast forecast =
      ForecastPlan(SmallPlan(), SmallMap(), At(65536));
  ASSERT_EQ(forecast.workers.size(), 3u);
  const int64_t full = 65536 * 256, few = 5 * 64 * 256, read = 320 * 256;
  EXPECT_EQ(forecast.workers[0].kv.held, few);
  EXPECT_EQ(forecast.workers[1].kv.held, full);
  EXPECT_EQ(forecast.workers[2].kv.held, 0);
  EXPECT_EQ(forecast.total.held, full + few);
  EXPECT_EQ(forecast.full.held, 2 * full);
  EXPECT_DOUBLE_EQ(forecast.workers[0].ms_per_token,
                   static_cast<double>((1 << 20) + read) / 1e6);
  EXPECT_DOUBLE_EQ(forecast.workers[1].ms_per_token,
                   static_cast<double>((1 << 20) + full) / 0.5e6);
  EXPECT_EQ(forecast.ms_per_token, forecast.workers[1].ms_per_token);
  EXPECT_EQ(forecast.longest_context_len, std::nullopt);
}

TEST(PlanForecastTest, WeightsComeOffTheMemory) {
  PlanForecastOptions options = At(64);
  options.memory_bytes = (1 << 20) + 1000 * 256;
  // 15 blocks of 64 positions are 960; 16 would be 1,024 on the full one.
  EXPECT_EQ(ForecastPlan(SmallPlan(), SmallMap(), options).longest_context_len,
            960);
  options.memory_bytes = 1000;
  EXPECT_EQ(ForecastPlan(SmallPlan(), SmallMap(), options).longest_context_len,
            0);
}

TEST(PlanForecastTest, TheTablesSayHeldShareReservedAndRead) {
  PlanForecastOptions options = At(65536);
  options.memory_bytes = 4 << 20;
  EXPECT_EQ(
      RenderPlanForecast(ForecastPlan(SmallPlan(), SmallMap(), options)),
      R"(one sequence of 65536 positions, KV fp16 where the plan names no type

units       held  of full   reserved       read  policy
    1   16.0 MiB   50.0 %   16.0 MiB   16.0 MiB  full
    1   80.0 KiB    0.2 %  160.0 KiB   80.0 KiB  streaming, 64 sinks, window 256
    2   16.1 MiB   50.2 %   16.2 MiB   16.1 MiB  in all
    2   32.0 MiB  100.0 %   32.0 MiB   32.0 MiB  were all full

units    weights       held   reserved       read ms/token  worker
    1    1.0 MiB   80.0 KiB  160.0 KiB   80.0 KiB    1.130  w0
    1    1.0 MiB   16.0 MiB   16.0 MiB   16.0 MiB   35.652  w1
    0    1.0 MiB        0 B        0 B        0 B    1.049  w2

forecast: 35.652 ms for a token, at 1 GB/s for speed 1
longest context with 4.0 MiB a worker: 12288 positions
)");
}

TEST(PlanForecastTest, JsonHasBytesAsNumbers) {
  const nlohmann::ordered_json json =
      PlanForecastToJson(ForecastPlan(SmallPlan(), SmallMap(), At(65536)));
  EXPECT_EQ(json["held_bytes"], 65536 * 256 + 5 * 64 * 256);
  EXPECT_EQ(json["full"]["held_bytes"], 2 * 65536 * 256);
  EXPECT_EQ(json["policies"][0]["policy"], "full");
  EXPECT_EQ(json["policies"][1]["num_units"], 1);
  EXPECT_EQ(json["workers"][1]["held_bytes"], 65536 * 256);
  EXPECT_FALSE(json.contains("longest_context_len"));
}

}  // namespace
}  // namespace headwise
