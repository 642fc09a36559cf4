// headwise.v1.Attention over gRPC, with workers of this process.

#include "server/frontends/attention_service.h"

#include <chrono>
#include <cmath>
#include <cstring>
#include <memory>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "grpcpp/client_context.h"
#include "gtest/gtest.h"
#include "server/attention/attention_fixture.h"
#include "server/frontends/attention_collector.h"
#include "server/frontends/attention_wire.h"
#include "server/frontends/frontend_fakes.h"
#include "server/frontends/server_frontends.h"

namespace headwise {
namespace {

using testing::HasSubstr;

constexpr int64_t kUnits = 2;
constexpr int64_t kDim = 16;

class AttentionServiceTest : public testing::Test {
 protected:
  void SetUp() override {
    ServerFrontendsOptions options;
    options.model_name = "tiny";
    options.listen_address = "";
    options.metrics_address = "";
    options.shape = FakeShape();
    auto frontends =
        ServerFrontends::Create(options, {.engine = engine_,
                                          .model = fakes_.model,
                                          .tokenizer = fakes_.tokenizer,
                                          .cluster = cluster_state_,
                                          .attention = &cluster_.sessions()});
    ASSERT_TRUE(frontends.ok()) << frontends.status();
    frontends_ = *std::move(frontends);
    stub_ = v1::Attention::NewStub(frontends_->InProcessChannel());
  }

  static std::unique_ptr<grpc::ClientContext> Context(
      const std::string& tenant = "") {
    auto context = std::make_unique<grpc::ClientContext>();
    context->set_deadline(std::chrono::system_clock::now() +
                          std::chrono::seconds(30));
    if (!tenant.empty()) context->AddMetadata(kTenantKey, tenant);
    return context;
  }

