#include "client/cli/bench_memory_report.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::HasSubstr;

MemoryBenchReport Report() {
  MemoryBenchReport report;
  report.setup = {{"gates", "hand-set"}, {"needles", 8}};
  report.title = "title";
  report.rows = {{.contender = "memory",
                  .context = 2000000,
                  .num_hits = 39,
                  .num_tests = 40,
                  .tokens_per_second = 412345.6,
                  .seconds_per_read = 0.0000125,
                  .state_bytes = 131072,
                  .outputs_sha256 = "aa"},
                 {.contender = "model",
                  .context = 16384,
                  .depth = 0.25,
                  .num_hits = 0,
                  .num_tests = 8,
                  .outputs_sha256 = "bb"}};
  return report;
}

TEST(BenchMemoryReportTest, TableHasALineForEachRow) {
  const std::string table = RenderMemoryBench(Report());
  EXPECT_THAT(table, testing::StartsWith("title\n\n"));
  EXPECT_THAT(table, HasSubstr("\nmemory             2000000     0 %   97.5 % "
                               "39/40       412346      0.013         131072"
                               "\nmodel                16384    25 %    0.0 % "
                               " 0/8 "));
  EXPECT_THAT(table, HasSubstr("\nSHA-256 of all outputs: "));
}

TEST(BenchMemoryReportTest, JsonHasTheSetupAndTheRows) {
  const MemoryBenchReport report = Report();
  const auto json = MemoryBenchToJson(report);
  EXPECT_EQ(json["gates"], "hand-set");
  EXPECT_EQ(json["needles"], 8);
  const auto& row = json["rows"][0];
  EXPECT_EQ(row["contender"], "memory");
  EXPECT_EQ(row["context"], 2000000);
  EXPECT_EQ(row["hits"], 39);
  EXPECT_EQ(row["tests"], 40);
  EXPECT_EQ(row["recall"], 0.975);
  EXPECT_EQ(row["tokens_per_s"], 412345.6);
  EXPECT_EQ(row["ms_per_read"], 0.0125);
  EXPECT_EQ(row["state_bytes"], 131072);
  EXPECT_EQ(row["outputs_sha256"], "aa");
  EXPECT_EQ(json["rows"][1]["depth"], 0.25);
  EXPECT_EQ(json["outputs_sha256"], report.OutputsSha256());
}

TEST(BenchMemoryReportTest, OneHashStandsForAllRows) {
  MemoryBenchReport report = Report();
  const std::string hash = report.OutputsSha256();
  EXPECT_EQ(hash.size(), 64u);
  report.rows[0].tokens_per_second = 1;
  EXPECT_EQ(report.OutputsSha256(), hash);
  report.rows[1].outputs_sha256 = "bc";
  EXPECT_NE(report.OutputsSha256(), hash);
}

}  // namespace
}  // namespace headwise
