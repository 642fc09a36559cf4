// GrpcWorkerLink against WorkerServer, with an executor without kernels.

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "grpcpp/client_context.h"
#include "grpcpp/security/server_credentials.h"
#include "gtest/gtest.h"
#include "server/dispatch/cluster_dispatcher.h"
#include "server/dispatch/grpc_worker_link.h"
#include "tests/support/loopback_server.h"
#include "worker/service/fake_executor.h"
#include "worker/service/in_process_rendezvous.h"
#include "worker/service/worker_server.h"
#include "worker/step_wire/message_checksum.h"
#include "worker/step_wire/rpc_limits.h"

namespace headwise {
namespace {

using testing::HasSubstr;

constexpr absl::Duration kTimeout = absl::Seconds(30);

// A worker that listens, and a link to it.
class Worker {
 public:
  // `on_create`, if any, is called while the executor is made.
  Worker(InProcessRendezvous& rendezvous, FakeExecutor::OnRun on_run,
         std::function<void()> on_create = nullptr) {
    WorkerNodeOptions options;
    options.open_model = [](const std::string&) {
      return std::make_shared<const FakeModel>();
    };
    options.create_executor = [on_run, on_create](
                                  const Model&, Shard, const ExecutorOptions&,
                                  std::function<void(double)> progress)
        -> absl::StatusOr<std::unique_ptr<Executor>> {
      for (int i = 1; i <= 100; ++i) progress(i / 100.0);
      if (on_create) on_create();
      return std::make_unique<FakeExecutor>(on_run);
    };
    options.prepare_group = [&rendezvous](GroupChoice, const GroupSpec& spec) {
      return rendezvous.Prepare(spec);
    };
    node_ = std::make_unique<WorkerNode>(options);
    WorkerServerOptions server;
    server.info.set_name("w");
    server_ = WorkerServer::Start(server, *node_).value();
    address_ = server_->info().address();
    link_ = std::make_shared<GrpcWorkerLink>(MakeWorkerChannel(address_, {}));
  }
  ~Worker() {
    link_.reset();
    server_.reset();
  }

  std::shared_ptr<GrpcWorkerLink> link() { return link_; }
  WorkerNode& node() { return *node_; }
  const std::string& address() const { return address_; }
  void StopServer() { server_.reset(); }
  void DropLink() { link_.reset(); }

 private:
  std::unique_ptr<WorkerNode> node_;
  std::unique_ptr<WorkerServer> server_;
  std::string address_;
  std::shared_ptr<GrpcWorkerLink> link_;
};

WorkerConfig Config(uint64_t epoch, int rank, int world_size) {
  WorkerConfig config;
  config.membership_epoch = epoch;
  config.model_path = "model";
  config.rank = rank;
  config.world_size = world_size;
  config.shard = WholeShard();
  if (rank != 0) config.shard.vocab_tiles.clear();
  config.group = GroupChoice::kInProcess;
  config.group_timeout = absl::Seconds(60);
  config.kv_capacity_bytes = 1 << 20;
  config.max_step_tokens = 16;
  return config;
}

absl::StatusOr<PreparedShard> Prepare(GrpcWorkerLink& link,
                                      const WorkerConfig& config,
                                      int* num_progress = nullptr) {
  absl::Notification done;
  absl::StatusOr<PreparedShard> result;
  link.Prepare(
      config, kTimeout,
      [&](double) {
        if (num_progress != nullptr) ++*num_progress;
      },
      [&](absl::StatusOr<PreparedShard> prepared) {
        result = std::move(prepared);
        done.Notify();
      });
  done.WaitForNotification();
  return result;
}

absl::Status Join(GrpcWorkerLink& link, uint64_t epoch,
                  const std::vector<std::string>& endpoints) {
  absl::Notification done;
  absl::Status result;
  link.Join(epoch, endpoints, kTimeout, [&](absl::Status status) {
    result = std::move(status);
    done.Notify();
  });
  done.WaitForNotification();
  return result;
}

Step OneRow(uint64_t step_id) {
  Step step;
  step.step_id = step_id;
  step.slices.resize(1);
  step.slices[0].sequence_id = 5;
  step.slices[0].tokens = {1};
  step.slices[0].sample = true;
  return step;
}

struct Outcome {
  absl::Notification done;
  absl::StatusOr<StepResult> result;
};

class GrpcLinkTest : public testing::Test {
 protected:
  void Form(std::vector<Worker*> workers, uint64_t epoch) {
    std::vector<std::string> endpoints;
    StepGroup group;
    group.membership_epoch = epoch;
    for (size_t rank = 0; rank < workers.size(); ++rank) {
      const auto prepared = Prepare(*workers[rank]->link(),
                                    Config(epoch, static_cast<int>(rank),
                                           static_cast<int>(workers.size())));
      ASSERT_TRUE(prepared.ok()) << prepared.status();
      endpoints.push_back(prepared->endpoint);
      group.names.push_back("w" + std::to_string(rank));
      group.links.push_back(workers[rank]->link());
    }
    for (Worker* worker : workers) {
      ASSERT_TRUE(Join(*worker->link(), epoch, endpoints).ok());
    }
    SetGroup(std::move(group));
  }

