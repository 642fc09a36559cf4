#include "server/membership/member_history.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

const absl::Time kNow = absl::UnixEpoch();

std::vector<std::string> Lines(const MemberHistory& history, absl::Time now) {
  std::vector<std::string> lines;
  for (const MissingMember& missing : history.Missing(now)) {
    lines.push_back(absl::StrCat(missing.name, " ", missing.reason));
  }
  return lines;
}

TEST(MemberHistoryTest, WhoIsHereIsNotMissingAndWhoLeftIsForAnHour) {
  MemberHistory history;
  history.Came("a", "h:1");
  history.Came("b", "h:2");
  EXPECT_THAT(history.Missing(kNow), IsEmpty());
  history.Left("b", kNow);
  EXPECT_THAT(Lines(history, kNow + absl::Seconds(12.5)),
              ElementsAre("b at h:2, gone for 12s"));
  EXPECT_THAT(
      history.Missing(kNow + MemberHistory::kMissedFor + absl::Seconds(1)),
      IsEmpty());
  history.Came("b", "h:3");
  EXPECT_THAT(history.Missing(kNow), IsEmpty());
}

TEST(MemberHistoryTest, AnAddressThatNeverAnsweredIsNamedWithItsProblem) {
  MemberHistory history;
  history.Report("w2.example:1", "not asked yet");
  history.Report("w1.example:1", "DNS resolution failed");
  history.Report("w2.example:1", "");
  EXPECT_THAT(Lines(history, kNow),
              ElementsAre("w1.example:1 DNS resolution failed"));
}

TEST(MemberHistoryTest, AKnownWorkerIsNamedOnceForItsAddress) {
  MemberHistory history;
  history.Came("a", "h:1");
  history.Report("h:1", "");
  history.Left("a", kNow);
  history.Report("h:1", "connection refused");
  EXPECT_THAT(Lines(history, kNow + absl::Seconds(3)),
              ElementsAre("a at h:1, gone for 3s: connection refused"));
  EXPECT_THAT(Lines(history, kNow + absl::Hours(2)),
              ElementsAre("a at h:1, gone for 2h: connection refused"))
      << "somebody still asks for it";
}

TEST(MemberHistoryTest, EachStartIsCounted) {
  MemberHistory history;
  history.Came("a", "h:1");
  history.Left("a", kNow);
  history.Came("a", "h:2");
  history.Came("b", "h:3");
  EXPECT_THAT(history.Arrivals(), ElementsAre(Pair("a", 2), Pair("b", 1)));
}

TEST(MemberHistoryTest, NamesAndAddressesAreBounded) {
  MemberHistory history;
  history.Came("stays", "h:0");
  for (size_t i = 0; i < 2 * MemberHistory::kMaxNames; ++i) {
    const std::string name = absl::StrCat("w", i);
    history.Came(name, "h:1");
    history.Left(name, kNow + absl::Seconds(static_cast<double>(i)));
    history.Report(absl::StrCat("h:", i + 10), "refused");
  }
  const auto arrivals = history.Arrivals();
  EXPECT_EQ(arrivals.size(), MemberHistory::kMaxNames);
  EXPECT_EQ(arrivals.count("stays"), 1u) << "who is here goes last";
  EXPECT_EQ(arrivals.count("w0"), 0u);
  EXPECT_LE(history.Missing(kNow).size(), 2 * MemberHistory::kMaxNames);
}

}  // namespace
}  // namespace headwise
