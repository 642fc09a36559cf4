#include "client/cli/plan_commands.h"

#include <cstdio>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "client/cli/command_test_folder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/files/test_model_writer.h"
#include "model/head_plan/test_head_plans.h"
#include "nlohmann/json.hpp"
#include "proto/head_plan_file.h"

namespace headwise {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

// The whole program with a tiny model of two layers, in a folder of its own.
class PlanCommandsTest : public CommandTestFolder {
 protected:
  PlanCommandsTest() {
    TinyModelOptions options;
    options.num_layers = 2;
    options.num_heads = 4;
    options.num_kv_heads = 2;
    EXPECT_TRUE(WriteFile(Path("m.gguf"), WriteTinyGguf(options)).ok());
  }

  // A streaming plan but for unit (1, 0).
  std::string MakePlan(const std::string& name) {
    const std::string said =
        Run(absl::StrCat("plan new -m ", Path("m.gguf"),
                         " --policy streaming --sinks 4 --window 8 --except "
                         "1.0 -o ",
                         Path(name)));
    EXPECT_EQ(said, Path(name) + ": 4 units, 1 of them full\n");
    return Path(name);
  }
};

TEST_F(PlanCommandsTest, NewPlansFitTheirModelAndAreShown) {
  const std::string plan = MakePlan("p.plan");
  EXPECT_THAT(Run("plan show " + plan),
              testing::AllOf(
                  HasSubstr("origin: headwise plan new: streaming, 4 sinks, "
                            "window 8; full: 1.0\n"),
                  HasSubstr("kv head 0 SF\nkv head 1 SS\n"),
                  HasSubstr(" S  3 of 4 units: streaming, 4 sinks, window 8\n"),
                  testing::Not(HasSubstr("\x1b"))));
  EXPECT_THAT(Run("plan check " + plan), HasSubstr(": a valid plan; hash "));
  EXPECT_THAT(Run("plan check " + plan + " -m " + Path("m.gguf")),
              HasSubstr(": a valid plan, and it fits " + Path("m.gguf")));
}

TEST_F(PlanCommandsTest, JsonIsForPrograms) {
  const std::string plan = MakePlan("p.json");
  auto json = nlohmann::json::parse(Run("plan show --json " + plan));
  EXPECT_EQ(json["policies"][0]["policy"], "streaming");
  EXPECT_EQ(json["policies"][0]["num_units"], 3);
  EXPECT_EQ(json["plan"]["layers"], 2);
  json = nlohmann::json::parse(Run("plan check --json " + plan));
  EXPECT_EQ(json["valid"], true);
  EXPECT_TRUE(json["fits_model"].is_null());
  json = nlohmann::json::parse(
      Run("plan forecast --json --context-len 640 --speed 1,1 " + plan +
          " -m " + Path("m.gguf")));
  EXPECT_EQ(json["workers"].size(), 2u);
  EXPECT_EQ(json["context_len"], 640);
}

TEST_F(PlanCommandsTest, ConvertGoesBothWays) {
  const std::string plan = MakePlan("p.plan");
  EXPECT_EQ(Run("plan convert " + plan + " " + Path("p.json")), "");
  EXPECT_EQ(Run("plan convert " + Path("p.json") + " " + Path("q.plan")), "");
  EXPECT_EQ(std::ifstream(Path("p.json")).get(), '{');
  EXPECT_EQ(std::ifstream(Path("q.plan")).get(), 8);
  EXPECT_EQ(*ReadHeadPlanFile(Path("q.plan")), *ReadHeadPlanFile(plan));
  EXPECT_THAT(Run("plan diff " + plan + " " + Path("p.json")),
              StartsWith("0 of 4 units and 0 of 8 heads differ"));
}

TEST_F(PlanCommandsTest, DiffNamesUnits) {
  const std::string plan = MakePlan("p.plan");
  HeadPlan other = *ReadHeadPlanFile(plan);
  other.units[3] = {};
  ASSERT_TRUE(WriteHeadPlanFile(other, Path("o.plan")).ok());
  EXPECT_EQ(Run("plan diff " + plan + " " + Path("o.plan")),
            "layer 1 kv_head 1: streaming, 4 sinks, window 8 -> full\n"
            "1 of 4 units and 0 of 8 heads differ\n");
  const auto json = nlohmann::json::parse(
      Run("plan diff --json " + plan + " " + Path("o.plan")));
  EXPECT_EQ(json["units"][0]["after"], "full");
}

TEST_F(PlanCommandsTest, ForecastGivesTheLongestContext) {
  const std::string plan = MakePlan("p.plan");
  const std::string line =
      "plan forecast " + plan + " -m " + Path("m.gguf") + " --context-len 1024";
  EXPECT_THAT(Run(line),
              testing::AllOf(StartsWith("one sequence of 1024 positions, KV "
                                        "fp16 where the plan names no type\n"),
                             HasSubstr("  full\n"), HasSubstr("were all full"),
                             HasSubstr("forecast: ")));
  EXPECT_THAT(Run(line + " --memory-bytes 10000000"),
              HasSubstr("longest context with 9.5 MiB a worker: "));
}

TEST_F(PlanCommandsTest, BadPlansAreRefusedByName) {
  HeadPlan plan = *ReadHeadPlanFile(MakePlan("p.plan"));
  plan.model_sha256 = TestSha256();
  ASSERT_TRUE(WriteHeadPlanFile(plan, Path("other.plan")).ok());
  for (const char* command : {"check ", "forecast --context-len 9 "}) {
    EXPECT_THAT(Run(absl::StrCat("plan ", command, Path("other.plan"), " -m ",
                                 Path("m.gguf"))),
                StartsWith("error: model_sha256: the plan is for model " +
                           TestSha256() + ", this is "));
  }
  std::ofstream(Path("bad.json")) << "{\"version\": 3}";
  EXPECT_EQ(
      Run("plan show " + Path("bad.json")),
      "error: " + Path("bad.json") + ": version: 3; this program reads 1");
  EXPECT_THAT(Run("plan show /no/such"), StartsWith("usage: "));
}

TEST_F(PlanCommandsTest, NewRefusesWhatAPolicyDoesNotHave) {
  const std::string line =
      "plan new -m " + Path("m.gguf") + " -o " + Path("n.json") + " --policy ";
  EXPECT_EQ(Run(line + "streaming"),
            "error: --policy streaming: window: 0 is outside [1, 1048576]");
  EXPECT_EQ(Run(line + "full --window 9"),
            "error: --policy full: window: is set, but policy full does not "
            "have it");
  EXPECT_THAT(Run(line + "often"), StartsWith("usage: "));
  EXPECT_EQ(Run(line + "landmark --chunk-len 64 --chunks 5 --landmark-token "
                       "1000000"),
            absl::StrCat("error: landmark_token: 1000000, the model's "
                         "vocabulary has ",
                         TinyModelOptions().vocab_size, " tokens"));
  EXPECT_EQ(Run(line + "full --landmark-token 3"),
            "error: landmark_token: is set, but no unit has policy landmark");
  EXPECT_EQ(Run(line + "full --except 2.0"),
            "error: --except 2.0: layer 2 is outside [0, 1]");
  EXPECT_EQ(Run(line + "full --except 1.2"),
            "error: --except 1.2: kv_head 2 is outside [0, 1]");
  EXPECT_EQ(Run(line + "full --except 1.x"),
            "error: --except 1.x is neither LAYER nor LAYER.KV_HEAD");
  EXPECT_FALSE(std::filesystem::exists(Path("n.json")));
}

TEST(MakeFullTest, ALayerAloneIsAllItsUnits) {
  HeadPlan plan = FullPlan(3, 4, 2);
  const UnitPolicy streaming = {.kind = PolicyKind::kStreaming, .window = 1};
  plan.units.assign(6, streaming);
  EXPECT_TRUE(MakeFull({"1", "2.1"}, &plan).ok());
  EXPECT_EQ(plan.units, (std::vector<UnitPolicy>{
                            streaming, streaming, {}, {}, streaming, {}}));
}

}  // namespace
}  // namespace headwise
