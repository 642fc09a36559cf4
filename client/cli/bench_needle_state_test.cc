#include "client/cli/bench_needle_state.h"

#include <fstream>
#include <string>

#include "client/cli/command_test_folder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::HasSubstr;

class NeedleStateTest : public CommandTestFolder {
 protected:
  NeedleStateTest() {
    task_.tests.resize(3);
    outcome_.generated = {{1, 2, 3}, {}, {7}};
    outcome_.prompt_tokens_run = 900;
    outcome_.timing = {.prefill_tokens = 500,
                       .prefill_seconds = 0.1,
                       .kv_length = 502,
                       .kv_bytes_held = {64, 128}};
    outcome_.timing.token_seconds.assign(kTimedTokens - 1, 1.0 / 3);
  }

  NeedleState Open() const { return *NeedleState::Open(path_, "{}"); }
  std::string ErrorOf(const std::string& line) {
    { NeedleState state = Open(); }
    std::ofstream(path_, std::ios::app) << line << "\n";
    return std::string(Open().Known(1000, false, task_).status().message());
  }

  const std::string path_ = Path("needle.jsonl");
  NeedleTask task_;
  NeedleOutcome outcome_;
};

TEST_F(NeedleStateTest, KnowsWhatWasAddedOfEachRun) {
  {
    NeedleState state = Open();
    ASSERT_TRUE(state.Add(1000, false, 0, outcome_).ok());
    ASSERT_TRUE(state.Add(1000, false, 2, outcome_).ok());
    ASSERT_TRUE(state.Add(1000, true, 2, outcome_).ok());
  }
  const NeedleOutcome known = *Open().Known(1000, false, task_);
  EXPECT_EQ(known.generated, outcome_.generated);
  EXPECT_EQ(known.prompt_tokens_run, 900);
  EXPECT_EQ(known.timing.prefill_tokens, 500);
  EXPECT_EQ(known.timing.prefill_seconds, 0.1);
  EXPECT_EQ(known.timing.kv_length, 502);
  EXPECT_EQ(known.timing.kv_bytes_held, outcome_.timing.kv_bytes_held);
  EXPECT_EQ(known.timing.token_seconds, outcome_.timing.token_seconds);
  const NeedleOutcome baseline = *Open().Known(1000, true, task_);
  EXPECT_FALSE(baseline.Has(0));
  EXPECT_TRUE(baseline.Has(2));
  EXPECT_FALSE(Open().Known(2000, false, task_)->Has(2));
}

TEST_F(NeedleStateTest, AnotherBenchIsRefused) {
  { NeedleState state = Open(); }
  EXPECT_THAT(
      std::string(NeedleState::Open(path_, "{\"a\":1}").status().message()),
      HasSubstr("another bench: {}; this one is {\"a\":1}"));
}

TEST_F(NeedleStateTest, TestsThatTheBenchLacksAreNamed) {
  EXPECT_THAT(ErrorOf(R"({"id":"1000/plan/3","rows":1,"rows_without_reuse":0,)"
                      R"("values":[1]})"),
              HasSubstr("1000/plan/3"));
}

TEST_F(NeedleStateTest, TimesThatAreNoneAreNamed) {
  EXPECT_THAT(
      ErrorOf(R"({"id":"1000/plan/times","rows":1,"rows_without_reuse":0,)"
              R"("values":[1,2,3,1e9]})"),
      HasSubstr("1000/plan/times"));
}

}  // namespace
}  // namespace headwise
