// A coordinator and workers that are real processes, for tests.

#ifndef HEADWISE_TESTS_SUPPORT_PROCESS_CLUSTER_H_
#define HEADWISE_TESTS_SUPPORT_PROCESS_CLUSTER_H_

#include <unistd.h>

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "grpcpp/client_context.h"
#include "gtest/gtest.h"
#include "proto/transport_security.h"
#include "tests/support/child_process.h"
#include "tests/support/model_path.h"
#include "tests/support/pretended_build.h"

namespace headwise {

class ProcessCluster : public testing::Test {
 protected:
  static constexpr absl::Duration kReady = absl::Seconds(60);

  void SetUp() override {
    ASSERT_EQ(access(model_path_.c_str(), R_OK), 0)
        << "no model at " << model_path_ << "; ./run.sh installs it";
  }

  // How a program is started, beside what it always gets.
  struct Started {
    std::vector<std::string> flags;
    std::vector<std::string> prefix;  // a command that runs it, such as env
    std::string host = "127.0.0.1";   // where it listens
    std::optional<BuildInfo> build;   // that it says it is
    std::string program;              // instead of the usual one
  };

  // Until it answers; `flags` come beside addresses and model.
  void StartCoordinator(const std::vector<std::string>& flags) {
    StartCoordinatorWith({.flags = flags});
  }
  void StartCoordinatorWith(const Started& how) {
    const std::string port_file = folder_.Path("coordinator.port");
    coordinator_ = Start("coordinator", how,
                         {"--model", model_path_, "--port-file", port_file});
    if (coordinator_ == nullptr) return;
    const auto port = WaitForPortFile(port_file, *coordinator_, kReady);
    ASSERT_TRUE(port.ok()) << port.status();
    address_ = how.host + ":" + std::to_string(*port);
    channel_ = security_.MakeChannel(address_, {});
  }

  // Of one thread; it joins by itself if a coordinator was started before.
  void StartWorker(const std::string& name,
                   const std::vector<std::string>& flags = {}) {
    StartWorkerWith(name, {.flags = flags});
  }
  void StartWorkerWith(const std::string& name, const Started& how) {
    std::vector<std::string> flags = {"--name", name,          "--threads",
                                      "1",      "--port-file", PortFile(name)};
    if (!address_.empty()) {
      flags.insert(flags.end(), {"--coordinator", address_});
    }
    auto process = Start(name, how, flags);
    if (process != nullptr) workers_.push_back(std::move(process));
  }
  // Where the last worker that was started serves; empty, and a failure, if it
  // does not.
  std::string WaitForWorkerAddress(const std::string& name,
                                   const std::string& host = "127.0.0.1") {
    const auto port = WaitForPortFile(PortFile(name), *workers_.back(), kReady);
    EXPECT_TRUE(port.ok()) << port.status();
    return port.ok() ? host + ":" + std::to_string(*port) : "";
  }

  static std::unique_ptr<grpc::ClientContext> Context(
      absl::Duration timeout = absl::Seconds(30)) {
    auto context = std::make_unique<grpc::ClientContext>();
    context->set_deadline(absl::ToChronoTime(absl::Now() + timeout));
    return context;
  }

  TemporaryFolder folder_;
  // Of what is started next, and of channel_: plaintext unless a test says
  // otherwise.
  TlsFiles tls_;
  TransportSecurity security_;
  std::string model_path_ = ModelPath();
  std::string address_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<ChildProcess> coordinator_;
  std::vector<std::unique_ptr<ChildProcess>> workers_;  // in order of start

 private:
  std::string PortFile(const std::string& name) const {
    return folder_.Path(name + ".port");
  }
  // headwise-coordinator, or headwise-worker of that name; null, and a failure,
  // if it can't be started.
  std::unique_ptr<ChildProcess> Start(const std::string& name,
                                      const Started& how,
                                      const std::vector<std::string>& flags) {
    std::vector<std::string> command = how.prefix;
    const std::string program =
        name == "coordinator" ? "headwise-coordinator" : "headwise-worker";
    if (how.program.empty()) {
      for (const std::string& word :
           CommandOf(HEADWISE_BINARY_DIR, program, how.build)) {
        command.push_back(word);
      }
    } else {
      command.push_back(how.program);
    }
    command.insert(command.end(), {"--listen", how.host + ":0"});
    command.insert(command.end(), flags.begin(), flags.end());
    const std::pair<const char*, std::string> tls_flags[] = {
        {"--tls-cert", tls_.cert},
        {"--tls-key", tls_.key},
        {"--tls-ca", tls_.ca}};
    for (const auto& [flag, value] : tls_flags) {
      if (!value.empty()) command.insert(command.end(), {flag, value});
    }
    // Networks that only this machine has.
    if (how.host != "127.0.0.1") command.push_back("--insecure");
    command.insert(command.end(), how.flags.begin(), how.flags.end());
    auto process = ChildProcess::Start(command, folder_.Path(name + ".log"));
    EXPECT_TRUE(process.ok()) << process.status();
    return process.ok() ? *std::move(process) : nullptr;
  }
};

}  // namespace headwise

#endif  // HEADWISE_TESTS_SUPPORT_PROCESS_CLUSTER_H_
