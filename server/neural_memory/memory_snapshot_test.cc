#include "server/neural_memory/memory_snapshot.h"

#include <memory>
#include <optional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/neural_memory/memory_cluster_fixture.h"

namespace headwise {
namespace {

using absl::StatusCode;
using testing::HasSubstr;

class MemorySnapshotTest : public NeuralMemoriesTest {
 protected:
  struct Snapshot {
    MemoryConfig config;
    int64_t num_tokens = 0;
    bool frozen = false;
    std::vector<MemoryPiece> pieces;
  };
  Snapshot Take(TestMemoryCluster& cluster, const std::string& id) {
    auto reader = MemorySnapshotReader::Open(cluster.memories(), caller_, id);
    EXPECT_TRUE(reader.ok()) << reader.status();
    Snapshot snapshot = {
        (*reader)->config(), (*reader)->num_tokens(), (*reader)->frozen(), {}};
    while (true) {
      auto piece = (*reader)->Next();
      EXPECT_TRUE(piece.ok()) << piece.status();
      if (!piece.ok() || !piece->has_value()) return snapshot;
      snapshot.pieces.push_back(**std::move(piece));
    }
  }
  absl::StatusOr<MemoryInfo> Restore(TestMemoryCluster& cluster,
                                     const Snapshot& snapshot) {
    auto writer =
        MemorySnapshotWriter::Open(cluster.memories(), caller_, snapshot.config,
                                   snapshot.num_tokens, snapshot.frozen, "");
    if (!writer.ok()) return writer.status();
    for (const MemoryPiece& piece : snapshot.pieces) {
      const absl::Status status = (*writer)->Add(piece);
      if (!status.ok()) return status;
    }
    return (*writer)->Finish();
  }
};

// The case: ten thousand updates, a move to other worker counts, and
// equal bits in all that follows.
TEST_F(MemorySnapshotTest, AMemoryMovesToOtherWorkerCountsWithEqualBits) {
  TestMemoryCluster two({.speeds = {1.0, 1.0}});
  const std::string id = Create(two, Config());
  constexpr int64_t kUpdates = 10'003;  // inside a chunk
  for (int64_t first = 0; first < kUpdates; first += 1000) {
    Fill(two, id, std::min(first + 1000, kUpdates), first);
  }
  const Snapshot snapshot = Take(two, id);
  EXPECT_EQ(snapshot.num_tokens, kUpdates);
  const auto unmoved = Write(two, id, kUpdates, 500);
  ASSERT_TRUE(unmoved.ok()) << unmoved.status();
  for (const std::vector<double>& speeds :
       {std::vector<double>{1.0, 2.0, 1.0}, std::vector<double>{1.0}}) {
    TestMemoryCluster other({.speeds = speeds, .num_threads = 2});
    const auto restored = Restore(other, snapshot);
    ASSERT_TRUE(restored.ok()) << restored.status();
    EXPECT_EQ(restored->num_tokens, kUpdates);
    EXPECT_EQ(restored->workers.size(), speeds.size());
    const auto moved = Write(other, restored->memory_id, kUpdates, 500);
    ASSERT_TRUE(moved.ok()) << moved.status();
    EXPECT_TRUE(moved->outputs == unmoved->outputs);
    EXPECT_TRUE(moved->surprise == unmoved->surprise);
    EXPECT_TRUE(Read(other, restored->memory_id) == Read(two, id));
  }
}

TEST_F(MemorySnapshotTest, AFlippedByteAnywhereInAHeadIsDataLoss) {
  TestMemoryCluster cluster({.speeds = {1.0, 1.0}});
  const std::string id = Create(cluster, Config());
  Fill(cluster, id, 21);
  const Snapshot good = Take(cluster, id);
  const int64_t before = cluster.reserved_bytes();
  ASSERT_EQ(good.pieces.size(), static_cast<size_t>(kHeads));
  const size_t size = good.pieces[3].data.size();
  for (const size_t at : {size_t{0}, size_t{9}, size / 2, size - 1}) {
    SCOPED_TRACE(at);
    Snapshot bad = good;
    bad.pieces[3].data[at] ^= 0x10;
    EXPECT_EQ(Restore(cluster, bad).status().code(), StatusCode::kDataLoss);
    EXPECT_EQ(cluster.reserved_bytes(), before);
  }
  Snapshot cut = good;
  cut.pieces.pop_back();
  const auto refused = Restore(cluster, cut);
  EXPECT_EQ(refused.status().code(), StatusCode::kDataLoss);
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("ends at byte 0 of head 4, of 5 heads"));
  EXPECT_EQ(cluster.reserved_bytes(), before);
}

TEST_F(MemorySnapshotTest, HeadsOfAnotherSpecOrTokenCountAreRefused) {
  TestMemoryCluster cluster({.speeds = {1.0, 1.0}});
  const std::string id = Create(cluster, Config());
  Fill(cluster, id, 21);
  Snapshot other = Take(cluster, id);
  other.config.spec.loss_scale = 1.0f;
  EXPECT_EQ(Restore(cluster, other).status().code(),
            StatusCode::kFailedPrecondition);
  other = Take(cluster, id);
  other.num_tokens = 20;
  const auto refused = Restore(cluster, other);
  EXPECT_EQ(refused.status().code(), StatusCode::kDataLoss);
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("head 0 has 21 tokens, the memory 20"));
  EXPECT_EQ(cluster.memories().stats().held.count, 1);
}

