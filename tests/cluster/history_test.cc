// The checker itself: each violation is found, and nothing else is called one.

#include "tests/cluster/history.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

HeardAnswer Answer(const std::vector<int32_t>& tokens, const std::string& text,
                   grpc::StatusCode code = grpc::StatusCode::OK) {
  HeardAnswer answer;
  answer.request_hash = "0123456789";
  for (const int32_t token : tokens) answer.tokens.push_back({token, {}});
  answer.text = text;
  answer.end = grpc::Status(code, "");
  answer.num_finished = answer.is_whole() ? 1 : 0;
  return answer;
}

class HistoryTest : public testing::Test {
 protected:
  HistoryTest() { fault_free_.Add(Answer({1, 2, 3}, "abc")); }

  std::vector<std::string> Tokens(const HeardAnswer& answer) const {
    History history;
    history.Add(answer);
    return history.CheckTokens(fault_free_);
  }
  static std::vector<std::string> Ends(const HeardAnswer& answer) {
    History history;
    history.Add(answer);
    return history.CheckEnds();
  }

  History fault_free_;
};

TEST_F(HistoryTest, TheSameAnswerAndABeginningThatEndedEarlyAreRight) {
  EXPECT_THAT(Tokens(Answer({1, 2, 3}, "abc")), IsEmpty());
  EXPECT_THAT(Tokens(Answer({1, 2}, "a", grpc::StatusCode::UNAVAILABLE)),
              IsEmpty());
  EXPECT_THAT(Tokens(Answer({}, "", grpc::StatusCode::CANCELLED)), IsEmpty());
}

TEST_F(HistoryTest, ATokenTwiceMissingOrChangedIsFound) {
  EXPECT_THAT(Tokens(Answer({1, 1, 2, 3}, "aabc")),
              ElementsAre(HasSubstr("more than the 3 tokens")));
  EXPECT_THAT(Tokens(Answer({1, 3}, "ac", grpc::StatusCode::UNAVAILABLE)),
              ElementsAre(HasSubstr("token 1 is 3, undisturbed 2")));
  EXPECT_THAT(Tokens(Answer({1, 2}, "ab")),
              ElementsAre(HasSubstr("ended as if whole")));
  EXPECT_THAT(Tokens(Answer({1, 2, 3}, "abx")),
              ElementsAre(HasSubstr("ended as if whole")));
  EXPECT_THAT(Tokens(Answer({1, 2}, "b", grpc::StatusCode::UNAVAILABLE)),
              ElementsAre(HasSubstr("no beginning")));
  HeardAnswer other = Answer({1}, "a");
  other.request_hash = "other";
  EXPECT_THAT(Tokens(other), ElementsAre(HasSubstr("no undisturbed answer")));
}

TEST_F(HistoryTest, EachRequestEndsOnce) {
  EXPECT_THAT(Ends(Answer({1}, "a")), IsEmpty());
  EXPECT_THAT(Ends(Answer({1}, "a", grpc::StatusCode::INTERNAL)), IsEmpty());
  HeardAnswer open = Answer({1}, "a");
  open.end.reset();
  EXPECT_THAT(Ends(open), ElementsAre(HasSubstr("has not ended")));
  HeardAnswer twice = Answer({1}, "a");
  twice.num_finished = 2;
  EXPECT_THAT(Ends(twice), ElementsAre(HasSubstr("2 times")));
  HeardAnswer whole_but_failed = Answer({1}, "a", grpc::StatusCode::INTERNAL);
  whole_but_failed.num_finished = 1;
  EXPECT_THAT(Ends(whole_but_failed), ElementsAre(HasSubstr("1 times")));
  HeardAnswer late = Answer({1}, "a");
  late.heard_after_end = true;
  EXPECT_THAT(Ends(late), ElementsAre(HasSubstr("went on")));
}

TEST_F(HistoryTest, KvThatIsHeldAndAPageWithoutItAreFound) {
  EXPECT_THAT(History::CheckBaseline("headwise_kv_bytes{worker=\"a\"} 0\n"
                                     "headwise_kv_bytes{worker=\"b\"} 0\n"),
              IsEmpty());
  EXPECT_THAT(History::CheckBaseline("headwise_kv_bytes{worker=\"a\"} 0\n"
                                     "headwise_kv_bytes{worker=\"b\"} 64\n"),
              ElementsAre(HasSubstr("64")));
  EXPECT_THAT(History::CheckBaseline(""), ElementsAre(HasSubstr("-1")));
}

TEST_F(HistoryTest, TotalsAreThoseOfTheHistory) {
  const auto line = [](const std::string& code, int number) {
    return "headwise_requests_total{model=\"m\",api=\"generate\",code=\"" +
           code + "\"} " + std::to_string(number) + "\n";
  };
  const auto tokens = [](int number) {
    return "headwise_tokens_total{model=\"m\",kind=\"generated\"} " +
           std::to_string(number) + "\n";
  };
  EXPECT_THAT(fault_free_.CheckMetrics(line("OK", 1) + tokens(3)), IsEmpty());
  EXPECT_THAT(fault_free_.CheckMetrics(line("OK", 2) + tokens(3)),
              ElementsAre(HasSubstr("OK 1 and 2")));
  EXPECT_THAT(fault_free_.CheckMetrics(line("OK", 1) + tokens(4)),
              ElementsAre(HasSubstr("heard 3, counted 4")));
  EXPECT_THAT(
      fault_free_.CheckMetrics(line("OK", 1) + line("INTERNAL", 1) + tokens(3)),
      ElementsAre(HasSubstr("INTERNAL 0 and 1")));
  History faulted;
  faulted.Add(Answer({1}, "a", grpc::StatusCode::DEADLINE_EXCEEDED));
  EXPECT_THAT(faulted.CheckMetrics(line("CANCELLED", 1) + tokens(2)),
              IsEmpty());
  EXPECT_THAT(faulted.CheckMetrics(line("OK", 1) + tokens(0)),
              ElementsAre(AllOf(HasSubstr("ended by the caller 1 and 0"),
                                HasSubstr("OK 0 and 1")),
                          HasSubstr("heard 1, counted 0")));
}

}  // namespace
}  // namespace headwise
