#include "worker/attention/visible_spans.h"

#include "gtest/gtest.h"
#include "model/head_plan/kv_retention.h"

namespace headwise {
namespace {

UnitPolicy Streaming(int64_t sinks, int64_t window) {
  UnitPolicy policy;
  policy.kind = PolicyKind::kStreaming;
  policy.num_sinks = sinks;
  policy.window = window;
  return policy;
}

// j <= t and (j < S or t - j < R): DuoAttention's mask.
bool SeesByDefinition(const UnitPolicy& policy, int64_t t, int64_t j) {
  return j <= t && (j < policy.num_sinks || t - j < policy.window);
}

bool Sees(const VisibleSpans& spans, int64_t t, int64_t j) {
  return j < spans.sinks_end || (spans.begin <= j && j <= t);
}

TEST(VisibleSpansTest, StreamingIsSinksAndWindow) {
  for (const auto& [sinks, window] :
       {std::pair<int64_t, int64_t>{0, 1}, {0, 5}, {4, 1}, {4, 16}, {7, 3}}) {
    const UnitPolicy policy = Streaming(sinks, window);
    for (int64_t t = 0; t < 40; ++t) {
      const VisibleSpans spans = VisibleTo(policy, t, 0);
      for (int64_t j = 0; j <= t; ++j) {
        EXPECT_EQ(Sees(spans, t, j), SeesByDefinition(policy, t, j))
            << sinks << " " << window << " " << t << " " << j;
      }
      EXPECT_EQ(spans.has_gap(), t + 1 > sinks + window);
    }
  }
}

TEST(VisibleSpansTest, FullSeesEverything) {
  EXPECT_FALSE(VisibleTo(UnitPolicy(), 1'000'000, 0).has_gap());
}

TEST(VisibleSpansTest, RazorSeesAllOfThePromptUntilItsEnd) {
  UnitPolicy policy = Streaming(4, 10);
  policy.kind = PolicyKind::kRazor;
  policy.window_divisor = 5;
  EXPECT_FALSE(VisibleTo(policy, 99, 100).has_gap());
  const VisibleSpans after = VisibleTo(policy, 100, 100);
  EXPECT_EQ(after.sinks_end, 4);
  EXPECT_EQ(after.begin, 100 - 20 + 1);
  policy.full_prompt = false;
  EXPECT_TRUE(VisibleTo(policy, 99, 100).has_gap());
}

TEST(VisibleSpansTest, WhatIsSeenIsKept) {
  for (const int64_t prompt : {0, 150, 400}) {
    UnitPolicy razor = Streaming(4, 64);
    razor.kind = PolicyKind::kRazor;
    for (const UnitPolicy& policy : {Streaming(70, 100), razor}) {
      for (int64_t t = 0; t < 500; ++t) {
        const KeptSpans kept = KeptOf(policy, t, prompt);
        const VisibleSpans spans = VisibleTo(policy, t, prompt);
        for (int64_t j = 0; j < t; ++j) {
          if (Sees(spans, t, j)) {
            ASSERT_TRUE(IsBlockKept(kept, j / kRetentionBlock))
                << t << " " << j;
          }
        }
      }
    }
  }
}

}  // namespace
}  // namespace headwise
