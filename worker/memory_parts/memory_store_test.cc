#include "worker/memory_parts/memory_store.h"

#include <memory>
#include <string>

#include "base/fake_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/backends/cpu/isa.h"
#include "worker/memory_parts/memory_bytes.h"
#include "worker/memory_parts/memory_fixture.h"

namespace headwise {
namespace {

using absl::StatusCode;
using testing::HasSubstr;

class MemoryStoreTest : public testing::Test {
 protected:
  static constexpr int64_t kHeads = 3;

  std::unique_ptr<MemoryStore> Store(ThreadTeam& team, Isa isa,
                                     int64_t capacity_bytes = 64 << 20) {
    return std::make_unique<MemoryStore>(
        MemoryStoreOptions{.capacity_bytes = capacity_bytes},
        MemoryKernelsFor(isa), team, clock_);
  }
  std::unique_ptr<MemoryStore> Store() {
    return Store(team_, IsasOfThisMachine().back());
  }

  // Opened, with the heads' first states.
  void Open(MemoryStore& store, const std::string& id) {
    const auto bytes = store.Open({id, share_});
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    for (int64_t head = 4; head < 4 + kHeads; ++head) {
      const absl::Status status = store.Import(
          {id, head, 0, SaveMemoryHead(TestMemoryHead(share_.spec, head))});
      ASSERT_TRUE(status.ok()) << status;
    }
  }
  absl::StatusOr<WriteMemoryResult> Write(MemoryStore& store, int64_t version,
                                          int64_t next_version, int64_t first,
                                          int64_t count, uint64_t seed = 1) {
    WriteMemoryRequest request =
        TestMemoryWrite("m", share_, first, count, seed);
    request.version = version;
    request.next_version = next_version;
    return store.Write(request);
  }
  absl::StatusOr<std::vector<float>> Read(MemoryStore& store, int64_t version,
                                          const std::string& id = "m") {
    const WriteMemoryRequest rows = TestMemoryWrite(id, share_, 0, 5, 99);
    return store.Read({id, version, rows.num_rows, rows.queries});
  }

