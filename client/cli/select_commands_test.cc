// Data selection as a person uses it: the whole program with a tiny model,
// alone and against a server on a socket.

#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/program_log.h"
#include "client/cli/command_test_folder.h"
#include "client/cli/local_server.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/files/test_model_writer.h"
#include "model/head_plan/head_plan_check.h"
#include "model/head_scores/head_scores_json.h"
#include "nlohmann/json.hpp"
#include "proto/head_plan_file.h"

namespace headwise {
namespace {

namespace fs = std::filesystem;

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;
using Json = nlohmann::json;

constexpr int kNumDocuments = 12;

class SelectCommandsTest : public CommandTestFolder {
 protected:
  SelectCommandsTest() {
    LogToStderr({.level = "warn"});  // stdout is read
    EXPECT_TRUE(WriteFile(Path("m.gguf"), WriteTinyGguf({})).ok());
    auto model = Model::Open(Path("m.gguf"));
    EXPECT_TRUE(model.ok()) << model.status();
    HeadPlan plan =
        DefaultHeadPlan((*model)->hyperparameters(), (*model)->Sha256());
    plan.heads[3].mask = HeadMask::kUniform;
    EXPECT_TRUE(WriteHeadPlanFile(plan, Path("masked.json")).ok());
    fs::create_directories(Path("corpus"));
    std::ofstream file(Path("corpus/documents.jsonl"));
    for (int i = 0; i < kNumDocuments; ++i) file << Line(i) << "\n";
    file << "{\"id\": \"broken\n";
  }

  static std::string Line(int i) {
    std::string text = "a cat sat on a mat and a dog sat on the cat";
    for (int k = 0; k < i; ++k) absl::StrAppend(&text, " and mat ", k * i);
    return Json({{"id", absl::StrCat("d", i)},
                 {"domain", i % 2 == 0 ? "even" : "odd"},
                 {"text", text}})
        .dump();
  }

