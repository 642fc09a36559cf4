#include "server/frontends/neural_memory_service.h"

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/frontends/neural_memory_collector.h"
#include "server/frontends/neural_memory_service_fixture.h"

namespace headwise {
namespace {

using testing::HasSubstr;

TEST_F(NeuralMemoryServiceTest, AMemoryIsCreatedWrittenReadForkedAndDeleted) {
  const v1::Memory memory = Create();
  EXPECT_EQ(memory.memory_id().size(), 32u);
  const v1::MemorySpec& spec = memory.config().spec();
  EXPECT_EQ(spec.num_layers(), 2);
  EXPECT_EQ(spec.hidden_dim(), 32);
  EXPECT_EQ(spec.activation(), v1::MEMORY_ACTIVATION_SILU);
  EXPECT_EQ(spec.rule(), v1::MEMORY_RULE_TOKEN);
  EXPECT_TRUE(spec.residual());
  EXPECT_EQ(spec.loss_scale(), 2.0f);
  EXPECT_EQ(spec.max_norm(), 1e4f);
  EXPECT_EQ(memory.config().ttl_seconds(), 600);
  EXPECT_EQ(memory.state_bytes(), kHeads * 1040 * 8);
  ASSERT_EQ(memory.workers_size(), 2);
  EXPECT_EQ(memory.workers(1).first_head(), 1);
  EXPECT_EQ(memory.reserved_bytes(), memory.workers(0).reserved_bytes() +
                                         memory.workers(1).reserved_bytes());

  const std::string id = memory.memory_id();
  v1::WriteMemoryRequest tokens = Tokens(id, 0, 30);
  tokens.set_return_surprise(true);
  v1::WriteMemoryResponse written;
  ASSERT_TRUE(Write(tokens, &written).ok());
  EXPECT_EQ(written.num_tokens(), 30);
  EXPECT_EQ(written.outputs().size(), 30u * kHeads * 16 * sizeof(float));
  EXPECT_EQ(written.surprise_size(), 30 * kHeads);
  EXPECT_GT(written.surprise(59), 0.0f);
  v1::WriteMemoryResponse again;
  ASSERT_TRUE(Write(tokens, &again).ok());
  EXPECT_TRUE(again.repeated());
  EXPECT_EQ(again.num_tokens(), 30);
  EXPECT_EQ(again.surprise_size(), 0);

  v1::ForkMemoryRequest fork_request;
  fork_request.set_memory_id(id);
  v1::Memory fork;
  ASSERT_TRUE(stub_->Fork(Context().get(), fork_request, &fork).ok());
  EXPECT_EQ(fork.num_tokens(), 30);
  EXPECT_EQ(Read(fork.memory_id()), Read(id));
  v1::ListMemoriesResponse list;
  ASSERT_TRUE(stub_->ListMemories(Context().get(), {}, &list).ok());
  EXPECT_EQ(list.memories_size(), 2);
  for (const std::string& gone : {id, fork.memory_id()}) {
    v1::DeleteMemoryRequest request;
    request.set_memory_id(gone);
    v1::DeleteMemoryResponse response;
    EXPECT_TRUE(stub_->Delete(Context().get(), request, &response).ok());
    EXPECT_EQ(stub_->Delete(Context().get(), request, &response).error_code(),
              grpc::StatusCode::NOT_FOUND);
  }
  EXPECT_EQ(memories_.reserved_bytes(), 0);
}

TEST_F(NeuralMemoryServiceTest, FrozenIsFailedPreconditionUntilUnfreeze) {
  const std::string id = Create().memory_id();
  v1::FreezeMemoryRequest request;
  request.set_memory_id(id);
  v1::Memory memory;
  ASSERT_TRUE(stub_->Freeze(Context().get(), request, &memory).ok());
  EXPECT_TRUE(memory.frozen());
  v1::WriteMemoryResponse response;
  EXPECT_EQ(Write(Tokens(id, 0, 5), &response).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);
  ASSERT_TRUE(stub_->Unfreeze(Context().get(), request, &memory).ok());
  EXPECT_FALSE(memory.frozen());
  EXPECT_TRUE(Write(Tokens(id, 0, 5), &response).ok());
}

// What an earlier write has brought blows up when its chunk ends.
TEST_F(NeuralMemoryServiceTest, AMemoryThatBlowsUpGoesOnOnceTokensAreDropped) {
  const std::string id = Create().memory_id();
  Fill(id, 10);
  v1::WriteMemoryRequest bad = Tokens(id, 10, 2);
  WriteOf rows(TestMemoryConfig(kHeads), 10, 2);
  rows.Set(rows.theta, 0, 1e6f);
  bad.set_theta(rows.theta);
  bad.set_sha256(rows.sha256);
  v1::WriteMemoryResponse written;
  ASSERT_TRUE(Write(bad, &written).ok());
  for (int i = 0; i < 2; ++i) {
    const grpc::Status status = Write(Tokens(id, 12, 8), &written);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::OUT_OF_RANGE);
    EXPECT_THAT(status.error_message(), HasSubstr("head 0: token 15"));
    EXPECT_THAT(status.error_message(),
                HasSubstr("12 tokens are written, the last 4 of them in the "
                          "same chunk: if they are at fault, DropOpenTokens "
                          "drops them and goes back to 8"));
  }
  v1::DropOpenTokensRequest request;
  request.set_memory_id(id);
  v1::DropOpenTokensResponse dropped;
  const grpc::Status status =
      stub_->DropOpenTokens(Context().get(), request, &dropped);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(dropped.num_tokens(), 8);
  EXPECT_EQ(dropped.num_dropped(), 4);
  ASSERT_TRUE(Write(Tokens(id, 8, 12), &written).ok());
  EXPECT_EQ(written.num_tokens(), 20);
  const std::string good = Create().memory_id();
  Fill(good, 20);
  EXPECT_EQ(Read(id), Read(good));
}

TEST_F(NeuralMemoryServiceTest, AMemoryOfASessionGoesWithTheSession) {
  const auto session = sessions_.sessions().Open({}, TestConfig(1, 1, 16, 100));
  ASSERT_TRUE(session.ok()) << session.status();
  v1::CreateMemoryRequest request = Config();
  request.set_session_id(session->session_id);
  const v1::Memory memory = Create(request);
  EXPECT_EQ(memory.memory_id(), session->session_id);
  EXPECT_TRUE(memory.of_session());
  EXPECT_EQ(TryCreate(request).error_code(), grpc::StatusCode::ALREADY_EXISTS);
  // Whoever may not see the session may not give it a memory.
  EXPECT_EQ(TryCreate(request, "other").error_code(),
            grpc::StatusCode::NOT_FOUND);
  // A call to the memory keeps the session.
  for (int i = 0; i < 3; ++i) {
    sessions_.clock().Advance(absl::Minutes(9));
    Read(memory.memory_id());
    sessions_.sessions().Step();
  }
  EXPECT_TRUE(sessions_.sessions().Get({}, session->session_id).ok());
  sessions_.clock().Advance(absl::Minutes(11));
  sessions_.sessions().Step();
  v1::GetMemoryRequest get;
  get.set_memory_id(memory.memory_id());
  v1::Memory gone;
  EXPECT_EQ(stub_->GetMemory(Context().get(), get, &gone).error_code(),
            grpc::StatusCode::NOT_FOUND);
  memories_.memories().Step();
  EXPECT_EQ(memories_.reserved_bytes(), 0);
}

TEST_F(NeuralMemoryServiceTest, TenantsDoNotSeeEachOther) {
  v1::GetMemoryRequest request;
  request.set_memory_id(Create().memory_id());
  v1::Memory memory;
  EXPECT_EQ(stub_->GetMemory(Context("a").get(), request, &memory).error_code(),
            grpc::StatusCode::NOT_FOUND);
  EXPECT_TRUE(stub_->GetMemory(Context().get(), request, &memory).ok());
}

TEST_F(NeuralMemoryServiceTest, ASnapshotIsRestoredWithEqualBits) {
  const std::string id = Create().memory_id();
  Fill(id, 29);
  const std::vector<v1::MemorySnapshotPart> parts = Snapshot(id);
  ASSERT_EQ(parts.size(), 1u + kHeads);
  v1::Memory restored;
  const grpc::Status status = Restore(parts, &restored);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(restored.num_tokens(), 29);
  EXPECT_EQ(Read(restored.memory_id()), Read(id));
  v1::WriteMemoryResponse expected;
  v1::WriteMemoryResponse got;
  ASSERT_TRUE(Write(Tokens(id, 29, 10), &expected).ok());
  ASSERT_TRUE(Write(Tokens(restored.memory_id(), 29, 10), &got).ok());
  EXPECT_EQ(got.outputs(), expected.outputs());
}

TEST_F(NeuralMemoryServiceTest, AClientThatLeavesDuringRestoreLeavesNothing) {
  const std::string id = Create().memory_id();
  const std::vector<v1::MemorySnapshotPart> parts = Snapshot(id);
  const int64_t before = memories_.reserved_bytes();
  {
    v1::Memory memory;
    const auto context = Context();
    const auto writer = stub_->Restore(context.get(), &memory);
    writer->Write(parts[0]);
    writer->Write(parts[1]);
    context->TryCancel();
    EXPECT_FALSE(writer->Finish().ok());
  }
  frontends_->Shutdown(absl::Seconds(10));  // waits for its end
  EXPECT_EQ(memories_.reserved_bytes(), before);
}

TEST_F(NeuralMemoryServiceTest, WhatDrainsTakesNoNewCall) {
  frontends_->Drain(absl::ZeroDuration());
  EXPECT_EQ(TryCreate(Config()).error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(NeuralMemoryServiceTest, MemoriesTokensAndSurpriseAreSeries) {
  const v1::Memory memory = Create();
  Fill(memory.memory_id(), 20);
  v1::WriteMemoryRequest request = Tokens(memory.memory_id(), 20, 4);
  WriteOf rows(TestMemoryConfig(kHeads), 20, 4);
  rows.Set(rows.theta, 0, 1e6f);
  request.set_theta(rows.theta);
  request.set_sha256(rows.sha256);
  v1::WriteMemoryResponse response;
  EXPECT_EQ(Write(request, &response).error_code(),
            grpc::StatusCode::OUT_OF_RANGE);

  const auto families = NeuralMemoryCollector(memories_.memories()).Collect();
  ASSERT_EQ(families.size(), 6u);
  EXPECT_EQ(families[0].name, "headwise_memories");
  EXPECT_EQ(families[0].metric[0].gauge.value, 1.0);
  EXPECT_EQ(families[1].name, "headwise_memory_state_bytes");
  EXPECT_EQ(families[1].metric[0].gauge.value,
            static_cast<double>(memory.state_bytes()));
  EXPECT_EQ(families[2].name, "headwise_memory_reserved_bytes");
  EXPECT_EQ(families[2].metric[0].gauge.value,
            static_cast<double>(memory.reserved_bytes()));
  EXPECT_EQ(families[3].name, "headwise_memory_updates_total");
  EXPECT_EQ(families[3].metric[0].counter.value, 20.0);
  EXPECT_EQ(families[4].name, "headwise_memory_rollbacks_total");
  EXPECT_EQ(families[4].metric[0].counter.value, 1.0);
  EXPECT_EQ(families[5].name, "headwise_memory_surprise");
  const auto& histogram = families[5].metric[0].histogram;
  EXPECT_EQ(histogram.sample_count, 20u * kHeads);
  EXPECT_GT(histogram.sample_sum, 0.0);
  ASSERT_EQ(histogram.bucket.size(), SurpriseCounts::kBounds.size() + 1);
  EXPECT_EQ(histogram.bucket.back().cumulative_count, 20u * kHeads);
  EXPECT_EQ(histogram.bucket.back().upper_bound, INFINITY);
}

}  // namespace
}  // namespace headwise
