#include "server/selection/job_manifest.h"

#include <algorithm>
#include <cmath>
#include <functional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace headwise {
namespace {

using ::testing::HasSubstr;

JobManifest Manifest() {
  JobManifest manifest;
  manifest.model_sha256 = std::string(64, 'a');
  manifest.masked_plan_sha256 = std::string(64, 'b');
  manifest.masked_heads = {"18.6", "0.0"};
  manifest.scoring.window = 2048;
  manifest.ranking.domains = {"web", "ma\"th"};
  manifest.input.root = "corpus";
  manifest.input.paths = {"a,\"shards\":[", "b/\xc3\xa9"};
  for (int64_t i = 0; i < 3; ++i) {
    manifest.shards.push_back(
        {.index = i,
         .pieces = {{"a.jsonl", i * 10, i * 10 + 10, std::string(64, 'c')},
                    {"b,\n", 0, 5, std::string(64, 'd')}}});
  }
  return manifest;
}

TEST(JobManifest, ReadsBackWhatItWrites) {
  const std::string text = ManifestJson(Manifest());
  const auto read = ParseManifest(text);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_EQ(ManifestJson(*read), text);
  EXPECT_EQ(read->shards.size(), 3u);
  EXPECT_EQ(read->shards[2].pieces, Manifest().shards[2].pieces);
  EXPECT_EQ(read->ranking.min_loss, 0.2);
  EXPECT_EQ(read->input.paths, Manifest().input.paths);
}

TEST(JobManifest, IsJsonWithALineForEachShard) {
  const std::string text = ManifestJson(Manifest());
  const auto json = nlohmann::json::parse(text);
  EXPECT_EQ(json["version"], 1);
  EXPECT_EQ(json["shards"].size(), 3u);
  EXPECT_EQ(json["shards"][1]["pieces"][0]["begin"], 10);
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3 + 2);
}

TEST(JobManifest, HeadLeavesTheShardsOut) {
  const std::string head = ManifestHeadJson(Manifest());
  EXPECT_EQ(head.find('\n'), std::string::npos);
  const auto read = ParseManifest(head);
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(read->shards.empty());
  EXPECT_EQ(ManifestHeadJson(*read), head);
}

TEST(JobManifest, NoShardsAreLegal) {
  JobManifest manifest = Manifest();
  manifest.shards.clear();
  const auto read = ParseManifest(ManifestJson(manifest));
  ASSERT_TRUE(read.ok()) << read.status();
  EXPECT_TRUE(read->shards.empty());
}

TEST(JobManifest, EachFieldChangesTheId) {
  const std::vector<std::function<void(JobManifest&)>> changes = {
      [](JobManifest& m) { m.model_sha256[5] = 'e'; },
      [](JobManifest& m) { m.tokenizer_sha256 = std::string(64, '1'); },
      [](JobManifest& m) { m.masked_plan_sha256[5] = 'e'; },
      [](JobManifest& m) { m.masked_heads.pop_back(); },
      [](JobManifest& m) { m.mask = "zero"; },
      [](JobManifest& m) { m.kv_type = "int8"; },
      [](JobManifest& m) { m.numerics = 2; },
      [](JobManifest& m) { m.scoring.window = 1024; },
      [](JobManifest& m) { m.scoring.max_tokens = 7; },
      [](JobManifest& m) { m.scoring.skip_tokens = 2; },
      [](JobManifest& m) { m.ranking.min_tokens = 1; },
      [](JobManifest& m) { m.ranking.min_loss = 0.25; },
      [](JobManifest& m) { m.ranking.max_repetition = 0.5; },
      [](JobManifest& m) { m.ranking.domains.clear(); },
      [](JobManifest& m) { m.input.root = "other"; },
      [](JobManifest& m) { m.input.paths.clear(); },
      [](JobManifest& m) { m.input.id_field = "x"; },
      [](JobManifest& m) { m.input.text_field = "x"; },
      [](JobManifest& m) { m.input.domain_field = "x"; },
      [](JobManifest& m) { m.input.domain = "x"; },
      [](JobManifest& m) { m.input.max_document_bytes = 100; },
      [](JobManifest& m) { m.input.shard_bytes = 100; },
      [](JobManifest& m) { m.shards.pop_back(); },
      [](JobManifest& m) { m.shards[0].pieces[0].sha256[0] = '0'; },
      [](JobManifest& m) { m.shards[0].pieces[0].end = 9; },
  };
  std::vector<std::string> ids = {JobId(Manifest())};
  EXPECT_EQ(ids[0], JobId(Manifest()));
  for (const auto& change : changes) {
    JobManifest manifest = Manifest();
    change(manifest);
    ASSERT_TRUE(CheckManifest(manifest).ok()) << CheckManifest(manifest);
    ids.push_back(JobId(manifest));
  }
  std::sort(ids.begin(), ids.end());
  EXPECT_EQ(std::unique(ids.begin(), ids.end()), ids.end());
}

