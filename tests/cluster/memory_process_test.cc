// Neural memories over a coordinator and workers that are real processes.

#include <signal.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "headwise/v1/neural_memory.grpc.pb.h"
#include "server/frontends/neural_memory_requests.h"
#include "server/neural_memory/memory_cluster_fixture.h"
#include "tests/support/process_cluster.h"

namespace headwise {
namespace {

constexpr int64_t kHeads = 5;
constexpr int64_t kUpdates = 10'003;  // inside a chunk

class MemoryProcessTest : public ProcessCluster {
 protected:
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(ProcessCluster::SetUp());
    ASSERT_NO_FATAL_FAILURE(
        StartCoordinator({"--min-workers", "2", "--kv-bytes", "67108864"}));
    stub_ = v1::NeuralMemory::NewStub(channel_);
    StartMemoryWorker("w0");
    StartMemoryWorker("w1");
  }

  void StartMemoryWorker(const std::string& name) {
    StartWorker(name, {"--neural-memory-bytes", "100000000"});
  }

  void Delete(const std::string& memory_id) {
    v1::DeleteMemoryRequest request;
    request.set_memory_id(memory_id);
    v1::DeleteMemoryResponse response;
    stub_->Delete(Context().get(), request, &response);
  }
  grpc::Status Write(const std::string& memory_id, int64_t first, int64_t count,
                     v1::WriteMemoryResponse* response) {
    return stub_->Write(Context().get(),
                        WriteRequestOf(memory_id, kHeads, first, count),
                        response);
  }
  // Until it lies on so many workers: they come and go by themselves.
  v1::Memory RestoreOn(int num_workers,
                       const std::vector<v1::MemorySnapshotPart>& parts) {
    v1::Memory memory;
    EXPECT_TRUE(WaitUntil(
        [&] {
          memory.Clear();
          if (!RestoreOf(*stub_, parts, &memory, Context()).ok()) return false;
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

  std::unique_ptr<v1::NeuralMemory::Stub> stub_;
};

TEST_F(MemoryProcessTest, TenThousandUpdatesMoveToThreeWorkersAndToOne) {
  v1::Memory memory;
  ASSERT_TRUE(WaitUntil(
      [&] {
        if (!stub_->Create(Context().get(), CreateRequestOf(kHeads), &memory)
                 .ok()) {
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
  const std::vector<v1::MemorySnapshotPart> parts =
      SnapshotOf(*stub_, id, Context());
  const std::string expected = Expected();
  ASSERT_TRUE(Write(id, kUpdates, 100, &response).ok());
  EXPECT_TRUE(response.outputs() == expected);

  StartMemoryWorker("w2");
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
