// Sessions as a person uses them: the whole program against a server on a
// socket.

#include <string>

#include "absl/strings/str_cat.h"
#include "base/program_log.h"
#include "client/cli/command_test_folder.h"
#include "client/cli/local_server.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/files/test_model_writer.h"
#include "model/head_plan/head_plan_check.h"
#include "model/head_plan/head_plan_hash.h"
#include "nlohmann/json.hpp"
#include "proto/head_plan_file.h"

namespace headwise {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr char kText[] = "a cat sat on a mat and a dog sat on the cat";

class PromptSessionCommandTest : public CommandTestFolder {
 protected:
  PromptSessionCommandTest() {
    LogToStderr({.level = "warn"});  // stdout is read
    EXPECT_TRUE(WriteFile(Path("m.gguf"), WriteTinyGguf({})).ok());
    EXPECT_TRUE(WriteFile(Path("text"), kText).ok());
    EXPECT_TRUE(WriteFile(Path("none"), "").ok());
    std::filesystem::create_directories(Path("parked"));
    LocalServerOptions options;
    options.cluster.model = Path("m.gguf");
    options.cluster.threads = 1;
    options.cluster.context_len = 4096;
    options.listen_address = "127.0.0.1:0";
    options.park_dir = Path("parked");
    auto server = LocalServer::Create(options);
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  // `headwise session LINE` at the server.
  std::string AtServer(const std::string& line) {
    return Run(absl::StrCat(
        "session ", line, " --server 127.0.0.1:", server_->frontends().port()));
  }
  nlohmann::json Json(const std::string& line) {
    const std::string out = AtServer(line + " --json");
    auto json = nlohmann::json::parse(out, nullptr, /*allow_exceptions=*/false);
    EXPECT_TRUE(json.is_object()) << out;
    return json.is_object() ? json : nlohmann::json::object();
  }
  std::string Generate(const std::string& prompt) {
    return Run(
        absl::StrCat("generate -n 8 --ignore-eos --prompt '", prompt,
                     "' --server 127.0.0.1:", server_->frontends().port()));
  }

  std::unique_ptr<LocalServer> server_;
};

TEST_F(PromptSessionCommandTest, QuestionsGoOnFromATextThatStays) {
  const auto opened = Json("open --text-file " + Path("text"));
  EXPECT_EQ(opened["state"], "ready");
  EXPECT_EQ(opened["plan"], "full");
  EXPECT_GT(opened["num_tokens"], 0);
  const std::string id = opened["session_id"];
  const std::string ask = "ask " + id + " -n 8 --ignore-eos --prompt ' a mat'";
  const std::string answer = AtServer(ask);
  EXPECT_EQ(answer, Generate(absl::StrCat(kText, " a mat")));
  EXPECT_EQ(AtServer(ask), answer);  // the session is as it was
  EXPECT_EQ(Json("show " + id)["num_tokens"], opened["num_tokens"]);
  EXPECT_THAT(AtServer(ask + " --json"), HasSubstr("\"event\":\"finished\""));

  const auto longer = Json("upload " + id + " --text ' a mat'");
  EXPECT_EQ(longer["session_id"], id);
  EXPECT_GT(longer["num_tokens"], opened["num_tokens"]);
  EXPECT_THAT(AtServer("list"), HasSubstr(id));
  EXPECT_EQ(Json("list")["sessions"].size(), 1u);
  EXPECT_EQ(AtServer("delete " + id), "");
  EXPECT_EQ(Json("list")["sessions"].size(), 0u);
  EXPECT_THAT(AtServer("show " + id), HasSubstr("no session"));
}

// Two pieces of a text beyond the model's context, under a plan for that.
TEST_F(PromptSessionCommandTest, PiecesGiveTheTokensOfTheWholeText) {
  std::string text;
  while (text.size() < 34'000) absl::StrAppend(&text, kText, "\n");
  ASSERT_TRUE(WriteFile(Path("long"), text).ok());
  auto model = Model::Open(Path("m.gguf"));
  ASSERT_TRUE(model.ok()) << model.status();
  HeadPlan plan =
      DefaultHeadPlan((*model)->hyperparameters(), (*model)->Sha256());
  for (UnitPolicy& unit : plan.units) {
    unit = {.kind = PolicyKind::kStreaming,
            .num_sinks = 4,
            .window = 64,
            .slot_positions = true};
  }
  ASSERT_TRUE(WriteHeadPlanFile(plan, Path("plan.json")).ok());
  const auto opened =
      Json("open --text-file " + Path("long") + " --plan " + Path("plan.json"));
  EXPECT_EQ(opened["plan"], HeadPlanHash(plan));
  const auto whole =
      nlohmann::json::parse(Run("tokenize --json --text-file " + Path("long") +
                                " -m " + Path("m.gguf")),
                            nullptr, /*allow_exceptions=*/false);
  ASSERT_TRUE(whole.is_object());
  EXPECT_GT(whole["ids"].size(), 1000u);
  EXPECT_EQ(opened["num_tokens"], whole["ids"].size());
}

TEST_F(PromptSessionCommandTest, AParkedSessionComesBackTheSame) {
  const std::string id =
      Json("open --text '" + std::string(kText) + "'")["session_id"];
  const std::string ask = "ask " + id + " -n 8 --ignore-eos --prompt ' a'";
  const std::string answer = AtServer(ask);
  EXPECT_EQ(Json("park " + id)["state"], "parked");
  EXPECT_THAT(AtServer("show " + id), HasSubstr("parked"));
  EXPECT_THAT(AtServer(ask), HasSubstr("is parked; Resume comes first"));
  EXPECT_EQ(Json("resume " + id)["state"], "ready");
  EXPECT_EQ(AtServer(ask), answer);
}

TEST_F(PromptSessionCommandTest, SessionsAreTheTenants) {
  const std::string id = Json("open --tenant ann --text 'a cat'")["session_id"];
  EXPECT_THAT(AtServer("show " + id), HasSubstr("no session"));
  EXPECT_EQ(Json("show " + id + " --tenant ann")["session_id"], id);
}

TEST_F(PromptSessionCommandTest, BadUseIsRefusedByName) {
  EXPECT_THAT(Run("session open --server h:1"), StartsWith("usage: "));
  EXPECT_THAT(Run("session open --text a"), HasSubstr("--server"));
  EXPECT_THAT(Run("session ask --server h:1 --prompt a"), HasSubstr("session"));
  EXPECT_THAT(AtServer("open --text-file " + Path("none")),
              HasSubstr("the text is empty"));
  EXPECT_THAT(AtServer("open --text a --plan 01234567"),
              HasSubstr("is stored here"));
  EXPECT_THAT(AtServer("upload 0123 --text a"), HasSubstr("no session"));
  EXPECT_EQ(Json("list")["sessions"].size(), 0u);
}

}  // namespace
}  // namespace headwise
