#include "server/attention/session_snapshot.h"

#include <algorithm>

#include "base/status_macros.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/attention/attention_sessions_fixture.h"

namespace headwise {
namespace {

using absl::StatusCode;
using testing::HasSubstr;

class SessionSnapshotTest : public AttentionSessionsTest {
 protected:
  std::vector<SnapshotBlock> Read(TestCluster& cluster, const std::string& id) {
    std::vector<SnapshotBlock> blocks;
    auto reader = SnapshotReader::Open(cluster.sessions(), caller_, id);
    EXPECT_TRUE(reader.ok()) << reader.status();
    while (true) {
      auto block = (*reader)->Next();
      EXPECT_TRUE(block.ok()) << block.status();
      if (!block.ok() || !block->has_value()) return blocks;
      blocks.push_back(**std::move(block));
    }
  }
  absl::StatusOr<SessionInfo> Write(TestCluster& cluster,
                                    const AttentionConfig& config,
                                    int64_t length,
                                    const std::vector<SnapshotBlock>& blocks) {
    HEADWISE_ASSIGN_OR_RETURN(
        const auto writer,
        SnapshotWriter::Open(cluster.sessions(), caller_, config, length));
    for (const SnapshotBlock& block : blocks) {
      HEADWISE_RETURN_IF_ERROR(writer->Add(block));
    }
    return writer->Finish();
  }

