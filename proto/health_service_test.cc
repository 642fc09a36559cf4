#include "proto/health_service.h"

#include <atomic>
#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "grpcpp/create_channel.h"
#include "gtest/gtest.h"
#include "tests/support/loopback_server.h"

namespace headwise {
namespace {

using grpc::health::v1::Health;
using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

class HealthServiceTest : public testing::Test {
 protected:
  void SetUp() override {
    int port = 0;
    server_ = StartOnLoopback(&service_, &port);
    ASSERT_NE(server_, nullptr);
    stub_ = Health::NewStub(
        grpc::CreateChannel("127.0.0.1:" + std::to_string(port),
                            grpc::InsecureChannelCredentials()));
  }
  void TearDown() override {
    service_.Close();
    server_->Shutdown();
    server_->Wait();
  }

  struct Watching {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<HealthCheckResponse>> reader;
    int Next() {
      HealthCheckResponse response;
      return reader->Read(&response) ? response.status() : -1;
    }
  };
  std::unique_ptr<Watching> Watch(const std::string& name) {
    auto watching = std::make_unique<Watching>();
    watching->context.set_deadline(std::chrono::system_clock::now() +
                                   std::chrono::seconds(30));
    HealthCheckRequest request;
    request.set_service(name);
    watching->reader = stub_->Watch(&watching->context, request);
    return watching;
  }
  // Minus the code of an error.
  int Check(const std::string& name) {
    grpc::ClientContext context;
    HealthCheckRequest request;
    request.set_service(name);
    HealthCheckResponse response;
    const grpc::Status status = stub_->Check(&context, request, &response);
    return status.ok() ? response.status() : -status.error_code();
  }

  std::atomic<bool> well_ = true;
  HealthService service_{{{"", [] { return absl::OkStatus(); }},
                          {"model", [this] {
                             return well_ ? absl::OkStatus()
                                          : absl::UnavailableError("unwell");
                           }}}};
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Health::Stub> stub_;
};

TEST_F(HealthServiceTest, CheckAsksTheProbe) {
  EXPECT_EQ(Check("model"), HealthCheckResponse::SERVING);
  well_ = false;
  EXPECT_EQ(Check("model"), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(Check(""), HealthCheckResponse::SERVING);
  EXPECT_EQ(Check("nobody"), -grpc::StatusCode::NOT_FOUND);
}

TEST_F(HealthServiceTest, WatchSaysWhatHasChangedWithoutBeingTold) {
  const auto watch = Watch("model");
  EXPECT_EQ(watch->Next(), HealthCheckResponse::SERVING);
  well_ = false;
  EXPECT_EQ(watch->Next(), HealthCheckResponse::NOT_SERVING);
  well_ = true;
  service_.Refresh();
  EXPECT_EQ(watch->Next(), HealthCheckResponse::SERVING);
}

TEST_F(HealthServiceTest, CloseIsSaidAndEndsWatches) {
  const auto watch = Watch("");
  EXPECT_EQ(watch->Next(), HealthCheckResponse::SERVING);
  service_.Close();
  EXPECT_EQ(watch->Next(), HealthCheckResponse::NOT_SERVING);
  EXPECT_EQ(watch->Next(), -1);
  EXPECT_TRUE(watch->reader->Finish().ok());
  EXPECT_EQ(Check("model"), HealthCheckResponse::NOT_SERVING);
}

TEST_F(HealthServiceTest, WatchOfAnUnknownNameStaysOpen) {
  const auto watch = Watch("nobody");
  EXPECT_EQ(watch->Next(), HealthCheckResponse::SERVICE_UNKNOWN);
  watch->context.TryCancel();
  EXPECT_EQ(watch->Next(), -1);
  EXPECT_EQ(watch->reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
}

TEST_F(HealthServiceTest, WatchesAreBoundedAndThoseThatLeaveMakeRoom) {
  std::vector<std::unique_ptr<Watching>> watches;
  for (int i = 0; i < HealthService::kMaxWatches; ++i) {
    watches.push_back(Watch("model"));
    ASSERT_EQ(watches.back()->Next(), HealthCheckResponse::SERVING) << i;
  }
  const auto refused = Watch("model");
  EXPECT_EQ(refused->Next(), -1);
  EXPECT_EQ(refused->reader->Finish().error_code(),
            grpc::StatusCode::RESOURCE_EXHAUSTED);
  for (const auto& watch : watches) watch->context.TryCancel();
  int status = -1;
  while (status == -1) status = Watch("model")->Next();
  EXPECT_EQ(status, HealthCheckResponse::SERVING);
  for (const auto& watch : watches) {
    while (watch->Next() != -1) {
    }
    watch->reader->Finish();
  }
}

}  // namespace
}  // namespace headwise
