// Neural memories over a coordinator and workers that are real processes.

#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "grpcpp/client_context.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "gtest/gtest.h"
#include "headwise/v1/neural_memory.grpc.pb.h"
#include "server/neural_memory/memory_cluster_fixture.h"
#include "tests/support/child_process.h"

namespace headwise {
namespace {

constexpr absl::Duration kReady = absl::Seconds(60);
constexpr int64_t kHeads = 5;
constexpr int64_t kUpdates = 10'003;  // inside a chunk

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

class MemoryProcessTest : public testing::Test {
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
    stub_ = v1::NeuralMemory::NewStub(
        grpc::CreateChannel(address_, grpc::InsecureChannelCredentials()));
    StartWorker("w0");
    StartWorker("w1");
  }

  void StartWorker(const std::string& name) {
    auto worker = ChildProcess::Start(
        {std::string(HEADWISE_BINARY_DIR) + "/headwise-worker", "--listen",
         "127.0.0.1:0", "--coordinator", address_, "--name", name, "--threads",
         "1", "--neural-memory-bytes", "100000000"},
        folder_.Path(name + ".log"));
    ASSERT_TRUE(worker.ok()) << worker.status();
    workers_.push_back(*std::move(worker));
  }

  static v1::CreateMemoryRequest Config() {
    v1::CreateMemoryRequest request;
    v1::MemorySpec* spec = request.mutable_config()->mutable_spec();
    spec->set_num_heads(kHeads);
    spec->set_head_dim(16);
    spec->set_norm(v1::MEMORY_NORM_LAYER);
    spec->set_chunk_len(8);
    request.set_seed(7);
    return request;
  }
  void Delete(const std::string& memory_id) {
    v1::DeleteMemoryRequest request;
    request.set_memory_id(memory_id);
    v1::DeleteMemoryResponse response;
    stub_->Delete(Context().get(), request, &response);
  }
  grpc::Status Write(const std::string& memory_id, int64_t first, int64_t count,
                     v1::WriteMemoryResponse* response) {
    const WriteOf rows(TestMemoryConfig(kHeads), first, count);
    v1::WriteMemoryRequest request;
    request.set_memory_id(memory_id);
    request.set_offset(first);
    request.set_keys(rows.keys);
    request.set_values(rows.values);
    request.set_queries(rows.queries);
    request.set_theta(rows.theta);
    request.set_eta(rows.eta);
    request.set_alpha(rows.alpha);
    request.set_sha256(rows.sha256);
    return stub_->Write(Context().get(), request, response);
  }
  std::vector<v1::MemorySnapshotPart> Snapshot(const std::string& memory_id) {
    v1::SnapshotMemoryRequest request;
    request.set_memory_id(memory_id);
    const auto context = Context();
    const auto reader = stub_->Snapshot(context.get(), request);
    std::vector<v1::MemorySnapshotPart> parts;
    v1::MemorySnapshotPart part;
    while (reader->Read(&part)) parts.push_back(part);
    const grpc::Status status = reader->Finish();
    EXPECT_TRUE(status.ok()) << status.error_message();
    return parts;
  }
  // Until it lies on so many workers: they come and go by themselves.
  v1::Memory RestoreOn(int num_workers,
                       const std::vector<v1::MemorySnapshotPart>& parts) {
    v1::Memory memory;
    EXPECT_TRUE(WaitUntil(
        [&] {
          const auto context = Context();
          memory.Clear();
          const auto writer = stub_->Restore(context.get(), &memory);
          for (const v1::MemorySnapshotPart& part : parts) {
            if (!writer->Write(part)) break;
          }
          writer->WritesDone();
          if (!writer->Finish().ok()) return false;
          if (memory.workers_size() == num_workers) return true;
          Delete(memory.memory_id());
          return false;
        },
        kReady));
    return memory;
  }
  // Of one worker in this process: what the next 100 tokens read.
  std::string Expected() {
    TestMemoryCluster cluster({});
    const MemoryConfig config = TestMemoryConfig(kHeads);
    const auto info = cluster.memories().Create({}, config, {7}, "");
    EXPECT_TRUE(info.ok()) << info.status();
    std::vector<float> outputs;
    for (const auto& [first, count] : {std::pair<int64_t, int64_t>{0, 8000},
                                       {8000, 2003},
                                       {kUpdates, 100}}) {
      const WriteOf rows(config, first, count);
      const auto outcome =
          cluster.memories().Write({}, info->memory_id, rows.write());
      EXPECT_TRUE(outcome.ok()) << outcome.status();
      if (outcome.ok()) outputs = outcome->outputs;
    }
    return BytesOfFloats(outputs);
  }

  TemporaryFolder folder_;
  std::unique_ptr<ChildProcess> coordinator_;
  std::vector<std::unique_ptr<ChildProcess>> workers_;
  std::string address_;
  std::unique_ptr<v1::NeuralMemory::Stub> stub_;
};

TEST_F(MemoryProcessTest, TenThousandUpdatesMoveToThreeWorkersAndToOne) {
  v1::Memory memory;
  ASSERT_TRUE(WaitUntil(
      [&] {
        if (!stub_->Create(Context().get(), Config(), &memory).ok()) {
          return false;
        }
        if (memory.workers_size() == 2) return true;
        Delete(memory.memory_id());
        return false;
      },
      kReady))
      << coordinator_->Log();
  const std::string id = memory.memory_id();
  v1::WriteMemoryResponse response;
  for (int64_t first = 0; first < kUpdates; first += 997) {
    const grpc::Status written =
        Write(id, first, std::min<int64_t>(997, kUpdates - first), &response);
    ASSERT_TRUE(written.ok()) << written.error_message();
  }
  EXPECT_EQ(response.num_tokens(), kUpdates);
  const std::vector<v1::MemorySnapshotPart> parts = Snapshot(id);
  const std::string expected = Expected();
  ASSERT_TRUE(Write(id, kUpdates, 100, &response).ok());
  EXPECT_TRUE(response.outputs() == expected);

  StartWorker("w2");
  const v1::Memory three = RestoreOn(3, parts);
  ASSERT_TRUE(Write(three.memory_id(), kUpdates, 100, &response).ok());
  EXPECT_TRUE(response.outputs() == expected);

  // Unavailable until the coordinator knows; never a part of the heads.
  workers_[1]->Signal(SIGKILL);
  workers_[2]->Signal(SIGKILL);
  v1::ReadMemoryRequest read;
  read.set_memory_id(id);
  read.set_queries(WriteOf(TestMemoryConfig(kHeads), 0, 1).queries);
  grpc::Status lost;
  EXPECT_TRUE(WaitUntil(
      [&] {
        v1::ReadMemoryResponse answer;
        lost = stub_->Read(Context().get(), read, &answer);
        EXPECT_TRUE(lost.error_code() == grpc::StatusCode::UNAVAILABLE ||
                    lost.error_code() == grpc::StatusCode::DATA_LOSS)
            << lost.error_message();
        return lost.error_code() == grpc::StatusCode::DATA_LOSS;
      },
      kReady));
  EXPECT_THAT(lost.error_message(), testing::HasSubstr("worker w1"));
  const v1::Memory one = RestoreOn(1, parts);
  ASSERT_TRUE(Write(one.memory_id(), kUpdates, 100, &response).ok());
  EXPECT_TRUE(response.outputs() == expected);
}

}  // namespace
}  // namespace headwise
