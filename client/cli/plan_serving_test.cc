// Head plans as a person uses them: the whole program with a tiny model, alone
// and against a server on a socket.

#include <cstdio>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/program_log.h"
#include "client/cli/command_test_folder.h"
#include "client/cli/local_server.h"
#include "client/cli/session.h"
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

class PlanServingTest : public CommandTestFolder {
 protected:
  PlanServingTest() {
    LogToStderr({.level = "warn"});  // stdout is read
    EXPECT_TRUE(WriteFile(Path("m.gguf"), WriteTinyGguf({})).ok());
    auto model = Model::Open(Path("m.gguf"));
    EXPECT_TRUE(model.ok()) << model.status();
    plan_ = DefaultHeadPlan((*model)->hyperparameters(), (*model)->Sha256());
  }

  // Of kText, under the flags.
  std::string LogitsHash(const std::string& flags) {
    const std::string out =
        Run(absl::StrCat("score --json --text '", kText, "' ", flags));
    const auto json =
        nlohmann::json::parse(out, nullptr, /*allow_exceptions=*/false);
    return json.is_object() ? json["logits_sha256"].get<std::string>() : out;
  }

  std::string Write(const std::string& name, const HeadPlan& plan) {
    EXPECT_TRUE(WriteHeadPlanFile(plan, Path(name)).ok());
    return Path(name);
  }
  HeadPlan Masked(size_t head) const {
    HeadPlan plan = plan_;
    plan.heads[head].mask = HeadMask::kZero;
    return plan;
  }
  // Contexts of any length in little memory.
  HeadPlan Endless() const {
    HeadPlan plan = plan_;
    for (UnitPolicy& unit : plan.units) {
      unit = {.kind = PolicyKind::kStreaming,
              .num_sinks = 4,
              .window = 64,
              .slot_positions = true};
    }
    return plan;
  }

  std::unique_ptr<LocalServer> Serve(const HeadPlan* default_plan = nullptr) {
    LocalServerOptions options;
    options.cluster.model = Path("m.gguf");
    options.cluster.threads = 1;
    options.cluster.context_len = 4096;
    options.listen_address = "127.0.0.1:0";
    if (default_plan != nullptr) {
      options.default_plan = std::make_shared<const HeadPlan>(*default_plan);
    }
    auto server = LocalServer::Create(options);
    EXPECT_TRUE(server.ok()) << server.status();
    return *std::move(server);
  }
  static std::string At(LocalServer& server) {
    return absl::StrCat("--server 127.0.0.1:", server.frontends().port());
  }

  HeadPlan plan_;  // every unit full
};

TEST_F(PlanServingTest, APlanChangesTheBitsHoweverItIsNamed) {
  const HeadPlan masked = Masked(3);
  const std::string file = Write("masked.json", masked);
  const std::string alone = "-m " + Path("m.gguf") + " -t 1 --context 512 ";
  const std::string full = LogitsHash(alone);
  ASSERT_EQ(full.size(), 64u) << full;
  const std::string cut = LogitsHash(alone + "--plan " + file);
  ASSERT_EQ(cut.size(), 64u) << cut;
  EXPECT_NE(cut, full);
  EXPECT_EQ(LogitsHash(alone + "--plan full"), full);
  EXPECT_EQ(LogitsHash(alone + "--plan " + Write("full.plan", plan_)), full);

  const auto server = Serve();
  const std::string at = At(*server);
  EXPECT_THAT(LogitsHash(at + " --plan " + HeadPlanHash(masked)),
              HasSubstr("is stored here"));
  EXPECT_EQ(LogitsHash(at + " --plan " + file), cut);
  EXPECT_EQ(LogitsHash(at + " --plan " + HeadPlanHash(masked).substr(0, 8)),
            cut);
  EXPECT_EQ(LogitsHash(at), full);  // put, not applied
}

TEST_F(PlanServingTest, ApplyMakesADefaultAndTellsWhatChanges) {
  const HeadPlan endless = Endless();
  const std::string file = Write("endless.json", endless);
  const std::string hash = HeadPlanHash(endless);
  const auto server = Serve();
  const std::string at = At(*server);
  const std::string full = LogitsHash(at);
  EXPECT_THAT(Run("plan list " + at), HasSubstr("* full: the default"));
  const std::string said = Run("plan apply " + file + " " + at);
  EXPECT_THAT(said, StartsWith("default plan     full\n              -> " +
                               hash + "\n"));
  // Full: 512 positions x 4 units x 64 bytes. Streaming: two or three blocks.
  EXPECT_THAT(said, HasSubstr("KV of 512 tokens  128.0 KiB -> "));
  EXPECT_THAT(Run("plan list " + at), HasSubstr("* " + hash.substr(0, 16)));
  EXPECT_THAT(Run("plan delete " + hash + " " + at),
              HasSubstr("is the default plan"));
  const auto json = nlohmann::json::parse(Run("plan list --json " + at));
  EXPECT_EQ(json["default_plan"], hash);
  EXPECT_EQ(json["plans"][0]["num_full_units"], 0);
  // 44 bytes are within the window.
  EXPECT_EQ(LogitsHash(at).size(), 64u);
  EXPECT_THAT(Run("plan apply full " + at), HasSubstr("-> full\n"));
  EXPECT_EQ(LogitsHash(at), full);
  EXPECT_EQ(Run("plan delete " + hash.substr(0, 8) + " " + at), "");
  EXPECT_THAT(Run("plan apply " + hash + " " + at),
              HasSubstr("is stored here"));
}

