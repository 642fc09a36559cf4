#include "proto/transport_security.h"

#include <memory>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gmock/gmock.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "grpcpp/server.h"
#include "gtest/gtest.h"
#include "tests/support/child_process.h"
#include "tests/support/loopback_server.h"
#include "tests/support/test_authority.h"

namespace headwise {
namespace {

using grpc::health::v1::Health;
using testing::HasSubstr;

constexpr auto kReached = grpc::StatusCode::OK;
constexpr auto kRefused = grpc::StatusCode::UNAVAILABLE;

// Notes who calls.
class NotingService final : public Health::Service {
 public:
  explicit NotingService(const TransportSecurity& security)
      : security_(security) {}

  grpc::Status Check(grpc::ServerContext* context,
                     const grpc::health::v1::HealthCheckRequest* request,
                     grpc::health::v1::HealthCheckResponse*) override {
    if (request->service().empty()) return grpc::Status::OK;
    const absl::Status status =
        security_.CheckIsServerAt(request->service(), *context->auth_context());
    return {static_cast<grpc::StatusCode>(status.code()),
            std::string(status.message())};
  }

 private:
  const TransportSecurity& security_;
};

class TransportSecurityTest : public testing::Test {
 protected:
  TransportSecurityTest() : authority_(folder_.Path("one")) {}
  ~TransportSecurityTest() override {
    if (server_ != nullptr) server_->Shutdown();
  }

  // At 127.0.0.1, with these files.
  void Serve(const TlsFiles& files) {
    auto security = TransportSecurity::ForServer(files);
    ASSERT_TRUE(security.ok()) << security.status();
    security_ = *std::move(security);
    int port = 0;
    server_ = StartOnLoopback(&service_, &port, security_.server_credentials());
    ASSERT_NE(server_, nullptr);
    address_ = absl::StrCat("127.0.0.1:", port);
  }

  // Of a call from a connection of its own. `about`: of CheckIsServerAt.
  grpc::Status Call(const TransportSecurity& security,
                    const std::string& about = "") {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    const auto stub =
        Health::NewStub(security.MakeChannel(address_, arguments));
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(30)));
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(about);
    grpc::health::v1::HealthCheckResponse response;
    return stub->Check(&context, request, &response);
  }
  grpc::StatusCode CodeOf(const TlsFiles& files) {
    const auto security = TransportSecurity::ForClient(files);
    EXPECT_TRUE(security.ok()) << security.status();
    return Call(*security).error_code();
  }

  TemporaryFolder folder_;
  TestAuthority authority_;
  TransportSecurity security_;  // of the server
  NotingService service_{security_};
  std::unique_ptr<grpc::Server> server_;
  std::string address_;
};

TEST_F(TransportSecurityTest, WithoutFilesItIsPlaintext) {
  Serve({});
  EXPECT_FALSE(security_.is_encrypted());
  EXPECT_FALSE(security_.knows_callers());
  EXPECT_EQ(CodeOf({}), kReached);
  EXPECT_EQ(CodeOf({.ca = authority_.ca()}), kRefused);
  EXPECT_EQ(Call({}, "any.example:1").error_code(), kReached);
}

TEST_F(TransportSecurityTest, WithoutAuthoritiesAnybodyMayCallAServer) {
  TlsFiles files = authority_.Issue("server", "IP:127.0.0.1");
  files.ca.clear();
  Serve(files);
  EXPECT_TRUE(security_.is_encrypted());
  EXPECT_FALSE(security_.knows_callers());
  EXPECT_EQ(CodeOf({}), kRefused) << "plaintext";
  EXPECT_EQ(CodeOf({.ca = authority_.ca()}), kReached);
  EXPECT_EQ(CodeOf({.server_name = "127.0.0.1"}), kRefused)
      << "the authority is none of the system's";
  EXPECT_EQ(CodeOf(authority_.Issue("caller", "DNS:caller")), kReached);
}

TEST_F(TransportSecurityTest, WithAuthoritiesCallersNeedTheirCertificate) {
  Serve(authority_.Issue("server", "IP:127.0.0.1,DNS:server.example"));
  const TlsFiles good = authority_.Issue("caller", "DNS:caller");
  EXPECT_EQ(CodeOf(good), kReached);
  EXPECT_EQ(CodeOf({.ca = good.ca}), kRefused);
  TestAuthority other(folder_.Path("other"));
  TlsFiles stranger = other.Issue("caller", "DNS:caller");
  EXPECT_EQ(CodeOf(stranger), kRefused) << "neither trusts the other";
  stranger.ca = good.ca;
  EXPECT_EQ(CodeOf(stranger), kRefused);
}

TEST_F(TransportSecurityTest, AServersNameIsThatOfItsAddressOrTheGivenOne) {
  Serve(authority_.Issue("server", "DNS:server.example"));
  TlsFiles caller = authority_.Issue("caller", "DNS:caller");
  EXPECT_EQ(CodeOf(caller), kRefused) << "it is not for 127.0.0.1";
  caller.server_name = "server.example";
  EXPECT_EQ(CodeOf(caller), kReached);
  caller.server_name = "other.example";
  EXPECT_EQ(CodeOf(caller), kRefused);
}

TEST_F(TransportSecurityTest, ACallerThatServesMustBeWhoItSays) {
  Serve(authority_.Issue("server", "IP:127.0.0.1"));
  const auto caller = TransportSecurity::ForClient(authority_.Issue(
      "worker", "IP:127.0.0.1,DNS:w0.example,DNS:*.pods.example"));
  ASSERT_TRUE(caller.ok()) << caller.status();
  for (const char* own : {"127.0.0.1:7001", "w0.example:7001", "W0.Example:1",
                          "a.pods.example:1"}) {
    EXPECT_EQ(Call(*caller, own).error_code(), kReached) << own;
  }
  for (const char* another : {"127.0.0.2:7001", "w1.example:7001",
                              "pods.example:1", "b.a.pods.example:1"}) {
    const grpc::Status status = Call(*caller, another);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::PERMISSION_DENIED)
        << another;
    EXPECT_THAT(status.error_message(), HasSubstr("w0.example"));
  }
}

TEST_F(TransportSecurityTest, ANewCertificateIsTakenWithoutARestart) {
  const TlsFiles first = authority_.Issue("first", "IP:127.0.0.1");
  TlsFiles files = first;
  files.cert = files.key = folder_.Path("identity.pem");
  JoinFiles(first.cert, first.key, files.cert);
  Serve(files);
  TlsFiles caller = first;
  EXPECT_EQ(CodeOf(caller), kReached);
  const TlsFiles second = authority_.Issue("second", "DNS:second.example");
  JoinFiles(second.cert, second.key, files.cert);
  caller.server_name = "second.example";
  EXPECT_TRUE(
      WaitUntil([&] { return CodeOf(caller) == kReached; }, absl::Seconds(30)));
}

}  // namespace
}  // namespace headwise
