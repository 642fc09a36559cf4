// What headwise.v1.NeuralMemory refuses, with field, value and limit.

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "gtest/gtest.h"
#include "server/frontends/neural_memory_service_fixture.h"

namespace headwise {
namespace {

using testing::HasSubstr;

using NeuralMemoryLimitsTest = NeuralMemoryServiceTest;
using Request = v1::CreateMemoryRequest;

v1::MemorySpec* SpecOf(Request& request) {
  return request.mutable_config()->mutable_spec();
}

TEST_F(NeuralMemoryLimitsTest, ConfigsOutOfRangeAreRefusedByField) {
  const auto refused = [this](void (*change)(v1::CreateMemoryRequest&),
                              const std::string& message) {
    v1::CreateMemoryRequest request = Config();
    change(request);
    const grpc::Status status = TryCreate(request);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), HasSubstr(message));
    EXPECT_EQ(memories_.reserved_bytes(), 0);
  };
  refused([](Request& r) { SpecOf(r)->set_num_heads(0); },
          "num_heads: 0, allowed 1 to 256");
  refused([](Request& r) { SpecOf(r)->set_num_heads(257); },
          "num_heads: 257, allowed 1 to 256");
  refused([](Request& r) { SpecOf(r)->set_head_dim(20); },
          "head_dim = 20: must be a multiple of 16");
  refused([](Request& r) { SpecOf(r)->set_head_dim(512); },
          "head_dim = 512: must be 16 to 256");
  refused([](Request& r) { SpecOf(r)->set_num_layers(5); },
          "num_layers = 5: must be 1 to 4");
  refused([](Request& r) { SpecOf(r)->set_hidden_dim(2048); },
          "hidden_dim = 2048: must be 16 to 1024");
  refused([](Request& r) { SpecOf(r)->set_chunk_len(4097); },
          "chunk_len = 4097: must be 1 to 4096");
  refused([](Request& r) { SpecOf(r)->set_loss_scale(NAN); }, "loss_scale");
  refused([](Request& r) { SpecOf(r)->set_max_norm(-1.0f); }, "max_norm");
  refused(
      [](Request& r) {
        SpecOf(r)->set_activation(static_cast<v1::MemoryActivation>(9));
      },
      "config.spec.activation: 9 is no MemoryActivation");
  refused(
      [](Request& r) { SpecOf(r)->set_norm(static_cast<v1::MemoryNorm>(9)); },
      "config.spec.norm");
  refused(
      [](Request& r) { SpecOf(r)->set_rule(static_cast<v1::MemoryRule>(9)); },
      "config.spec.rule");
  refused(
      [](Request& r) {
        r.mutable_config()->set_input_type(static_cast<v1::FloatType>(9));
      },
      "input_type: 9");
  refused([](Request& r) { r.mutable_config()->set_ttl_seconds(86'401); },
          "ttl_seconds: 86401, allowed 0 to 86400");
  refused(
      [](Request& r) {
        r.mutable_config()->mutable_default_gates()->set_alpha(1.5f);
      },
      "default_gates.alpha: 1.5, allowed 0 to 1");
  refused([](Request& r) { r.set_weights("123"); },
          "weights: 3 bytes; 2 heads of 1040 fp32 weights have 8320");
}

TEST_F(NeuralMemoryLimitsTest, AModelWithoutMemoriesHasNoneToBeginWith) {
  v1::CreateMemoryRequest request;
  request.set_model("titans-mac");
  grpc::Status status = TryCreate(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::NOT_FOUND);
  EXPECT_THAT(status.error_message(), HasSubstr("titans-mac"));
  request.set_model("tiny");
  status = TryCreate(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(),
              HasSubstr("model: \"tiny\" has no neural memories"));
}

TEST_F(NeuralMemoryLimitsTest, BadTokensLeaveTheStateUntouched) {
  const std::string id = Create().memory_id();
  Fill(id, 20);
  const std::string before = Read(id);
  const auto refused = [&](const v1::WriteMemoryRequest& request,
                           grpc::StatusCode code, const std::string& message) {
    v1::WriteMemoryResponse response;
    const grpc::Status status = Write(request, &response);
    EXPECT_EQ(status.error_code(), code);
    EXPECT_THAT(status.error_message(), HasSubstr(message));
    EXPECT_EQ(Read(id), before);
  };
  const auto with = [&](void (*change)(WriteOf&)) {
    WriteOf rows(TestMemoryConfig(kHeads), 20, 10);
    change(rows);
    v1::WriteMemoryRequest request;
    request.set_memory_id(id);
    request.set_offset(20);
    request.set_keys(rows.keys);
    request.set_values(rows.values);
    request.set_theta(rows.theta);
    request.set_eta(rows.eta);
    request.set_alpha(rows.alpha);
    rows.queries.clear();
    rows.Hash();
    request.set_sha256(rows.sha256);
    return request;
  };
  const grpc::StatusCode invalid = grpc::StatusCode::INVALID_ARGUMENT;
  // [token 2][head 1][dimension 3]
  refused(with([](WriteOf& r) { r.Set(r.keys, (2 * 2 + 1) * 16 + 3, NAN); }),
          invalid, "head 1, tokens from 20 on: keys[2][3] = nan");
  refused(with([](WriteOf& r) { r.Set(r.values, 0, INFINITY); }), invalid,
          "values[0][0] = inf");
  refused(with([](WriteOf& r) { r.Set(r.theta, 5, -0.1f); }), invalid,
          "theta[2] = -0.1");
  refused(with([](WriteOf& r) { r.Set(r.eta, 5, 1.01f); }), invalid,
          "eta[2] = 1.01: must be 0 to 1");
  refused(with([](WriteOf& r) { r.Set(r.alpha, 5, -1.0f); }), invalid,
          "alpha[2] = -1: must be 0 to 1");
  refused(with([](WriteOf& r) { r.values.pop_back(); }), invalid,
          "values: 1279 bytes; must have 1280");
  refused(with([](WriteOf& r) { r.alpha.clear(); }), invalid, "alpha: 0 bytes");
  refused(with([](WriteOf& r) { r.Set(r.theta, 5, 1e6f); }),
          grpc::StatusCode::OUT_OF_RANGE, "head 1: token 23: norm");
  v1::WriteMemoryRequest request = Tokens(id, 20, 10);
  (*request.mutable_keys())[7] ^= 1;
  refused(request, grpc::StatusCode::DATA_LOSS, "sha256 of the write");
  refused(Tokens(id, 21, 10), grpc::StatusCode::OUT_OF_RANGE,
          "expected offset 20, got 21");
  request = Tokens(id, 0, 10);
  request.set_offset(std::numeric_limits<int64_t>::max());
  refused(request, grpc::StatusCode::OUT_OF_RANGE, "offset");
  request.set_offset(-1);
  refused(request, invalid, "offset");
}

TEST_F(NeuralMemoryLimitsTest, WhatDoesNotFitIsRefusedWithTheBytes) {
  v1::CreateMemoryRequest request = Config();
  request.mutable_config()->mutable_spec()->set_num_heads(256);
  request.mutable_config()->mutable_spec()->set_head_dim(256);
  request.mutable_config()->mutable_spec()->set_hidden_dim(1024);
  const grpc::Status status = TryCreate(request);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(),
              testing::MatchesRegex("worker w0: the memory needs [0-9]+ bytes, "
                                    "268435456 of 268435456 are available"));
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  google::rpc::RetryInfo retry;
  bool has_retry = false;
  for (const auto& detail : details.details()) {
    has_retry |= detail.UnpackTo(&retry);
  }
  EXPECT_TRUE(has_retry);
}

TEST_F(NeuralMemoryLimitsTest, HostileSnapshotsAreRefused) {
  const std::string id = Create().memory_id();
  Fill(id, 21);
  const std::vector<v1::MemorySnapshotPart> good = Snapshot(id);
  const int64_t before = memories_.reserved_bytes();
  const auto code_of = [&](const std::vector<v1::MemorySnapshotPart>& parts) {
    v1::Memory memory;
    const grpc::StatusCode code = Restore(parts, &memory).error_code();
    EXPECT_EQ(memories_.reserved_bytes(), before);
    return code;
  };
  const grpc::StatusCode invalid = grpc::StatusCode::INVALID_ARGUMENT;
  const grpc::StatusCode data_loss = grpc::StatusCode::DATA_LOSS;
  EXPECT_EQ(code_of({}), invalid);
  EXPECT_EQ(code_of({good[1]}), invalid);
  EXPECT_EQ(code_of({good[0], good[0]}), invalid);
  EXPECT_EQ(code_of({good[0], v1::MemorySnapshotPart()}), invalid);
  EXPECT_EQ(code_of({good[0], good[1]}), data_loss);
  std::vector<v1::MemorySnapshotPart> other = good;
  other[0].mutable_header()->set_format(2);
  EXPECT_EQ(code_of(other), invalid);
  other = good;
  (*other[0].mutable_header()->mutable_state())[3] ^= 1;
  EXPECT_EQ(code_of(other), data_loss);
  other = good;
  (*other[1].mutable_piece()->mutable_data())[500] ^= 1;
  EXPECT_EQ(code_of(other), data_loss);
  // Heads of another memory, whose spec differs.
  v1::CreateMemoryRequest request = Config();
  request.mutable_config()->mutable_spec()->set_loss_scale(1.0f);
  const std::string stranger = Create(request).memory_id();
  other = Snapshot(stranger);
  v1::DeleteMemoryRequest deletion;
  deletion.set_memory_id(stranger);
  v1::DeleteMemoryResponse deleted;
  ASSERT_TRUE(stub_->Delete(Context().get(), deletion, &deleted).ok());
  other[0] = good[0];
  EXPECT_EQ(code_of(other), grpc::StatusCode::FAILED_PRECONDITION);
}

}  // namespace
}  // namespace headwise
