#include "base/operator_server.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/blocking_counter.h"
#include "absl/synchronization/notification.h"
#include "base/process_collector.h"
#include "base/pulse.h"
#include "base/pulse_collector.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::StartsWith;

// The whole answer, head and body.
std::string Ask(int port, const std::string& request_line) {
  const int client = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(connect(client, reinterpret_cast<const sockaddr*>(&address),
                    sizeof(address)),
            0);
  const std::string request = request_line + " HTTP/1.1\r\nHost: x\r\n\r\n";
  EXPECT_EQ(write(client, request.data(), request.size()),
            static_cast<ssize_t>(request.size()));
  std::string answer;
  char bytes[4096];
  ssize_t size = 0;
  while ((size = read(client, bytes, sizeof(bytes))) > 0) {
    answer.append(bytes, static_cast<size_t>(size));
  }
  close(client);
  return answer;
}

OperatorServerOptions Options() {
  OperatorServerOptions options;
  options.address = "127.0.0.1:0";
  options.startup = [] { return ProbeAnswer{}; };
  options.live = [] {
    return ProbeAnswer{absl::UnavailableError("thread x is late"), ""};
  };
  options.ready = [] { return ProbeAnswer{absl::OkStatus(), "missing: w2"}; };
  return options;
}

TEST(OperatorServerTest, EachProbeHasItsOwnAnswer) {
  const auto server = OperatorServer::Start(Options());
  ASSERT_TRUE(server.ok()) << server.status();
  const int port = (*server)->port();
  const std::string startup = Ask(port, "GET /healthz/startup");
  EXPECT_THAT(startup, StartsWith("HTTP/1.1 200 OK\r\n"));
  EXPECT_THAT(startup, EndsWith("\r\n\r\nok\n"));
  const std::string live = Ask(port, "GET /healthz/live");
  EXPECT_THAT(live, StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(live, EndsWith("\r\n\r\nthread x is late\n"));
  EXPECT_THAT(Ask(port, "GET /healthz/ready"),
              EndsWith("\r\n\r\nok\nmissing: w2\n"));
  EXPECT_THAT(Ask(port, "HEAD /healthz/ready"),
              EndsWith("Connection: close\r\n\r\n"));
}

TEST(OperatorServerTest, OtherPathsAndMethodsAreRefused) {
  const auto server = OperatorServer::Start(Options());
  ASSERT_TRUE(server.ok()) << server.status();
  for (const char* line : {"GET /", "GET /healthz", "GET /metrics/x",
                           "GET /healthz/live/x", "POST /metrics"}) {
    EXPECT_THAT(Ask((*server)->port(), line), StartsWith("HTTP/1.1 404 "))
        << line;
  }
}

TEST(OperatorServerTest, MetricsShowTheProcessAndItsThreads) {
  const Pulse pulse("test-loop");
  OperatorServerOptions options = Options();
  options.collectables = {std::make_shared<ProcessCollector>(),
                          std::make_shared<PulseCollector>()};
  const auto server = OperatorServer::Start(options);
  ASSERT_TRUE(server.ok()) << server.status();
  const std::string page = Ask((*server)->port(), "GET /metrics");
  EXPECT_THAT(page, HasSubstr("Content-Type: text/plain; version=0.0.4"));
  for (const char* series :
       {"\nprocess_resident_memory_bytes ", "\nheadwise_memory_limit_bytes ",
        "\nheadwise_probe_ok{probe=\"live\"} 0\n",
        "\nheadwise_probe_ok{probe=\"ready\"} 1\n",
        "\nheadwise_thread_heartbeat_age_seconds{thread=\"test-loop\"} ",
        "\nheadwise_thread_heartbeat_allowance_seconds{thread=\"test-loop\"} "
        "5\n"}) {
    EXPECT_THAT(page, HasSubstr(series));
  }
}

TEST(OperatorServerTest, ScrapesThatHangLeaveProbesAlone) {
  class Hangs final : public prometheus::Collectable {
   public:
    std::vector<prometheus::MetricFamily> Collect() const override {
      entered.DecrementCount();
      may_end.WaitForNotification();
      return {};
    }
    mutable absl::BlockingCounter entered{OperatorServer::kMaxScrapes};
    absl::Notification may_end;
  };
  const auto hangs = std::make_shared<Hangs>();
  OperatorServerOptions options = Options();
  options.collectables = {hangs};
  const auto server = OperatorServer::Start(options);
  ASSERT_TRUE(server.ok()) << server.status();
  const int port = (*server)->port();
  std::vector<std::thread> scrapes;
  for (int i = 0; i < OperatorServer::kMaxScrapes; ++i) {
    scrapes.emplace_back([port] { Ask(port, "GET /metrics"); });
  }
  hangs->entered.Wait();
  EXPECT_THAT(Ask(port, "GET /metrics"), StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(Ask(port, "GET /healthz/startup"), EndsWith("\r\n\r\nok\n"));
  hangs->may_end.Notify();
  for (std::thread& scrape : scrapes) scrape.join();
}

TEST(OperatorServerTest, ATakenPortIsAnError) {
  const auto server = OperatorServer::Start(Options());
  ASSERT_TRUE(server.ok()) << server.status();
  OperatorServerOptions options = Options();
  options.address = "127.0.0.1:" + std::to_string((*server)->port());
  const auto second = OperatorServer::Start(options);
  EXPECT_EQ(second.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(second.status().message()),
              HasSubstr(options.address));
}

}  // namespace
}  // namespace headwise
