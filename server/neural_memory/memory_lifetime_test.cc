// Forks, tenants, quotas, sessions, and what becomes of a memory when workers
// fail.

#include <functional>
#include <memory>
#include <set>
#include <utility>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/neural_memory/memory_cluster_fixture.h"
#include "worker/memory_parts/memory_bytes.h"

namespace headwise {
namespace {

using absl::StatusCode;
using testing::HasSubstr;

TEST_F(NeuralMemoriesTest, AForkLearnsAloneAndSurvivesItsParent) {
  TestMemoryCluster cluster({.speeds = {1.0, 1.0}});
  NeuralMemories& memories = cluster.memories();
  const std::string id = Create(cluster, Config());
  Fill(cluster, id, 20);
  const std::vector<float> before = Read(cluster, id);
  const auto fork = memories.Fork(caller_, id, "");
  ASSERT_TRUE(fork.ok()) << fork.status();
  EXPECT_EQ(fork->num_tokens, 20);
  EXPECT_NE(fork->memory_id, id);
  Fill(cluster, fork->memory_id, 40, 20);
  EXPECT_TRUE(Read(cluster, id) == before);
  ASSERT_TRUE(memories.Delete(caller_, id).ok());
  EXPECT_FALSE(Read(cluster, fork->memory_id) == before);
  ASSERT_TRUE(memories.Delete(caller_, fork->memory_id).ok());
  EXPECT_EQ(cluster.reserved_bytes(), 0);
  EXPECT_EQ(memories.stats().held.reserved_bytes, 0);
}

TEST_F(NeuralMemoriesTest, AMemoryOfAnotherTenantDoesNotExist) {
  TestMemoryCluster cluster({});
  NeuralMemories& memories = cluster.memories();
  const Caller other = {.tenant = "other"};
  const std::string id = Create(cluster, Config());
  const WriteOf rows(Config(), 0, 5);
  // But for the name that it was asked by.
  const auto told = [](const absl::Status& status) {
    return absl::Status(status.code(), status.message());
  };
  const absl::Status unknown = told(memories.Get(other, "nothing").status());
  EXPECT_EQ(unknown.code(), StatusCode::kNotFound);
  EXPECT_EQ(told(memories.Get(other, id).status()), unknown);
  EXPECT_EQ(told(memories.Write(other, id, rows.write()).status()), unknown);
  EXPECT_EQ(told(memories.Read(other, id, rows.queries).status()), unknown);
  EXPECT_EQ(told(memories.SetFrozen(other, id, true).status()), unknown);
  EXPECT_EQ(told(memories.Fork(other, id, "").status()), unknown);
  EXPECT_EQ(told(memories.Delete(other, id)), unknown);
  EXPECT_TRUE(memories.List(other).empty());
  EXPECT_EQ(memories.List(caller_).size(), 1u);
}

TEST_F(NeuralMemoriesTest, AQuotaIsOfATenantAndNamesTheBytes) {
  const int64_t bytes = kHeads * MemoryReservedBytes(TestMemorySpec());
  TestMemoryCluster cluster({.max_tenant_bytes = 2 * bytes + 5});
  NeuralMemories& memories = cluster.memories();
  const std::string id = Create(cluster, Config());
  ASSERT_TRUE(memories.Fork(caller_, id, "").ok());
  for (const absl::Status& refused :
       {memories.Create(caller_, Config(), {}, "").status(),
        memories.Fork(caller_, id, "").status()}) {
    EXPECT_EQ(refused.code(), StatusCode::kResourceExhausted);
    EXPECT_EQ(std::string(refused.message()),
              "the memory needs " + std::to_string(bytes) + " bytes, 5 of " +
                  std::to_string(2 * bytes + 5) +
                  " are available to the tenant");
  }
  EXPECT_EQ(cluster.reserved_bytes(), 2 * bytes);
  EXPECT_TRUE(memories.Create({.tenant = "other"}, Config(), {}, "").ok());
}

TEST_F(NeuralMemoriesTest, CreateRefusesWhatDoesNotFitAndLeavesNothing) {
  const int64_t bytes = MemoryReservedBytes(TestMemorySpec());
  TestMemoryCluster cluster(
      {.speeds = {1.0, 3.0}, .capacity_bytes = 2 * bytes});
  // One head fits the first worker, four do not fit the second.
  const auto refused = cluster.memories().Create(caller_, Config(), {}, "");
  EXPECT_EQ(refused.status().code(), StatusCode::kResourceExhausted);
  EXPECT_EQ(std::string(refused.status().message()),
            "worker w1: the memory needs " + std::to_string(4 * bytes) +
                " bytes, " + std::to_string(2 * bytes) + " of " +
                std::to_string(2 * bytes) + " are available");
  EXPECT_EQ(cluster.reserved_bytes(), 0);
  EXPECT_EQ(cluster.memories().stats().held.count, 0);
}

TEST_F(NeuralMemoriesTest, NoMoreMemoriesThanTheLimit) {
  TestMemoryCluster cluster({.max_memories = 2});
  Create(cluster, Config());
  Create(cluster, Config());
  const int64_t before = cluster.reserved_bytes();
  const auto third = cluster.memories().Create(caller_, Config(), {}, "");
  EXPECT_EQ(third.status().code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(third.status().message()),
              HasSubstr("2 memories are open, at most 2"));
  EXPECT_EQ(cluster.reserved_bytes(), before);
}

TEST_F(NeuralMemoriesTest, WithoutWorkersCreateIsUnavailable) {
  TestMemoryCluster cluster({});
  cluster.KillWorker(0);
  EXPECT_EQ(
      cluster.memories().Create(caller_, Config(), {}, "").status().code(),
      StatusCode::kUnavailable);
}

TEST_F(NeuralMemoriesTest, IdleMemoriesExpireAndGiveTheirBytesBack) {
  TestMemoryCluster cluster({.speeds = {1.0, 1.0}});
  MemoryConfig config = Config();
  config.ttl = absl::Seconds(30);
  const std::string id = Create(cluster, config);
  for (int i = 0; i < 5; ++i) {
    cluster.clock().Advance(absl::Seconds(25));
    cluster.memories().Step();
    EXPECT_EQ(NumTokens(cluster, id), 0);
  }
  cluster.clock().Advance(absl::Seconds(31));
  cluster.memories().Step();
  EXPECT_EQ(cluster.memories().Get(caller_, id).status().code(),
            StatusCode::kNotFound);
  EXPECT_EQ(cluster.reserved_bytes(), 0);
}

// Attention sessions, as far as memories know them.
class SessionsOfTest {
 public:
  SessionLifetimes lifetimes() {
    return {
        [this](const Caller& caller,
               const std::string& id) -> absl::StatusOr<std::shared_ptr<void>> {
          if (alive.count(id) == 0) return absl::NotFoundError("session");
          return std::shared_ptr<void>(this, [](void*) {});
        },
        [this](const std::string& id) { return alive.count(id) > 0; }};
  }
  std::set<std::string> alive;
};

TEST_F(NeuralMemoriesTest, AMemoryOfASessionHasItsIdAndGoesWithIt) {
  SessionsOfTest sessions;
  sessions.alive = {"s", "t"};
  TestMemoryCluster cluster({.sessions = sessions.lifetimes()});
  NeuralMemories& memories = cluster.memories();
  const auto info = memories.Create(caller_, Config(), {7}, "s");
  ASSERT_TRUE(info.ok()) << info.status();
  EXPECT_EQ(info->memory_id, "s");
  EXPECT_TRUE(info->of_session);
  Fill(cluster, "s", 20);
  EXPECT_EQ(memories.Create(caller_, Config(), {}, "s").status().code(),
            StatusCode::kAlreadyExists);
  EXPECT_EQ(memories.Create(caller_, Config(), {}, "nobody").status().code(),
            StatusCode::kNotFound);
  const auto fork = memories.Fork(caller_, "s", "t");
  ASSERT_TRUE(fork.ok()) << fork.status();
  EXPECT_EQ(fork->memory_id, "t");
  EXPECT_TRUE(Read(cluster, "t") == Read(cluster, "s"));

  // Its own time to live does not count.
  cluster.clock().Advance(absl::Hours(2));
  memories.Step();
  EXPECT_EQ(NumTokens(cluster, "s"), 20);
  sessions.alive.erase("s");
  EXPECT_EQ(memories.Get(caller_, "s").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(memories.List(caller_).size(), 1u);
  memories.Step();
  EXPECT_EQ(cluster.reserved_bytes(),
            kHeads * MemoryReservedBytes(TestMemorySpec()));
  EXPECT_EQ(NumTokens(cluster, "t"), 20);
}

TEST_F(NeuralMemoriesTest, ADeadWorkerIsDataLossByName) {
  TestMemoryCluster cluster({.speeds = {1.0, 1.0}});
  NeuralMemories& memories = cluster.memories();
  const std::string id = Create(cluster, Config());
  Fill(cluster, id, 20);
  cluster.KillWorker(1);
  const absl::Status lost = Write(cluster, id, 20, 5).status();
  EXPECT_EQ(lost.code(), StatusCode::kDataLoss);
  EXPECT_THAT(std::string(lost.message()),
              HasSubstr("worker w1 is gone, and the memory with it"));
  EXPECT_EQ(
      memories.Read(caller_, id, WriteOf(Config(), 0, 1).queries).status(),
      lost);
  EXPECT_EQ(memories.Fork(caller_, id, "").status(), lost);
  EXPECT_THAT(memories.Get(caller_, id)->lost, HasSubstr("worker w1 is gone"));
  EXPECT_TRUE(memories.Delete(caller_, id).ok());
}

// Fails while a failure is set; calls a hook before it writes.
class FailingMemoryLink final : public MemoryLink {
 public:
  FailingMemoryLink(std::shared_ptr<MemoryLink> link, absl::Status* failure,
                    std::function<void()>* before_write)
      : link_(std::move(link)),
        failure_(failure),
        before_write_(before_write) {}

  void Open(OpenMemoryRequest request, absl::Duration timeout,
            Done<int64_t> done) override {
    link_->Open(std::move(request), timeout, std::move(done));
  }
  void Import(ImportMemoryRequest request, absl::Duration timeout,
              Done<Nothing> done) override {
    if (!failure_->ok()) return done(*failure_);
    link_->Import(std::move(request), timeout, std::move(done));
  }
  void Write(WriteMemoryRequest request, absl::Duration timeout,
             Done<WriteMemoryResult> done) override {
    if (*before_write_) (*before_write_)();
    if (!failure_->ok()) return done(*failure_);
    link_->Write(std::move(request), timeout, std::move(done));
  }
  void Read(ReadMemoryRequest request, absl::Duration timeout,
            Done<std::vector<float>> done) override {
    if (!failure_->ok()) return done(*failure_);
    link_->Read(std::move(request), timeout, std::move(done));
  }
  void DropOpenRows(DropOpenRowsRequest request, absl::Duration timeout,
                    Done<Nothing> done) override {
    if (!failure_->ok()) return done(*failure_);
    link_->DropOpenRows(std::move(request), timeout, std::move(done));
  }
  void Fork(const std::string& memory_id, const std::string& fork_id,
            int64_t version, absl::Duration timeout,
            Done<int64_t> done) override {
    if (!failure_->ok()) return done(*failure_);
    link_->Fork(memory_id, fork_id, version, timeout, std::move(done));
  }
  void Export(const std::string& memory_id, int64_t head, int64_t version,
              absl::Duration timeout, Done<std::string> done) override {
    link_->Export(memory_id, head, version, timeout, std::move(done));
  }
  void Delete(const std::string& memory_id, absl::Duration timeout,
              Done<Nothing> done) override {
    link_->Delete(memory_id, timeout, std::move(done));
  }
  void Renew(std::vector<std::string> memory_ids, absl::Duration timeout,
             Done<std::vector<std::string>> done) override {
    link_->Renew(std::move(memory_ids), timeout, std::move(done));
  }

 private:
  const std::shared_ptr<MemoryLink> link_;
  absl::Status* const failure_;
  std::function<void()>* const before_write_;
};

class FailingMemoryWorkerTest : public NeuralMemoriesTest {
 protected:
  absl::Status failure_;  // of worker 1
  std::function<void()> before_write_;
  TestMemoryCluster cluster_{
      {.speeds = {1.0, 1.0},
       .wrap = [this](int worker, std::shared_ptr<MemoryLink> link)
           -> std::shared_ptr<MemoryLink> {
         if (worker != 1) return link;
         return std::make_shared<FailingMemoryLink>(std::move(link), &failure_,
                                                    &before_write_);
       }}};
};

TEST_F(FailingMemoryWorkerTest, AWriteThatOneWorkerRefusedIsNotWritten) {
  const std::string id = Create(cluster_, Config());
  Fill(cluster_, id, 20);
  const std::vector<float> before = Read(cluster_, id);
  failure_ = absl::UnavailableError("connection reset");
  const auto refused = Write(cluster_, id, 20, 15);
  EXPECT_EQ(refused.status().code(), StatusCode::kUnavailable);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("worker w1"));
  EXPECT_EQ(NumTokens(cluster_, id), 20);
  EXPECT_EQ(cluster_.memories().stats().num_undone, 1);
  failure_ = absl::OkStatus();
  EXPECT_TRUE(Read(cluster_, id) == before);
  // Other tokens at the same place: what the first worker had made of the
  // refused ones has no effect.
  ASSERT_TRUE(Write(cluster_, id, 20, 9, /*seed=*/5).ok());
  TestMemoryCluster single({});
  const std::string wanted = Create(single, Config());
  Fill(single, wanted, 20);
  ASSERT_TRUE(Write(single, wanted, 20, 9, /*seed=*/5).ok());
  EXPECT_TRUE(Read(cluster_, id) == Read(single, wanted));
}

TEST_F(FailingMemoryWorkerTest, OpenTokensAreDroppedByAllOrByNone) {
  const std::string id = Create(cluster_, Config());
  Fill(cluster_, id, 20);
  const std::vector<float> before = Read(cluster_, id);
  failure_ = absl::UnavailableError("connection reset");
  EXPECT_EQ(cluster_.memories().DropOpenTokens(caller_, id).status().code(),
            StatusCode::kUnavailable);
  failure_ = absl::OkStatus();
  EXPECT_EQ(NumTokens(cluster_, id), 20);
  EXPECT_TRUE(Read(cluster_, id) == before);
  const auto dropped = cluster_.memories().DropOpenTokens(caller_, id);
  ASSERT_TRUE(dropped.ok()) << dropped.status();
  EXPECT_EQ(dropped->num_tokens, 16);
  EXPECT_EQ(dropped->num_dropped, 4);
  EXPECT_EQ(cluster_.memories().DropOpenTokens(caller_, id)->num_dropped, 0);
  // The write that went beyond is not known any more.
  EXPECT_EQ(Write(cluster_, id, 0, 20).status().code(),
            StatusCode::kInvalidArgument);
  Fill(cluster_, id, 20, 16);
  EXPECT_TRUE(Read(cluster_, id) == before);
}

TEST_F(FailingMemoryWorkerTest, AReadDuringAWriteIsOfTheStateBefore) {
  const std::string id = Create(cluster_, Config());
  Fill(cluster_, id, 20);
  const std::vector<float> before = Read(cluster_, id);
  bool is_inside = false;
  std::vector<float> during;
  absl::Status second;
  // Worker 0 may have made its next state by now.
  before_write_ = [&] {
    if (std::exchange(is_inside, true)) return;
    during = Read(cluster_, id);
    second = Write(cluster_, id, 20, 1).status();
  };
  Fill(cluster_, id, 40, 20);
  EXPECT_TRUE(during == before);
  EXPECT_EQ(second.code(), StatusCode::kAborted);
  EXPECT_FALSE(Read(cluster_, id) == before);
}

TEST_F(FailingMemoryWorkerTest, AWorkerThatDoesNotKnowTheMemoryHasLostIt) {
  const std::string id = Create(cluster_, Config());
  failure_ = absl::NotFoundError("restarted");
  EXPECT_EQ(Write(cluster_, id, 0, 5).status().code(), StatusCode::kDataLoss);
  failure_ = absl::OkStatus();
  EXPECT_EQ(Write(cluster_, id, 0, 5).status().code(), StatusCode::kDataLoss);
}

TEST_F(FailingMemoryWorkerTest, WhatOneWorkerRefusedLeavesNothing) {
  const std::string id = Create(cluster_, Config());
  const int64_t before = cluster_.reserved_bytes();
  failure_ = absl::ResourceExhaustedError("full");
  EXPECT_EQ(cluster_.memories().Fork(caller_, id, "").status().code(),
            StatusCode::kResourceExhausted);
  EXPECT_EQ(
      cluster_.memories().Create(caller_, Config(), {}, "").status().code(),
      StatusCode::kResourceExhausted);
  EXPECT_EQ(cluster_.reserved_bytes(), before);
  EXPECT_EQ(cluster_.memories().stats().held.count, 1);
}

TEST_F(FailingMemoryWorkerTest, AMemoryDeletedDuringAWriteIsNotFound) {
  const std::string id = Create(cluster_, Config());
  before_write_ = [&] {
    EXPECT_TRUE(cluster_.memories().Delete(caller_, id).ok());
  };
  EXPECT_EQ(Write(cluster_, id, 0, 5).status().code(), StatusCode::kNotFound);
}

TEST_F(NeuralMemoriesTest, ACallerThatHasLeftIsNotServed) {
  TestMemoryCluster cluster({});
  const std::string id = Create(cluster, Config());
  const WriteOf rows(Config(), 0, 5);
  Caller gone;
  gone.is_cancelled = [] { return true; };
  EXPECT_EQ(cluster.memories().Write(gone, id, rows.write()).status().code(),
            StatusCode::kCancelled);
  Caller late;
  late.deadline = cluster.clock().Now();
  EXPECT_EQ(cluster.memories().Read(late, id, rows.queries).status().code(),
            StatusCode::kDeadlineExceeded);
  EXPECT_EQ(NumTokens(cluster, id), 0);
}

}  // namespace
}  // namespace headwise