  FakeClock clock_;
  ThreadTeam team_{1, {}};
  const MemoryShare share_ = {TestMemorySpec(), 4, kHeads};
};

TEST_F(MemoryStoreTest, BitsDependOnNeitherThreadsNorIsaNorHowRowsAreDealt) {
  auto store = Store();
  Open(*store, "m");
  const auto whole = Write(*store, 0, 1, 0, 50);
  ASSERT_TRUE(whole.ok()) << whole.status();
  const std::vector<float> expected = Read(*store, 1).value();
  for (const int threads : {1, 2, 5}) {
    for (const Isa isa : IsasOfThisMachine()) {
      for (const int64_t count : {1, 7, 50}) {
        SCOPED_TRACE(testing::Message() << threads << " threads, " << count);
        ThreadTeam team(threads, {});
        auto other = Store(team, isa);
        Open(*other, "m");
        WriteMemoryResult all;
        int64_t version = 0;
        for (int64_t first = 0; first < 50; first += count) {
          const auto part = Write(*other, version, version + 1, first,
                                  std::min(count, 50 - first));
          ASSERT_TRUE(part.ok()) << part.status();
          ++version;
          all.outputs.insert(all.outputs.end(), part->outputs.begin(),
                             part->outputs.end());
          all.surprise.insert(all.surprise.end(), part->surprise.begin(),
                              part->surprise.end());
        }
        EXPECT_TRUE(all.outputs == whole->outputs);
        EXPECT_TRUE(all.surprise == whole->surprise);
        EXPECT_TRUE(Read(*other, version).value() == expected);
      }
    }
  }
}

TEST_F(MemoryStoreTest, AWriteCountsOnceItsVersionIsNamed) {
  auto store = Store();
  Open(*store, "m");
  const std::vector<float> before = Read(*store, 0).value();
  ASSERT_TRUE(Write(*store, 0, 1, 0, 20).ok());
  // Another worker refused it: the state is what it was.
  EXPECT_TRUE(Read(*store, 0).value() == before);
  ASSERT_TRUE(Write(*store, 0, 2, 0, 20, /*seed=*/5).ok());
  const std::vector<float> after = Read(*store, 2).value();
  EXPECT_FALSE(after == before);
  // Neither the older state nor the one that nobody wanted is there any more.
  EXPECT_EQ(Read(*store, 0).status().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(Read(*store, 1).status().code(), StatusCode::kFailedPrecondition);

  auto single = Store();
  Open(*single, "m");
  ASSERT_TRUE(Write(*single, 0, 1, 0, 20, /*seed=*/5).ok());
  EXPECT_TRUE(Read(*single, 1).value() == after);
}

// Whether the write ends a chunk or not, and whatever reads meanwhile.
TEST_F(MemoryStoreTest, TheOlderStateIsReadExportedAndForkedBesideTheNext) {
  auto store = Store();
  Open(*store, "m");
  auto single = Store();
  Open(*single, "m");
  int64_t version = 0;
  int64_t num_tokens = 0;
  for (const int64_t count : {3, 2, 3, 1, 20, 8}) {
    SCOPED_TRACE(testing::Message() << count << " from " << num_tokens);
    const std::vector<float> before = Read(*store, version).value();
    const std::string bytes = store->Export("m", 5, version).value();
    ASSERT_TRUE(Write(*store, version, version + 1, num_tokens, count).ok());
    EXPECT_TRUE(Read(*store, version).value() == before);
    EXPECT_EQ(store->Export("m", 5, version).value(), bytes);
    ASSERT_TRUE(store->Fork("m", "fork", version).ok());
    EXPECT_TRUE(Read(*store, 0, "fork").value() == before);
    ASSERT_TRUE(store->Delete("fork").ok());
    ASSERT_TRUE(Write(*single, version, version + 1, num_tokens, count).ok());
    ++version;
    num_tokens += count;
    EXPECT_TRUE(Read(*store, version).value() ==
                Read(*single, version).value());
  }
}

TEST_F(MemoryStoreTest, OpenRowsAreDroppedOnceTheVersionIsNamed) {
  auto store = Store();
  Open(*store, "m");
  ASSERT_TRUE(Write(*store, 0, 1, 0, 16).ok());
  const std::vector<float> at_16 = Read(*store, 1).value();
  ASSERT_TRUE(Write(*store, 1, 2, 16, 5).ok());
  const std::vector<float> at_21 = Read(*store, 2).value();
  ASSERT_TRUE(store->DropOpenRows({"m", 2, 3}).ok());
  // Another worker did not do it.
  EXPECT_TRUE(Read(*store, 2).value() == at_21);
  ASSERT_TRUE(store->DropOpenRows({"m", 2, 4}).ok());
  EXPECT_TRUE(Read(*store, 4).value() == at_16);
  EXPECT_EQ(Read(*store, 2).status().code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(store->DropOpenRows({"m", 4, 4}).code(), StatusCode::kAborted);
  EXPECT_EQ(store->DropOpenRows({"n", 0, 1}).code(), StatusCode::kNotFound);
  ASSERT_TRUE(Write(*store, 4, 5, 16, 5).ok());
  EXPECT_TRUE(Read(*store, 5).value() == at_21);
}

TEST_F(MemoryStoreTest, AWriteThatComesLateIsRefused) {
  auto store = Store();
  Open(*store, "m");
  ASSERT_TRUE(Write(*store, 0, 2, 0, 20).ok());
  const auto late = Write(*store, 0, 1, 0, 20, /*seed=*/5);
  EXPECT_EQ(late.status().code(), StatusCode::kAborted);
  EXPECT_TRUE(Read(*store, 2).ok());
}

TEST_F(MemoryStoreTest, ABlowUpNamesHeadAndTokenAndChangesNothing) {
  auto store = Store();
  Open(*store, "m");
  ASSERT_TRUE(Write(*store, 0, 1, 0, 12).ok());
  const std::vector<float> before = Read(*store, 1).value();
  WriteMemoryRequest request = TestMemoryWrite("m", share_, 12, 20);
  request.version = 1;
  request.next_version = 2;
  // Head 5's, of the chunk that begins with token 24.
  request.theta[(25 - 12) * kHeads + 1] = 1e6f;
  const auto refused = store->Write(request);
  EXPECT_EQ(refused.status().code(), StatusCode::kOutOfRange);
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("head 5: token 31"));
  EXPECT_TRUE(Read(*store, 1).value() == before);
  EXPECT_EQ(Read(*store, 2).status().code(), StatusCode::kFailedPrecondition);
  EXPECT_TRUE(Write(*store, 1, 3, 12, 20).ok());
}

TEST_F(MemoryStoreTest, AForkLearnsAloneAndSurvivesItsParent) {
  auto store = Store();
  Open(*store, "m");
  ASSERT_TRUE(Write(*store, 0, 1, 0, 20).ok());
  const auto bytes = store->Fork("m", "fork", 1);
  ASSERT_TRUE(bytes.ok()) << bytes.status();
  EXPECT_EQ(*bytes * 2, store->reserved_bytes());
  const std::vector<float> before = Read(*store, 1).value();
  EXPECT_TRUE(Read(*store, 0, "fork").value() == before);
  ASSERT_TRUE(Write(*store, 1, 2, 20, 20).ok());
  EXPECT_FALSE(Read(*store, 2).value() == before);
  ASSERT_TRUE(store->Delete("m").ok());
  EXPECT_TRUE(Read(*store, 0, "fork").value() == before);
}

TEST_F(MemoryStoreTest, HeadsMoveWithEqualBitsAlsoInsideAChunk) {
  auto store = Store();
  Open(*store, "m");
  ASSERT_TRUE(Write(*store, 0, 1, 0, 21).ok());
  auto other = Store();
  ASSERT_TRUE(other->Open({"m", share_}).ok());
  for (int64_t head = 4; head < 4 + kHeads; ++head) {
    const auto bytes = store->Export("m", head, 1);
    ASSERT_TRUE(bytes.ok()) << bytes.status();
    EXPECT_TRUE(other->Import({"m", head, 21, *bytes}).ok());
    EXPECT_EQ(other->Import({"m", head, 20, *bytes}).code(),
              StatusCode::kDataLoss);
  }
  ASSERT_TRUE(Write(*store, 1, 2, 21, 30).ok());
  ASSERT_TRUE(Write(*other, 0, 1, 21, 30).ok());
  EXPECT_TRUE(Read(*store, 2).value() == Read(*other, 1).value());
  EXPECT_EQ(other->Export("m", 7, 1).status().code(),
            StatusCode::kInvalidArgument);
}

TEST_F(MemoryStoreTest, HeadsThatWereChangedOrAreOfAnotherSpecAreRefused) {
  auto store = Store();
  ASSERT_TRUE(store->Open({"m", share_}).ok());
  std::string bytes = SaveMemoryHead(TestMemoryHead(share_.spec, 4));
  MemorySpec spec = share_.spec;
  spec.chunk_len = 16;
  EXPECT_EQ(store->Import({"m", 4, 0, SaveMemoryHead(TestMemoryHead(spec, 4))})
                .code(),
            StatusCode::kFailedPrecondition);
  bytes[bytes.size() / 2] ^= 1;
  EXPECT_EQ(store->Import({"m", 4, 0, bytes}).code(), StatusCode::kDataLoss);
  EXPECT_EQ(store->Import({"m", 3, 0, bytes}).code(),
            StatusCode::kInvalidArgument);
  // A memory without all of its heads answers nothing.
  EXPECT_EQ(Read(*store, 0).status().code(), StatusCode::kInternal);
}

TEST_F(MemoryStoreTest, BytesArePromisedAndRefusedByNumber) {
  const int64_t bytes = kHeads * MemoryReservedBytes(share_.spec);
  auto store = Store(team_, IsasOfThisMachine().back(), bytes + 7);
  Open(*store, "m");
  EXPECT_EQ(store->reserved_bytes(), bytes);
  for (const absl::Status& refused : {store->Open({"n", share_}).status(),
                                      store->Fork("m", "n", 0).status()}) {
    EXPECT_EQ(refused.code(), StatusCode::kResourceExhausted);
    EXPECT_EQ(std::string(refused.message()),
              "the memory needs " + std::to_string(bytes) + " bytes, 7 of " +
                  std::to_string(bytes + 7) + " are available");
  }
  ASSERT_TRUE(store->Delete("m").ok());
  EXPECT_EQ(store->reserved_bytes(), 0);
}

TEST_F(MemoryStoreTest, TensorsOfAnotherLengthAreRefused) {
  auto store = Store();
  Open(*store, "m");
  const auto message = [&](void (*change)(WriteMemoryRequest&)) {
    WriteMemoryRequest request = TestMemoryWrite("m", share_, 0, 10);
    request.next_version = 1;
    change(request);
    const auto status = store->Write(request).status();
    EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  EXPECT_THAT(message([](WriteMemoryRequest& r) { r.keys.pop_back(); }),
              HasSubstr("keys has 479 floats, must have 480"));
  EXPECT_THAT(message([](WriteMemoryRequest& r) { r.values.clear(); }),
              HasSubstr("values"));
  EXPECT_THAT(message([](WriteMemoryRequest& r) { r.queries.pop_back(); }),
              HasSubstr("queries"));
  EXPECT_THAT(message([](WriteMemoryRequest& r) { r.alpha.push_back(0); }),
              HasSubstr("alpha has 31 floats, must have 30"));
  EXPECT_THAT(message([](WriteMemoryRequest& r) { r.num_rows = 8193; }),
              HasSubstr("num_rows: 8193, allowed 1 to 8192"));
  EXPECT_EQ(store->Open({"n", {share_.spec, 250, 7}}).status().code(),
            StatusCode::kInvalidArgument);
}

TEST_F(MemoryStoreTest, AMemoryThatNobodyNamesIsDropped) {
  auto store = Store();
  Open(*store, "m");
  clock_.Advance(absl::Seconds(50));
  EXPECT_TRUE(store->Renew({"m"}).empty());
  clock_.Advance(absl::Seconds(50));
  EXPECT_TRUE(store->Renew({"m"}).empty());
  clock_.Advance(absl::Seconds(61));
  EXPECT_THAT(store->Renew({"other"}), testing::ElementsAre("other"));
  EXPECT_EQ(store->num_memories(), 0);
  EXPECT_EQ(Read(*store, 0).status().code(), StatusCode::kNotFound);
}

}  // namespace
}  // namespace headwise
