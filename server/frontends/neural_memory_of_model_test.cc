// Memories that begin as heads of the served Titans model.

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/files/test_titans_folder.h"
#include "server/frontends/neural_memory_service_fixture.h"
#include "server/neural_memory/model_memory.h"

namespace headwise {
namespace {

using testing::HasSubstr;

class NeuralMemoryOfModelTest : public NeuralMemoryServiceTest {
 protected:
  const Model& model() const override { return *titans_; }

  static v1::CreateMemoryRequest Of(int64_t layer, std::vector<int64_t> heads) {
    v1::CreateMemoryRequest request;
    request.set_model("tiny");
    request.set_layer(layer);
    request.mutable_heads()->Assign(heads.begin(), heads.end());
    return request;
  }
  std::string Weights(int64_t layer, std::vector<int64_t> heads) const {
    return MemoryOfModel(model(), layer, heads).value().weights;
  }

  const TinyTitans titans_{TitansVariant::kMal};
};

TEST_F(NeuralMemoryOfModelTest, AMemoryHasTheModelsSpecWeightsAndGates) {
  const v1::Memory memory = Create(Of(1, {3, 0}));
  const MemorySpec& spec = model().hyperparameters().titans->memory;
  EXPECT_EQ(memory.config().spec().num_heads(), 2);
  EXPECT_EQ(memory.config().spec().head_dim(), spec.head_dim);
  EXPECT_EQ(memory.config().spec().hidden_dim(), spec.hidden_dim);
  EXPECT_EQ(memory.config().spec().chunk_len(), spec.chunk_len);
  EXPECT_EQ(memory.config().spec().max_norm(), spec.max_norm);
  EXPECT_EQ(memory.config().spec().residual(), spec.residual);
  ASSERT_EQ(memory.config().head_gates_size(), 2);

  // The same from what is known of it.
  v1::CreateMemoryRequest plain;
  *plain.mutable_config() = memory.config();
  plain.set_weights(Weights(1, {3, 0}));
  const v1::Memory twin = Create(plain);
  for (const std::string& id : {memory.memory_id(), twin.memory_id()}) {
    v1::WriteMemoryRequest tokens = Tokens(id, 0, 20);
    WriteOf rows(TestMemoryConfig(kHeads), 0, 20);
    rows.theta.clear();
    rows.eta.clear();
    rows.alpha.clear();
    rows.Hash();
    tokens.clear_theta();
    tokens.clear_eta();
    tokens.clear_alpha();
    tokens.set_sha256(rows.sha256);
    v1::WriteMemoryResponse written;
    const grpc::Status status = Write(tokens, &written);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  EXPECT_EQ(Read(memory.memory_id()), Read(twin.memory_id()));
  // And of all heads, or of others, another one.
  EXPECT_EQ(Create(Of(0, {})).config().spec().num_heads(), 4);
  EXPECT_NE(Read(Create(Of(0, {3, 0})).memory_id()),
            Read(Create(Of(1, {3, 0})).memory_id()));
}

TEST_F(NeuralMemoryOfModelTest, TheCallersGatesComeFirst) {
  v1::CreateMemoryRequest request = Of(0, {1, 2});
  request.mutable_config()->mutable_default_gates()->set_theta(0.5f);
  const v1::Memory memory = Create(request);
  EXPECT_EQ(memory.config().default_gates().theta(), 0.5f);
  EXPECT_EQ(memory.config().head_gates_size(), 0);
}

TEST_F(NeuralMemoryOfModelTest, ASnapshotKeepsTheGatesOfHeads) {
  const v1::Memory memory = Create(Of(0, {1, 2}));
  v1::Memory restored;
  const grpc::Status status = Restore(Snapshot(memory.memory_id()), &restored);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(restored.config().SerializeAsString(),
            memory.config().SerializeAsString());
}

TEST_F(NeuralMemoryOfModelTest, WhatTheModelDoesNotHaveIsNamed) {
  const auto refused = [this](const v1::CreateMemoryRequest& request,
                              const std::string& message) {
    const grpc::Status status = TryCreate(request);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), HasSubstr(message));
    EXPECT_EQ(memories_.reserved_bytes(), 0);
  };
  refused(Of(2, {}), "layer: 2, the model has 0 to 1");
  refused(Of(-1, {}), "layer: -1, the model has 0 to 1");
  refused(Of(0, {1, 4}), "heads[1]: 4, the model has 0 to 3");
  refused(Of(0, {1, 2, 1}), "heads[2]: 1 is there twice");
  v1::CreateMemoryRequest request = Of(0, {});
  request.mutable_config()->mutable_spec()->set_head_dim(16);
  refused(request, "config.spec: the model has it");
  request = Of(0, {});
  request.set_seed(1);
  refused(request, "seed: the model has the weights");
  request.set_weights("1234");
  refused(request, "weights: the model has the weights");
  request = Of(1, {});
  request.clear_model();
  refused(request, "model: layer and heads are of a model");
  request = Of(0, {1, 2});
  for (int i = 0; i < 3; ++i) request.mutable_config()->add_head_gates();
  refused(request, "head_gates: of 3 heads, the memory has 2");
  request.mutable_config()->mutable_default_gates()->set_theta(0.5f);
  refused(request, "config.head_gates: there are default_gates");
}

}  // namespace
}  // namespace headwise
