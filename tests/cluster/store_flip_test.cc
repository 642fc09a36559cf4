// Bits that flip between a coordinator and a worker that keeps attention
// sessions and neural memories: case 18 without encryption. Calls fail, and are
// made again; no answer is another one, and no process ends.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "headwise/v1/attention.grpc.pb.h"
#include "headwise/v1/neural_memory.grpc.pb.h"
#include "server/attention/attention_fixture.h"
#include "server/frontends/neural_memory_requests.h"
#include "tests/cluster/served_cluster.h"
#include "tests/support/fault_proxy.h"

namespace headwise {
namespace {

constexpr int64_t kUnits = 2;
constexpr int64_t kDim = 16;
constexpr int64_t kLength = 400;
constexpr int64_t kQueries = 64;  // 8 KiB, and as much of an answer
constexpr int64_t kTokens = 64;   // of a memory, in one write of 40 KiB

class StoreFlipTest : public ServedCluster {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(ServedCluster::SetUp());
    UseTinyModel();
    ASSERT_FALSE(HasFatalFailure());
    StartWorker("w0", {"--attention-bytes", "100000000",
                       "--neural-memory-bytes", "100000000"});
    const std::string address = WaitForWorkerAddress("w0");
    ASSERT_FALSE(HasFailure());
    auto proxy = FaultProxy::Start(address);
    ASSERT_TRUE(proxy.ok()) << proxy.status();
    proxy_ = *std::move(proxy);
    StartServer(1, {.flags = {"--workers", proxy_->address()}});
    ASSERT_FALSE(HasFatalFailure());
    ASSERT_TRUE(WaitForWorldSize(1)) << Logs();
  }
  void TearDown() override {
    EXPECT_TRUE(workers_[0]->IsRunning());
    EXPECT_TRUE(coordinator_->IsRunning());
  }

  // One bit of so many bytes: in most calls, and nearly always in the numbers
  // that they are made of.
  void Flip(int64_t one_in) { proxy_->SetFaults({.flip_one_in = one_in}); }
  void EndFlips() {
    proxy_->SetFaults({});
    proxy_->Cut();  // what flipped may have left it in any state
  }

  // Makes the call until it is answered; notes whose checksums failed. False:
  // what it was about is lost, since the worker was for a while.
  bool Succeeds(const std::function<grpc::Status()>& call) {
    grpc::Status status;
    const bool is_over = WaitUntil(
        [&] {
          status = call();
          if (absl::StrContains(status.error_message(), "changed on its way")) {
            EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
            EXPECT_THAT(status.error_message(), testing::HasSubstr("w0"));
            EXPECT_TRUE(HasRetryInfo(status));
            found_ += status.error_message();
          }
          return status.ok() ||
                 status.error_code() == grpc::StatusCode::DATA_LOSS ||
                 status.error_code() == grpc::StatusCode::NOT_FOUND;
        },
        kReady);
    EXPECT_TRUE(is_over) << status.error_message() << Logs();
    return status.ok();
  }
  bool HasFound(const std::string& type) const {
    return absl::StrContains(found_, "headwise.worker.v1." + type + " changed");
  }

  std::unique_ptr<FaultProxy> proxy_;
  std::string found_;  // messages of failed checksums
};

class SessionFlipTest : public StoreFlipTest {
 protected:
  grpc::Status Open() {
    v1::OpenSessionRequest request;
    request.set_num_heads(kUnits);
    request.set_num_kv_heads(kUnits);
    request.set_head_dim(kDim);
    request.set_softmax_scale(0.25);
    request.set_max_positions(kLength);
    v1::AttentionSession session;
    const grpc::Status status = stub().Open(Context().get(), request, &session);
    session_id_ = session.session_id();
    return status;
  }
  grpc::Status Append(int64_t begin, int64_t end) {
    const ChunkOf chunk(keys_, values_, begin, end);
    v1::AppendRequest request;
    request.set_session_id(session_id_);
    request.set_offset(begin);
    request.set_keys(chunk.chunk().keys);
    request.set_values(chunk.chunk().values);
    request.set_sha256(chunk.chunk().sha256);
    v1::AppendResponse response;
    const auto context = Context();
    const auto writer = stub().Append(context.get(), &response);
    writer->Write(request);
    writer->WritesDone();
    return writer->Finish();
  }
  grpc::Status Attend() {
    v1::AttendRequest request;
    request.set_session_id(session_id_);
    request.set_query_len(kQueries);
    request.set_queries(BytesOf(keys_.row(0, 0), kQueries * kUnits * kDim));
    answer_.Clear();
    return stub().Attend(Context().get(), request, &answer_);
  }
  // All keys under flips, then queries. False: the session was lost.
  bool AppendAndAttend(int num_queries) {
    EXPECT_TRUE(Succeeds([this] { return Open(); }));
    Flip(8000);
    for (int64_t begin = 0; begin < kLength; begin += 50) {
      const auto append = [&] { return Append(begin, begin + 50); };
      if (!Succeeds(append)) return false;
    }
    for (int i = 0; i < num_queries; ++i) {
      if (!Succeeds([this] { return Attend(); })) return false;
      EXPECT_TRUE(answer_.output() == expected_) << "query " << i;
    }
    return true;
  }
  v1::Attention::StubInterface& stub() {
    if (stub_ == nullptr) stub_ = v1::Attention::NewStub(channel_);
    return *stub_;
  }

