#include "proto/head_plan_file.h"

#include <cstdio>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/head_plan/head_plan_text.h"
#include "model/head_plan/test_head_plans.h"
#include "proto/head_plan_codec.h"

namespace headwise {
namespace {

using testing::HasSubstr;

class HeadPlanFileTest : public testing::Test {
 protected:
  ~HeadPlanFileTest() override { std::remove(path_.c_str()); }

  // Not ".json"; of this test alone.
  const std::string path_ =
      testing::TempDir() + "/head_plan_" +
      testing::UnitTest::GetInstance()->current_test_info()->name();
};

TEST_F(HeadPlanFileTest, TheFirstByteTellsTheForm) {
  const HeadPlan plan = EveryFieldPlan();
  EXPECT_EQ(*ParseHeadPlan(EncodeHeadPlan(plan)), plan);
  EXPECT_EQ(*ParseHeadPlan(HeadPlanToText(plan)), plan);
  EXPECT_EQ(*ParseHeadPlan("\n \t" + HeadPlanToText(plan)), plan);
  EXPECT_THAT(ParseHeadPlan("{").status().message(), HasSubstr("byte"));
  EXPECT_EQ(ParseHeadPlan("").status().message(),
            "version: 0; this program reads 1");
}

TEST_F(HeadPlanFileTest, TheNamesEndChoosesTheForm) {
  const HeadPlan plan = EveryFieldPlan();
  const std::string json = path_ + ".json";
  for (const std::string& path : {path_, json}) {
    EXPECT_EQ(WriteHeadPlanFile(plan, path), absl::OkStatus());
    EXPECT_EQ(*ReadHeadPlanFile(path), plan);
    EXPECT_FALSE(std::ifstream(path + ".tmp").is_open());
  }
  EXPECT_EQ(std::ifstream(json).get(), '{');
  EXPECT_EQ(std::ifstream(path_).get(), 8);
  std::remove(json.c_str());
}

TEST_F(HeadPlanFileTest, ErrorsNameThePath) {
  EXPECT_EQ(ReadHeadPlanFile(path_).status(),
            absl::NotFoundError("cannot read " + path_));
  EXPECT_EQ(ReadHeadPlanFile(testing::TempDir()).status(),
            absl::NotFoundError("cannot read " + testing::TempDir()));
  std::ofstream(path_) << "{}";
  EXPECT_EQ(ReadHeadPlanFile(path_).status(),
            absl::InvalidArgumentError(path_ + ": version: is missing"));
  EXPECT_EQ(WriteHeadPlanFile(EveryFieldPlan(), "/no/such/folder/plan"),
            absl::UnavailableError("cannot write /no/such/folder/plan: No such "
                                   "file or directory"));
}

TEST_F(HeadPlanFileTest, LargeFilesAreRefusedUnread) {
  std::ofstream(path_) << std::string((4 << 20) + 100, 'x');
  EXPECT_EQ(ReadHeadPlanFile(path_).status().message(),
            path_ + ": the head plan has 4194305 bytes; the limit is 4194304");
}

// The largest plan that says something else of every head fits in binary.
TEST_F(HeadPlanFileTest, WhatNoReaderWouldTakeIsNotWritten) {
  HeadPlan plan = FullPlan(64, 1024, 1024);
  for (size_t i = 0; i < plan.heads.size(); ++i) {
    plan.heads[i] = {.output_scale = 1.0f + static_cast<float>(i) * 0x1p-20f,
                     .sink_beta = 0.25f,
                     .sink_threshold = static_cast<float>(i + 1) * 0x1p-17f};
    plan.units[i] = {.kind = PolicyKind::kRazor,
                     .kv_type = PlanKvType::kInt8,
                     .num_sinks = 4096,
                     .window = static_cast<int64_t>(i) + (1 << 19),
                     .count_weight = false,
                     .window_divisor = 1 << 20};
  }
  EXPECT_EQ(WriteHeadPlanFile(plan, path_), absl::OkStatus());
  EXPECT_EQ(*ReadHeadPlanFile(path_), plan);
  const std::string json = path_ + ".json";
  EXPECT_THAT(WriteHeadPlanFile(plan, json).message(),
              HasSubstr("bytes in this form; the limit is 4194304"));
  EXPECT_FALSE(std::ifstream(json).is_open());
}

}  // namespace
}  // namespace headwise