  void SetGroup(StepGroup group) {
    dispatcher_.SetGroup(std::move(group), [this](const GroupLoss& loss) {
      absl::MutexLock lock(&mutex_);
      lost_ = loss;
    });
  }

  std::shared_ptr<Outcome> Submit(uint64_t step_id) {
    auto outcome = std::make_shared<Outcome>();
    dispatcher_.Submit(OneRow(step_id),
                       [outcome](absl::StatusOr<StepResult> result) {
                         outcome->result = std::move(result);
                         outcome->done.Notify();
                       });
    return outcome;
  }

  GroupLoss WaitLost() {
    absl::MutexLock lock(&mutex_);
    const auto lost = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return !lost_.reason.ok();
    };
    mutex_.AwaitWithTimeout(absl::Condition(&lost), kTimeout);
    return lost_;
  }

  InProcessRendezvous rendezvous_;
  absl::Mutex mutex_;
  GroupLoss lost_ ABSL_GUARDED_BY(mutex_);
  ClusterDispatcher dispatcher_{
      {.step_timeout = absl::Seconds(60),
       .limits = {.vocab_size = 2000, .model_dim = 32},
       .on_sample = nullptr},
      Clock::Monotonic()};
};

TEST_F(GrpcLinkTest, TwoWorkersRunPipelinedSteps) {
  Worker a(rendezvous_, nullptr), b(rendezvous_, nullptr);
  Form({&a, &b}, 1);
  std::shared_ptr<Outcome> ahead = Submit(1);
  for (uint64_t id = 2; id <= 200; ++id) {
    std::shared_ptr<Outcome> next = Submit(id);
    ahead->done.WaitForNotification();
    ASSERT_TRUE(ahead->result.ok()) << ahead->result.status();
    EXPECT_EQ(ahead->result->step_id, id - 1);
    EXPECT_EQ(ahead->result->results.at(0).token, 7);
    ahead = std::move(next);
  }
  ahead->done.WaitForNotification();
}

TEST_F(GrpcLinkTest, PrepareStreamsProgressAndErrors) {
  Worker a(rendezvous_, nullptr);
  int num_progress = 0;
  EXPECT_TRUE(Prepare(*a.link(), Config(9, 0, 1), &num_progress).ok());
  EXPECT_GE(num_progress, 1);
  EXPECT_EQ(Prepare(*a.link(), Config(8, 0, 1)).status().code(),
            absl::StatusCode::kAborted);
  WorkerConfig bad = Config(10, 0, 1);
  bad.shard.layers.pop_back();
  EXPECT_EQ(Prepare(*a.link(), bad).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(GrpcLinkTest, EndOfTheLinkCancelsItsPrepare) {
  absl::Notification create;
  Worker a(rendezvous_, nullptr, [&] { create.WaitForNotification(); });
  absl::Notification done;
  absl::StatusOr<PreparedShard> result;
  a.link()->Prepare(Config(1, 0, 1), kTimeout, nullptr,
                    [&](absl::StatusOr<PreparedShard> prepared) {
                      result = std::move(prepared);
                      done.Notify();
                    });
  a.DropLink();
  EXPECT_TRUE(done.WaitForNotificationWithTimeout(kTimeout / 2));
  create.Notify();
  done.WaitForNotification();
  EXPECT_EQ(result.status().code(), absl::StatusCode::kCancelled);
}

// A worker whose answers can't be read.
class GarblingWorker final : public worker::v1::Worker::Service {
 public:
  // Without checksums they seem to have changed on their way.
  explicit GarblingWorker(bool writes_checksums)
      : writes_checksums_(writes_checksums) {
    server_ = StartOnLoopback(this, &port_);
  }
  int port() const { return port_; }

  grpc::Status Run(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<worker::v1::StepResponse,
                               worker::v1::StepRequest>* stream) override {
    worker::v1::StepRequest request;
    while (stream->Read(&request)) {
      worker::v1::StepResponse response;
      response.set_membership_epoch(request.membership_epoch());
      response.set_step_id(request.step_id());
      response.set_status_code(99);
      if (writes_checksums_) WriteChecksum(&response);
      stream->Write(response);
    }
    return grpc::Status::OK;
  }

 private:
  const bool writes_checksums_;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

class GarblingWorkerTest : public GrpcLinkTest {
 protected:
  // Of a group that asked such a worker alone.
  GroupLoss LossBy(bool writes_checksums) {
    GarblingWorker worker(writes_checksums);
    const auto link = std::make_shared<GrpcWorkerLink>(
        MakeWorkerChannel("127.0.0.1:" + std::to_string(worker.port()), {}));
    SetGroup({1, GroupChoice::kInProcess, {"garbles"}, {link}});
    Submit(1)->done.WaitForNotification();
    return WaitLost();
  }
};

// A flip on the wire is no worker's fault, but each end is one's to suspect.
TEST_F(GarblingWorkerTest, AnswerThatChangedOnItsWayLosesTheGroup) {
  const GroupLoss lost = LossBy(/*writes_checksums=*/false);
  EXPECT_EQ(lost.rank, 0u);
  EXPECT_FALSE(lost.is_wrong);
  EXPECT_THAT(lost.reason.message(), HasSubstr("changed on its way"));
}

TEST_F(GarblingWorkerTest, UnreadableAnswerIsBlamedOnItsRank) {
  const GroupLoss lost = LossBy(/*writes_checksums=*/true);
  EXPECT_EQ(lost.rank, 0u);
  EXPECT_TRUE(lost.is_wrong);
  EXPECT_THAT(lost.reason.message(), HasSubstr("status_code 99"));
}

TEST_F(GrpcLinkTest, WorkerThatGoesAwayLosesTheGroupAndFreesItsPeer) {
  Worker a(rendezvous_, nullptr);
  absl::Notification entered;
  auto b = std::make_unique<Worker>(rendezvous_, [&](const Step& step) {
    // Step 2 never enters its collective: rank 0 waits in it.
    if (step.step_id < 2) return absl::OkStatus();
    entered.Notify();
    return absl::InternalError("died");
  });
  Form({&a, b.get()}, 1);
  Submit(1)->done.WaitForNotification();
  b->StopServer();
  const auto outcome = Submit(2);
  outcome->done.WaitForNotification();
  EXPECT_EQ(outcome->result.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_FALSE(WaitLost().reason.ok());
  // The peer's step of 60 s was aborted: a new group can use its engine thread.
  Form({&a}, 2);
  const auto again = Submit(1);
  again->done.WaitForNotification();
  EXPECT_TRUE(again->result.ok()) << again->result.status();
}

TEST_F(GrpcLinkTest, StepErrorReachesTheCaller) {
  Worker a(rendezvous_, [](const Step&) {
    return absl::ResourceExhaustedError("no blocks");
  });
  Form({&a}, 1);
  const auto outcome = Submit(1);
  outcome->done.WaitForNotification();
  EXPECT_EQ(outcome->result.status(),
            absl::ResourceExhaustedError("no blocks"));
}

TEST_F(GrpcLinkTest, ClosingTheStreamAbortsAStepInACollective) {
  Worker a(rendezvous_, nullptr), b(rendezvous_, nullptr);
  Form({&a, &b}, 1);
  // Rank 0 alone gets a step, and waits for its peer in the collective.
  a.link()->SendStep(1, std::make_shared<Step>(OneRow(1)));
  dispatcher_.ClearGroup(absl::UnavailableError("test"));
  // Preparing needs the engine thread, which the abort must have freed.
  EXPECT_TRUE(Prepare(*a.link(), Config(2, 0, 1)).ok());
}

TEST_F(GrpcLinkTest, ProbeTellsLifeFromDeath) {
  Worker a(rendezvous_, nullptr);
  const auto probe = [&] {
    absl::Notification done;
    absl::Status result;
    a.link()->Probe(absl::Seconds(5), [&](absl::Status status) {
      result = std::move(status);
      done.Notify();
    });
    done.WaitForNotification();
    return result;
  };
  EXPECT_TRUE(probe().ok());
  a.StopServer();
  EXPECT_FALSE(probe().ok());
}

// What no link of ours sends.
TEST_F(GrpcLinkTest, HostileRunsAreRefusedAndTheWorkerLives) {
  Worker a(rendezvous_, nullptr);
  const auto stub =
      worker::v1::Worker::NewStub(MakeWorkerChannel(a.address(), {}));
  for (const char* epoch : {"", "x", "-1", "99999999999999999999999", "5"}) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + kTimeout));
    context.AddMetadata(kEpochMetadata, epoch);
    const auto stream = stub->Run(&context);
    stream->WritesDone();
    worker::v1::StepResponse response;
    EXPECT_FALSE(stream->Read(&response)) << epoch;
    EXPECT_FALSE(stream->Finish().ok()) << epoch;
  }
  Form({&a}, 6);
  const auto outcome = Submit(1);
  outcome->done.WaitForNotification();
  EXPECT_TRUE(outcome->result.ok());
}

}  // namespace
}  // namespace headwise
