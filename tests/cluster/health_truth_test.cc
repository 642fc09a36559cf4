// Health does not lie: real processes whose threads are frozen one by one, that
// are frozen as a whole, that have more to do than they can, or that miss a
// worker.

#include <signal.h>

#include <atomic>
#include <chrono>
#include <fstream>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "gmock/gmock.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "gtest/gtest.h"
#include "headwise/v1/admin.grpc.pb.h"
#include "headwise/v1/inference.grpc.pb.h"
#include "httplib.h"
#include "tests/cluster/frozen_thread.h"
#include "tests/support/process_cluster.h"

namespace headwise {
namespace {

using testing::HasSubstr;

// What a probe may take to turn red or green: the largest allowance of an idle
// thread (15 s), and slack for a machine that has other work.
constexpr absl::Duration kTurn = absl::Seconds(45);
// A probe that is not answered for so long is red.
constexpr int kProbeSeconds = 2;

struct Answer {
  int code = 0;  // 0: none came
  std::string body;
};

Answer Probe(int port, const std::string& name) {
  httplib::Client client("127.0.0.1", port);
  client.set_connection_timeout(kProbeSeconds);
  client.set_read_timeout(kProbeSeconds);
  const auto result = client.Get(("/healthz/" + name).c_str());
  if (!result) return {};
  return {result->status, result->body};
}

// The second line of a port file.
int MetricsPort(const std::string& port_file) {
  std::ifstream file(port_file);
  int port = 0;
  int metrics_port = 0;
  file >> port >> metrics_port;
  return metrics_port;
}

class HealthTruthTest : public ProcessCluster {
 protected:
  void StartCluster(int num_workers, std::vector<std::string> flags = {}) {
    flags.insert(flags.end(),
                 {"--min-workers", std::to_string(num_workers), "--kv-bytes",
                  "67108864", "--metrics-listen", "127.0.0.1:0"});
    ASSERT_NO_FATAL_FAILURE(StartCoordinator(flags));
    port_ = MetricsPort(folder_.Path("coordinator.port"));
    for (int i = 0; i < num_workers; ++i) {
      const std::string name = "w" + std::to_string(i);
      const std::string port_file = folder_.Path(name + ".port");
      ASSERT_NO_FATAL_FAILURE(
          StartWorker(name, {"--metrics-listen", "127.0.0.1:0"}));
      const auto port = WaitForPortFile(port_file, *workers_.back(), kReady);
      ASSERT_TRUE(port.ok()) << port.status();
      worker_ports_.push_back(MetricsPort(port_file));
    }
    ASSERT_TRUE(Becomes(port_, "ready", 200)) << coordinator_->Log();
  }

  static bool Becomes(int port, const std::string& name, int code,
                      absl::Duration timeout = kTurn) {
    return WaitUntil([&] { return Probe(port, name).code == code; }, timeout);
  }

  // SERVING, NOT_SERVING; -1: no answer.
  int GrpcHealth(const std::string& service) {
    const auto context = Context(absl::Seconds(kProbeSeconds));
    grpc::health::v1::HealthCheckRequest request;
    request.set_service(service);
    grpc::health::v1::HealthCheckResponse response;
    const auto stub = grpc::health::v1::Health::NewStub(channel_);
    return stub->Check(context.get(), request, &response).ok()
               ? response.status()
               : -1;
  }

  // Freezes each thread of that name in turn: `live` turns red and says who,
  // and green once it goes on.
  void ExpectFreezeIsSeen(pid_t pid, int port, const std::string& thread) {
    SCOPED_TRACE(thread);
    const std::vector<pid_t> tids = ThreadsOf(pid, thread);
    ASSERT_FALSE(tids.empty());
    for (const pid_t tid : tids) {
      {
        const auto frozen = FrozenThread::Freeze(tid);
        ASSERT_TRUE(frozen.ok()) << frozen.status();
        ASSERT_TRUE(Becomes(port, "live", 503));
        EXPECT_THAT(Probe(port, "live").body,
                    HasSubstr("thread " + thread + " has not turned for "));
        EXPECT_EQ(Probe(port, "ready").code, 503);
        if (port == port_) {
          EXPECT_NE(GrpcHealth(""), kServing);
        }
      }
      ASSERT_TRUE(Becomes(port, "live", 200));
    }
  }

  static constexpr int kServing =
      grpc::health::v1::HealthCheckResponse::SERVING;
  static constexpr int kNotServing =
      grpc::health::v1::HealthCheckResponse::NOT_SERVING;