TEST_F(PlanServingTest, AServersOwnPlanIsOfRequestsThatNameNone) {
  const HeadPlan masked = Masked(0);
  const std::string file = Write("masked.plan", masked);
  const std::string cut =
      LogitsHash("-m " + Path("m.gguf") + " -t 1 --context 512 --plan " + file);
  const auto server = Serve(&masked);
  EXPECT_EQ(LogitsHash(At(*server)), cut);
  EXPECT_NE(LogitsHash(At(*server) + " --plan full"), cut);
}

TEST_F(PlanServingTest, APlanForAnotherModelIsRefusedByName) {
  HeadPlan other = plan_;
  other.model_sha256 = std::string(64, '0');
  const std::string file = Write("other.plan", other);
  const std::string refusal = "model_sha256: the plan is for model 0000";
  EXPECT_THAT(LogitsHash("-m " + Path("m.gguf") + " --plan " + file),
              HasSubstr(refusal));
  LocalServerOptions options;  // as of `serve --plan`
  options.cluster.model = Path("m.gguf");
  options.default_plan = std::make_shared<const HeadPlan>(other);
  EXPECT_THAT(std::string(LocalServer::Create(options).status().message()),
              HasSubstr(refusal));
  const auto server = Serve();
  EXPECT_THAT(LogitsHash(At(*server) + " --plan " + file), HasSubstr(refusal));
  EXPECT_THAT(Run("plan apply " + file + " " + At(*server)),
              HasSubstr(refusal));
  EXPECT_THAT(LogitsHash(At(*server) + " --plan nothing.json"),
              HasSubstr("nothing.json is neither a file nor"));
}

// The model has 512 tokens of context.
TEST_F(PlanServingTest, PromptsBeyondTheModelsContextRunUnderSuchAPlan) {
  std::string text;
  for (int i = 0; i < 400; ++i) absl::StrAppend(&text, i, " cats, ");
  ASSERT_TRUE(WriteFile(Path("long.txt"), text).ok());
  const std::string file = Write("endless.json", Endless());
  const std::string line = "score --json --text-file " + Path("long.txt") +
                           " -m " + Path("m.gguf") + " -t 1 --context 4096 ";
  EXPECT_THAT(Run(line), HasSubstr("at most 512 fit into the context"));
  const std::string chunked = Run(line + "--plan " + file);
  const auto json = nlohmann::json::parse(chunked, nullptr, false);
  ASSERT_TRUE(json.is_object()) << chunked;
  EXPECT_GT(json["tokens"], 1000);
  EXPECT_EQ(nlohmann::json::parse(Run(line +
                                      "--prefill-chunk 100 "
                                      "--local-workers 2 --plan " +
                                      file))["logits_sha256"],
            json["logits_sha256"]);
}

// Generations under two plans at once, in the same steps, and each alone.
TEST_F(PlanServingTest, PlansInOneBatchGiveTheTextOfEachAlone) {
  const auto server = Serve();
  ClusterFlags flags;
  flags.server = absl::StrCat("127.0.0.1:", server->frontends().port());
  std::vector<std::string> names;
  for (const HeadPlan& plan : {plan_, Masked(1), Masked(6), Endless()}) {
    flags.plan = Write(absl::StrCat(names.size(), ".plan"), plan);
    const auto session = Session::Open(flags);
    ASSERT_TRUE(session.ok()) << session.status();
    names.push_back((*session)->plan());
  }
  flags.plan.clear();
  const auto session = Session::Open(flags);
  ASSERT_TRUE(session.ok());
  const auto text_under = [&](const std::string& plan) {
    v1::GenerateRequest request;
    request.set_text(kText);
    request.set_plan(plan);
    request.mutable_options()->set_max_tokens(48);
    request.mutable_options()->set_ignore_eos(true);
    std::string text;
    const absl::Status status = (*session)->client().Generate(
        request, [&](const v1::GenerateResponse& event) {
          text += event.generated().text();
          return true;
        });
    return status.ok() ? text : status.ToString();
  };
  std::vector<std::string> alone, together(names.size());
  for (const std::string& name : names) alone.push_back(text_under(name));
  std::vector<std::thread> threads;
  for (size_t i = 0; i < names.size(); ++i) {
    threads.emplace_back([&, i] { together[i] = text_under(names[i]); });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(together, alone);
  EXPECT_NE(alone[0], alone[1]);
}

}  // namespace
}  // namespace headwise
