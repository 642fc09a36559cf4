// What a worker says of itself, changed on its way to the coordinator.

#include <memory>
#include <string>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "gmock/gmock.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/server_credentials.h"
#include "gtest/gtest.h"
#include "server/dispatch/registry_service.h"
#include "server/membership/membership.h"
#include "tests/support/loopback_server.h"
#include "worker/service/worker_server.h"
#include "worker/step_wire/message_checksum.h"

namespace headwise {
namespace {

class FlippedRegistrationTest : public testing::Test {
 protected:
  void SetUp() override {
    int port = 0;
    server_ = StartOnLoopback(&service_, &port);
    ASSERT_NE(server_, nullptr);
    stub_ = worker::v1::Registry::NewStub(
        grpc::CreateChannel("127.0.0.1:" + std::to_string(port),
                            grpc::InsecureChannelCredentials()));
  }
  void TearDown() override {
    service_.Close();
    server_->Shutdown();
  }

  // One registration, until the coordinator ends it or has taken it.
  worker::v1::RegisterResponse Register(const worker::v1::WorkerInfo& info) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(30)));
    const auto stream = stub_->Register(&context);
    worker::v1::RegisterRequest request;
    *request.mutable_info() = info;
    stream->Write(request);
    worker::v1::RegisterResponse answer;
    EXPECT_TRUE(stream->Read(&answer));
    was_taken_ = membership_.view()->members.size() == 1;
    stream->WritesDone();
    stream->Finish();
    return answer;
  }

  bool was_taken_ = false;
  Membership membership_{{}, Clock::Monotonic()};
  RegistryService service_{{}, membership_};
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<worker::v1::Registry::Stub> stub_;
};

TEST_F(FlippedRegistrationTest, IsRefusedAndTheNextOneTaken) {
  worker::v1::WorkerInfo info;
  info.set_name("a");
  info.set_address("127.0.0.1:1");
  info.set_speed(1.0);
  info.set_memory_bytes(1 << 20);
  WriteOwnBuild(&info);
  WriteChecksum(&info);
  worker::v1::WorkerInfo flipped = info;
  flipped.set_memory_bytes(info.memory_bytes() ^ (int64_t{1} << 40));
  const worker::v1::RegisterResponse refused = Register(flipped);
  EXPECT_FALSE(refused.accepted());
  EXPECT_THAT(refused.reason(), testing::HasSubstr("changed on its way"));
  EXPECT_FALSE(was_taken_);
  EXPECT_TRUE(Register(info).accepted());
  EXPECT_TRUE(was_taken_);
}

}  // namespace
}  // namespace headwise
