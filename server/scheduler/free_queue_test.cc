#include "server/scheduler/free_queue.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

TEST(FreeQueueTest, KnownSequenceIsFreedInTheNextStep) {
  FreeQueue queue;
  EXPECT_FALSE(queue.Add(7, /*known_to_workers=*/true, 1));
  const FreeQueue::Batch batch = queue.Take();
  EXPECT_THAT(batch.sequence_ids, ElementsAre(7));
  EXPECT_FALSE(batch.is_retry);
  EXPECT_FALSE(queue.OnSlice(7, true));
  EXPECT_THAT(queue.Take().sequence_ids, IsEmpty());
  EXPECT_TRUE(queue.empty());
}

TEST(FreeQueueTest, SequenceThatNeverRanNeedsNoFree) {
  FreeQueue queue;
  EXPECT_TRUE(queue.Add(7, /*known_to_workers=*/false, 0));
  EXPECT_TRUE(queue.empty());
}

TEST(FreeQueueTest, UnconfirmedSequenceWaitsUntilOneSliceHasRun) {
  FreeQueue queue;
  EXPECT_FALSE(queue.Add(7, /*known_to_workers=*/false, 2));
  EXPECT_THAT(queue.Take().sequence_ids, IsEmpty());
  EXPECT_FALSE(queue.empty());
  EXPECT_FALSE(queue.OnSlice(7, true));
  EXPECT_THAT(queue.Take().sequence_ids, ElementsAre(7));
  EXPECT_FALSE(queue.OnSlice(7, true));
  EXPECT_TRUE(queue.empty());
}

TEST(FreeQueueTest, UnconfirmedSequenceWhoseSlicesAllFailNeedsNoFree) {
  FreeQueue queue;
  EXPECT_FALSE(queue.Add(7, /*known_to_workers=*/false, 2));
  EXPECT_FALSE(queue.OnSlice(7, false));
  EXPECT_TRUE(queue.OnSlice(7, false));
  EXPECT_TRUE(queue.empty());
}

TEST(FreeQueueTest, FailedFreesAreTriedOnceMoreEachAlone) {
  FreeQueue queue;
  queue.Add(7, true, 0);
  queue.Add(8, true, 0);
  queue.OnStepFailed(queue.Take());
  queue.Add(9, true, 0);
  for (const uint64_t id : {7, 8}) {
    const FreeQueue::Batch retry = queue.Take();
    EXPECT_THAT(retry.sequence_ids, ElementsAre(id));
    EXPECT_TRUE(retry.is_retry);
    queue.OnStepFailed(retry);  // dropped, or it would come back for ever
  }
  EXPECT_THAT(queue.Take().sequence_ids, ElementsAre(9));
  EXPECT_TRUE(queue.empty());
}

}  // namespace
}  // namespace headwise
