// Attention sessions over a coordinator and workers that are real processes.

#include <signal.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "gmock/gmock.h"
#include "grpcpp/client_context.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "gtest/gtest.h"
#include "headwise/v1/attention.grpc.pb.h"
#include "server/attention/attention_fixture.h"
#include "tests/support/child_process.h"

namespace headwise {
namespace {

constexpr absl::Duration kReady = absl::Seconds(60);
constexpr int64_t kUnits = 3;  // does not divide among two workers
constexpr int64_t kDim = 64;
constexpr int64_t kLength = 9000;

std::string ModelPath() {
  const char* path = std::getenv("HEADWISE_MODEL");
  if (path != nullptr) return path;
  return std::string(HEADWISE_SOURCE_DIR) +
         "/models/SmolLM2-135M-Instruct.Q4_1.gguf";
}

std::unique_ptr<grpc::ClientContext> Context() {
  auto context = std::make_unique<grpc::ClientContext>();
  context->set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(30)));
  return context;
}

class AttentionProcessTest : public testing::Test {
 protected:
  void SetUp() override {
    ASSERT_EQ(access(ModelPath().c_str(), R_OK), 0)
        << "no model at " << ModelPath() << "; ./run.sh installs it";
    const std::string port_file = folder_.Path("coordinator.port");
    auto process = ChildProcess::Start(
        {std::string(HEADWISE_BINARY_DIR) + "/headwise-coordinator", "--listen",
         "127.0.0.1:0", "--model", ModelPath(), "--min-workers", "2",
         "--kv-bytes", "67108864", "--port-file", port_file},
        folder_.Path("coordinator.log"));
    ASSERT_TRUE(process.ok()) << process.status();
    coordinator_ = *std::move(process);
    const auto port = WaitForPortFile(port_file, *coordinator_, kReady);
    ASSERT_TRUE(port.ok()) << port.status();
    address_ = "127.0.0.1:" + std::to_string(*port);
    stub_ = v1::Attention::NewStub(
        grpc::CreateChannel(address_, grpc::InsecureChannelCredentials()));
    for (const char* name : {"w0", "w1"}) {
      auto worker = ChildProcess::Start(
          {std::string(HEADWISE_BINARY_DIR) + "/headwise-worker", "--listen",
           "127.0.0.1:0", "--coordinator", address_, "--name", name,
           "--threads", "1", "--attention-bytes", "100000000"},
          folder_.Path(std::string(name) + ".log"));
      ASSERT_TRUE(worker.ok()) << worker.status();
      workers_.push_back(*std::move(worker));
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

  TemporaryFolder folder_;
  std::unique_ptr<ChildProcess> coordinator_;
  std::vector<std::unique_ptr<ChildProcess>> workers_;
  std::string address_;
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
