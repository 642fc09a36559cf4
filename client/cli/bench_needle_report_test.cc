#include "client/cli/bench_needle_report.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::HasSubstr;

NeedleContextReport Context(int64_t length, double prefill_seconds) {
  NeedleContextReport context = {.context_len = length};
  NeedleRunReport& run = context.run;
  run.depths = {{.depth = 0, .position = 1, .num_tests = 2},
                {.depth = 1,
                 .position = 900,
                 .num_tests = 2,
                 .misses = {{1, "12345", "123 or"}}}};
  run.parallel = 2;
  run.prompt_tokens_run = 70;
  run.prompt_tokens_independent = 100;
  run.prefill_tokens = length;
  run.prefill_seconds = prefill_seconds;
  run.median_token_seconds = 0.0125;
  run.kv_length = length + 2;
  run.kv_held_bytes = {700, 310};
  run.kv_forecast_bytes = {700, 300};
  run.kv_full_bytes = 4000;
  run.peak_resident_bytes = 3030;
  run.weight_bytes = 1000;
  run.peak_kv_forecast_bytes = 2000;
  return context;
}

TEST(BenchNeedleReportTest, SlopeIsThatOfALine) {
  const std::vector<NeedleContextReport> line = {
      Context(1000, 2.5), Context(2000, 4.5), Context(4000, 8.5)};
  const auto slope = FitPrefill(line);
  ASSERT_TRUE(slope.has_value());
  EXPECT_NEAR(slope->seconds_per_token, 0.002, 1e-12);
  EXPECT_NEAR(slope->intercept_seconds, 0.5, 1e-9);
  const std::vector<NeedleContextReport> square = {Context(1000, 1),
                                                   Context(3000, 9)};
  EXPECT_NEAR(FitPrefill(square)->exponent, 2.0, 1e-9);
  EXPECT_FALSE(FitPrefill({}).has_value());
  const std::vector<NeedleContextReport> same = {Context(1000, 1),
                                                 Context(1000, 2)};
  EXPECT_FALSE(FitPrefill(same).has_value());
}

TEST(BenchNeedleReportTest, JsonHasMeasuresBesideForecasts) {
  NeedleReport report = {.model = "m", .needle = "passkey", .num_seeds = 2};
  report.contexts = {Context(1000, 2)};
  report.contexts[0].baseline = report.contexts[0].run;
  report.contexts[0].baseline->depths[1].misses.clear();
  const nlohmann::ordered_json json = NeedleReportToJson(report);
  EXPECT_TRUE(json["plan"].is_null());
  EXPECT_TRUE(json["prefill_slope"].is_null());
  const auto& context = json["contexts"][0];
  EXPECT_EQ(context["context"], 1000);
  EXPECT_EQ(context["hits"], 3);
  EXPECT_EQ(context["accuracy"], 0.75);
  EXPECT_EQ(context["by_depth"][1]["hits"], 1);
  EXPECT_EQ(context["by_depth"][1]["misses"][0]["answer"], "123 or");
  EXPECT_EQ(context["prefill"]["tokens_per_s"], 500);
  EXPECT_EQ(context["decode"]["median_ms_per_token"], 12.5);
  EXPECT_EQ(context["kv"]["held_bytes"], 1010);
  EXPECT_EQ(context["kv"]["held_bytes_by_rank"][1], 310);
  EXPECT_EQ(context["kv"]["forecast_bytes"], 1000);
  EXPECT_EQ(context["kv"]["difference_percent"], 1);
  EXPECT_EQ(context["kv"]["share_of_full"], 0.25);
  EXPECT_EQ(context["memory"]["forecast_bytes"], 3000);
  EXPECT_EQ(context["memory"]["difference_percent"], 1);
  EXPECT_EQ(context["prompt_tokens_run"], 70);
  EXPECT_EQ(context["baseline"]["hits"], 4);
  EXPECT_EQ(context["depths_lost"], 1);
  EXPECT_THAT(RenderNeedleReport(report),
              HasSubstr("  the plan has fewer hits at 1 of 2 depths\n"));
}

TEST(BenchNeedleReportTest, WhatWorkersElsewhereHoldIsNotMeasured) {
  NeedleReport report;
  report.contexts = {Context(1000, 2)};
  report.contexts[0].run.kv_held_bytes.clear();
  const nlohmann::ordered_json json = NeedleReportToJson(report);
  EXPECT_TRUE(json["contexts"][0]["kv"]["held_bytes"].is_null());
  EXPECT_TRUE(json["contexts"][0]["kv"]["difference_percent"].is_null());
  EXPECT_THAT(RenderNeedleReport(report), HasSubstr("KV held    not measured"));
}

TEST(BenchNeedleReportTest, TableIsForPeople) {
  NeedleReport report = {.needle = "word", .haystack = "book.txt"};
  report.contexts = {Context(1000, 2), Context(2000, 4)};
  const std::string table = RenderNeedleReport(report);
  EXPECT_THAT(table,
              testing::StartsWith("word in book.txt, every unit full\n\n"
                                  "context 1000: 3 of 4 (75.0 %)\n"
                                  "  depth  position  hits\n"
                                  "     0 %         1   2/2\n"
                                  "   100 %       900   1/2\n"
                                  "  prefill    500.0 tokens/s (1000 in 2.00 "
                                  "s)\n"
                                  "  decode     12.50 ms a token, median\n"));
  EXPECT_THAT(table, HasSubstr("(+1.00 %); 700 B on rank 0, 310 B on rank 1; "
                               "25.0 % of full\n"));
  EXPECT_THAT(table, testing::Not(HasSubstr("fewer hits")));
  EXPECT_THAT(table, HasSubstr("\nprefill: 2.0000 ms a token more, "));
  EXPECT_THAT(table, HasSubstr("to the power 1.000\n"));
}

}  // namespace
}  // namespace headwise
