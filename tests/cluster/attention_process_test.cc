// Attention sessions over a coordinator and workers that are real processes.

#include <signal.h>

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "headwise/v1/attention.grpc.pb.h"
#include "server/attention/attention_fixture.h"
#include "tests/support/process_cluster.h"

namespace headwise {
namespace {

constexpr int64_t kUnits = 3;  // does not divide among two workers
constexpr int64_t kDim = 64;
constexpr int64_t kLength = 9000;

class AttentionProcessTest : public ProcessCluster {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(ProcessCluster::SetUp());
    ASSERT_NO_FATAL_FAILURE(
        StartCoordinator({"--min-workers", "2", "--kv-bytes", "67108864"}));
    stub_ = v1::Attention::NewStub(channel_);
    for (const char* name : {"w0", "w1"}) {
      StartWorker(name, {"--attention-bytes", "100000000"});
    }
  }

  grpc::Status Open(v1::AttentionSession* session) {
    v1::OpenSessionRequest request;
    request.set_num_heads(kUnits);
    request.set_num_kv_heads(kUnits);
    request.set_head_dim(kDim);
    request.set_softmax_scale(0.25);
    request.set_max_positions(kLength);
    return stub_->Open(Context().get(), request, session);
  }

  grpc::Status Fill(const std::string& session_id) {
    v1::AppendResponse response;
    const auto context = Context();
    const auto writer = stub_->Append(context.get(), &response);
    for (int64_t begin = 0; begin < kLength; begin += 2000) {
      const ChunkOf chunk(keys_, values_, begin,
                          std::min(begin + 2000, kLength));
      v1::AppendRequest request;
      request.set_session_id(session_id);
      request.set_offset(begin);
      request.set_keys(chunk.chunk().keys);
      request.set_values(chunk.chunk().values);
      request.set_sha256(chunk.chunk().sha256);
      if (!writer->Write(request)) break;
    }
    writer->WritesDone();
    return writer->Finish();
  }

  grpc::Status Attend(const std::string& session_id,
                      v1::AttendResponse* response) {
    v1::AttendRequest request;
    request.set_session_id(session_id);
    request.set_query_len(2);
    request.set_queries(queries_);
    return stub_->Attend(Context().get(), request, response);
  }

  void Delete(const std::string& session_id) {
    v1::DeleteSessionRequest request;
    request.set_session_id(session_id);
    v1::DeleteSessionResponse response;
    stub_->Delete(Context().get(), request, &response);
  }

  // Of one worker in this process.
  AttendAnswer Expected() {
    TestCluster cluster({});
    const Caller caller;
    const auto info =
        cluster.sessions().Open(caller, TestConfig(kUnits, 1, kDim, kLength));
    const ChunkOf first(keys_, values_, 0, 8000);
    const ChunkOf rest(keys_, values_, 8000, kLength);
    for (const ChunkOf* chunk : {&first, &rest}) {
      EXPECT_TRUE(cluster.sessions()
                      .Append(caller, info->session_id, chunk->chunk())
                      .ok());
    }
    return *cluster.sessions().Attend(caller, info->session_id,
                                      {.query_len = 2, .queries = queries_});
  }

  std::unique_ptr<v1::Attention::Stub> stub_;
  const RandomTensor keys_{kLength, kUnits, kDim, 1};
  const RandomTensor values_{kLength, kUnits, kDim, 2};
  const std::string queries_ = BytesOf(keys_.row(40, 0), 2 * kUnits * kDim);
};

TEST_F(AttentionProcessTest, BitsAreThoseOfOneProcessAndADeathIsNamed) {
  v1::AttentionSession session;
  // Both workers, so that a head is cut.
  ASSERT_TRUE(WaitUntil(
      [&] {
        if (!Open(&session).ok()) return false;
        if (session.workers_size() == 2) return true;
        Delete(session.session_id());
        return false;
      },
      kReady))
      << coordinator_->Log();
  const grpc::Status filled = Fill(session.session_id());
  ASSERT_TRUE(filled.ok()) << filled.error_message();
  v1::AttendResponse answer;
  const grpc::Status attended = Attend(session.session_id(), &answer);
  ASSERT_TRUE(attended.ok()) << attended.error_message();
  const AttendAnswer expected = Expected();
  EXPECT_TRUE(answer.output() == expected.output);
  EXPECT_EQ(std::vector<float>(answer.lse().begin(), answer.lse().end()),
            expected.lse);

  workers_[1]->Signal(SIGKILL);
  // Unavailable until the coordinator knows; never an answer.
  grpc::Status lost;
  EXPECT_TRUE(WaitUntil(
      [&] {
        lost = Attend(session.session_id(), &answer);
        EXPECT_TRUE(lost.error_code() == grpc::StatusCode::UNAVAILABLE ||
                    lost.error_code() == grpc::StatusCode::DATA_LOSS)
            << lost.error_message();
        return lost.error_code() == grpc::StatusCode::DATA_LOSS;
      },
      kReady));
  EXPECT_THAT(lost.error_message(), testing::HasSubstr("worker w1"));

  // A new session on who is left.
  v1::AttentionSession next;
  ASSERT_TRUE(Open(&next).ok());
  EXPECT_EQ(next.workers_size(), 1);
  ASSERT_TRUE(Fill(next.session_id()).ok());
  ASSERT_TRUE(Attend(next.session_id(), &answer).ok());
  EXPECT_TRUE(answer.output() == expected.output);
}

}  // namespace
}  // namespace headwise
