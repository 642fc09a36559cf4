#include "server/scheduler/admission.h"

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

EngineOptions Options() {
  return {.kv_bytes_per_token = 1000, .max_context_len = 500};
}

EngineRequest Request(int64_t prompt_len, int64_t max_new_tokens) {
  EngineRequest request;
  request.prompt.assign(prompt_len, 1);
  request.max_new_tokens = max_new_tokens;
  return request;
}

TEST(AdmissionTest, TheModelsContextIsTheLimitToTheToken) {
  EXPECT_TRUE(CheckCanFit(Request(400, 100), Options(), 640).ok());
  const absl::Status refused = CheckCanFit(Request(400, 101), Options(), 640);
  EXPECT_EQ(refused.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(refused.message(), HasSubstr("context of 501 tokens"));
  EXPECT_THAT(refused.message(), HasSubstr("context that fits is 500 tokens"));
}

TEST(AdmissionTest, TheCacheIsTheLimitAndBothNumbersOfBytesAreTold) {
  EXPECT_TRUE(CheckCanFit(Request(100, 28), Options(), 128).ok());
  const absl::Status refused = CheckCanFit(Request(100, 29), Options(), 128);
  EXPECT_EQ(refused.code(), absl::StatusCode::kOutOfRange);
  EXPECT_THAT(refused.message(), HasSubstr("192000 bytes of KV"));
  EXPECT_THAT(refused.message(), HasSubstr("available are 128000 bytes"));
  EXPECT_THAT(refused.message(), HasSubstr("context that fits is 128 tokens"));
}

TEST(AdmissionTest, ScoreAndEmbedNeedTheirPromptOnly) {
  for (const WorkKind kind : {WorkKind::kScore, WorkKind::kEmbed}) {
    EngineRequest request = Request(500, kMax);
    request.kind = kind;
    EXPECT_EQ(NeededTokens(request), 500);
    EXPECT_TRUE(CheckCanFit(request, Options(), 640).ok());
    request.prompt.push_back(1);
    EXPECT_EQ(CheckCanFit(request, Options(), 640).code(),
              absl::StatusCode::kOutOfRange);
  }
}

TEST(AdmissionTest, HugeCountsAreRefusedWithoutOverflow) {
  EXPECT_EQ(NeededTokens(Request(2, kMax)), kMax);
  for (const int64_t max_new : {kMax, kMax - 1, kMax / 2}) {
    EXPECT_EQ(CheckCanFit(Request(2, max_new), Options(), 640).code(),
              absl::StatusCode::kOutOfRange);
  }
}

TEST(AdmissionTest, NothingToDoIsInvalid) {
  EXPECT_EQ(CheckCanFit(Request(0, 1), Options(), 640).code(),
            absl::StatusCode::kInvalidArgument);
  const absl::Status status = CheckCanFit(Request(1, 0), Options(), 640);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(status.message(), HasSubstr("max_new_tokens is 0"));
}

}  // namespace
}  // namespace headwise
