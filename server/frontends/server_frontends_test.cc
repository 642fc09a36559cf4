#include "server/frontends/server_frontends.h"

#include <atomic>
#include <thread>

#include "absl/synchronization/notification.h"
#include "base/pulse.h"
#include "gmock/gmock.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/generic/generic_stub.h"
#include "gtest/gtest.h"
#include "server/frontends/services_fixture.h"

namespace headwise {
namespace {

using testing::HasSubstr;

// grpc.health.v1.Health/Check without its generated code: field 1 of the
// request is the service, field 1 of the response the status. -1: no such
// service.
int HealthOf(grpc::GenericStub& stub, const std::string& service) {
  std::string bytes = "\x0a";
  bytes += static_cast<char>(service.size());
  bytes += service;
  const grpc::Slice slice(bytes);
  const grpc::ByteBuffer request(&slice, 1);
  grpc::ByteBuffer response;
  grpc::ClientContext context;
  grpc::CompletionQueue queue;
  grpc::Status status;
  const auto call = stub.PrepareUnaryCall(
      &context, "/grpc.health.v1.Health/Check", request, &queue);
  call->StartCall();
  call->Finish(&response, &status, nullptr);
  void* tag = nullptr;
  bool ok = false;
  queue.Next(&tag, &ok);
  if (!status.ok()) return -1;
  std::vector<grpc::Slice> slices;
  EXPECT_TRUE(response.Dump(&slices).ok());
  // A status of 0 is left out.
  return slices.empty() || slices[0].size() < 2 ? 0 : slices[0].begin()[1];
}

class ListeningTest : public ServicesTest {
 protected:
  void SetUp() override { Start("127.0.0.1:0"); }
  std::shared_ptr<grpc::Channel> Channel() {
    return grpc::CreateChannel(
        "127.0.0.1:" + std::to_string(frontends_->port()),
        grpc::InsecureChannelCredentials());
  }
};

TEST_F(ListeningTest, HealthFollowsReadiness) {
  grpc::GenericStub stub(Channel());
  const std::vector<std::string> names = {"headwise.v1.Inference",
                                          "headwise.v1.Admin", "tiny"};
  for (const std::string& name : names) EXPECT_EQ(HealthOf(stub, name), 1);
  EXPECT_EQ(HealthOf(stub, "nobody"), -1);
  cluster_.Set(nullptr, false);
  frontends_->UpdateReadiness();
  for (const std::string& name : names) EXPECT_EQ(HealthOf(stub, name), 2);
  EXPECT_EQ(HealthOf(stub, ""), 1) << "the process answers";
  cluster_.Set(nullptr, true);
  frontends_->UpdateReadiness();
  for (const std::string& name : names) EXPECT_EQ(HealthOf(stub, name), 1);
}

TEST_F(ListeningTest, HealthSeesALateThreadWithoutBeingTold) {
  grpc::GenericStub stub(Channel());
  Pulse pulse("test-loop");
  for (const char* name : {"", "tiny"}) EXPECT_EQ(HealthOf(stub, name), 1);
  pulse.Beat(absl::Nanoseconds(-1));
  for (const char* name : {"", "tiny"}) EXPECT_EQ(HealthOf(stub, name), 2);
  pulse.Beat();
  for (const char* name : {"", "tiny"}) EXPECT_EQ(HealthOf(stub, name), 1);
}

TEST_F(ListeningTest, ATakenPortIsAnError) {
  ServerFrontendsOptions options;
  options.model_name = "tiny";
  options.listen_address = "127.0.0.1:" + std::to_string(frontends_->port());
  options.metrics_address = "";
  const auto second =
      ServerFrontends::Create(options, {.engine = engine_,
                                        .model = fakes_.model,
                                        .tokenizer = fakes_.tokenizer,
                                        .cluster = cluster_});
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()),
              HasSubstr(options.listen_address));
}

