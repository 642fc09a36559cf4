// The whole of `headwise bench needle` with a tiny model.

#include <sys/mman.h>

#include <cstdint>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "client/cli/command_test_folder.h"
#include "client/cli/process_memory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/files/test_model_writer.h"
#include "nlohmann/json.hpp"

namespace headwise {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

class BenchNeedleCommandTest : public CommandTestFolder {
 protected:
  BenchNeedleCommandTest() {
    TinyModelOptions options;
    options.max_context_len = 1024;
    EXPECT_TRUE(WriteFile(Path("m.gguf"), WriteTinyGguf(options)).ok());
  }

  std::string MakePlan(const std::string& flags) {
    const std::string path = Path("p.json");
    EXPECT_THAT(Run(absl::StrCat("plan new -m ", Path("m.gguf"), " ", flags,
                                 " -o ", path)),
                StartsWith(path));
    return path;
  }

  std::string Needle(const std::string& flags) {
    return Run(absl::StrCat("bench needle -m ", Path("m.gguf"), " --threads 1 ",
                            flags));
  }
};

TEST_F(BenchNeedleCommandTest, MeasuresAPlanAgainstFullAttention) {
  const std::string plan =
      MakePlan("--policy streaming --sinks 4 --window 64 --except 1.0");
  const auto json = nlohmann::json::parse(
      Needle("--context 900,600 --depths 3 --seeds 2 --baseline --json "
             "--local-workers 2 --plan " +
             plan));
  EXPECT_EQ(json["plan_hash"].get<std::string>().size(), 64u);
  ASSERT_EQ(json["contexts"].size(), 2u);
  EXPECT_EQ(json["contexts"][0]["context"], 600) << "ascending";
  for (const auto& context : json["contexts"]) {
    EXPECT_EQ(context["tests"], 6);
    EXPECT_EQ(context["by_depth"].size(), 3u);
    EXPECT_EQ(context["by_depth"][1]["tests"], 2);
    EXPECT_EQ(context["shares_text"], true);
    EXPECT_LT(context["prompt_tokens_run"],
              context["prompt_tokens_independent"]);
    EXPECT_GT(context["decode"]["median_ms_per_token"], 0);
    EXPECT_EQ(context["kv"]["held_bytes_by_rank"].size(), 2u);
    EXPECT_EQ(context["kv"]["held_bytes_by_rank"],
              context["kv"]["forecast_bytes_by_rank"]);
    EXPECT_EQ(context["kv"]["difference_percent"], 0);
    EXPECT_GT(context["memory"]["peak_resident_bytes"], 0);
    const auto& baseline = context["baseline"];
    EXPECT_EQ(baseline["kv"]["difference_percent"], 0);
    EXPECT_EQ(baseline["kv"]["share_of_full"], 1);
    EXPECT_LT(context["kv"]["held_bytes"], baseline["kv"]["held_bytes"]);
  }
  EXPECT_TRUE(json["prefill_slope"]["seconds_per_token"].is_number());
}

TEST_F(BenchNeedleCommandTest, TableSaysWhatWasRun) {
  const std::string table =
      Needle("--context 700 --depths 2 --seeds 1 --needle word --independent");
  EXPECT_THAT(table, StartsWith("word in filler, every unit full\n\ncontext "
                                "700: "));
  EXPECT_THAT(table, HasSubstr("prompt tokens, 1 at a time; whole prompts "
                               "have "));
}

TEST_F(BenchNeedleCommandTest, ContextsBeyondTheModelNeedRenumberedPositions) {
  const std::string streaming =
      MakePlan("--policy streaming --sinks 4 --window 64");
  EXPECT_THAT(Needle("--context 1500 --plan " + streaming),
              StartsWith("error: context: 1500 positions; the model has 1024, "
                         "and more only under a plan"));
  const std::string slots =
      MakePlan("--policy streaming --sinks 4 --window 64 --slot-positions");
  const auto json = nlohmann::json::parse(Needle(
      "--context 1500 --depths 2 --seeds 1 --baseline --json --plan " + slots));
  EXPECT_EQ(json["contexts"][0]["tests"], 2);
  EXPECT_TRUE(json["contexts"][0]["baseline"].is_null());
}

TEST_F(BenchNeedleCommandTest, BadFlagsAreNamed) {
  EXPECT_THAT(Needle(""), HasSubstr("--context is required"));
  EXPECT_THAT(Run("bench needle --context 700"),
              HasSubstr("--model is required"));
  EXPECT_THAT(Run("bench"), HasSubstr("--model or --server"));
  EXPECT_THAT(Needle("--context 100"),
              StartsWith("error: context: 100 positions; needle, question"));
  EXPECT_THAT(Needle("--context 700 --depths 0"), StartsWith("usage: "));
}

TEST(ProcessMemoryTest, PeaksBeginAnew) {
  EXPECT_GT(AvailableMemoryBytes(), 0);
  constexpr int64_t kBytes = 64 << 20;
  // The kernel counts by thread, and adds up now and then.
  constexpr int64_t kNotAddedUp = 1 << 20;
  void* const touched = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(touched, MAP_FAILED);
  std::memset(touched, 'x', kBytes);
  EXPECT_GE(PeakResidentBytes(), kBytes);
  EXPECT_LE(ResidentBytes(), PeakResidentBytes() + kNotAddedUp);
  ASSERT_EQ(munmap(touched, kBytes), 0);
  const int64_t before = PeakResidentBytes();
  StartPeak();
  EXPECT_LT(PeakResidentBytes(), before);
}

}  // namespace
}  // namespace headwise
