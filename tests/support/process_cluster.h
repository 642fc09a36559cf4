// A coordinator and workers that are real processes, for tests.

#ifndef HEADWISE_TESTS_SUPPORT_PROCESS_CLUSTER_H_
#define HEADWISE_TESTS_SUPPORT_PROCESS_CLUSTER_H_

#include <unistd.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "grpcpp/client_context.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "gtest/gtest.h"
#include "tests/support/child_process.h"
#include "tests/support/model_path.h"

namespace headwise {

class ProcessCluster : public testing::Test {
 protected:
  static constexpr absl::Duration kReady = absl::Seconds(60);

  void SetUp() override {
    ASSERT_EQ(access(model_path_.c_str(), R_OK), 0)
        << "no model at " << model_path_ << "; ./run.sh installs it";
  }

  // Until it answers; `flags` come beside addresses and model.
  void StartCoordinator(const std::vector<std::string>& flags) {
    const std::string port_file = folder_.Path("coordinator.port");
    std::vector<std::string> command = {
        std::string(HEADWISE_BINARY_DIR) + "/headwise-coordinator",
        "--listen",
        "127.0.0.1:0",
        "--model",
        model_path_,
        "--port-file",
        port_file};
    command.insert(command.end(), flags.begin(), flags.end());
    auto process =
        ChildProcess::Start(command, folder_.Path("coordinator.log"));
    ASSERT_TRUE(process.ok()) << process.status();
    coordinator_ = *std::move(process);
    const auto port = WaitForPortFile(port_file, *coordinator_, kReady);
    ASSERT_TRUE(port.ok()) << port.status();
    address_ = "127.0.0.1:" + std::to_string(*port);
    channel_ =
        grpc::CreateChannel(address_, grpc::InsecureChannelCredentials());
  }

  // Of one thread; it joins by itself.
  void StartWorker(const std::string& name,
                   const std::vector<std::string>& flags = {}) {
    std::vector<std::string> command = {
        std::string(HEADWISE_BINARY_DIR) + "/headwise-worker",
        "--listen",
        "127.0.0.1:0",
        "--coordinator",
        address_,
        "--name",
        name,
        "--threads",
        "1"};
    command.insert(command.end(), flags.begin(), flags.end());
    auto process = ChildProcess::Start(command, folder_.Path(name + ".log"));
    ASSERT_TRUE(process.ok()) << process.status();
    workers_.push_back(*std::move(process));
  }

  static std::unique_ptr<grpc::ClientContext> Context(
      absl::Duration timeout = absl::Seconds(30)) {
    auto context = std::make_unique<grpc::ClientContext>();
    context->set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    return context;
  }

  TemporaryFolder folder_;
  std::string model_path_ = ModelPath();
  std::string address_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<ChildProcess> coordinator_;
  std::vector<std::unique_ptr<ChildProcess>> workers_;  // in order of start
};

}  // namespace headwise

#endif  // HEADWISE_TESTS_SUPPORT_PROCESS_CLUSTER_H_
