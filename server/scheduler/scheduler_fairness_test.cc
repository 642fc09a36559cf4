// What requests may do to each other.

#include <map>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/scheduler/scheduler_fixture.h"

namespace headwise {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

EngineRequest Of(const std::string& tenant, EngineRequest request) {
  request.tenant = tenant;
  return request;
}

class SchedulerFairnessTest : public SchedulerTest {
 protected:
  // With room for prompts that are very long: of more than 32 steps.
  void UseLongContexts(int64_t prefill_chunk) {
    EngineOptions options = Options();
    options.prefill_chunk = prefill_chunk;
    options.kv_capacity = CapacityOf(8192);
    options.max_context_len = 8192;
    Use(options);
  }
};

TEST_F(SchedulerFairnessTest, AShortPromptDoesNotWaitForALongOneToEnd) {
  UseLongContexts(/*prefill_chunk=*/32);
  Submit(Generate(1200, 1));
  EXPECT_THAT(Next(), ElementsAre("1@0+16"));  // half of a step
  EXPECT_THAT(Next(), IsEmpty());              // nothing else is before them:
  Submit(Generate(10, 1));
  Submit(Generate(14, 1));
  EXPECT_THAT(Next(), ElementsAre("2@0+10*", "3@0+14*"));
  Answer();
  EXPECT_THAT(Next(), IsEmpty());  // who comes now goes behind those
  Answer();
  EXPECT_THAT(Next(), ElementsAre("1@16+8", "free 2", "free 3"));  // a quarter
}

// Who was there comes again; after a while he is forgotten.
TEST_F(SchedulerFairnessTest, ALongPromptHasHalfAStepOnceNobodyHasCome) {
  UseLongContexts(/*prefill_chunk=*/32);
  Submit(Generate(1200, 1));
  Submit(Generate(10, 1));
  EXPECT_THAT(Next(), ElementsAre("2@0+10*", "1@0+8"));
  Answer();
  for (int64_t i = 1; i <= kLongStepsKeptShort; ++i) {
    const int64_t done = 8 * i;
    const std::string rows =
        "1@" + std::to_string(done) + (i < kLongStepsKeptShort ? "+8" : "+16");
    EXPECT_EQ(Next().at(0), rows);
    Answer();
  }
}

TEST_F(SchedulerFairnessTest, ALongPromptThatIsSoonDoneHasFullStepsAlone) {
  UseLongContexts(/*prefill_chunk=*/32);
  Submit(Generate(200, 1));
  EXPECT_THAT(Next(), ElementsAre("1@0+32"));
  EXPECT_THAT(Next(), ElementsAre("1@32+32"));
  Submit(Generate(10, 1));
  Answer();
  EXPECT_THAT(Next(), ElementsAre("2@0+10*"));
  Answer();
  Answer();
  EXPECT_THAT(Next(), ElementsAre("1@64+8", "free 2"));
  EXPECT_THAT(Next(), IsEmpty());
}

TEST_F(SchedulerFairnessTest, ShortPromptsPassALongOneFourTimesInARow) {
  UseLongContexts(/*prefill_chunk=*/32);
  Submit(Generate(1200, 1));
  EXPECT_THAT(Next(), ElementsAre("1@0+16"));
  for (int i = 2; i <= 5; ++i) {
    Submit(Generate(3, 1));
    EXPECT_THAT(Next().at(0), std::to_string(i) + "@0+3*");
    Answer();
  }
  Submit(Generate(3, 1));
  EXPECT_THAT(Next().at(1), testing::StartsWith("1@16+"));
}

TEST_F(SchedulerFairnessTest, DecodesGoOnWhileRowsOfALongPromptAreInFlight) {
  Submit(Generate(2, 50));
  Next();
  Answer();
  Submit(Generate(100, 1));
  EXPECT_THAT(Next(), ElementsAre("1@2+1*", "2@0+8"));
  EXPECT_THAT(Next(), ElementsAre("1@3+1?*"));
  Answer();
  EXPECT_THAT(Next(), ElementsAre("1@4+1?*", "2@8+8"));
}

// A prompt that is cut by prefill_chunk alone keeps two steps in flight.
TEST_F(SchedulerFairnessTest, APromptThatFitsIntoAStepIsNotLong) {
  Submit(Generate(32, 1));
  EXPECT_THAT(Next(), ElementsAre("1@0+16"));
  EXPECT_THAT(Next(), ElementsAre("1@16+16*"));
}

// Two rows of it a step, while 64 short ones come and go.
TEST_F(SchedulerFairnessTest, ALongPromptEndsHoweverManyShortOnesCome) {
  EngineOptions options = Options();
  options.max_step_tokens = 8;
  Use(options);
  Submit(Generate(128, 1));
  int steps = 0;
  for (bool ended = false; !ended; ++steps) {
    ASSERT_LT(steps, 70);
    if (scheduler_->stats().waiting < 8) Submit(Generate(8, 1));
    Next();
    Answer();
    for (const auto& [id, code] : Ends()) ended = ended || id == 1;
  }
}

TEST_F(SchedulerFairnessTest, AStepHasTheFewerRowsTheMoreTheySee) {
  EngineOptions options = Options();
  options.max_step_tokens = 1024;
  options.prefill_chunk = 1024;
  options.kv_capacity = CapacityOf(8192);
  options.max_context_len = 8192;
  options.kv.row_positions = 100;
  Use(options);
  Submit(Generate(8000, 1));
  EXPECT_THAT(Next(), ElementsAre("1@0+128"));  // of half a step: see below
  for (int64_t done = 128; done < 7900;) {
    Answer();
    const std::string rows = Next().at(0);
    ASSERT_EQ(std::stoll(rows.substr(2)), done);
    const int64_t num = std::stoll(rows.substr(rows.find('+') + 1));
    const double mean = 1 + (done + num / 2.0) / 100;
    EXPECT_LE(num * mean, 512 + 1) << rows;
    EXPECT_GE((num + (num < 128 ? 1 : 128)) * mean, 512 - mean) << rows;
    done += num;
  }
}

// Each row that follows costs more than a step may; the prompt goes on.
TEST_F(SchedulerFairnessTest, TheOldestPromptHasARowWhateverItCosts) {
  EngineOptions options = Options();
  options.kv.row_positions = 0.01;
  Use(options);
  Submit(Generate(5, 1));
  Submit(Generate(5, 1));
  EXPECT_THAT(Next(), ElementsAre("1@0+1"));
  Answer();
  EXPECT_THAT(Next(), ElementsAre("1@1+1"));
}

TEST_F(SchedulerFairnessTest, DecodeRowsLeavePromptsAQuarterOfAStep) {
  EngineOptions options = Options();
  options.kv.row_positions = 1;
  Use(options);
  Submit(Generate(20, 9));
  for (int i = 0; i < 20; ++i) {
    if (Next() == std::vector<std::string>{"1@19+1*"}) break;
    Answer();
  }
  Submit(Generate(5, 1));
  Answer();
  EXPECT_THAT(Next(), ElementsAre("1@20+1*", "2@0+3"));
}

TEST_F(SchedulerFairnessTest, TenantsShareAStepEvenly) {
  EngineOptions options = Options();
  options.prefill_chunk = 32;
  Use(options);
  for (int i = 0; i < 3; ++i) Submit(Of("many", Generate(30, 1)));
  Submit(Of("one", Generate(30, 1)));
  EXPECT_THAT(Next(), ElementsAre("1@0+16", "4@0+16"));
}

// Rows of the flood cost more than a step has; the calm tenant's has a place in
// each one, and the flood's take turns.
TEST_F(SchedulerFairnessTest, DeepDecodesTakeTurnsAndTenantsShareTheStep) {
  EngineOptions options = Options();
  options.kv.row_positions = 10;
  options.kv_capacity = CapacityOf(2048);
  Use(options);
  for (int i = 0; i < 4; ++i) Submit(Of("flood", Generate(20, 200)));
  Submit(Of("calm", Generate(2, 200)));  // 5
  for (int i = 0; i < 60; ++i) {
    Next();
    Answer();
  }
  std::map<char, int> rows;
  for (int i = 0; i < 24; ++i) {
    for (const std::string& row : Next()) ++rows[row[0]];
    Answer();
  }
  EXPECT_EQ(rows['5'], 24);
  for (const char flood : {'1', '2', '3', '4'}) {
    EXPECT_GE(rows[flood], 6) << flood;
    EXPECT_LE(rows[flood], 13) << flood;
  }
}

TEST_F(SchedulerFairnessTest, TheTenantWithTheFewestRunningIsNext) {
  EngineOptions options = Options();
  options.max_running_sequences = 3;
  Use(options);
  for (int i = 0; i < 6; ++i) Submit(Of("flood", Generate(1, 50)));
  EXPECT_THAT(Next(), ElementsAre("1@0+1*", "2@0+1*", "3@0+1*"));
  Submit(Of("calm", Generate(2, 50)));  // 7
  Submit(Of("calm", Generate(2, 50)));  // 8
  Answer();
  scheduler_->Cancel(1, now_);
  EXPECT_THAT(Next(), ElementsAre("2@1+1*", "3@1+1*", "7@0+2*", "free 1"));
  Answer();
  scheduler_->Cancel(2, now_);
  EXPECT_THAT(Next(), ElementsAre("3@2+1*", "7@2+1*", "4@0+1*", "free 2"));
}

TEST_F(SchedulerFairnessTest, AFloodLeavesAnEighthOfTheQueueToOthers) {
  EngineOptions options = Options();
  options.max_queued_requests = 16;
  Use(options);
  for (int i = 0; i < 14; ++i) Submit(Of("flood", Generate(1, 1)));
  const auto refused =
      scheduler_->Submit(Of("flood", Generate(1, 1)), now_).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(refused.message(),
              HasSubstr("14 requests of this tenant wait already, 14 in all; "
                        "the last 2 places of 16"));
  Submit(Of("calm", Generate(1, 1)));
  Submit(Of("calm", Generate(1, 1)));
  EXPECT_EQ(
      scheduler_->Submit(Of("third", Generate(1, 1)), now_).status().code(),
      absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace headwise