  static v1::OpenSessionRequest Config() {
    v1::OpenSessionRequest request;
    request.set_num_heads(kUnits);
    request.set_num_kv_heads(kUnits);
    request.set_head_dim(kDim);
    request.set_max_positions(10'000);
    return request;
  }
  grpc::Status TryOpen(const v1::OpenSessionRequest& request,
                       const std::string& tenant = "") {
    v1::AttentionSession session;
    return stub_->Open(Context(tenant).get(), request, &session);
  }
  std::string Open(const v1::OpenSessionRequest& request) {
    v1::AttentionSession session;
    const grpc::Status status = stub_->Open(Context().get(), request, &session);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return session.session_id();
  }

  v1::AppendRequest ChunkAt(int64_t begin, int64_t end,
                            const std::string& session_id = "") const {
    const ChunkOf chunk(keys_, values_, begin, end);
    v1::AppendRequest request;
    request.set_session_id(session_id);
    request.set_offset(begin);
    request.set_keys(chunk.chunk().keys);
    request.set_values(chunk.chunk().values);
    request.set_sha256(chunk.chunk().sha256);
    return request;
  }
  grpc::Status Append(const std::vector<v1::AppendRequest>& chunks,
                      v1::AppendResponse* response) {
    const auto context = Context();
    const auto writer = stub_->Append(context.get(), response);
    for (const v1::AppendRequest& chunk : chunks) {
      if (!writer->Write(chunk)) break;
    }
    writer->WritesDone();
    return writer->Finish();
  }
  void Fill(const std::string& session_id, int64_t length) {
    v1::AppendResponse response;
    const grpc::Status status =
        Append({ChunkAt(0, length, session_id)}, &response);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }

  v1::AttendResponse Attend(const std::string& session_id) {
    v1::AttendRequest request;
    request.set_session_id(session_id);
    request.set_query_len(2);
    request.set_queries(BytesOf(keys_.row(0, 0), 2 * kUnits * kDim));
    request.mutable_probes()->set_top_keys(2);
    v1::AttendResponse response;
    const grpc::Status status =
        stub_->Attend(Context().get(), request, &response);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return response;
  }
  int64_t StoredPositions(const std::string& session_id) {
    v1::GetSessionRequest request;
    request.set_session_id(session_id);
    v1::AttentionSession session;
    EXPECT_TRUE(stub_->GetSession(Context().get(), request, &session).ok());
    return session.stored_positions();
  }
  std::vector<v1::SnapshotPart> Snapshot(const std::string& session_id) {
    v1::SnapshotRequest request;
    request.set_session_id(session_id);
    const auto context = Context();
    const auto reader = stub_->Snapshot(context.get(), request);
    std::vector<v1::SnapshotPart> parts;
    v1::SnapshotPart part;
    while (reader->Read(&part)) parts.push_back(part);
    EXPECT_TRUE(reader->Finish().ok());
    return parts;
  }
  grpc::Status Restore(const std::vector<v1::SnapshotPart>& parts,
                       v1::AttentionSession* session) {
    const auto context = Context();
    const auto writer = stub_->Restore(context.get(), session);
    for (const v1::SnapshotPart& part : parts) {
      if (!writer->Write(part)) break;
    }
    writer->WritesDone();
    return writer->Finish();
  }

  const RandomTensor keys_{5000, kUnits, kDim, 1};
  const RandomTensor values_{5000, kUnits, kDim, 2};
  TestCluster cluster_{{.speeds = {1.0, 1.0}}};
  FakeServed fakes_;
  FakeCluster cluster_state_;
  FakeEngine engine_;
  std::unique_ptr<ServerFrontends> frontends_;
  std::unique_ptr<v1::Attention::Stub> stub_;
};

TEST_F(AttentionServiceTest, ASessionIsOpenedFilledAskedForkedAndDeleted) {
  v1::AttentionSession session;
  ASSERT_TRUE(stub_->Open(Context().get(), Config(), &session).ok());
  EXPECT_EQ(session.session_id().size(), 32u);
  EXPECT_EQ(session.config().softmax_scale(), 0.25);
  EXPECT_EQ(session.config().kv_type(), v1::KV_TYPE_FP32);
  EXPECT_EQ(session.config().ttl_seconds(), 600);
  EXPECT_EQ(session.workers_size(), 2);
  EXPECT_EQ(session.reserved_bytes(), session.workers(0).reserved_bytes() +
                                          session.workers(1).reserved_bytes());
  v1::AppendResponse stored;
  ASSERT_TRUE(Append({ChunkAt(0, 1000, session.session_id()),
                      ChunkAt(1000, 1001), ChunkAt(1001, 3000)},
                     &stored)
                  .ok());
  EXPECT_EQ(stored.stored_positions(), 3000);
  EXPECT_EQ(stored.repeated_chunks(), 0);

  const v1::AttendResponse answer = Attend(session.session_id());
  EXPECT_EQ(answer.output().size(), 2 * kUnits * kDim * sizeof(float));
  EXPECT_EQ(answer.lse_size(), 2 * kUnits);
  EXPECT_EQ(answer.top_positions_size(), 2 * kUnits * 2);
  EXPECT_EQ(answer.stored_positions(), 3000);
  EXPECT_GE(answer.top_probs(0), answer.top_probs(1));

  v1::ForkSessionRequest fork;
  fork.set_session_id(session.session_id());
  v1::AttentionSession forked;
  ASSERT_TRUE(stub_->Fork(Context().get(), fork, &forked).ok());
  EXPECT_EQ(Attend(forked.session_id()).output(), answer.output());
  v1::ListSessionsResponse list;
  ASSERT_TRUE(stub_->ListSessions(Context().get(), {}, &list).ok());
  EXPECT_EQ(list.sessions_size(), 2);
  for (const v1::AttentionSession& one : list.sessions()) {
    v1::DeleteSessionRequest remove;
    remove.set_session_id(one.session_id());
    v1::DeleteSessionResponse removed;
    EXPECT_TRUE(stub_->Delete(Context().get(), remove, &removed).ok());
  }
  EXPECT_EQ(cluster_.committed_bytes(), 0);
}

TEST_F(AttentionServiceTest, OutputComesInTheInputsTypeIfAskedFor) {
  v1::OpenSessionRequest config = Config();
  config.set_input_type(v1::FLOAT_TYPE_BF16);
  const std::string id = Open(config);
  v1::AttendRequest request;
  request.set_session_id(id);
  request.set_query_len(1);
  request.set_queries(std::string(kUnits * kDim * 2, '\0'));
  request.set_all_keys(true);
  request.set_output_as_input(true);
  v1::AttendResponse response;
  ASSERT_TRUE(stub_->Attend(Context().get(), request, &response).ok());
  EXPECT_EQ(response.output_type(), v1::FLOAT_TYPE_BF16);
  EXPECT_EQ(response.output().size(), kUnits * kDim * 2u);
  EXPECT_EQ(response.lse(0), -INFINITY);
}

TEST_F(AttentionServiceTest, AStreamThatBreaksKeepsWhatWasStored) {
  const std::string id = Open(Config());
  v1::AppendResponse stored;
  const grpc::Status broken =
      Append({ChunkAt(0, 100, id), ChunkAt(200, 300)}, &stored);
  EXPECT_EQ(broken.error_code(), grpc::StatusCode::OUT_OF_RANGE);
  EXPECT_THAT(broken.error_message(),
              HasSubstr("expected offset 100, got 200"));
  EXPECT_EQ(StoredPositions(id), 100);
  // The client sends from the beginning again.
  ASSERT_TRUE(Append({ChunkAt(0, 100, id), ChunkAt(100, 300)}, &stored).ok());
  EXPECT_EQ(stored.stored_positions(), 300);
  EXPECT_EQ(stored.repeated_chunks(), 1);
}

TEST_F(AttentionServiceTest, OneStreamIsForOneSession) {
  const std::string a = Open(Config());
  const std::string b = Open(Config());
  v1::AppendResponse stored;
  EXPECT_EQ(
      Append({ChunkAt(0, 10, a), ChunkAt(0, 10, b)}, &stored).error_code(),
      grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(StoredPositions(b), 0);
}

TEST_F(AttentionServiceTest, PoliciesThatSessionsLackAreUnimplementedByName) {
  for (const char* kind : {"longheads", "landmark"}) {
    v1::OpenSessionRequest request = Config();
    request.add_policies()->set_kind(kind);
    const grpc::Status status = TryOpen(request);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::UNIMPLEMENTED);
    EXPECT_THAT(status.error_message(), HasSubstr(kind));
  }
  v1::OpenSessionRequest request = Config();
  request.add_policies()->set_kind("best");
  EXPECT_EQ(TryOpen(request).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  request = Config();
  request.add_policies()->set_kind("streaming");  // no window
  EXPECT_EQ(TryOpen(request).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(AttentionServiceTest, HostileConfigsAreRefusedByField) {
  const auto refused = [this](const v1::OpenSessionRequest& request,
                              const std::string& field) {
    const grpc::Status status = TryOpen(request);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), HasSubstr(field));
  };
  v1::OpenSessionRequest request = Config();
  request.set_num_heads(3);
  refused(request, "num_heads: 3");
  request = Config();
  request.set_num_kv_heads(0);
  refused(request, "num_kv_heads: 0");
  request = Config();
  request.set_num_heads(INT64_MAX - 1);
  refused(request, "num_heads");
  request = Config();
  request.set_head_dim(INT64_MAX);
  refused(request, "head_dim");
  request = Config();
  request.set_max_positions(INT64_MAX);
  refused(request, "max_positions");
  request = Config();
  request.set_ttl_seconds(INT64_MAX);
  refused(request, "ttl_seconds");
  request = Config();
  request.set_softmax_scale(INFINITY);
  refused(request, "softmax_scale");
  request = Config();
  request.set_input_type(static_cast<v1::FloatType>(9));
  refused(request, "input_type");
  request = Config();
  request.set_kv_type(static_cast<v1::KvType>(9));
  refused(request, "kv_type");
  request = Config();
  for (int i = 0; i < 3; ++i) request.add_policies();
  refused(request, "policies: 3 for 2");
}

TEST_F(AttentionServiceTest, TenantsDoNotSeeEachOther) {
  const std::string id = Open(Config());
  v1::GetSessionRequest request;
  request.set_session_id(id);
  v1::AttentionSession session;
  EXPECT_EQ(
      stub_->GetSession(Context("a").get(), request, &session).error_code(),
      grpc::StatusCode::NOT_FOUND);
  EXPECT_TRUE(stub_->GetSession(Context().get(), request, &session).ok());
  EXPECT_EQ(TryOpen(Config(), std::string(129, 't')).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_TRUE(TryOpen(Config(), std::string(128, 't')).ok());
}

TEST_F(AttentionServiceTest, ASnapshotIsRestoredWithEqualBits) {
  const std::string id = Open(Config());
  Fill(id, 5000);
  const std::vector<v1::SnapshotPart> parts = Snapshot(id);
  ASSERT_GE(parts.size(), 2u);
  EXPECT_EQ(parts[0].header().stored_positions(), 5000);
  v1::AttentionSession restored;
  const grpc::Status status = Restore(parts, &restored);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(Attend(restored.session_id()).output(), Attend(id).output());
}

TEST_F(AttentionServiceTest, HostileSnapshotsAreRefused) {
  const std::string id = Open(Config());
  Fill(id, 5000);
  const std::vector<v1::SnapshotPart> good = Snapshot(id);
  const int64_t before = cluster_.committed_bytes();
  const auto code_of = [&](const std::vector<v1::SnapshotPart>& parts) {
    v1::AttentionSession session;
    const grpc::StatusCode code = Restore(parts, &session).error_code();
    EXPECT_EQ(cluster_.committed_bytes(), before);
    return code;
  };
  EXPECT_EQ(code_of({}), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(code_of({good[1]}), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(code_of({good[0], good[0]}), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(code_of({good[0], v1::SnapshotPart()}),
            grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(code_of({good[0]}), grpc::StatusCode::DATA_LOSS);
  std::vector<v1::SnapshotPart> other = good;
  other[0].mutable_header()->set_format(2);
  EXPECT_EQ(code_of(other), grpc::StatusCode::INVALID_ARGUMENT);
  other = good;
  (*other[1].mutable_blocks()->mutable_data())[3] ^= 1;
  EXPECT_EQ(code_of(other), grpc::StatusCode::DATA_LOSS);
}

TEST_F(AttentionServiceTest, AClientThatLeavesDuringRestoreLeavesNothing) {
  const std::string id = Open(Config());
  Fill(id, 5000);
  const std::vector<v1::SnapshotPart> parts = Snapshot(id);
  const int64_t before = cluster_.committed_bytes();
  {
    v1::AttentionSession session;
    const auto context = Context();
    const auto writer = stub_->Restore(context.get(), &session);
    writer->Write(parts[0]);
    context->TryCancel();
    EXPECT_FALSE(writer->Finish().ok());
  }
  frontends_->Shutdown(absl::Seconds(10));  // waits for its end
  EXPECT_EQ(cluster_.committed_bytes(), before);
}

TEST_F(AttentionServiceTest, WhatDrainsTakesNoNewCall) {
  frontends_->Drain(absl::ZeroDuration());
  EXPECT_EQ(TryOpen(Config()).error_code(), grpc::StatusCode::UNAVAILABLE);
}

TEST_F(AttentionServiceTest, SessionsAndBytesAreSeries) {
  const std::string id = Open(Config());
  const AttentionCollector collector(cluster_.sessions());
  const auto families = collector.Collect();
  ASSERT_EQ(families.size(), 2u);
  EXPECT_EQ(families[0].name, "headwise_attention_sessions");
  EXPECT_EQ(families[0].metric.at(0).gauge.value, 1.0);
  EXPECT_EQ(families[1].name, "headwise_attention_bytes");
  EXPECT_EQ(families[1].metric.at(0).gauge.value,
            static_cast<double>(cluster_.sessions().stats().reserved_bytes));
  EXPECT_GT(families[1].metric.at(0).gauge.value, 0.0);
}

}  // namespace
}  // namespace headwise
