// A cluster that speaks TLS, with certificates of a test's own authority.

#ifndef HEADWISE_TESTS_CLUSTER_TLS_CLUSTER_H_
#define HEADWISE_TESTS_CLUSTER_TLS_CLUSTER_H_

#include <memory>
#include <string>
#include <utility>

#include "gtest/gtest.h"
#include "headwise/v1/admin.grpc.pb.h"
#include "tests/cluster/served_cluster.h"
#include "tests/support/test_authority.h"

namespace headwise {

// Coordinator and workers have one certificate, callers another.
class TlsCluster : public ServedCluster {
 protected:
  static constexpr char kHere[] = "IP:127.0.0.1";

  void SetUp() override {
    ASSERT_NO_FATAL_FAILURE(ServedCluster::SetUp());
    authority_ = std::make_unique<TestAuthority>(folder_.Path("one"));
    tls_ = authority_->Issue("server", kHere);
    Trust(authority_->Issue("caller", "DNS:caller"));
    ASSERT_FALSE(HasFailure());
    UseTinyModel();
  }

  // What channel_ calls with from then on.
  void Trust(const TlsFiles& files) {
    auto security = TransportSecurity::ForClient(files);
    ASSERT_TRUE(security.ok()) << security.status();
    security_ = *std::move(security);
  }

  // Of a call by a channel of its own.
  grpc::Status CallBy(const TransportSecurity& security,
                      const std::string& address) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    const auto stub =
        v1::Admin::NewStub(security.MakeChannel(address, arguments));
    v1::GetHeadMapRequest request;
    v1::HeadMap map;
    return stub->GetHeadMap(Context().get(), request, &map);
  }
  grpc::Status CallWith(const TlsFiles& files) {
    const auto security = TransportSecurity::ForClient(files);
    EXPECT_TRUE(security.ok()) << security.status();
    return CallBy(*security, address_);
  }

  std::unique_ptr<TestAuthority> authority_;
};

}  // namespace headwise

#endif  // HEADWISE_TESTS_CLUSTER_TLS_CLUSTER_H_
