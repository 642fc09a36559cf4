// Titans models as a person uses them: the whole program with a tiny model of
// every variant, alone and against a server on a socket.

#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/program_log.h"
#include "client/cli/command_test_folder.h"
#include "client/cli/local_server.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/files/test_model_writer.h"
#include "model/files/test_titans.h"
#include "model/head_plan/head_plan_check.h"
#include "nlohmann/json.hpp"
#include "proto/head_plan_file.h"

namespace headwise {
namespace {

using testing::HasSubstr;

constexpr char kText[] =
    "a cat sat on a mat and a dog sat on the cat and a hen sat on the dog";

class TitansServingTest : public CommandTestFolder {
 protected:
  TitansServingTest() { LogToStderr({.level = "warn"}); }  // stdout is read

  void Write(TitansVariant variant) {
    std::filesystem::create_directories(Path("m"));
    std::filesystem::create_directories(Path("parked"));
    ASSERT_TRUE(WriteTinyFolder(TinyTitansOptions(variant), 1, Path("m")).ok());
  }
  std::unique_ptr<LocalServer> Serve(int local_workers,
                                     int64_t context_len = 4096) {
    LocalServerOptions options;
    options.cluster.model = Path("m");
    options.cluster.local_workers = local_workers;
    options.cluster.threads = 1;
    options.cluster.context_len = context_len;
    options.listen_address = "127.0.0.1:0";
    options.park_dir = Path("parked");
    auto server = LocalServer::Create(options);
    EXPECT_TRUE(server.ok()) << server.status();
    return *std::move(server);
  }
  static std::string At(LocalServer& server) {
    return absl::StrCat(" --server 127.0.0.1:", server.frontends().port());
  }
  std::string LogitsHash(const std::string& flags) {
    const std::string out =
        Run(absl::StrCat("score --json --text '", kText, "'", flags));
    const auto json =
        nlohmann::json::parse(out, nullptr, /*allow_exceptions=*/false);
    return json.is_object() ? json["logits_sha256"].get<std::string>() : out;
  }
  std::string Generate(const std::string& flags, const std::string& prompt) {
    return Run(absl::StrCat("generate -n 24 --ignore-eos --prompt '", prompt,
                            "'", flags));
  }
};

TEST_F(TitansServingTest, EveryVariantAnswersAlikeOnAnyCluster) {
  for (const TitansVariant variant : kTitansVariants) {
    SCOPED_TRACE(NameOf(variant));
    Write(variant);
    const std::string alone = " -t 1 --context 512 -m " + Path("m");
    const std::string expected = LogitsHash(alone);
    ASSERT_EQ(expected.size(), 64u) << expected;
    const std::string text = Generate(alone, kText);
    for (const int local_workers : {1, 3}) {
      const auto server = Serve(local_workers);
      EXPECT_EQ(LogitsHash(At(*server)), expected);
      EXPECT_EQ(Generate(At(*server), kText), text);
      EXPECT_EQ(server->engine().stats().kv_bytes_used,
                std::vector<int64_t>(static_cast<size_t>(local_workers), 0));
    }
  }
}

// Two sessions go on from one text, also after it was parked.
TEST_F(TitansServingTest, SessionsKeepTheMemory) {
  for (const TitansVariant variant :
       {TitansVariant::kMac, TitansVariant::kMal}) {
    SCOPED_TRACE(NameOf(variant));
    Write(variant);
    const auto server = Serve(/*local_workers=*/2, /*context_len=*/0);
    const std::string at = At(*server);
    const std::string expected =
        Generate(at, absl::StrCat(kText, " and the cow"));
    const auto opened = nlohmann::json::parse(
        Run(absl::StrCat("session open --json --text '", kText, "'", at)),
        nullptr, /*allow_exceptions=*/false);
    ASSERT_TRUE(opened.is_object());
    const std::string id = opened["session_id"];
    const std::string ask = absl::StrCat(
        "session ask ", id, " -n 24 --ignore-eos --prompt ' and the cow'", at);
    EXPECT_EQ(Run(ask), expected);
    EXPECT_EQ(Run(ask), expected);
    EXPECT_THAT(Run(absl::StrCat("session park --json ", id, at)),
                HasSubstr("parked"));
    EXPECT_THAT(Run(absl::StrCat("session resume --json ", id, at)),
                HasSubstr("ready"));
    EXPECT_EQ(Run(ask), expected);
  }
}

// A window and a memory are all that a context of any length takes.
TEST_F(TitansServingTest, ContextIsTheModelsWhateverTheMemory) {
  Write(TitansVariant::kMag);
  const auto server = Serve(/*local_workers=*/1, /*context_len=*/1024);
  EXPECT_THAT(Run("heads map --json" + At(*server)),
              HasSubstr(absl::StrCat(1 << 20)));
  const KvNeeds needs(
      KvGeometryOf(server->model().hyperparameters(), KvType::kFp16), {});
  const auto reserved = [&](int64_t length) {
    return needs.Reserved(nullptr, {.length = length, .prompt_len = length});
  };
  EXPECT_EQ(reserved(4096), reserved(1 << 20));
  const int64_t units = 2 * 4;
  EXPECT_GT(reserved(1)[0],
            units * server->model().hyperparameters().unit_state_bytes());
}

TEST_F(TitansServingTest, WhatTitansModelsHaveNotIsRefusedByName) {
  Write(TitansVariant::kMal);
  auto model = Model::Open(Path("m"));
  ASSERT_TRUE(model.ok()) << model.status();
  const HeadPlan plan =
      DefaultHeadPlan((*model)->hyperparameters(), (*model)->Sha256());
  ASSERT_TRUE(WriteHeadPlanFile(plan, Path("plan.json")).ok());
  const std::string alone = " -t 1 --context 512 -m " + Path("m");
  EXPECT_THAT(LogitsHash(alone + " --plan " + Path("plan.json")),
              HasSubstr("head plans of titans models"));
  EXPECT_THAT(LogitsHash(alone + " --local-workers 2 --ranks-per-context 2"),
              HasSubstr("titans models are not cut over ranks"));
  const auto server = Serve(1);
  EXPECT_THAT(Run("plan apply " + Path("plan.json") + At(*server)),
              HasSubstr("head plans of titans models"));
  EXPECT_THAT(
      Run("plan calibrate --method echo -o " + Path("out.json") + At(*server)),
      HasSubstr("titans"));
}

}  // namespace
}  // namespace headwise
