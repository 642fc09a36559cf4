// Several coordinators of one cluster, as processes, with a real etcd, and
// clients that know all of them.

#ifndef HEADWISE_TESTS_CLUSTER_FAILOVER_FIXTURE_H_
#define HEADWISE_TESTS_CLUSTER_FAILOVER_FIXTURE_H_

#include <signal.h>

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "client/cpp/client.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "gtest/gtest.h"
#include "headwise/v1/admin.grpc.pb.h"
#include "headwise/v1/inference.grpc.pb.h"
#include "model/files/test_model_writer.h"
#include "tests/support/child_process.h"
#include "tests/support/etcd_cluster.h"
#include "tests/support/pretended_build.h"

namespace headwise {

class FailoverFixture : public testing::Test {
 protected:
  static constexpr absl::Duration kReady = absl::Seconds(90);

  struct Coordinator {
    std::unique_ptr<ChildProcess> process;
    std::string address;
    std::shared_ptr<grpc::Channel> channel;
  };
  // What a client has heard of one answer.
  struct Heard {
    absl::Status status;
    std::vector<int32_t> tokens;
    std::string text;
  };

  void StartEtcd(size_t num_members = 1) {
    auto etcd = EtcdCluster::Start(num_members);
    ASSERT_TRUE(etcd.ok()) << etcd.status();
    etcd_ = *std::move(etcd);
    TinyModelOptions model;
    model.max_context_len = 1 << 15;
    ASSERT_TRUE(
        WriteFile(folder_.Path("tiny.gguf"), WriteTinyGguf(model)).ok());
  }

  // At any free port, or where it was before.
  void StartCoordinator(size_t index, const std::string& listen) {
    const std::string name =
        absl::StrCat("coordinator", index, ".", num_starts_++);
    std::vector<std::string> command =
        CommandOf(HEADWISE_BINARY_DIR, "headwise-coordinator", build_);
    command.insert(
        command.end(),
        {"--model", folder_.Path("tiny.gguf"), "--listen", listen, "--etcd",
         etcd_->endpoints(), "--lease", absl::StrCat(lease_seconds_),
         "--kv-bytes", "268435456", "--min-workers", absl::StrCat(num_workers_),
         "--grow-patience", "0.1", "--drain", "1", "--port-file",
         folder_.Path(name + ".port")});
    auto process = ChildProcess::Start(command, folder_.Path(name + ".log"));
    ASSERT_TRUE(process.ok()) << process.status();
    const auto port =
        WaitForPortFile(folder_.Path(name + ".port"), **process, kReady);
    ASSERT_TRUE(port.ok()) << port.status();
    Coordinator& coordinator = coordinators_.at(index);
    coordinator.process = *std::move(process);
    coordinator.address = absl::StrCat("127.0.0.1:", *port);
    coordinator.channel = grpc::CreateChannel(
        coordinator.address, grpc::InsecureChannelCredentials());
  }

  // Two coordinators and workers that know both; returns once they serve.
  void StartCluster() {
    coordinators_.resize(2);
    for (size_t i = 0; i < coordinators_.size(); ++i) {
      ASSERT_NO_FATAL_FAILURE(StartCoordinator(i, "127.0.0.1:0"));
    }
    servers_ =
        absl::StrJoin(coordinators_, ",",
                      [](std::string* out, const Coordinator& coordinator) {
                        absl::StrAppend(out, coordinator.address);
                      });
    workers_.resize(num_workers_);
    for (size_t i = 0; i < workers_.size(); ++i) {
      ASSERT_NO_FATAL_FAILURE(StartWorker(i));
    }
    client_ = Client::Connect(servers_, {});
    ASSERT_TRUE(WaitUntil([&] { return Leader() >= 0; }, kReady)) << Logs();
    ASSERT_TRUE(WaitForGroup()) << Logs();
  }

  // Of the name that it had before.
  void StartWorker(size_t index) {
    const std::string name = absl::StrCat("w", index);
    std::vector<std::string> command =
        CommandOf(HEADWISE_BINARY_DIR, "headwise-worker", build_);
    command.insert(command.end(), {"--name", name, "--threads", "1",
                                   "--coordinator", servers_});
    auto worker = ChildProcess::Start(
        command, folder_.Path(absl::StrCat(name, ".", num_starts_++, ".log")));
    ASSERT_TRUE(worker.ok()) << worker.status();
    workers_[index] = *std::move(worker);
  }

