// Sums over Gloo while bits flip on their way.

#include <arpa/inet.h>

#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/support/fault_proxy.h"
#include "worker/collectives/group_factory.h"

// Gloo is not instrumented: its locks would be invisible.
#if !defined(__SANITIZE_THREAD__)

namespace headwise {
namespace {

using testing::HasSubstr;

constexpr int kRanks = 2;

GroupSpec SpecOf(int rank) {
  GroupSpec spec;
  spec.kind = GroupKind::kGloo;
  spec.rank = rank;
  spec.world_size = kRanks;
  spec.membership_epoch = 7;
  spec.options.timeout = absl::Seconds(20);
  return spec;
}

// "... at=-,127.0.0.1:5": where rank 0 waits for rank 1.
std::vector<std::string> AddressesOf(const std::string& endpoint) {
  return absl::StrSplit(endpoint.substr(endpoint.find(" at=") + 4), ',');
}

// Gloo compares ports as they stand in a socket's address, most significant
// byte first.
int OrderOf(const std::string& address) {
  int port = 0;
  EXPECT_TRUE(absl::SimpleAtoi(address.substr(address.rfind(':') + 1), &port))
      << address;
  return htons(static_cast<uint16_t>(port));
}

// Two ranks of this process, and a proxy between them.
class GlooFlipTest : public testing::Test {
 protected:
  void SetUp() override {
    std::vector<std::unique_ptr<PendingGroup>> pending;
    std::vector<std::string> endpoints;
    for (int rank = 0; rank < kRanks; ++rank) {
      auto one = PendingGroup::Prepare(SpecOf(rank));
      ASSERT_TRUE(one.ok()) << one.status();
      pending.push_back(*std::move(one));
      endpoints.push_back(pending.back()->endpoint());
    }
    // Of two ranks the one that comes last in that order connects to the other,
    // and takes what it is told for the other's: so the proxy's must come
    // before its own too.
    const std::vector<std::string> waits = {AddressesOf(endpoints[0])[1],
                                            AddressesOf(endpoints[1])[0]};
    const int caller = OrderOf(waits[0]) > OrderOf(waits[1]) ? 0 : 1;
    std::vector<std::unique_ptr<FaultProxy>> too_late;
    while (proxy_ == nullptr) {
      ASSERT_LT(too_late.size(), 1000u);
      auto proxy = FaultProxy::Start(waits[1 - caller]);
      ASSERT_TRUE(proxy.ok()) << proxy.status();
      const bool is_before =
          OrderOf((*proxy)->address()) < OrderOf(waits[caller]);
      (is_before ? proxy_ : too_late.emplace_back()) = *std::move(proxy);
    }
    std::vector<std::string> told = endpoints;
    std::vector<std::string> addresses = AddressesOf(told[1 - caller]);
    addresses[caller] = proxy_->address();
    std::string& endpoint = told[1 - caller];
    endpoint = endpoint.substr(0, endpoint.find(" at=") + 4) +
               absl::StrJoin(addresses, ",");
    std::vector<std::thread> threads;
    for (int rank = 0; rank < kRanks; ++rank) {
      threads.emplace_back([&, rank] {
        auto group = pending[rank]->Join(rank == caller ? told : endpoints);
        EXPECT_TRUE(group.ok()) << group.status();
        if (group.ok()) groups_[rank] = *std::move(group);
      });
    }
    for (std::thread& thread : threads) thread.join();
  }

  // Each rank adds its own values; the status of each.
  std::vector<absl::Status> Sum(size_t num_values,
                                std::vector<std::vector<int64_t>>* sums) {
    std::vector<absl::Status> statuses(kRanks);
    sums->clear();
    for (int rank = 0; rank < kRanks; ++rank) {
      sums->emplace_back(num_values, 1 + rank);
    }
    std::vector<std::thread> threads;
    for (int rank = 0; rank < kRanks; ++rank) {
      threads.emplace_back([&, rank] {
        statuses[rank] = groups_[rank]->AllReduceSum(
            absl::MakeSpan((*sums)[static_cast<size_t>(rank)]));
      });
    }
    for (std::thread& thread : threads) thread.join();
    return statuses;
  }

  std::unique_ptr<FaultProxy> proxy_;
  std::vector<std::unique_ptr<Group>> groups_{kRanks};
};

TEST_F(GlooFlipTest, SumsAreRightUntilABitFlipsAndThenThereAreNone) {
  ASSERT_FALSE(HasFailure());
  std::vector<std::vector<int64_t>> sums;
  for (const size_t num_values : {1, 1000, 100'000}) {
    for (const absl::Status& status : Sum(num_values, &sums)) {
      EXPECT_TRUE(status.ok()) << status;
    }
    EXPECT_THAT(sums[0], testing::Each(3));
    EXPECT_EQ(sums[0], sums[1]);
  }
  ASSERT_GT(proxy_->num_bytes(ProxyEnd::kTarget), 800'000);
  // Gloo's own header is 40 of 800,000 bytes, so the flips are in the values.
  proxy_->SetFaults(ProxyEnd::kTarget, {.flip_one_in = 100'000});
  const std::vector<absl::Status> statuses = Sum(100'000, &sums);
  int num_found = 0;
  for (int rank = 0; rank < kRanks; ++rank) {
    if (statuses[rank].ok()) {
      EXPECT_THAT(sums[rank], testing::Each(3));
      continue;
    }
    ++num_found;
  }
  EXPECT_GT(num_found, 0);
  EXPECT_THAT(absl::StrCat(statuses[0].ToString(), statuses[1].ToString()),
              HasSubstr("changed on its way"));
}

}  // namespace
}  // namespace headwise

#endif