TEST_F(ListeningTest, DrainLetsRunningRequestsEndAndRefusesNewOnes) {
  absl::Notification started, may_end;
  engine_.SetScript([&](const FakeEngine::Call& call) {
    call.sink.OnToken(Token('a'));
    started.Notify();
    may_end.WaitForNotification();
    call.sink.OnFinished(absl::OkStatus(), {});
  });
  absl::Status status;
  std::thread caller([&] {
    status = TestClient(Channel()).Generate(Prompt(),
                                            [](const auto&) { return true; });
  });
  started.WaitForNotification();
  std::atomic<bool> drained = false;
  std::thread drain([&] {
    frontends_->Drain(absl::Seconds(30));
    drained = true;
  });
  grpc::GenericStub stub(Channel());
  for (const char* name : {"", "tiny"}) {
    while (HealthOf(stub, name) != 2) absl::SleepFor(absl::Milliseconds(1));
  }
  cluster_.Set(nullptr, true);
  frontends_->UpdateReadiness();
  EXPECT_EQ(HealthOf(stub, "tiny"), 2) << "red for good";
  for (const absl::Status& refused :
       {client_->Generate(Prompt(), [](const auto&) { return true; }),
        client_->GetHeadMap({}).status()}) {
    EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable);
    EXPECT_THAT(std::string(refused.message()), HasSubstr("draining"));
  }
  EXPECT_FALSE(drained);
  may_end.Notify();
  caller.join();
  drain.join();
  EXPECT_TRUE(status.ok()) << status;
}

TEST_F(ListeningTest, DrainEndsWhatOutlastsItsGraceWithUnavailable) {
  absl::Notification started, may_end;
  engine_.SetScript([&](const FakeEngine::Call& call) {
    started.Notify();
    may_end.WaitForNotification();
    call.sink.OnFinished(engine_.closed(), {});
  });
  absl::Status status;
  std::thread caller([&] {
    status = TestClient(Channel()).Generate(Prompt(),
                                            [](const auto&) { return true; });
  });
  started.WaitForNotification();
  frontends_->Drain(absl::Milliseconds(1));
  may_end.Notify();
  caller.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()), HasSubstr("shutting down"));
}

TEST_F(ListeningTest, ShutdownCancelsWhatOutlastsItsGrace) {
  absl::Notification started;
  engine_.SetScript([&](const FakeEngine::Call& call) {
    call.sink.OnToken(Token('a'));
    started.Notify();
    call.wait_for_cancel();
    call.sink.OnFinished(absl::CancelledError("shutting down"), {});
  });
  absl::Status status;
  std::thread caller([&] {
    status = TestClient(Channel()).Generate(Prompt(),
                                            [](const auto&) { return true; });
  });
  started.WaitForNotification();
  frontends_->Shutdown(absl::Milliseconds(1));
  caller.join();
  EXPECT_FALSE(status.ok());
}

// The client is gone and gRPC done with the call, but the engine is not.
TEST_F(ListeningTest, ShutdownWaitsUntilTheEngineLetsGo) {
  absl::Notification go_on;
  std::atomic<bool> ended = false;
  engine_.SetScript([&](const FakeEngine::Call& call) {
    call.sink.OnPrefill(1, 2);
    go_on.WaitForNotification();
    call.sink.OnFinished(absl::CancelledError("cancelled"), {});
    ended = true;
  });
  EXPECT_EQ(
      client_->Generate(Prompt(), [](const auto&) { return false; }).code(),
      absl::StatusCode::kCancelled);
  std::thread shutdown([&] {
    frontends_->Shutdown(absl::ZeroDuration());
    EXPECT_TRUE(ended);
    frontends_.reset();
  });
  go_on.Notify();
  shutdown.join();
}

TEST(ServerFrontendsTest, BadOptionsAreNamed) {
  FakeServed fakes;
  FakeCluster cluster;
  FakeEngine engine;
  const auto create = [&](ServerFrontendsOptions options) {
    return std::string(
        ServerFrontends::Create(options, {.engine = engine,
                                          .model = fakes.model,
                                          .tokenizer = fakes.tokenizer,
                                          .cluster = cluster})
            .status()
            .message());
  };
  ServerFrontendsOptions no_bytes;
  no_bytes.model_name = "m";
  no_bytes.max_request_bytes = 0;
  ServerFrontendsOptions no_host;
  no_host.model_name = "m";
  no_host.metrics_address = "256.0.0.1:1";
  EXPECT_THAT(create({}), HasSubstr("model_name has 0 bytes"));
  EXPECT_THAT(create(no_bytes), HasSubstr("max_request_bytes is 0"));
  EXPECT_THAT(create(no_host), HasSubstr("256.0.0.1:1"));
}

}  // namespace
}  // namespace headwise
