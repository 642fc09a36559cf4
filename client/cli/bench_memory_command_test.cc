// The whole of `headwise bench memory`, small.

#include <string>

#include "absl/strings/str_cat.h"
#include "client/cli/command_test_folder.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/files/test_model_writer.h"
#include "nlohmann/json.hpp"

namespace headwise {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class BenchMemoryCommandTest : public CommandTestFolder {
 protected:
  std::string Memory(const std::string& flags) {
    return Run("bench memory " + flags);
  }
  // A tiny model's folder, with the task of its ids if asked.
  std::string Model(bool has_task) {
    EXPECT_TRUE(WriteTinyFolder({}, /*num_shards=*/1, Path("")).ok());
    if (has_task) {
      EXPECT_TRUE(WriteFile(Path("task.json"),
                            R"({"kind": "recall", "text_ids": [0, 256],
                                "key_ids": [256, 288],
                                "value_ids": [288, 320]})")
                      .ok());
    }
    return Path("");
  }
};

constexpr char kSmall[] =
    "--heads 2 --head-dim 16 --hidden 32 --chunk 16 --needles 4 --candidates "
    "32 --window 64 --threads 2 ";

TEST_F(BenchMemoryCommandTest, JsonTellsWhatWasAskedForAndFound) {
  const auto json = nlohmann::json::parse(Memory(
      absl::StrCat(kSmall, "--context 500,100 --seeds 2 --seed 9 --json")));
  EXPECT_EQ(json["gates"], "hand-set");
  EXPECT_EQ(json["heads"], 2);
  EXPECT_EQ(json["head_dim"], 16);
  EXPECT_EQ(json["hidden"], 32);
  EXPECT_EQ(json["needle_theta"], 0.45);
  EXPECT_EQ(json["filler_theta"], 1e-6);
  EXPECT_EQ(json["seed"], 9);
  EXPECT_EQ(json["threads"], 2);
  ASSERT_EQ(json["rows"].size(), 14u);
  EXPECT_EQ(json["rows"][0]["contender"], "memory");
  EXPECT_EQ(json["rows"][0]["context"], 100);
  EXPECT_EQ(json["rows"][0]["tests"], 8);
  EXPECT_EQ(json["rows"][13]["contender"], "full");
  EXPECT_EQ(json["rows"][13]["recall"], 1);
  EXPECT_EQ(json["outputs_sha256"].get<std::string>().size(), 64u);
}

TEST_F(BenchMemoryCommandTest, TableAndBaselinesThatWereChosen) {
  const std::string table = Memory(
      absl::StrCat(kSmall, "--context 100 --layers 1 --baselines window,full"));
  EXPECT_THAT(table, StartsWith("2 head(s) of 16, 1 layer(s), hidden 0, "));
  EXPECT_THAT(table, HasSubstr("\nwindow "));
  EXPECT_THAT(table, Not(HasSubstr("\nlinear ")));
}

TEST_F(BenchMemoryCommandTest, AModelIsAskedForWhatItsTaskSays) {
  const auto json = nlohmann::json::parse(
      Memory(absl::StrCat("-m ", Model(/*has_task=*/true),
                          " --context 200 --depths 0,1 --spread 32 --needles 4 "
                          "--threads 1 --json")));
  EXPECT_EQ(json["gates"], "learned");
  EXPECT_EQ(json["haystack"], "/usr/share/common-licenses/GPL-3");
  ASSERT_EQ(json["rows"].size(), 2u);
  EXPECT_EQ(json["rows"][1]["depth"], 1);
  EXPECT_EQ(json["rows"][1]["tests"], 4);
  EXPECT_GT(json["rows"][1]["state_bytes"], 0);
}

TEST_F(BenchMemoryCommandTest, BadFlagsAreNamed) {
  EXPECT_THAT(Memory(""), HasSubstr("--context is required"));
  EXPECT_THAT(Memory("--context 0"), StartsWith("usage: --context"));
  EXPECT_THAT(Memory("--context 100 --eta 2"), StartsWith("usage: --eta"));
  EXPECT_THAT(Memory("--context 100 --baselines luck"),
              StartsWith("usage: --baselines"));
  EXPECT_THAT(Memory("--context 100 --local-workers 2"),
              StartsWith("usage: --local-workers requires --model"));
  EXPECT_THAT(Memory("--context 100 --depths 0"),
              StartsWith("usage: --depths requires --model"));
  EXPECT_THAT(Memory("--context 100 --head-dim 20"), StartsWith("error: "));
  const std::string model = Model(/*has_task=*/false);
  EXPECT_THAT(Memory("-m " + model + " --context 100 --layers 1"),
              StartsWith("usage: --model excludes --layers"));
  EXPECT_THAT(Memory("-m " + model + " --context 100"),
              StartsWith("error: cannot read " + model));
  EXPECT_THAT(
      Memory("-m " + Model(/*has_task=*/true) + " --context 100 --needles 33"),
      StartsWith("error: needles: 33 is outside [1, 32]"));
}

}  // namespace
}  // namespace headwise
