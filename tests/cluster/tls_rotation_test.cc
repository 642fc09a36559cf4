// Certificates and their authority are replaced while requests run: case 57.

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "grpcpp/server.h"
#include "gtest/gtest.h"
#include "tests/cluster/tls_cluster.h"
#include "tests/support/loopback_server.h"

namespace headwise {
namespace {

class TlsRotationTest : public TlsCluster {
 protected:
  // All programs have the same files: key and certificate in one, so that both
  // change at once, and the authorities.
  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(TlsCluster::SetUp());
    old_ = std::move(authority_);
    new_ = std::make_unique<TestAuthority>(folder_.Path("new"));
    identity_ = folder_.Path("identity.pem");
    authorities_ = folder_.Path("authorities.pem");
    UseIdentityOf(*old_);
    JoinFiles(old_->ca(), "/dev/null", authorities_);
    tls_ = {.cert = identity_, .key = identity_, .ca = authorities_};
    StartOwnServer();
  }
  // Ends the load, whatever has failed.
  ~TlsRotationTest() override { StopLoad(); }

  // Of this process: it lets in whom channel_ would let in, so that the test
  // knows when its own files have been read again.
  void StartOwnServer() {
    auto security = TransportSecurity::ForServer(tls_);
    ASSERT_TRUE(security.ok()) << security.status();
    security_ = *std::move(security);
    int port = 0;
    own_server_ =
        StartOnLoopback(&no_service_, &port, security_.server_credentials());
    ASSERT_NE(own_server_, nullptr);
    addresses_ = {absl::StrCat("127.0.0.1:", port)};
  }

  void UseIdentityOf(TestAuthority& authority) {
    const TlsFiles issued = authority.Issue("server", kHere);
    JoinFiles(issued.cert, issued.key, identity_);
  }

  // Requests one after another: of one thread by one connection, of another by
  // one each.
  void StartLoad() {
    AskUndisturbed(request_);
    for (const bool is_new : {false, true}) {
      load_.emplace_back([this, is_new] {
        while (!has_ended_) {
          grpc::ChannelArguments arguments;
          arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
          const auto stub = is_new
                                ? v1::Inference::NewStub(security_.MakeChannel(
                                      address_, arguments))
                                : v1::Inference::NewStub(channel_);
          history_.Generate(*stub, request_);
          ++num_asked_;
        }
      });
    }
  }
  void StopLoad() {
    has_ended_ = true;
    for (std::thread& thread : load_) thread.join();
    load_.clear();
  }
  // Some more requests have begun and ended.
  void AwaitLoad() {
    const int before = num_asked_;
    EXPECT_TRUE(WaitUntil([&] { return num_asked_ >= before + 6; }, kReady));
  }

  // Whether every program lets these files' owner in, and has a certificate
  // that they trust.
  bool AllTrust(const TlsFiles& files) {
    const auto security = TransportSecurity::ForClient(files);
    EXPECT_TRUE(security.ok()) << security.status();
    for (const std::string& address : addresses_) {
      grpc::ChannelArguments arguments;
      arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
      grpc::health::v1::HealthCheckResponse health;
      const auto stub = grpc::health::v1::Health::NewStub(
          security->MakeChannel(address, arguments));
      const grpc::Status status = stub->Check(Context().get(), {}, &health);
      if (status.error_code() == grpc::StatusCode::UNAVAILABLE) return false;
    }
    return true;
  }
  bool AwaitTrust(const TlsFiles& files) {
    return WaitUntil([&] { return AllTrust(files); }, kReady);
  }

  std::unique_ptr<TestAuthority> old_;
  std::unique_ptr<TestAuthority> new_;
  std::string identity_;
  std::string authorities_;
  std::vector<std::string> addresses_;  // of all programs, this one included
  v1::Admin::Service no_service_;       // all its methods are unimplemented
  std::unique_ptr<grpc::Server> own_server_;
  const v1::GenerateRequest request_ = Request(100);
  std::atomic<bool> has_ended_ = false;
  std::atomic<int> num_asked_ = 0;
  std::vector<std::thread> load_;
};

TEST_F(TlsRotationTest, CertificatesAndAuthorityChangeAndNoRequestFails) {
  StartServer(2);
  ASSERT_FALSE(HasFatalFailure());
  addresses_.push_back(address_);
  for (const char* name : {"w0", "w1"}) {
    StartWorker(name);
    addresses_.push_back(WaitForWorkerAddress(name));
  }
  ASSERT_TRUE(WaitForWorldSize(2)) << Logs();
  const uint64_t epoch = MembershipEpoch();
  StartLoad();
  AwaitLoad();

  // First everybody trusts both authorities, then all get certificates of the
  // new one, then nobody trusts the old one any more.
  TlsFiles by_new = new_->Issue("caller", "DNS:caller");
  by_new.ca = old_->ca();
  JoinFiles(old_->ca(), new_->ca(), authorities_);
  EXPECT_TRUE(AwaitTrust(by_new)) << "callers of the new authority" << Logs();
  AwaitLoad();

  UseIdentityOf(*new_);
  TlsFiles by_old = old_->Issue("caller", "DNS:caller");
  by_old.ca = new_->ca();
  EXPECT_TRUE(AwaitTrust(by_old)) << "certificates of the new one" << Logs();
  AwaitLoad();

  JoinFiles(new_->ca(), "/dev/null", authorities_);
  EXPECT_TRUE(WaitUntil([&] { return !AllTrust(by_old); }, kReady));
  by_new.ca = new_->ca();
  EXPECT_TRUE(AwaitTrust(by_new));
  AwaitLoad();
  StopLoad();

  EXPECT_EQ(MembershipEpoch(), epoch) << "connections go on";
  for (const HeardAnswer& answer : history_.answers()) {
    EXPECT_TRUE(answer.is_whole()) << answer.end->error_message();
  }
  ExpectInvariants();
  // Who comes now has the new ones alone.
  StartWorker("w2");
  EXPECT_TRUE(WaitForWorldSize(3)) << Logs();
}

}  // namespace
}  // namespace headwise
