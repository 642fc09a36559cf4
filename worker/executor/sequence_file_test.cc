// Sequences go to files and come back with every bit, or not at all.

#include "worker/executor/sequence_file.h"

#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "worker/executor/executor_fixture.h"
#include "worker/executor/parking_fixture.h"

namespace headwise {
namespace {

TEST(SequenceFileTest, ParkedSequenceGoesOnWithEveryBit) {
  const TinyModel model(ParkModelOptions());
  Cluster whole(*model, 1, Options());
  const std::vector<Sha256Digest> expected = ScoreUnderPlan(whole, 0, 600);
  const auto rest = ScoreUnderPlan(whole, 600, 700);
  ASSERT_EQ(rest.size(), 100u);
  for (const int world_size : {1, 3}) {
    const ParkFolder folder;
    Cluster cluster(*model, world_size, folder.Use(Options()));
    EXPECT_EQ(ScoreUnderPlan(cluster, 0, 600), expected);
    const int64_t used = cluster.rank(0).kv_bytes_used();
    ASSERT_TRUE(ParkIn(cluster, ParkAction::kWrite).ok());
    EXPECT_EQ(cluster.rank(0).kv_bytes_used(), used);
    ASSERT_TRUE(ParkIn(cluster, ParkAction::kUnload).ok());
    EXPECT_EQ(cluster.rank(0).kv_bytes_used(), 0);
    EXPECT_EQ(folder.num_files(), world_size);
    // Other bits in the blocks that were its own.
    ScoreUnderPlan(cluster, 0, 650, /*sequence_id=*/2);
    ASSERT_TRUE(ParkIn(cluster, ParkAction::kRead).ok());
    ASSERT_TRUE(ParkIn(cluster, ParkAction::kErase).ok());
    EXPECT_EQ(folder.num_files(), 0);
    EXPECT_EQ(ScoreUnderPlan(cluster, 600, 700), rest) << world_size;
    FreeIn(cluster, 2);
    FreeIn(cluster, 1);
    EXPECT_EQ(cluster.rank(0).kv_bytes_used(), 0);
  }
}

TEST(SequenceFileTest, PartsOfACutContextComeBack) {
  const TinyModel model(ParkModelOptions());
  Cluster whole(*model, 1, Options());
  ScoreUnderPlan(whole, 0, 600);
  const auto rest = ScoreUnderPlan(whole, 600, 700);
  const ParkFolder folder;
  Cluster cluster(*model, 2, folder.Use(Options()), {0, 1, 1});
  ScoreUnderPlan(cluster, 0, 600);
  ASSERT_TRUE(ParkIn(cluster, ParkAction::kWrite).ok());
  ASSERT_TRUE(ParkIn(cluster, ParkAction::kUnload).ok());
  ASSERT_TRUE(ParkIn(cluster, ParkAction::kRead).ok());
  EXPECT_EQ(ScoreUnderPlan(cluster, 600, 700), rest);
}

TEST(SequenceFileTest, NothingIsParkedWithoutAFolderOrASequence) {
  const TinyModel model(ParkModelOptions());
  Cluster homeless(*model, 1, Options());
  ScoreUnderPlan(homeless, 0, 100);
  absl::Status status = ParkIn(homeless, ParkAction::kWrite);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(absl::StrContains(status.message(), "--park-dir")) << status;

  const ParkFolder folder;
  Cluster cluster(*model, 1, folder.Use(Options()));
  EXPECT_EQ(ParkIn(cluster, ParkAction::kWrite).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(ParkIn(cluster, ParkAction::kRead).code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(folder.num_files(), 0);
  ScoreUnderPlan(cluster, 0, 100);
  ASSERT_TRUE(ParkIn(cluster, ParkAction::kWrite).ok());
  status = ParkIn(cluster, ParkAction::kRead);
  EXPECT_TRUE(absl::StrContains(status.message(), "is here already"));
  EXPECT_EQ(ParkIn(cluster, ParkAction::kWrite).code(),
            absl::StatusCode::kInvalidArgument);
  FreeIn(cluster, 1);
  EXPECT_EQ(folder.num_files(), 0) << "a free takes the file with it";
}

TEST(SequenceFileTest, FullCachesRefuseAndChangeNothing) {
  const TinyModel model(ParkModelOptions());
  const ParkFolder folder;
  Cluster sized(*model, 1, Options());
  ScoreUnderPlan(sized, 0, 600);
  ExecutorOptions options = folder.Use(Options());
  options.kv_capacity_bytes = sized.rank(0).kv_bytes_used() * 3 / 2;
  Cluster cluster(*model, 1, options);
  ScoreUnderPlan(cluster, 0, 600);
  ASSERT_TRUE(ParkIn(cluster, ParkAction::kWrite).ok());
  ASSERT_TRUE(ParkIn(cluster, ParkAction::kUnload).ok());
  ScoreUnderPlan(cluster, 0, 600, /*sequence_id=*/2);
  const int64_t used = cluster.rank(0).kv_bytes_used();
  EXPECT_EQ(ParkIn(cluster, ParkAction::kRead).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(cluster.rank(0).kv_bytes_used(), used);
  FreeIn(cluster, 2);
  EXPECT_TRUE(ParkIn(cluster, ParkAction::kRead).ok());
}

TEST(SequenceFileTest, FilesGoWithTheirExecutor) {
  const TinyModel model(ParkModelOptions());
  const ParkFolder folder;
  {
    Cluster cluster(*model, 1, folder.Use(Options()));
    ScoreUnderPlan(cluster, 0, 100);
    ASSERT_TRUE(ParkIn(cluster, ParkAction::kWrite).ok());
    EXPECT_EQ(folder.num_files(), 1);
  }
  EXPECT_EQ(folder.num_files(), 0);
}

TEST(SequenceFileTest, ChangedOrShortFileIsDataLoss) {
  const TinyModel model(ParkModelOptions());
  const ParkFolder folder;
  Cluster cluster(*model, 1, folder.Use(Options()));
  ScoreUnderPlan(cluster, 0, 100);
  ASSERT_TRUE(ParkIn(cluster, ParkAction::kWrite).ok());
  ASSERT_TRUE(ParkIn(cluster, ParkAction::kUnload).ok());
  const std::string file = folder.ReadOnlyFile();
  for (size_t at = 0; at < file.size(); at += 1 + file.size() / 40) {
    std::string changed = file;
    changed[at] = static_cast<char>(changed[at] ^ 0x10);
    folder.ReplaceOnlyFile(changed);
    EXPECT_EQ(ParkIn(cluster, ParkAction::kRead).code(),
              absl::StatusCode::kDataLoss)
        << at;
    folder.ReplaceOnlyFile(file.substr(0, at));
    EXPECT_EQ(ParkIn(cluster, ParkAction::kRead).code(),
              absl::StatusCode::kDataLoss)
        << at;
    ASSERT_EQ(cluster.rank(0).kv_bytes_used(), 0);
  }
  folder.ReplaceOnlyFile(file);
  EXPECT_TRUE(ParkIn(cluster, ParkAction::kRead).ok());
}

// With a hash that is right: what a count says is not believed.
TEST(SequenceFileTest, WrongCountsAreDamageAndAllocateNothing) {
  const TinyModel model(ParkModelOptions());
  const ParkFolder folder;
  Cluster cluster(*model, 1, folder.Use(Options()));
  ScoreUnderPlan(cluster, 0, 100);
  ASSERT_TRUE(ParkIn(cluster, ParkAction::kWrite).ok());
  ASSERT_TRUE(ParkIn(cluster, ParkAction::kUnload).ok());
  const std::string file = folder.ReadOnlyFile();
  const size_t body = file.size() - sizeof(Sha256Digest);
  for (size_t at = 16; at + 8 <= body; at += 8 * (1 + body / 2000)) {
    std::string changed = file.substr(0, body);
    for (size_t i = 0; i < 8; ++i) changed[at + i] = i == 7 ? 0x3f : 0x77;
    folder.ReplaceOnlyFile(WithHash(changed));
    // Values of keys may be anything; counts and texts may not.
    const absl::Status status = ParkIn(cluster, ParkAction::kRead);
    if (status.ok()) {
      ASSERT_TRUE(ParkIn(cluster, ParkAction::kUnload).ok());
    } else {
      EXPECT_TRUE(absl::IsDataLoss(status) ||
                  absl::IsFailedPrecondition(status))
          << at << ": " << status;
    }
    ASSERT_EQ(cluster.rank(0).kv_bytes_used(), 0) << at;
  }
}

TEST(SequenceFileTest, AnotherVersionPlanShapeOrSetOfUnitsIsNamed) {
  const ParkFolder folder;
  const std::string path = folder.path() + "/file";
  SequencesOptions rank;
  rank.units = {{.layer = 0, .kv_head = 0}};
  rank.num_layers = rank.num_heads = rank.num_kv_heads = 1;
  rank.head_dim = 16;
  rank.vocab_size = 10;
  Sequence sequence;
  sequence.tokens = TokenHistory({1, 2, 3});
  ASSERT_TRUE(WriteSequenceFile(path, rank, sequence).ok());
  ASSERT_TRUE(SequenceFileReader::Open(path, rank, nullptr).ok());
  const auto expect = [&](const SequencesOptions& other, const HeadPlan* plan,
                          const std::string& text) {
    const auto file = SequenceFileReader::Open(path, other, plan);
    EXPECT_EQ(file.status().code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_TRUE(absl::StrContains(file.status().message(), text))
        << file.status();
  };
  const HeadPlan plan;
  expect(rank, &plan, "another plan");
  SequencesOptions other = rank;
  other.vocab_size = 11;
  expect(other, nullptr, "another model shape");
  other = rank;
  other.units[0].held_ranges = {true, false};
  expect(other, nullptr, "another units");
  std::string file = folder.ReadOnlyFile();
  file.resize(file.size() - sizeof(Sha256Digest));
  file[12] = '2';
  folder.ReplaceOnlyFile(WithHash(file));
  expect(rank, nullptr, "another version");
  file[0] = 'x';
  folder.ReplaceOnlyFile(WithHash(file));
  expect(rank, nullptr, "no file of a parked sequence");
  EXPECT_EQ(WriteSequenceFile(path, rank, sequence).status().code(),
            absl::StatusCode::kAlreadyExists);
}

}  // namespace
}  // namespace headwise
