#include "server/frontends/quota_file.h"

#include <fstream>
#include <string>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using ::testing::HasSubstr;

TEST(QuotaFileTest, SaysWhatTenantsMayHave) {
  const std::string path = testing::TempDir() + "/quota_file_test.json";
  std::ofstream(path) << R"({"others": {"running": 8, "waiting": 64},
      "tenants": {"batch": {"kv_bytes": 1000000000,
                            "tokens_per_second": 0.5, "burst_tokens": 2000}}})";
  const auto quotas = ReadQuotaFile(path);
  ASSERT_TRUE(quotas.ok()) << quotas.status();
  EXPECT_EQ(quotas->of_others.max_running, 8);
  EXPECT_EQ(quotas->of_others.max_waiting, 64);
  EXPECT_EQ(quotas->Of("batch").max_running, 0);
  EXPECT_EQ(quotas->Of("batch").max_kv_bytes, 1'000'000'000);
  EXPECT_EQ(quotas->Of("batch").tokens_per_second, 0.5);
  EXPECT_EQ(quotas->Of("batch").burst_tokens, 2000);
}

TEST(QuotaFileTest, NoFileIsNoLimit) {
  EXPECT_EQ(ReadQuotaFile("")->of_others.max_running, 0);
  EXPECT_EQ(ReadQuotaFile("/nowhere/at/all").status().code(),
            absl::StatusCode::kNotFound);
}

TEST(QuotaFileTest, WhatIsWrongIsNamed) {
  const std::pair<const char*, const char*> files[] = {
      {"", "the file must be an object"},
      {"[]", "the file must be an object"},
      {R"({"other": {}})", "quotas: other is unknown"},
      {R"({"tenants": []})", "tenants must be an object"},
      {R"({"tenants": {"a": 3}})", "tenants.a must be an object"},
      {R"({"others": {"runing": 1}})", "others.runing is unknown"},
      {R"({"others": {"running": 1.5}})",
       "others.running is 1.5, must be a whole number"},
      {R"({"others": {"running": -1}})", "others.running is -1"},
      {R"({"others": {"kv_bytes": 1e300}})", "others.kv_bytes is 1e+300"},
      {R"({"others": {"waiting": "8"}})", "others.waiting is \"8\""},
      {R"({"others": {"tokens_per_second": 8}})", "burst_tokens is 0"},
  };
  for (const auto& [text, problem] : files) {
    SCOPED_TRACE(text);
    const auto quotas = ParseQuotas(text);
    EXPECT_EQ(quotas.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(quotas.status().message(), HasSubstr(problem));
  }
}

}  // namespace
}  // namespace headwise
