#include "client/cli/flags.h"

#include <cstdio>
#include <fstream>

#include "CLI/App.hpp"
#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "client/cli/commands.h"
#include "client/cli/company.h"
#include "client/cli/event_printer.h"
#include "client/cli/local_server.h"
#include "client/cli/progress_bar.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/files/model_name.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// This file stands for a model where only a path is needed.
const std::string kAnyFile = HEADWISE_SOURCE_DIR "/CMakeLists.txt";

// A command line of the whole program.
class CommandLineTest : public testing::Test {
 protected:
  CommandLineTest() { AddAllCommands(app_, &run_); }

  // The code of CLI::ParseError, 0: the command would run.
  int Parse(const std::string& line) {
    try {
      app_.parse(line);
    } catch (const CLI::ParseError& error) {
      message_ = error.what();
      return error.get_exit_code() == 0 ? -1 : error.get_exit_code();
    }
    return run_ ? 0 : -2;
  }

  CLI::App app_;
  CommandRun run_;
  std::string message_;
};

struct Line {
  std::string arguments;
  bool accepted;
  std::string message;
};

const std::string kWithModel = " -m " + kAnyFile;

std::vector<Line> LinesOfTexts() {
  const std::string& m = kWithModel;
  return {{"", false, "subcommand"},
          {"fly", false, "subcommand"},
          {"generate --prompt x" + m, true, ""},
          {"generate --prompt x --server h:1", true, ""},
          {"generate --prompt x", false, "--model or --server"},
          {"generate" + m, false, "prompt"},
          {"generate --prompt x --prompt-file -" + m, false, "excludes"},
          {"generate --prompt x --server h:1" + m, false, "excludes"},
          {"generate --prompt x --server h:1 --threads 2", false, "excludes"},
          {"generate --prompt x --server h:1 --isa avx2", false, "excludes"},
          {"generate --prompt x -m /no/such", false, "/no/such"},
          {"generate --prompt x --max-tokens -1" + m, false, "max-tokens"},
          {"generate --prompt x --top-logprobs 21" + m, false, "21"},
          {"generate --prompt x --isa mmx" + m, false, "mmx"},
          {"generate --prompt x --kv-type fp64" + m, false, "fp64"},
          {"generate --prompt x --group mpi" + m, false, "mpi"},
          {"generate --prompt x --reduction slow" + m, false, "slow"},
          {"generate --prompt x --local-workers 65" + m, false, "65"},
          {"generate --prompt x --local-workers 2 --workers h:1" + m, false,
           "excludes"},
          {"generate --prompt x --workers h:1,h:2" + m, true, ""},
          {"generate --prompt x --workers foo" + m, false, "foo"},
          {"generate --prompt x --workers h:0" + m, false, "h:0"},
          {"generate --prompt x --stop a\xFF" + m, false, "byte 1"},
          {"generate --prompt x -v --json" + m, false, "excludes"},
          {"generate --prompt x --priority batch" + m, true, ""},
          {"generate --prompt x --priority high" + m, false, "high"},
          {"chat --priority interactive" + m, true, ""},
          {"score --text x --priority batch" + m, true, ""},
          {"embed --text x --priority low" + m, false, "low"},
          {"generate --prompt x --speed 1,0" + m, false, "0"},
          {"generate --prompt x --prefill-chunk 0" + m, false, "0"},
          {"chat" + m, true, ""},
          {"chat --prompt x" + m, true, ""},
          {"chat --system a\xFF" + m, false, "byte 1"},
          {"chat -v --json" + m, false, "excludes"},
          {"score --text x --local-workers 3 --threads 1 --prefill-chunk 17 "
           "--max-tokens 9 --isa best --kv-type int8 --group gloo "
           "--reduction exact --batch-with 5 --json" +
               m,
           true, ""},
          {"score --text x --batch-with 64" + m, false, "64"}};
}