  int port_ = 0;  // of the coordinator's probes
  std::vector<int> worker_ports_;
};

TEST_F(HealthTruthTest, EachThreadOfACoordinatorThatFreezesIsSeen) {
  ASSERT_NO_FATAL_FAILURE(StartCluster(1));
  EXPECT_EQ(Probe(port_, "startup").code, 200);
  EXPECT_EQ(GrpcHealth(""), kServing);
  EXPECT_EQ(GrpcHealth("headwise.v1.Inference"), kServing);
  // A long text starts the thread that makes it tokens.
  v1::TokenizeRequest request;
  request.set_text(std::string(100 << 10, 'a'));
  v1::TokenizeResponse response;
  ASSERT_TRUE(v1::Inference::NewStub(channel_)
                  ->Tokenize(Context().get(), request, &response)
                  .ok());
  for (const char* thread :
       {"hw-engine", "hw-manager", "hw-dispatch", "hw-text", "hw-sessions"}) {
    ASSERT_NO_FATAL_FAILURE(
        ExpectFreezeIsSeen(coordinator_->pid(), port_, thread));
  }
  ASSERT_TRUE(Becomes(port_, "ready", 200));
  EXPECT_EQ(Probe(port_, "startup").code, 200) << "never taken back";
}

TEST_F(HealthTruthTest, EachThreadOfAWorkerThatFreezesIsSeen) {
  ASSERT_NO_FATAL_FAILURE(StartCluster(1));
  ASSERT_TRUE(Becomes(worker_ports_[0], "ready", 200));
  EXPECT_EQ(Probe(worker_ports_[0], "startup").code, 200);
  for (const char* thread : {"hw-store", "hw-registrar", "hw-worker"}) {
    ASSERT_NO_FATAL_FAILURE(
        ExpectFreezeIsSeen(workers_[0]->pid(), worker_ports_[0], thread));
  }
  ASSERT_TRUE(Becomes(port_, "ready", 200)) << coordinator_->Log();
}

// A process that lives while its engine does not: nobody may count on it.
TEST_F(HealthTruthTest, AWorkerWithAFrozenEngineIsLeftOutAndNamed) {
  ASSERT_NO_FATAL_FAILURE(StartCluster(2));
  const std::vector<pid_t> tids = ThreadsOf(workers_[1]->pid(), "hw-worker");
  ASSERT_EQ(tids.size(), 1u);
  {
    const auto frozen = FrozenThread::Freeze(tids[0]);
    ASSERT_TRUE(frozen.ok()) << frozen.status();
    ASSERT_TRUE(WaitUntil(
        [&] {
          const Answer ready = Probe(port_, "ready");
          return ready.code == 200 &&
                 absl::StrContains(ready.body, "missing: w1: ");
        },
        kTurn))
        << coordinator_->Log();
    v1::HeadMap map;
    ASSERT_TRUE(v1::Admin::NewStub(channel_)
                    ->GetHeadMap(Context().get(), {}, &map)
                    .ok());
    ASSERT_EQ(map.missing_size(), 1);
    EXPECT_EQ(map.missing(0).name(), "w1");
  }
  EXPECT_TRUE(WaitUntil(
      [&] { return !absl::StrContains(Probe(port_, "ready").body, "missing"); },
      kReady))
      << coordinator_->Log();
}

TEST_F(HealthTruthTest, AFrozenProcessDoesNotAnswerAndComesBack) {
  ASSERT_NO_FATAL_FAILURE(StartCluster(1));
  coordinator_->Signal(SIGSTOP);
  // The kernel stops all threads once one of them runs.
  ASSERT_TRUE(Becomes(port_, "live", 0));
  for (const char* probe : {"startup", "live", "ready"}) {
    EXPECT_EQ(Probe(port_, probe).code, 0) << probe;
  }
  EXPECT_EQ(GrpcHealth(""), -1);
  coordinator_->Signal(SIGCONT);
  EXPECT_TRUE(Becomes(port_, "live", 200));
  EXPECT_TRUE(Becomes(port_, "ready", 200, kReady)) << coordinator_->Log();

  workers_[0]->Signal(SIGSTOP);
  ASSERT_TRUE(Becomes(worker_ports_[0], "live", 0));
  EXPECT_TRUE(Becomes(port_, "ready", 503)) << "nobody is left to serve";
  EXPECT_THAT(Probe(port_, "ready").body, HasSubstr("missing: w0: "));
  EXPECT_EQ(Probe(port_, "live").code, 200) << "a restart would not help";
  workers_[0]->Signal(SIGCONT);
  EXPECT_TRUE(Becomes(worker_ports_[0], "live", 200));
  EXPECT_TRUE(Becomes(port_, "ready", 200, kReady)) << coordinator_->Log();
}

// More than the queue takes, and one sequence at a time: it refuses, and is
// live and ready all the while.
TEST_F(HealthTruthTest, ASaturatedServerStaysLiveAndReady) {
  constexpr int kRequests = 1200;  // the queue takes 1,024
  ASSERT_NO_FATAL_FAILURE(StartCluster(1, {"--max-sequences", "1"}));
  struct Call {
    grpc::ClientContext context;
    v1::ScoreRequest request;
    v1::ScoreResponse response;
  };
  // A connection has at most 1,024 streams.
  grpc::ChannelArguments own_connection;
  own_connection.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
  std::vector<std::unique_ptr<v1::Inference::Stub>> stubs;
  for (int i = 0; i < 2; ++i) {
    stubs.push_back(v1::Inference::NewStub(grpc::CreateCustomChannel(
        address_, grpc::InsecureChannelCredentials(), own_connection)));
  }
  std::vector<std::unique_ptr<Call>> calls;
  absl::Mutex mutex;
  int num_open = kRequests;
  std::atomic<int> num_refused = 0;
  for (int i = 0; i < kRequests; ++i) {
    Call& call = *calls.emplace_back(std::make_unique<Call>());
    call.context.set_deadline(absl::ToChronoTime(absl::Now() + kReady));
    call.request.set_text("One two three four five six seven eight nine ten");
    stubs[i % 2]->async()->Score(&call.context, &call.request, &call.response,
                                 [&](const grpc::Status& status) {
                                   const bool refused =
                                       status.error_code() ==
                                       grpc::StatusCode::RESOURCE_EXHAUSTED;
                                   num_refused += refused ? 1 : 0;
                                   absl::MutexLock lock(&mutex);
                                   --num_open;
                                 });
  }
  EXPECT_TRUE(WaitUntil([&] { return num_refused > 0; }, kReady));
  v1::CheckCapacityRequest question;
  question.set_prompt_tokens(10);
  v1::CheckCapacityResponse capacity;
  EXPECT_TRUE(v1::Admin::NewStub(channel_)
                  ->CheckCapacity(Context().get(), question, &capacity)
                  .ok());
  EXPECT_EQ(capacity.capacity(), v1::CAPACITY_LATER) << capacity.reason();
  const absl::Time end = absl::Now() + absl::Seconds(8);
  int num_probes = 0;
  while (absl::Now() < end) {
    EXPECT_EQ(Probe(port_, "live").code, 200);
    EXPECT_EQ(Probe(port_, "ready").code, 200);
    EXPECT_EQ(Probe(worker_ports_[0], "live").code, 200);
    ++num_probes;
  }
  EXPECT_GT(num_probes, 0);
  for (const auto& call : calls) call->context.TryCancel();
  absl::MutexLock lock(&mutex);
  const auto none = [&]() { return num_open == 0; };
  mutex.Await(absl::Condition(&none));
}

// What HeadwiseWorkerCrashLoop of deploy/monitoring/alerts.yml looks at.
TEST_F(HealthTruthTest, EachStartOfAWorkerThatCrashesIsCounted) {
  constexpr int kCrashes = 4;
  ASSERT_NO_FATAL_FAILURE(StartCluster(2));
  for (int crash = 1; crash <= kCrashes; ++crash) {
    workers_.back()->Signal(SIGKILL);
    ASSERT_EQ(*workers_.back()->Wait(kTurn), -SIGKILL);
    ASSERT_NO_FATAL_FAILURE(StartWorker("w1"));
    ASSERT_TRUE(WaitUntil(
        [&] {
          httplib::Client client("127.0.0.1", port_);
          const auto page = client.Get("/metrics");
          return page &&
                 absl::StrContains(
                     page->body, absl::StrCat("headwise_worker_arrivals_total{"
                                              "worker=\"w1\"} ",
                                              crash + 1, "\n"));
        },
        kTurn))
        << "crash " << crash << "\n"
        << coordinator_->Log();
  }
}

TEST_F(HealthTruthTest, WorkersThatDoNotResolveAreNamedAndTheRestServes) {
  const std::string port_file = folder_.Path("w0.port");
  auto worker = ChildProcess::Start(
      {std::string(HEADWISE_BINARY_DIR) + "/headwise-worker", "--listen",
       "127.0.0.1:0", "--name", "w0", "--threads", "1", "--port-file",
       port_file},
      folder_.Path("w0.log"));
  ASSERT_TRUE(worker.ok()) << worker.status();
  workers_.push_back(*std::move(worker));
  const auto worker_port = WaitForPortFile(port_file, *workers_[0], kReady);
  ASSERT_TRUE(worker_port.ok()) << worker_port.status();
  ASSERT_NO_FATAL_FAILURE(StartCoordinator(
      {"--workers",
       absl::StrCat("nowhere.invalid:7001,127.0.0.1:", *worker_port),
       "--kv-bytes", "67108864", "--metrics-listen", "127.0.0.1:0"}));
  port_ = MetricsPort(folder_.Path("coordinator.port"));
  ASSERT_TRUE(Becomes(port_, "ready", 200, kReady)) << coordinator_->Log();
  EXPECT_TRUE(WaitUntil(
      [&] {
        const std::string body = Probe(port_, "ready").body;
        return absl::StrContains(body, "missing: nowhere.invalid:7001: ") &&
               !absl::StrContains(body, "not asked yet");
      },
      kTurn))
      << Probe(port_, "ready").body;
  v1::HeadMap map;
  ASSERT_TRUE(
      v1::Admin::NewStub(channel_)->GetHeadMap(Context().get(), {}, &map).ok());
  ASSERT_EQ(map.missing_size(), 1);
  EXPECT_EQ(map.missing(0).name(), "nowhere.invalid:7001");
  EXPECT_EQ(map.world_size(), 1u);
}

}  // namespace
}  // namespace headwise
