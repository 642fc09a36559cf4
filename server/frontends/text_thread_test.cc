#include "server/frontends/text_thread.h"

#include <memory>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

constexpr int64_t kLong = kMaxInlineTextBytes + 1;

TEST(TextThreadTest, ShortTextsAreNotQueuedBehindLongOnes) {
  TextThread texts;
  absl::Notification may_end;
  ASSERT_TRUE(texts.Run(kLong, [&] { may_end.WaitForNotification(); }).ok());
  std::thread::id ran_on;
  ASSERT_TRUE(texts
                  .Run(kMaxInlineTextBytes,
                       [&] { ran_on = std::this_thread::get_id(); })
                  .ok());
  EXPECT_EQ(ran_on, std::this_thread::get_id());
  may_end.Notify();
}

TEST(TextThreadTest, LongOnesRunInOrderAndAllBeforeTheEnd) {
  std::vector<int> order;
  {
    TextThread texts;
    for (int i = 0; i < 5; ++i) {
      ASSERT_TRUE(texts.Run(kLong, [&order, i] { order.push_back(i); }).ok());
    }
  }
  EXPECT_THAT(order, testing::ElementsAre(0, 1, 2, 3, 4));
}

TEST(TextThreadTest, TheQueueHasALimitThatIsNamed) {
  absl::Notification started, may_end;
  TextThread texts;
  ASSERT_TRUE(texts
                  .Run(kLong,
                       [&] {
                         started.Notify();
                         may_end.WaitForNotification();
                       })
                  .ok());
  started.WaitForNotification();
  for (size_t i = 0; i < kMaxWaitingTexts; ++i) {
    ASSERT_TRUE(texts.Run(kLong, [] {}).ok());
  }
  const absl::Status refused = texts.Run(kLong, [] { FAIL(); });
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.message()), testing::HasSubstr("at most 16"));
  may_end.Notify();
}

}  // namespace
}  // namespace headwise