std::vector<Line> OtherLines() {
  const std::string& m = kWithModel;
  return {{"embed --text x --pooling max" + m, false, "max"},
          {"embed --text x --pooling last --normalize" + m, true, ""},
          {"tokenize --text x --json" + m, true, ""},
          {"tokenize --text x", false, "--model,--server"},
          {"detokenize 1 2 3" + m, true, ""},
          {"heads" + m, false, ""},
          {"heads map" + m, true, ""},
          {"heads map --dry-run --server h:1 --speed 1,0.5", true, ""},
          {"heads map --plan dc9ad24e --server h:1", true, ""},
          {"heads map --dry-run --plan full --memory 5" + m, true, ""},
          {"heads map --speed 1,0.5" + m, true, ""},
          {"heads map --server h:1 --speed 1,0.5", false, "--dry-run"},
          {"heads map --server h:1 --local-workers 2", false, "--dry-run"},
          {"heads map --memory 5" + m, false, "dry-run"},
          {"bench --prefill 512,4096 --decode 8 --depth 0,4096 --repeat 1" + m,
           true, ""},
          {"bench --repeat 0" + m, false, "0"},
          {"inspect " + kAnyFile, true, ""},
          {"inspect", false, "file"},
          {"serve" + m, true, ""},
          {"serve", false, "model"},
          {"serve --drain -1" + m, false, "drain"}};
}

void ExpectAsSaid(const Line& line) {
  SCOPED_TRACE(line.arguments);
  CLI::App app;
  CommandRun run;
  AddAllCommands(app, &run);
  std::string message;
  bool accepted = false;
  try {
    app.parse(line.arguments);
    accepted = static_cast<bool>(run);
  } catch (const CLI::ParseError& error) {
    EXPECT_NE(error.get_exit_code(), 0);
    message = error.what();
  }
  EXPECT_EQ(accepted, line.accepted) << message;
  EXPECT_THAT(message, HasSubstr(line.message));
}

TEST(CommandLinesTest, AreAcceptedOrRefusedWithAReason) {
  for (const Line& line : LinesOfTexts()) ExpectAsSaid(line);
  for (const Line& line : OtherLines()) ExpectAsSaid(line);
}

TEST_F(CommandLineTest, HelpTeachesWithExamplesAndExitCodes) {
  EXPECT_THAT(app_.help(), HasSubstr("Exit codes: 0 done"));
  for (CLI::App* command : app_.get_subcommands({})) {
    CLI::App* leaf = command->get_name() == "heads"
                         ? command->get_subcommand("map")
                         : command;
    EXPECT_THAT(leaf->help(), HasSubstr("Example")) << leaf->get_name();
    EXPECT_THAT(leaf->get_description(), Not(testing::IsEmpty()));
  }
}

TEST(GenerationFlagsTest, ReachTheRequest) {
  CLI::App app;
  GenerationFlags flags;
  AddGenerationFlags(app, flags);
  app.parse(
      "-n 7 --temperature 0.5 --top-k 3 --top-p 0.9 --min-p 0.1 "
      "--repetition-penalty 1.2 --seed 18446744073709551615 --stop one --stop "
      "two --logprobs --top-logprobs 4 --ignore-eos");
  v1::GenerationOptions options;
  WriteGenerationOptions(flags, &options);
  EXPECT_EQ(options.max_tokens(), 7);
  EXPECT_EQ(options.sampling().temperature(), 0.5f);
  EXPECT_EQ(options.sampling().top_k(), 3);
  EXPECT_EQ(options.sampling().top_p(), 0.9f);
  EXPECT_EQ(options.sampling().min_p(), 0.1f);
  EXPECT_EQ(options.sampling().repetition_penalty(), 1.2f);
  EXPECT_EQ(options.sampling().seed(), UINT64_MAX);
  EXPECT_THAT(options.stop(), ElementsAre("one", "two"));
  EXPECT_TRUE(options.logprobs());
  EXPECT_EQ(options.top_logprobs(), 4);
  EXPECT_TRUE(options.ignore_eos());
}

TextFlags FileFlags(const std::string& path) { return {"", path}; }

