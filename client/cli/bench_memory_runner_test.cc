#include "client/cli/bench_memory_runner.h"

#include <algorithm>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::HasSubstr;

// Small: heads of 16, 4 needles of 32 candidates.
MemoryBenchOptions Small() {
  MemoryBenchOptions options;
  options.spec.head_dim = 16;
  options.spec.hidden_dim = 32;
  options.spec.chunk_len = 16;
  options.num_heads = 2;
  options.num_needles = 4;
  options.num_candidates = 32;
  options.window = 64;
  options.context_lens = {1000, 300, 1000};
  options.isa = IsasOfThisMachine().front();
  return options;
}

std::vector<MemoryBenchRow> RunBench(const MemoryBenchOptions& options) {
  return RunMemoryBench(options).value();
}

std::vector<std::string> Hashes(const std::vector<MemoryBenchRow>& rows) {
  std::vector<std::string> hashes;
  for (const MemoryBenchRow& row : rows) hashes.push_back(row.outputs_sha256);
  return hashes;
}

const MemoryBenchRow& RowOf(const std::vector<MemoryBenchRow>& rows,
                            const std::string& contender, int64_t context) {
  return *std::find_if(rows.begin(), rows.end(), [&](const auto& row) {
    return row.contender == contender && row.context == context;
  });
}

TEST(BenchMemoryRunnerTest, EachContenderIsReadAtEachContext) {
  const std::vector<MemoryBenchRow> rows = RunBench(Small());
  ASSERT_EQ(rows.size(), 2 * (1 + MemoryBaselines().size()));
  EXPECT_EQ(rows[0].contender, "memory");
  for (size_t i = 0; i < rows.size(); i += 2) {
    EXPECT_EQ(rows[i].context, 300);
    EXPECT_EQ(rows[i + 1].context, 1000);
    EXPECT_EQ(rows[i].contender, rows[i + 1].contender);
    EXPECT_EQ(rows[i].num_tests, 4);
    EXPECT_GT(rows[i].tokens_per_second, 0);
    EXPECT_GT(rows[i].seconds_per_read, 0);
  }
  const MemoryBenchRow& memory = RowOf(rows, "memory", 1000);
  EXPECT_EQ(RowOf(rows, "full", 1000).num_hits, 4);
  EXPECT_EQ(RowOf(rows, "window", 1000).num_hits, 0);
  // Of two heads: weights, momentum, and the open chunk's (1000 + 4) % 16 rows.
  EXPECT_EQ(memory.state_bytes, 2 * 4 * (2 * 1024 + 12 * (2 * 16 + 3)));
  EXPECT_EQ(RowOf(rows, "full", 1000).state_bytes, 2 * 16 * 64 * 16 * 4);
}

TEST(BenchMemoryRunnerTest, BitsDependOnNeitherThreadsNorIsaNorContexts) {
  MemoryBenchOptions options = Small();
  options.num_seeds = 2;
  const std::vector<std::string> hashes = Hashes(RunBench(options));
  for (const Isa isa : IsasOfThisMachine()) {
    for (const int threads : {1, 2, 3}) {
      options.isa = isa;
      options.threads = threads;
      EXPECT_EQ(Hashes(RunBench(options)), hashes) << IsaName(isa) << threads;
    }
  }
  options.context_lens = {1000};
  EXPECT_EQ(RunBench(options)[0].outputs_sha256, hashes[1]);
  options.seed = 2;
  EXPECT_NE(RunBench(options)[0].outputs_sha256, hashes[1]);
}

TEST(BenchMemoryRunnerTest, HandSetGatesHoldNeedlesOver16kTokens) {
  MemoryBenchOptions options;
  options.context_lens = {16384};
  options.baselines = {"window"};
  options.isa = IsasOfThisMachine().back();
  const std::vector<MemoryBenchRow> rows = RunBench(options);
  EXPECT_GE(rows[0].num_hits, 7);
  EXPECT_EQ(rows[0].num_tests, 8);
  EXPECT_EQ(rows[1].num_hits, 0);
  // Weights and momentum, and the open chunk's eight rows.
  EXPECT_EQ(rows[0].state_bytes, 2 * 4 * 2 * 64 * 128 + 8 * 4 * (2 * 64 + 3));
}

TEST(BenchMemoryRunnerTest, BadOptionsAreNamed) {
  const auto error_of = [](const MemoryBenchOptions& options) {
    return std::string(RunMemoryBench(options).status().message());
  };
  MemoryBenchOptions options = Small();
  options.num_needles = 33;
  EXPECT_EQ(error_of(options), "needles: 33 is outside [1, 32]");
  options = Small();
  options.eta = 1.5;
  EXPECT_EQ(error_of(options), "eta: 1.5 is outside [0, 1]");
  options = Small();
  options.baselines = {"linear", "luck"};
  EXPECT_THAT(error_of(options), HasSubstr("baselines: \"luck\"; we have "));
  options = Small();
  options.spec.head_dim = 20;
  EXPECT_THAT(error_of(options), HasSubstr("20"));
  options = Small();
  options.context_lens = {int64_t{1} << 30};
  options.num_heads = 64;
  EXPECT_THAT(error_of(options),
              HasSubstr("full attention over 1073741824 tokens needs "));
}

TEST(BenchMemoryRunnerTest, WeightsThatGrowWithoutBoundEndTheRun) {
  MemoryBenchOptions options = Small();
  options.baselines = {"careless"};
  options.careless_theta = 10;
  const absl::Status status = RunMemoryBench(options).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(status.message()), HasSubstr("careless: "));
}

}  // namespace
}  // namespace headwise
