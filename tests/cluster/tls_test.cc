// Every hop under TLS: what flips on its way is no answer (case 18), and who
// has not the right certificate is not served (case 56).

#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/clock.h"
#include "gmock/gmock.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "gtest/gtest.h"
#include "tests/cluster/tls_cluster.h"
#include "tests/support/fault_proxy.h"

namespace headwise {
namespace {

using testing::HasSubstr;

std::string TextOf(const std::string& path) {
  std::ifstream file(path);
  return std::string(std::istreambuf_iterator<char>(file), {});
}

class TlsTest : public TlsCluster {};

// Both hops are proxied: the caller's, and the coordinator's to w0.
TEST_F(TlsTest, FlippedBitsBreakConnectionsAndChangeNoToken) {
  StartWorker("w0");
  auto to_worker = FaultProxy::Start(WaitForWorkerAddress("w0"));
  ASSERT_TRUE(to_worker.ok()) << to_worker.status();
  StartServer(2, {.flags = {"--workers", (*to_worker)->address()}});
  ASSERT_FALSE(HasFatalFailure());
  StartWorker("w1");
  ASSERT_TRUE(WaitForWorldSize(2)) << Logs();
  const v1::GenerateRequest request = Request(150);
  AskUndisturbed(request);
  auto to_server = FaultProxy::Start(address_);
  ASSERT_TRUE(to_server.ok()) << to_server.status();
  const auto direct =
      std::exchange(inference_, v1::Inference::NewStub(security_.MakeChannel(
                                    (*to_server)->address(), {})));

  const absl::Time end = Clock::Monotonic().Now() + absl::Seconds(8);
  (*to_worker)->SetFaults({.flip_one_in = 20'000});
  (*to_server)->SetFaults({.flip_one_in = 20'000});
  while (Clock::Monotonic().Now() < end) {
    history_.Generate(*inference_, request, {.timeout = absl::Seconds(4)});
  }
  for (const auto& proxy : {to_worker->get(), to_server->get()}) {
    proxy->SetFaults({});
    proxy->Cut();
  }
  for (const auto& worker : workers_) EXPECT_TRUE(worker->IsRunning());
  EXPECT_TRUE(coordinator_->IsRunning());
  const HeardAnswer after = AskUntilWhole(request, {});
  EXPECT_EQ(after.text, fault_free_.answers()[0].text);
  EXPECT_THAT(history_.CheckEnds(), testing::IsEmpty());
  EXPECT_THAT(history_.CheckTokens(fault_free_), testing::IsEmpty());
  // TLS sees them first.
  EXPECT_THAT(coordinator_->Log(), testing::Not(HasSubstr("changed on its")));
}

TEST_F(TlsTest, HealthIsServedToo) {
  StartServing(1);
  ASSERT_FALSE(HasFailure());
  grpc::health::v1::HealthCheckResponse health;
  const auto stub = grpc::health::v1::Health::NewStub(channel_);
  const grpc::Status status = stub->Check(Context().get(), {}, &health);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(health.status(), grpc::health::v1::HealthCheckResponse::SERVING);
}

TEST_F(TlsTest, CallersWithoutTheRightCertificateAreNotServed) {
  StartServing(1);
  ASSERT_FALSE(HasFailure());
  const auto unavailable = testing::Property(&grpc::Status::error_code,
                                             grpc::StatusCode::UNAVAILABLE);

  const TlsFiles good = authority_->Issue("good", "DNS:good");
  EXPECT_TRUE(CallWith(good).ok());
  const double served = Metric("headwise_requests_total");
  EXPECT_THAT(CallBy({}, address_), unavailable) << "plaintext";
  EXPECT_THAT(CallWith({.ca = good.ca}), unavailable) << "no certificate";
  TestAuthority other(folder_.Path("other"));
  TlsFiles stranger = other.Issue("stranger", "DNS:good");
  stranger.ca = good.ca;
  EXPECT_THAT(CallWith(stranger), unavailable) << "of another authority";
  EXPECT_THAT(CallWith({.cert = good.cert, .key = good.key, .ca = other.ca()}),
              unavailable)
      << "the server's authority is another one";
  TlsFiles for_another = good;
  for_another.server_name = "another.example";
  EXPECT_THAT(CallWith(for_another), unavailable)
      << "the server's certificate is for another name";

  // Our own programs do not even begin with one that has expired.
  const TlsFiles expired = authority_->Issue("expired", "DNS:good", -1);
  grpc::SslCredentialsOptions ssl = {TextOf(expired.ca), TextOf(expired.key),
                                     TextOf(expired.cert)};
  const auto inference = v1::Inference::NewStub(
      grpc::CreateChannel(address_, grpc::SslCredentials(ssl)));
  EXPECT_THAT(*history_.Generate(*inference, Request(1)).end, unavailable);

  EXPECT_EQ(Metric("headwise_requests_total"), served);
  EXPECT_TRUE(CallWith(good).ok());
}

TEST_F(TlsTest, WorkersWithoutTheRightCertificateDoNotRegister) {
  StartServing(1);
  ASSERT_FALSE(HasFailure());
  const TlsFiles good = std::exchange(tls_, {});
  StartWorker("plain");
  TestAuthority other(folder_.Path("other"));
  tls_ = other.Issue("server", kHere);
  tls_.ca = good.ca;
  StartWorker("stranger");
  tls_ = authority_->Issue("elsewhere", "IP:127.0.0.9");
  StartWorker("elsewhere");
  ASSERT_FALSE(HasFailure());
  // Each has been refused more than once.
  for (size_t i = 1; i < workers_.size(); ++i) {
    EXPECT_TRUE(WaitUntil(
        [&] {
          const std::string log = workers_[i]->Log();
          const size_t first = log.find("registration with");
          return first != log.npos &&
                 log.find("registration with", first + 1) != log.npos;
        },
        kReady))
        << Logs();
  }
  EXPECT_THAT(workers_[3]->Log(),
              HasSubstr("the certificate is for \"127.0.0.9\", not for "
                        "\"127.0.0.1\""));
  EXPECT_EQ(Metric("headwise_worker_arrivals_total"), 1) << Logs();
  EXPECT_TRUE(WaitForWorldSize(1));
  tls_ = good;
  StartWorker("w1");
  EXPECT_TRUE(WaitForWorldSize(2)) << Logs();
}

// A coordinator that reaches a worker gets nothing without a certificate.
TEST_F(TlsTest, AWorkerObeysNobodyWithoutTheRightCertificate) {
  StartWorker("w0");
  const std::string address = WaitForWorkerAddress("w0");
  ASSERT_FALSE(HasFailure());
  const auto plain = grpc::health::v1::Health::NewStub(
      TransportSecurity().MakeChannel(address, {}));
  const auto known =
      grpc::health::v1::Health::NewStub(security_.MakeChannel(address, {}));
  grpc::health::v1::HealthCheckResponse health;
  EXPECT_TRUE(known->Check(Context().get(), {}, &health).ok());
  EXPECT_FALSE(plain->Check(Context().get(), {}, &health).ok());
}

// What is wrong with files or addresses is said at the start.
class TlsStartTest : public TlsCluster {
 protected:
  // The log of a worker, which ends by itself.
  std::string WhyNotStarted(const std::string& listen, const TlsFiles& tls) {
    std::vector<std::string> command = {
        std::string(HEADWISE_BINARY_DIR) + "/headwise-worker", "--listen",
        listen};
    const std::pair<const char*, std::string> flags[] = {
        {"--tls-cert", tls.cert}, {"--tls-key", tls.key}, {"--tls-ca", tls.ca}};
    for (const auto& [flag, value] : flags) {
      if (!value.empty()) command.insert(command.end(), {flag, value});
    }
    const std::string log = folder_.Path(absl::StrCat("start", ++num_started_));
    auto process = ChildProcess::Start(command, log);
    EXPECT_TRUE(process.ok()) << process.status();
    EXPECT_EQ((*process)->Wait(kReady).value_or(-1), 2) << (*process)->Log();
    return (*process)->Log();
  }
  std::string WhyNotStarted(const TlsFiles& tls) {
    return WhyNotStarted("127.0.0.1:0", tls);
  }
  int num_started_ = 0;
};

TEST_F(TlsStartTest, EachBadFileIsNamedWithFlagPathAndReason) {
  const TlsFiles good = tls_;
  TlsFiles bad = good;
  bad.key = authority_->Issue("two", kHere).key;
  EXPECT_THAT(
      WhyNotStarted(bad),
      HasSubstr(absl::StrCat("--tls-key ", bad.key,
                             ": not the key of --tls-cert ", good.cert)));
  bad = authority_->Issue("old", kHere, -1);
  EXPECT_THAT(
      WhyNotStarted(bad),
      HasSubstr(absl::StrCat("--tls-cert ", bad.cert, ": has expired on ")));
  bad = good;
  bad.ca = folder_.Path("none.pem");
  EXPECT_THAT(WhyNotStarted(bad),
              HasSubstr(absl::StrCat("--tls-ca ", bad.ca,
                                     ": No such file or directory")));
  bad.ca = good.key;
  EXPECT_THAT(
      WhyNotStarted(bad),
      HasSubstr(absl::StrCat("--tls-ca ", bad.ca, ": no PEM certificate")));
  bad = good;
  bad.key = good.cert;
  EXPECT_THAT(
      WhyNotStarted(bad),
      HasSubstr(absl::StrCat("--tls-key ", bad.key, ": no PEM private key")));
  EXPECT_THAT(WhyNotStarted({.ca = good.ca}),
              HasSubstr("a server with TLS needs --tls-cert and --tls-key"));
}

TEST_F(TlsStartTest, WithoutTlsNobodyListensBeyondThisMachineUnlessTold) {
  EXPECT_THAT(WhyNotStarted("0.0.0.0:0", {}),
              HasSubstr("--listen 0.0.0.0:0: other machines reach this "
                        "address"));
}

}  // namespace
}  // namespace headwise