TEST(JobManifest, FieldsOutOfRangeAreNamed) {
  const std::vector<std::pair<std::string, std::function<void(JobManifest&)>>>
      changes = {
          {"model_sha256", [](JobManifest& m) { m.model_sha256 = "abc"; }},
          {"tokenizer_sha256",
           [](JobManifest& m) { m.tokenizer_sha256 = std::string(64, 'A'); }},
          {"masked_plan_sha256",
           [](JobManifest& m) { m.masked_plan_sha256.clear(); }},
          {"masked_heads", [](JobManifest& m) { m.masked_heads = {"1"}; }},
          {"masked_heads", [](JobManifest& m) { m.masked_heads = {"1.02"}; }},
          {"mask", [](JobManifest& m) { m.mask = "none"; }},
          {"mask", [](JobManifest& m) { m.mask = "mean"; }},
          {"kv_type", [](JobManifest& m) { m.kv_type = "fp8"; }},
          {"numerics", [](JobManifest& m) { m.numerics = 0; }},
          {"window", [](JobManifest& m) { m.scoring.window = 0; }},
          {"skip_tokens", [](JobManifest& m) { m.scoring.skip_tokens = 0; }},
          {"skip_tokens", [](JobManifest& m) { m.scoring.skip_tokens = 2048; }},
          {"max_tokens", [](JobManifest& m) { m.scoring.max_tokens = -1; }},
          {"min_tokens", [](JobManifest& m) { m.ranking.min_tokens = -1; }},
          {"min_loss", [](JobManifest& m) { m.ranking.min_loss = -0.5; }},
          {"min_loss", [](JobManifest& m) { m.ranking.min_loss = NAN; }},
          {"max_repetition",
           [](JobManifest& m) { m.ranking.max_repetition = 1.5; }},
          {"max_repetition",
           [](JobManifest& m) { m.ranking.max_repetition = NAN; }},
          {"domains",
           [](JobManifest& m) { m.ranking.domains.assign(300, "x"); }},
          {"domains", [](JobManifest& m) { m.ranking.domains = {"\xff"}; }},
          {"text_field", [](JobManifest& m) { m.input.text_field = ""; }},
          {"index", [](JobManifest& m) { m.shards[1].index = 2; }},
          {"end", [](JobManifest& m) { m.shards[1].pieces[0].end = 3; }},
      };
  for (const auto& [field, change] : changes) {
    JobManifest manifest = Manifest();
    change(manifest);
    const absl::Status status = CheckManifest(manifest);
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << field;
    EXPECT_THAT(std::string(status.message()), HasSubstr(field));
  }
}

TEST(JobManifest, OtherTextsAreRefused) {
  const std::string text = ManifestJson(Manifest());
  for (size_t size = 0; size < text.size(); size += 7) {
    EXPECT_TRUE(absl::IsDataLoss(ParseManifest(text.substr(0, size)).status()))
        << size;
  }
  EXPECT_TRUE(absl::IsDataLoss(ParseManifest(text + "\n").status()));
  EXPECT_TRUE(absl::IsDataLoss(ParseManifest(" " + text).status()));
  EXPECT_TRUE(absl::IsDataLoss(ParseManifest("[]").status()));
  EXPECT_TRUE(absl::IsDataLoss(ParseManifest("{\"version\":2}").status()));
}

}  // namespace
}  // namespace headwise
