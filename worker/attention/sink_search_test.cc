#include "worker/attention/sink_search.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

// Each query gives `share` to position `sink`, the rest evenly to what it sees.
SinkSearch WithSink(int64_t num_queries, int64_t sink, float share) {
  SinkSearch search;
  for (int64_t i = 0; i < num_queries; ++i) {
    const float rest = i >= sink ? 1.0f - share : 1.0f;
    std::vector<float> probs(static_cast<size_t>(i + 1),
                             rest / static_cast<float>(i + 1));
    if (i >= sink) probs[sink] += share;
    search.Add(probs);
  }
  return search;
}

TEST(SinkSearchTest, FindsThePositionThatDrawsAttention) {
  EXPECT_THAT(WithSink(100, 30, 0.5f).Sinks(0.3f), ElementsAre(30));
  EXPECT_THAT(WithSink(100, 30, 0.2f).Sinks(0.3f), IsEmpty());
}

TEST(SinkSearchTest, TheFirstPositionIsSpared) {
  EXPECT_THAT(WithSink(100, 0, 0.9f).Sinks(0.3f), IsEmpty());
}

TEST(SinkSearchTest, PositionsThatFewQueriesSawAreNotJudged) {
  EXPECT_THAT(WithSink(100, 93, 1.0f).Sinks(0.3f), IsEmpty());
  EXPECT_THAT(WithSink(100, 92, 1.0f).Sinks(0.3f), ElementsAre(92));
}

TEST(SinkSearchTest, QueriesOfAPrefixHaveNoVote) {
  SinkSearch search(50);
  for (int64_t i = 50; i < 60; ++i) {
    std::vector<float> probs(static_cast<size_t>(i + 1), 0.0f);
    probs[20] = 0.5f;
    search.Add(probs);
  }
  EXPECT_THAT(search.Sinks(0.4f), ElementsAre(20)) << "by 10 votes, not 40";
}

TEST(SinkSearchTest, NothingIsFoundInNothing) {
  EXPECT_THAT(SinkSearch().Sinks(0.1f), IsEmpty());
}

}  // namespace
}  // namespace headwise
