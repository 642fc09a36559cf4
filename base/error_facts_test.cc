#include "base/error_facts.h"

#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::Pair;

TEST(ErrorFactsTest, ComeBackAndLeaveCodeAndMessage) {
  const absl::Status status = WithFacts(
      absl::OutOfRangeError("too long"),
      {.reason = "CONTEXT_TOO_LONG",
       .resource_type = "model",
       .resource_name = "a=b c",
       .quota_subject = "tenant:x",
       .numbers = {{"needed_bytes", std::numeric_limits<int64_t>::max()},
                   {"rank", -1}},
       .retry_after = absl::Milliseconds(1500)});
  EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(status.message(), "too long");
  const ErrorFacts facts = FactsOf(status);
  EXPECT_EQ(facts.reason, "CONTEXT_TOO_LONG");
  EXPECT_EQ(facts.resource_type, "model");
  EXPECT_EQ(facts.resource_name, "a=b c");
  EXPECT_EQ(facts.quota_subject, "tenant:x");
  EXPECT_EQ(facts.retry_after, absl::Milliseconds(1500));
  EXPECT_THAT(
      facts.numbers,
      ElementsAre(Pair("needed_bytes", std::numeric_limits<int64_t>::max()),
                  Pair("rank", -1)));
}

TEST(ErrorFactsTest, EarlierOnesStayAndTextsAreBounded) {
  absl::Status status =
      WithFacts(absl::NotFoundError(""), {.resource_type = "session"});
  status = WithFacts(status, {.resource_name = std::string(1000, 'x')});
  EXPECT_EQ(FactsOf(status).resource_type, "session");
  EXPECT_EQ(FactsOf(status).resource_name.size(), 256u);
}

TEST(ErrorFactsTest, OkAndPlainErrorsHaveNone) {
  EXPECT_EQ(FactsOf(WithFacts(absl::OkStatus(), {.reason = "X"})).reason, "");
  EXPECT_THAT(FactsOf(absl::InternalError("x")).numbers, IsEmpty());
  EXPECT_EQ(FactsOf(absl::InternalError("x")).retry_after,
            absl::ZeroDuration());
}

}  // namespace
}  // namespace headwise
