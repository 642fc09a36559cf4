// headwise.v1.NeuralMemory over gRPC, with workers of this process, for tests.

#ifndef HEADWISE_SERVER_FRONTENDS_NEURAL_MEMORY_SERVICE_FIXTURE_H_
#define HEADWISE_SERVER_FRONTENDS_NEURAL_MEMORY_SERVICE_FIXTURE_H_

#include <chrono>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "grpcpp/client_context.h"
#include "gtest/gtest.h"
#include "headwise/v1/neural_memory.grpc.pb.h"
#include "server/attention/attention_fixture.h"
#include "server/frontends/attention_wire.h"
#include "server/frontends/frontend_fakes.h"
#include "server/frontends/neural_memory_requests.h"
#include "server/frontends/neural_memory_service.h"
#include "server/frontends/server_frontends.h"
#include "server/neural_memory/memory_cluster_fixture.h"

namespace headwise {

class NeuralMemoryServiceTest : public testing::Test {
 protected:
  static constexpr int64_t kHeads = 2;

  void SetUp() override {
    ServerFrontendsOptions options;
    options.model_name = "tiny";
    options.listen_address = "";
    options.metrics_address = "";
    options.shape = FakeShape();
    auto frontends =
        ServerFrontends::Create(options, {.engine = engine_,
                                          .model = model(),
                                          .tokenizer = fakes_.tokenizer,
                                          .cluster = cluster_state_,
                                          .attention = &sessions_.sessions(),
                                          .memories = &memories_.memories()});
    ASSERT_TRUE(frontends.ok()) << frontends.status();
    frontends_ = *std::move(frontends);
    stub_ = v1::NeuralMemory::NewStub(frontends_->InProcessChannel());
  }

  virtual const Model& model() const { return fakes_.model; }

  static std::unique_ptr<grpc::ClientContext> Context(
      const std::string& tenant = "") {
    auto context = std::make_unique<grpc::ClientContext>();
    context->set_deadline(std::chrono::system_clock::now() +
                          std::chrono::seconds(30));
    if (!tenant.empty()) context->AddMetadata(kTenantKey, tenant);
    return context;
  }

  static v1::CreateMemoryRequest Config() { return CreateRequestOf(kHeads); }
  grpc::Status TryCreate(const v1::CreateMemoryRequest& request,
                         const std::string& tenant = "") {
    v1::Memory memory;
    return stub_->Create(Context(tenant).get(), request, &memory);
  }
  v1::Memory Create(const v1::CreateMemoryRequest& request = Config()) {
    v1::Memory memory;
    const grpc::Status status =
        stub_->Create(Context().get(), request, &memory);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return memory;
  }

  static v1::WriteMemoryRequest Tokens(const std::string& memory_id,
                                       int64_t first, int64_t count) {
    return WriteRequestOf(memory_id, kHeads, first, count);
  }
  grpc::Status Write(const v1::WriteMemoryRequest& request,
                     v1::WriteMemoryResponse* response) {
    return stub_->Write(Context().get(), request, response);
  }
  void Fill(const std::string& memory_id, int64_t count) {
    v1::WriteMemoryResponse response;
    const grpc::Status status = Write(Tokens(memory_id, 0, count), &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  std::string Read(const std::string& memory_id) {
    v1::ReadMemoryRequest request;
    request.set_memory_id(memory_id);
    request.set_queries(WriteOf(TestMemoryConfig(kHeads), 0, 4, 9).queries);
    v1::ReadMemoryResponse response;
    const grpc::Status status =
        stub_->Read(Context().get(), request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response.outputs();
  }
  std::vector<v1::MemorySnapshotPart> Snapshot(const std::string& memory_id) {
    return SnapshotOf(*stub_, memory_id, Context());
  }
  grpc::Status Restore(const std::vector<v1::MemorySnapshotPart>& parts,
                       v1::Memory* memory) {
    return RestoreOf(*stub_, parts, memory, Context());
  }

  FakeServed fakes_;
  FakeCluster cluster_state_;
  FakeEngine engine_;
  TestCluster sessions_{{}};
  TestMemoryCluster memories_{
      {.speeds = {1.0, 1.0}, .sessions = sessions_.sessions().lifetimes()}};
  std::unique_ptr<ServerFrontends> frontends_;
  std::unique_ptr<v1::NeuralMemory::Stub> stub_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_NEURAL_MEMORY_SERVICE_FIXTURE_H_