  std::string ModelFlags() const {
    return "-m " + Path("m.gguf") + " -t 1 --context 512 --plan " +
           Path("masked.json") + " ";
  }
  std::string RunJob(const std::string& out, const std::string& flags = "") {
    return Run(absl::StrCat(
        "select run ", ModelFlags(), "--input ", Path("corpus"), " --out ",
        Path(out), " --min-tokens 8 ", "--shard-bytes 4096 --json ", flags));
  }
  static std::vector<Json> Lines(const std::string& text) {
    std::vector<Json> lines;
    for (const auto line : absl::StrSplit(text, '\n', absl::SkipEmpty())) {
      lines.push_back(Json::parse(std::string(line), nullptr, false));
    }
    return lines;
  }
  static std::string Read(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    return std::string(std::istreambuf_iterator<char>(file), {});
  }
  // Bytes of all files of a job, by name.
  std::map<std::string, std::string> Files(const std::string& out) const {
    std::map<std::string, std::string> files;
    for (const auto& entry : fs::recursive_directory_iterator(Path(out))) {
      if (!entry.is_regular_file()) continue;
      files[entry.path().lexically_relative(Path(out))] = Read(entry.path());
    }
    return files;
  }
};

TEST_F(SelectCommandsTest, AJobRunsAndIsLookedAt) {
  const Json job = Json::parse(RunJob("scores"), nullptr, false);
  ASSERT_TRUE(job.is_object());
  EXPECT_EQ(job["state"], "DONE");
  EXPECT_EQ(job["documents"], kNumDocuments + 1);
  EXPECT_EQ(job["scored"], kNumDocuments);
  EXPECT_EQ(job["ranked"], kNumDocuments);
  EXPECT_EQ(job["flags"]["broken_record"], 1);
  EXPECT_THAT(job["masked_heads"], ElementsAre("0.3"));
  EXPECT_EQ(Files("scores").size(), 3u);

  const std::string top = "select top --out " + Path("scores");
  const std::vector<Json> best = Lines(Run(top + " --count 2"));
  ASSERT_EQ(best.size(), 4u);
  EXPECT_EQ(best[0]["domain"], "even");
  EXPECT_EQ(best[1]["rank"], 2);
  EXPECT_GE(best[0]["score"], best[1]["score"]);
  EXPECT_EQ(best[2]["domain"], "odd");
  EXPECT_EQ(Lines(Run(top + " --fraction 1")).size(), size_t{kNumDocuments});
  EXPECT_EQ(Lines(Run(top + " --tokens 0")).size(), 0u);
  EXPECT_EQ(Lines(Run(top + " --count 9 --only-domains odd")).size(), 6u);
  EXPECT_THAT(Run(top), StartsWith("usage: "));
  EXPECT_THAT(Run(top + " --count 1 --fraction 0.1"), StartsWith("usage: "));

  const std::string page = Path("report.html");
  EXPECT_EQ(Run("select report --out " + Path("scores") + " --input " +
                Path("corpus") + " --html " + page + " --examples 2"),
            "");
  EXPECT_THAT(Read(page),
              AllOf(HasSubstr("a cat sat on a mat"), HasSubstr("broken_record"),
                    HasSubstr("even"), HasSubstr("best 20 % of each domain"),
                    HasSubstr("Rank correlation with repetition")));
  // Another corpus is not taken for the job's.
  fs::create_directories(Path("other"));
  std::ofstream(Path("other/documents.jsonl")) << Line(3) << "\n";
  EXPECT_THAT(Run("select report --out " + Path("scores") + " --input " +
                  Path("other") + " --html " + page),
              StartsWith("error: "));
}

TEST_F(SelectCommandsTest, AStoppedRunIsLookedAtInItsBooks) {
  EXPECT_THAT(Run("select status --out " + Path("scores")),
              HasSubstr("holds no jobs.sqlite"));
  const Json job = Json::parse(RunJob("scores"), nullptr, false);
  ASSERT_TRUE(job.is_object());
  const std::string id = std::string(job["job_id"]).substr(0, 12);
  EXPECT_THAT(Run("select status --out " + Path("scores")),
              AllOf(HasSubstr(id), HasSubstr("DONE"), HasSubstr("scores")));
  Json told = Json::parse(
      Run("select status --json " + id + " --out " + Path("scores")), nullptr,
      false);
  ASSERT_TRUE(told.is_object()) << told;
  // Its last second may be booked after it was told.
  told["running_seconds"] = job["running_seconds"];
  EXPECT_EQ(told, job);
  EXPECT_THAT(
      Run("select status --json --selection-state " + Path("scores.state")),
      HasSubstr(std::string(job["result_sha256"])));
  EXPECT_THAT(Run("select status"), StartsWith("usage: "));
  EXPECT_THAT(Run("select status --watch --out " + Path("scores")),
              StartsWith("usage: "));
  EXPECT_THAT(Run("select status 01234567 --out " + Path("scores")),
              StartsWith("error: "));
}

TEST_F(SelectCommandsTest, FilesAreEqualWhateverRanThem) {
  ASSERT_THAT(RunJob("one"), HasSubstr("DONE"));
  ASSERT_THAT(RunJob("two", "--local-workers 2 --prefill-chunk 7"),
              HasSubstr("DONE"));
  EXPECT_EQ(Files("one"), Files("two"));
  // The same command again finds the job done, and other flags another job.
  ASSERT_THAT(RunJob("one"), HasSubstr("DONE"));
  EXPECT_EQ(Files("one"), Files("two"));
  EXPECT_THAT(RunJob("one", "--max-tokens 9"), StartsWith("error: "));
  // Bits that are others' are another job's, or no job's.
  EXPECT_THAT(RunJob("one", "--kv-type fp32"), StartsWith("error: "));
  EXPECT_THAT(RunJob("three", "--reduction fast"),
              HasSubstr("--reduction fast"));
}

TEST_F(SelectCommandsTest, StreamedRowsAreThoseOfAJob) {
  ASSERT_THAT(RunJob("scores"), HasSubstr("DONE"));
  const std::vector<Json> ranked =
      Lines(Run("select top --fraction 1 --out " + Path("scores")));
  const std::vector<Json> rows =
      Lines(Run("select score " + ModelFlags() + "--min-tokens 8 " +
                Path("corpus/documents.jsonl")));
  ASSERT_EQ(rows.size(), size_t{kNumDocuments} + 1);
  for (int i = 0; i < kNumDocuments; ++i) {
    EXPECT_EQ(rows[i]["doc_id"], absl::StrCat("d", i));
    const auto same = [&](Json row) {
      row.erase("rank");
      return row == rows[i];
    };
    EXPECT_EQ(std::count_if(ranked.begin(), ranked.end(), same), 1) << rows[i];
  }
  EXPECT_THAT(rows.back()["flags"], ElementsAre("broken_record", "made_up_id"));
  EXPECT_THAT(std::string(rows.back()["doc_id"]),
              HasSubstr("documents.jsonl:13"));
  EXPECT_TRUE(rows.back()["score"].is_null());
}

TEST_F(SelectCommandsTest, DetectMasksTheBestHeadsOfScores) {
  auto model = Model::Open(Path("m.gguf"));
  ASSERT_TRUE(model.ok()) << model.status();
  const Hyperparameters& hyper = (*model)->hyperparameters();
  HeadScores scores;
  scores.model_sha256 = (*model)->Sha256();
  scores.method = "retrieval";
  scores.num_layers = hyper.num_layers;
  scores.num_heads = hyper.num_heads;
  scores.num_kv_heads = hyper.num_kv_heads;
  scores.units.assign(hyper.num_layers * hyper.num_kv_heads, 0.0);
  scores.heads.assign(hyper.num_layers * hyper.num_heads, 0.0);
  scores.heads[5] = 0.7;
  std::ofstream(Path("scores.json")) << HeadScoresToJson(scores).dump();
  const std::string out =
      Run("select detect --from-scores " + Path("scores.json") +
          " --mask-top 0.1 -o " + Path("p.json"));
  ASSERT_THAT(out, Not(StartsWith("error: ")));
  ASSERT_THAT(out, Not(StartsWith("usage: ")));
  const auto plan = ReadHeadPlanFile(Path("p.json"));
  ASSERT_TRUE(plan.ok()) << plan.status();
  for (size_t i = 0; i < plan->heads.size(); ++i) {
    EXPECT_EQ(plan->heads[i].mask == HeadMask::kUniform, i == 5) << i;
  }
  EXPECT_THAT(Run("select detect -o p.json"), StartsWith("usage: "));
  EXPECT_THAT(Run("select detect -o p.json -m x --keep 0.1"),
              StartsWith("usage: "));
}

TEST_F(SelectCommandsTest, WithoutAPlanTheErrorSaysHowToMakeOne) {
  const std::string flags = "-m " + Path("m.gguf") + " ";
  EXPECT_THAT(Run("select run " + flags + "--input " + Path("corpus") +
                  " --out " + Path("scores")),
              HasSubstr("headwise select detect"));
  EXPECT_THAT(Run("select score " + flags + Path("corpus/documents.jsonl")),
              HasSubstr("headwise select detect"));
  EXPECT_FALSE(fs::exists(Path("scores")));
  EXPECT_THAT(RunJob("scores", "--server x:1"), StartsWith("usage: "));
}

TEST_F(SelectCommandsTest, AServersJobsAreListedPausedAndResumed) {
  LocalServerOptions options;
  options.cluster.model = Path("m.gguf");
  options.cluster.threads = 1;
  options.cluster.context_len = 512;
  options.listen_address = "127.0.0.1:0";
  options.selection.state = Path("state");
  options.selection.inputs = {{"corpus", Path("corpus")}};
  options.selection.output = Path("out");
  fs::create_directories(Path("out"));
  const auto server = LocalServer::Create(options);
  ASSERT_TRUE(server.ok()) << server.status();
  const std::string at =
      absl::StrCat(" --server 127.0.0.1:", (*server)->frontends().port());
  const Json job = Json::parse(
      Run("select run --json --min-tokens 8 --input corpus --out mine --plan " +
          Path("masked.json") + at),
      nullptr, false);
  ASSERT_TRUE(job.is_object());
  EXPECT_EQ(job["state"], "DONE");
  EXPECT_TRUE(fs::exists(Path("out/mine/result.json")));
  const std::string id = std::string(job["job_id"]).substr(0, 12);
  EXPECT_THAT(Run("select status" + at),
              AllOf(HasSubstr(id), HasSubstr("DONE")));
  EXPECT_THAT(Run("select status " + id + at), HasSubstr("even"));
  EXPECT_THAT(Run("select pause " + id + at), StartsWith("error: "));
  EXPECT_THAT(Run("select cancel " + id + at), HasSubstr("DONE"));
  EXPECT_EQ(Lines(Run("select top --job " + id + " --count 1" + at)).size(),
            2u);
  EXPECT_THAT(Run("select status 0123456789" + at), StartsWith("error: "));
}

}  // namespace
}  // namespace headwise