  const RandomTensor keys_{kLength, kUnits, kDim, 1};
  const RandomTensor values_{kLength, kUnits, kDim, 2};
  std::unique_ptr<v1::Attention::Stub> stub_;
  std::string session_id_;
  v1::AttendResponse answer_;
  std::string expected_;
};

TEST_F(SessionFlipTest, NoAnswerIsAnotherOneAndAgainItIsGiven) {
  ASSERT_TRUE(Succeeds([this] { return Open(); }));
  ASSERT_TRUE(Succeeds([this] { return Append(0, kLength); }));
  ASSERT_TRUE(Succeeds([this] { return Attend(); }));
  expected_ = answer_.output();
  EXPECT_TRUE(WaitUntil(
      [&] {
        const bool is_whole = AppendAndAttend(5);
        EndFlips();
        return is_whole && HasFound("StageRequest") &&
               HasFound("AttendPartRequest") && HasFound("AttendPartResponse");
      },
      2 * kReady))
      << found_ << Logs();
  ASSERT_TRUE(WaitForWorldSize(1)) << Logs();
  ASSERT_TRUE(Succeeds([this] { return Open(); }));
  ASSERT_TRUE(Succeeds([this] { return Append(0, kLength); }));
  ASSERT_TRUE(Succeeds([this] { return Attend(); }));
  EXPECT_TRUE(answer_.output() == expected_);
}

class MemoryFlipTest : public StoreFlipTest {
 protected:
  grpc::Status Create() {
    v1::Memory memory;
    const grpc::Status status =
        stub().Create(Context().get(), CreateRequestOf(kUnits), &memory);
    memory_id_ = memory.memory_id();
    return status;
  }
  // A write whose answer was lost is not read again: outputs are empty.
  grpc::Status Write(int64_t first) {
    answer_.Clear();
    return stub().Write(Context().get(),
                        WriteRequestOf(memory_id_, kUnits, first, kTokens),
                        &answer_);
  }
  grpc::Status Read() {
    v1::ReadMemoryRequest request;
    request.set_memory_id(memory_id_);
    request.set_queries(WriteOf(TestMemoryConfig(kUnits), 0, kTokens).queries);
    read_.Clear();
    return stub().Read(Context().get(), request, &read_);
  }
  // Writes under flips, and what is read after them. False: it was lost.
  bool WriteAndRead(int num_writes, std::string* outputs) {
    for (int i = 0; i < num_writes; ++i) {
      if (!Succeeds([&] { return Write(i * kTokens); })) return false;
      EXPECT_EQ(answer_.num_tokens(), (i + 1) * kTokens);
    }
    if (!Succeeds([this] { return Read(); })) return false;
    *outputs = read_.outputs();
    return true;
  }
  v1::NeuralMemory::StubInterface& stub() {
    if (stub_ == nullptr) stub_ = v1::NeuralMemory::NewStub(channel_);
    return *stub_;
  }

  std::unique_ptr<v1::NeuralMemory::Stub> stub_;
  std::string memory_id_;
  v1::WriteMemoryResponse answer_;
  v1::ReadMemoryResponse read_;
};

TEST_F(MemoryFlipTest, WhatIsWrittenIsWhatWasMeantAndSoIsWhatIsRead) {
  constexpr int kWrites = 6;
  std::string expected;
  ASSERT_TRUE(Succeeds([this] { return Create(); }));
  ASSERT_TRUE(WriteAndRead(kWrites, &expected));
  EXPECT_TRUE(WaitUntil(
      [&] {
        EXPECT_TRUE(Succeeds([this] { return Create(); }));
        Flip(16'000);
        std::string outputs;
        const bool is_whole = WriteAndRead(kWrites, &outputs);
        EndFlips();
        EXPECT_TRUE(!is_whole || outputs == expected);
        return is_whole && HasFound("WriteMemoryRequest") &&
               HasFound("WriteMemoryResponse");
      },
      2 * kReady))
      << found_ << Logs();
  std::string after;
  ASSERT_TRUE(WaitForWorldSize(1)) << Logs();
  ASSERT_TRUE(Succeeds([this] { return Create(); }));
  ASSERT_TRUE(WriteAndRead(kWrites, &after));
  EXPECT_TRUE(after == expected);
}

}  // namespace
}  // namespace headwise