  bool IsServing(size_t index, const std::string& service) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(1)));
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(service);
    grpc::health::v1::HealthCheckResponse response;
    return grpc::health::v1::Health::NewStub(coordinators_[index].channel)
               ->Check(&context, request, &response)
               .ok() &&
           response.status() == grpc::health::v1::HealthCheckResponse::SERVING;
  }
  // Of the coordinators; -1: none says that it leads.
  int Leader() {
    for (size_t i = 0; i < coordinators_.size(); ++i) {
      if (IsServing(i, "leader")) return static_cast<int>(i);
    }
    return -1;
  }
  bool WaitForLeader(int index) {
    return WaitUntil(
        [&] { return IsServing(static_cast<size_t>(index), "leader"); },
        kReady);
  }
  bool WaitForGroup() {
    return WaitUntil(
        [&] {
          const auto map = client_->GetHeadMap({});
          return map.ok() &&
                 map->world_size() == static_cast<uint32_t>(num_workers_);
        },
        kReady);
  }
  // Of the group that serves; 0: none can be asked.
  uint64_t Epoch() {
    const auto map = client_->GetHeadMap({});
    return map.ok() ? map->membership_epoch() : 0;
  }

  static v1::GenerateRequest Ask(int num_tokens, uint64_t seed = 1) {
    v1::GenerateRequest request;
    request.set_text(absl::StrCat("Country number ", seed, " is"));
    request.mutable_options()->set_max_tokens(num_tokens);
    request.mutable_options()->set_ignore_eos(true);
    auto& sampling = *request.mutable_options()->mutable_sampling();
    sampling.set_temperature(1.0f);
    sampling.set_repetition_penalty(1.1f);
    sampling.set_seed(seed);
    return request;
  }
  // `num_heard`: tokens so far, for others.
  Heard Generate(const v1::GenerateRequest& request,
                 std::atomic<int>* num_heard = nullptr) {
    Heard heard;
    const auto client = Client::Connect(servers_, {});
    heard.status =
        client->Generate(request, [&](const v1::GenerateResponse& event) {
          heard.text += event.generated().text();
          for (const auto& token : event.generated().tokens()) {
            heard.tokens.push_back(token.token());
          }
          if (num_heard != nullptr) {
            *num_heard = static_cast<int>(heard.tokens.size());
          }
          return true;
        });
    return heard;
  }
  void ExpectWhole(const Heard& heard, const Heard& expected) {
    EXPECT_TRUE(heard.status.ok()) << heard.status << Logs();
    EXPECT_EQ(heard.tokens, expected.tokens);
    EXPECT_EQ(heard.text, expected.text);
  }

  // `fault` strikes while `num_clients` hear answers of `num_tokens`, each of
  // which has begun and is far from its end. All must be those of before.
  template <typename Fault>
  void ExpectWholeUnder(int num_clients, int num_tokens, Fault fault) {
    std::vector<Heard> expected;
    for (int i = 0; i < num_clients; ++i) {
      expected.push_back(Generate(Ask(num_tokens, i)));
      ASSERT_TRUE(expected.back().status.ok()) << expected.back().status;
      ASSERT_EQ(expected.back().tokens.size(), size_t(num_tokens));
    }
    std::vector<Heard> heard(expected.size());
    std::vector<std::atomic<int>> num_heard(expected.size());
    std::vector<std::thread> clients;
    for (size_t i = 0; i < heard.size(); ++i) {
      clients.emplace_back(
          [&, i] { heard[i] = Generate(Ask(num_tokens, i), &num_heard[i]); });
    }
    EXPECT_TRUE(WaitUntil(
        [&] {
          for (const std::atomic<int>& num : num_heard) {
            if (num < 20) return false;
          }
          return true;
        },
        kReady));
    for (const std::atomic<int>& num : num_heard) {
      EXPECT_LT(num, num_tokens) << "ended before the fault";
    }
    fault();
    for (std::thread& client : clients) client.join();
    for (size_t i = 0; i < heard.size(); ++i)
      ExpectWhole(heard[i], expected[i]);
  }

  std::string Logs() const {
    std::string all;
    for (const Coordinator& coordinator : coordinators_) {
      absl::StrAppend(&all, "\ncoordinator at ", coordinator.address, ":\n",
                      coordinator.process->Log());
    }
    for (const auto& worker : workers_) {
      absl::StrAppend(&all, "\nworker:\n", worker->Log());
    }
    return all;
  }

  // What is started from now on says that it is of it; none: what it is.
  std::optional<BuildInfo> build_;
  std::string servers_;  // addresses of all coordinators, which they keep
  int lease_seconds_ = 2;
  // Several wait for each other at every layer, which takes long where others
  // have the CPUs.
  int num_workers_ = 1;
  TemporaryFolder folder_;
  std::unique_ptr<EtcdCluster> etcd_;
  std::vector<Coordinator> coordinators_;
  std::vector<std::unique_ptr<ChildProcess>> workers_;
  std::unique_ptr<Client> client_;
  int num_starts_ = 0;
};

}  // namespace headwise

#endif  // HEADWISE_TESTS_CLUSTER_FAILOVER_FIXTURE_H_
