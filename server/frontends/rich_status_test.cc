// Errors as a client meets them: code, message and details for programs.

#include "server/frontends/rich_status.h"

#include <string>
#include <utility>

#include "base/error_facts.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/frontends/services_fixture.h"

namespace headwise {
namespace {

using testing::HasSubstr;

using RichStatusTest = ServicesTest;

TEST_F(RichStatusTest, ABadFieldIsNamedInABadRequestDetail) {
  v1::GenerateRequest request = Prompt();
  request.mutable_options()->set_max_tokens(-1);
  grpc::ClientContext context;
  v1::GenerateResponse response;
  const auto reader = stub_->Generate(&context, request);
  EXPECT_FALSE(reader->Read(&response));
  const grpc::Status status = reader->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  const Details details = DetailsOf(status);
  EXPECT_EQ(details.info.reason(), "INVALID_ARGUMENT");
  EXPECT_EQ(details.info.domain(), "headwise");
  ASSERT_EQ(details.bad_request.field_violations_size(), 1);
  EXPECT_EQ(details.bad_request.field_violations(0).field(),
            "options.max_tokens");
  EXPECT_FALSE(details.has_retry);
}

// A cut inside a character would make details that no client can parse.
TEST_F(RichStatusTest, ErrorDetailsAreUtf8) {
  grpc::ClientContext context;
  v1::ChatRequest request;
  request.add_messages()->set_role(std::string(63, 'a') + "\xC3\xA9");
  const auto reader = stub_->Chat(&context, request);
  v1::GenerateResponse response;
  EXPECT_FALSE(reader->Read(&response));
  const grpc::Status status = reader->Finish();
  EXPECT_THAT(status.error_message(), HasSubstr("is \"aaa"));
  EXPECT_THAT(status.error_message(), HasSubstr("a?\"; must be system"));
  EXPECT_EQ(DetailsOf(status).bad_request.field_violations_size(), 1);
}

TEST_F(RichStatusTest, WhatIsNotHereIsNamedInAResourceInfo) {
  grpc::ClientContext context;
  v1::ScoreRequest request;
  request.set_model("other");
  v1::ScoreResponse response;
  const grpc::Status status = stub_->Score(&context, request, &response);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  const Details details = DetailsOf(status);
  EXPECT_EQ(details.resource.resource_type(), "model");
  EXPECT_EQ(details.resource.resource_name(), "other");
}

TEST_F(RichStatusTest, ReasonsAndNumbersOfTheEngineReachTheClient) {
  engine_.Refuse(WithFacts(
      absl::OutOfRangeError("too long"),
      {.reason = "KV_TOO_SMALL",
       .numbers = {{"needed_bytes", 300}, {"available_bytes", 200}}}));
  grpc::ClientContext context;
  v1::ScoreRequest request;
  request.set_text("abc");
  v1::ScoreResponse response;
  const Details details = DetailsOf(stub_->Score(&context, request, &response));
  EXPECT_EQ(details.info.reason(), "KV_TOO_SMALL");
  EXPECT_EQ(details.info.domain(), "headwise");
  EXPECT_EQ(details.info.metadata().at("needed_bytes"), "300");
  EXPECT_EQ(details.info.metadata().at("available_bytes"), "200");
  EXPECT_FALSE(details.has_retry);
}

TEST(ToGrpcStatusTest, AQuotaNamesItsSubjectInUtf8) {
  const Details details = DetailsOf(ToGrpcStatus(
      WithFacts(absl::ResourceExhaustedError("no bytes are left"),
                {.reason = "TENANT_QUOTA", .quota_subject = "tenant:\xff"})));
  EXPECT_EQ(details.info.reason(), "TENANT_QUOTA");
  ASSERT_EQ(details.quota.violations_size(), 1);
  EXPECT_EQ(details.quota.violations(0).subject(), "tenant:?");
  EXPECT_EQ(details.quota.violations(0).description(), "no bytes are left");
}

TEST_F(RichStatusTest, TransientRefusalsSayWhenToComeAgain) {
  for (const auto& [refusal, delay] :
       {std::pair{absl::ResourceExhaustedError("queue is full"),
                  kRetryWhenExhausted},
        std::pair{absl::UnavailableError("group is forming"),
                  kRetryWhenUnavailable},
        std::pair{WithFacts(absl::ResourceExhaustedError("queue is long"),
                            {.retry_after = absl::Milliseconds(2500)}),
                  absl::Milliseconds(2500)}}) {
    engine_.Refuse(refusal);
    grpc::ClientContext context;
    v1::ScoreRequest request;
    request.set_text("abc");
    v1::ScoreResponse response;
    const grpc::Status status = stub_->Score(&context, request, &response);
    EXPECT_EQ(static_cast<int>(status.error_code()), refusal.raw_code());
    EXPECT_EQ(status.error_message(), std::string(refusal.message()));
    const Details details = DetailsOf(status);
    EXPECT_TRUE(details.has_retry);
    EXPECT_EQ(absl::Seconds(details.retry.retry_delay().seconds()) +
                  absl::Nanoseconds(details.retry.retry_delay().nanos()),
              delay);
  }
}

}  // namespace
}  // namespace headwise