TEST(ReadTextTest, TakesTheFilesBytesAndNamesWhatIsNotUtf8) {
  const std::string path = testing::TempDir() + "/headwise_flags_test.txt";
  std::ofstream(path, std::ios::binary) << "a\xC3\xA9\n";
  EXPECT_EQ(*ReadUtf8Text(FileFlags(path)), "a\xC3\xA9\n");
  std::ofstream(path, std::ios::binary) << "a\xC3\xA9\xFFz";
  EXPECT_EQ(*ReadText(FileFlags(path)), "a\xC3\xA9\xFFz");
  const absl::Status status = ReadUtf8Text(FileFlags(path)).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("byte 3 (ff hexadecimal) is not UTF-8"));
  std::remove(path.c_str());
  EXPECT_EQ(ReadText(FileFlags(path)).status().code(),
            absl::StatusCode::kNotFound);
  EXPECT_EQ(*ReadText({"given", ""}), "given");
}

TEST(SummaryTest, TheFirstTokenIsNoDecode) {
  v1::Usage usage;
  usage.set_queue_seconds(0.25);
  usage.set_prompt_tokens(10);
  usage.set_prefill_seconds(0.5);
  usage.set_generated_tokens(5);
  usage.set_decode_seconds(2);
  EXPECT_EQ(Summary(usage),
            "waited 0.250 s; 10 prompt tokens in 0.500 s (20.0/s); 5 new "
            "tokens in 2.000 s (2.0/s)");
  EXPECT_EQ(Summary({}),
            "waited 0.000 s; 0 prompt tokens in 0.000 s (0.0/s); 0 new tokens "
            "in 0.000 s (0.0/s)");
}

TEST(ModelNameTest, IsTheFilesWithoutFolderAndSuffix) {
  EXPECT_EQ(ModelNameOf("/a/b/Smol.Q4_1.gguf"), "Smol.Q4_1");
  EXPECT_EQ(ModelNameOf("x.safetensors"), "x");
  EXPECT_EQ(ModelNameOf("/models/qwen/"), "qwen");
  EXPECT_EQ(ModelNameOf("/"), "model");
}

TEST(CompanyTest, OtherTextsBeginElsewhereAndKeepTheirTokens) {
  const std::vector<int32_t> ids = {1, 2, 3, 4, 5, 6};
  EXPECT_THAT(OtherText(ids, 0, 2), ElementsAre(3, 4, 5, 6, 1, 2));
  EXPECT_THAT(OtherText(ids, 1, 2), ElementsAre(5, 6, 1, 2, 3, 4));
  EXPECT_THAT(OtherText({9}, 0, 63), ElementsAre(9));
}

TEST(ProgressTest, IsABarOfFixedWidth) {
  EXPECT_EQ(RenderProgress("prefill", 0.5),
            "prefill [####################....................]  50 %");
  EXPECT_THAT(RenderProgress("x", -1), HasSubstr("]   0 %"));
  EXPECT_THAT(RenderProgress("x", 7), HasSubstr("] 100 %"));
  EXPECT_THAT(RenderProgress("x", 0.0 / 0.0), HasSubstr("]   0 %"));
  EXPECT_LE(RenderProgress(std::string(99, 'x'), 1).size(), 60u);
}

TEST(EventToJsonTest, HasOneFormForEachEvent) {
  v1::GenerateResponse event;
  event.mutable_prefill()->set_processed_tokens(3);
  event.mutable_prefill()->set_total_tokens(4);
  EXPECT_EQ(EventToJson(event).dump(),
            R"({"event":"prefill","processed_tokens":3,"total_tokens":4})");
  event.mutable_generated()->set_text("a");
  event.mutable_generated()->add_tokens()->set_token(5);
  event.mutable_generated()->add_top_logprobs()->add_alternatives()->set_token(
      6);
  EXPECT_EQ(
      EventToJson(event).dump(),
      R"({"event":"text","text":"a","tokens":[{"token":5,"logprob":0.0,)"
      R"("text":"","top_logprobs":[{"token":6,"logprob":0.0,"text":""}]}]})");
  event.mutable_finished()->set_reason(v1::FINISH_REASON_STOP);
  EXPECT_EQ(EventToJson(event)["reason"], "stop");
  event.mutable_finished()->set_reason(v1::FINISH_REASON_LENGTH);
  EXPECT_EQ(EventToJson(event)["reason"], "length");
}

}  // namespace
}  // namespace headwise