TEST_F(MemorySnapshotTest, PiecesOutOfOrderAreRefused) {
  TestMemoryCluster cluster({});
  const std::string id = Create(cluster, Config());
  const Snapshot good = Take(cluster, id);
  const auto code = [&](void (*change)(Snapshot&)) {
    Snapshot bad = good;
    change(bad);
    return Restore(cluster, bad).status().code();
  };
  const StatusCode refused = StatusCode::kInvalidArgument;
  EXPECT_EQ(code([](Snapshot& s) { std::swap(s.pieces[0], s.pieces[1]); }),
            refused);
  EXPECT_EQ(code([](Snapshot& s) { s.pieces.push_back(s.pieces[4]); }),
            refused);
  EXPECT_EQ(code([](Snapshot& s) { s.pieces[2].offset = 1; }), refused);
  EXPECT_EQ(code([](Snapshot& s) { s.pieces[2].head = -1; }), refused);
  EXPECT_EQ(code([](Snapshot& s) { s.pieces[2].data.clear(); }), refused);
  EXPECT_EQ(code([](Snapshot& s) { s.pieces[2].data += "?"; }), refused);
  // Nothing is kept for a length that a stranger says.
  EXPECT_EQ(
      code([](Snapshot& s) { s.pieces[2].head_bytes = int64_t{1} << 40; }),
      refused);
  EXPECT_EQ(code([](Snapshot& s) { s.num_tokens = -1; }), refused);
}

TEST_F(MemorySnapshotTest, HeadsMayComeInSeveralPieces) {
  TestMemoryCluster cluster({.speeds = {1.0, 1.0}});
  const std::string id = Create(cluster, Config());
  Fill(cluster, id, 21);
  const Snapshot whole = Take(cluster, id);
  Snapshot cut = whole;
  cut.pieces.clear();
  for (const MemoryPiece& piece : whole.pieces) {
    for (size_t at = 0; at < piece.data.size(); at += 3000) {
      MemoryPiece part = piece;
      part.offset = static_cast<int64_t>(at);
      part.data = piece.data.substr(at, 3000);
      cut.pieces.push_back(part);
    }
  }
  const auto restored = Restore(cluster, cut);
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_TRUE(Read(cluster, restored->memory_id) == Read(cluster, id));
}

TEST_F(MemorySnapshotTest, LargeHeadsAreSentInPiecesOfFourMebibytes) {
  TestMemoryCluster cluster({});
  MemoryConfig config = TestMemoryConfig(1);
  config.spec.head_dim = 256;
  config.spec.hidden_dim = 1024;
  const std::string id = Create(cluster, config);
  const Snapshot snapshot = Take(cluster, id);
  EXPECT_EQ(snapshot.pieces.size(), 2u);
  EXPECT_EQ(snapshot.pieces[0].data.size(), size_t{4} << 20);
  EXPECT_TRUE(Restore(cluster, snapshot).ok());
}

TEST_F(MemorySnapshotTest, NothingIsWrittenWhileASnapshotIsRead) {
  TestMemoryCluster cluster({});
  const std::string id = Create(cluster, Config());
  {
    const auto reader =
        MemorySnapshotReader::Open(cluster.memories(), caller_, id);
    ASSERT_TRUE(reader.ok());
    EXPECT_EQ(Write(cluster, id, 0, 5).status().code(), StatusCode::kAborted);
    EXPECT_EQ(Read(cluster, id).size(), 6u * 16 * kHeads);
  }
  EXPECT_TRUE(Write(cluster, id, 0, 5).ok());
}

TEST_F(MemorySnapshotTest, AFrozenMemoryIsFrozenWhenItIsBack) {
  TestMemoryCluster cluster({});
  const std::string id = Create(cluster, Config());
  ASSERT_TRUE(cluster.memories().SetFrozen(caller_, id, true).ok());
  const auto restored = Restore(cluster, Take(cluster, id));
  ASSERT_TRUE(restored.ok()) << restored.status();
  EXPECT_TRUE(restored->frozen);
}

}  // namespace
}  // namespace headwise