  // Of a session on two workers and of what others restore of it.
  void ExpectEqualBits(const AttentionConfig& config) {
    TestCluster two({.speeds = {1.0, 1.0}});
    const std::string id = Open(two, config);
    Fill(two, id, 19'001);
    const std::string expected = HashOf(*Attend(two, id, {19'001, 18'000}));
    const std::vector<SnapshotBlock> blocks = Read(two, id);
    for (const std::vector<double>& speeds :
         {std::vector<double>{1.0}, {1.0, 0.5, 2.0}, {1, 1, 1, 1, 1}}) {
      SCOPED_TRACE(speeds.size());
      TestCluster other({.speeds = speeds});
      const auto restored = Write(other, config, 19'001, blocks);
      ASSERT_TRUE(restored.ok()) << restored.status();
      EXPECT_EQ(restored->stored_positions, 19'001);
      EXPECT_EQ(HashOf(*Attend(other, restored->session_id, {19'001, 18'000})),
                expected);
      // It grows as the original does.
      Fill(other, restored->session_id, 19'500, 499, 19'001);
    }
  }
};

TEST_F(SessionSnapshotTest, RestoredOnAnyClusterTheBitsAreEqual) {
  AttentionConfig config = Config();
  config.shape.element = KvElement::kInt8;
  config.policies[1] = {
      .kind = PolicyKind::kStreaming, .num_sinks = 70, .window = 500};
  ExpectEqualBits(config);
  config.policies = PoliciesThatChoose();
  ExpectEqualBits(config);
}

TEST_F(SessionSnapshotTest, SumsThatAreMissingOrElsewhereAreRefused) {
  AttentionConfig config = Config();
  config.policies[0] = PoliciesThatChoose()[0];  // razor
  TestCluster cluster({});
  const std::string id = Open(cluster, config);
  Fill(cluster, id, 9000);
  const std::vector<SnapshotBlock> good = Read(cluster, id);
  ASSERT_EQ(good[0].run.num_blocks, 0);
  std::vector<SnapshotBlock> bad(good.begin() + 1, good.end());
  EXPECT_THAT(std::string(Write(cluster, config, 9000, bad).status().message()),
              HasSubstr("expected 0 to 0"));
  bad = good;
  ++bad[0].data[0];
  const Sha256Digest digest =
      Sha256Of({reinterpret_cast<const uint8_t*>(bad[0].data.data()),
                bad[0].data.size()});
  bad[0].sha256.assign(digest.begin(), digest.end());
  EXPECT_THAT(std::string(Write(cluster, config, 9000, bad).status().message()),
              HasSubstr("sums of KV head 0 end at position"));
}

TEST_F(SessionSnapshotTest, ASnapshotDoesNotDependOnTheWorkers) {
  std::string expected;
  for (const size_t num_workers : {1, 3}) {
    TestCluster cluster({.speeds = std::vector<double>(num_workers, 1.0)});
    const std::string id = Open(cluster, Config());
    Fill(cluster, id, 12'345);
    std::string all;
    for (const SnapshotBlock& block : Read(cluster, id)) all += block.data;
    if (expected.empty()) expected = all;
    EXPECT_TRUE(all == expected);
  }
}

TEST_F(SessionSnapshotTest, AnEmptySessionHasNoBlocks) {
  TestCluster cluster({});
  const std::string id = Open(cluster, Config());
  EXPECT_TRUE(Read(cluster, id).empty());
  EXPECT_TRUE(Write(cluster, Config(), 0, {}).ok());
}

TEST_F(SessionSnapshotTest, WhileItIsReadASessionDoesNotGrow) {
  TestCluster cluster({});
  const std::string id = Open(cluster, Config());
  Fill(cluster, id, 1000);
  auto reader = SnapshotReader::Open(cluster.sessions(), caller_, id);
  ASSERT_TRUE(reader.ok());
  const ChunkOf chunk(keys_, values_, 1000, 1100);
  EXPECT_EQ(
      cluster.sessions().Append(caller_, id, chunk.chunk()).status().code(),
      StatusCode::kAborted);
  EXPECT_TRUE(Attend(cluster, id, {1000}).ok());
  reader->reset();
  EXPECT_TRUE(cluster.sessions().Append(caller_, id, chunk.chunk()).ok());
}

TEST_F(SessionSnapshotTest, HostileSnapshotsAreRefusedAndLeaveNothing) {
  TestCluster cluster({.speeds = {1.0, 1.0}});
  const std::string id = Open(cluster, Config());
  Fill(cluster, id, 5000);
  const std::vector<SnapshotBlock> good = Read(cluster, id);
  const int64_t before = cluster.committed_bytes();
  const auto refused = [&](const std::vector<SnapshotBlock>& blocks,
                           int64_t length = 5000) {
    const absl::Status status =
        Write(cluster, Config(), length, blocks).status();
    EXPECT_FALSE(status.ok());
    EXPECT_EQ(cluster.committed_bytes(), before);
    EXPECT_EQ(cluster.sessions().List(caller_).size(), 1u);
    return status;
  };

  std::vector<SnapshotBlock> blocks = good;
  blocks[1].data[7] ^= 1;
  EXPECT_EQ(refused(blocks).code(), StatusCode::kDataLoss);

  blocks = good;
  blocks.pop_back();
  const absl::Status missing = refused(blocks);
  EXPECT_EQ(missing.code(), StatusCode::kDataLoss);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("ends before block"));

  blocks = good;
  std::swap(blocks[0], blocks[1]);
  EXPECT_EQ(refused(blocks).code(), StatusCode::kInvalidArgument);

  blocks = good;
  blocks.push_back(blocks.back());
  EXPECT_THAT(std::string(refused(blocks).message()),
              HasSubstr("all are there"));

  blocks = good;
  blocks[0].run.num_blocks = int64_t{1} << 40;
  EXPECT_EQ(refused(blocks).code(), StatusCode::kInvalidArgument);

  blocks = good;
  blocks[0].data.resize(10);
  const Sha256Digest digest =
      Sha256Of({reinterpret_cast<const uint8_t*>(blocks[0].data.data()), 10});
  blocks[0].sha256.assign(digest.begin(), digest.end());
  EXPECT_EQ(refused(blocks).code(), StatusCode::kInvalidArgument);

  // A NaN with a hash that is right.
  blocks = good;
  std::fill_n(blocks[0].data.begin(), 4, '\xff');
  const Sha256Digest of_nan =
      Sha256Of({reinterpret_cast<const uint8_t*>(blocks[0].data.data()),
                blocks[0].data.size()});
  blocks[0].sha256.assign(of_nan.begin(), of_nan.end());
  EXPECT_THAT(std::string(refused(blocks).message()), HasSubstr("not finite"));

  EXPECT_EQ(refused(good, -1).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(refused(good, 30'001).code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace headwise
