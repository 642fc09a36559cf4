#include "worker/service/worker_service.h"

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "base/build_info.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server.h"
#include "gtest/gtest.h"
#include "tests/support/loopback_server.h"
#include "worker/service/fake_executor.h"
#include "worker/service/in_process_rendezvous.h"
#include "worker/step_wire/message_checksum.h"

namespace headwise {
namespace {

constexpr absl::Duration kTimeout = absl::Seconds(60);

worker::v1::PrepareRequest Request(uint64_t epoch) {
  worker::v1::PrepareRequest request;
  request.set_membership_epoch(epoch);
  request.set_model_path("model");
  request.set_world_size(1);
  for (const Shard::Layer& layer : WholeShard().layers) {
    auto* out = request.mutable_shard()->add_layers();
    for (const int unit : layer.units) out->add_kv_heads(unit);
    for (const int tile : layer.mlp_tiles) out->add_mlp_tiles(tile);
  }
  for (const int tile : WholeShard().vocab_tiles) {
    request.mutable_shard()->add_vocab_tiles(tile);
    request.add_vocab_tile_rank(0);
  }
  request.set_group_kind(worker::v1::GROUP_KIND_SHARED_MEMORY);
  request.set_group_timeout_ms(1000);
  request.set_kv_type("fp16");
  request.set_kv_capacity_bytes(1 << 20);
  request.set_max_step_tokens(16);
  request.set_protocol(OwnBuild().protocols.newest);
  request.set_numerics(OwnBuild().numerics);
  WriteChecksum(&request);
  return request;
}

// A worker whose loading does what a test says, and a client of it.
class WorkerServiceTest : public testing::Test {
 protected:
  // Whether the shard was loaded; false: it was ended by its progress.
  using Load = std::function<bool(const std::function<bool(double)>&)>;

  void Start(Load load, const PrepareTimes& times = {}) {
    WorkerNodeOptions options;
    options.open_model = [](const std::string&) {
      return std::make_shared<const FakeModel>();
    };
    options.create_executor = [load = std::move(load)](
                                  const Model&, Shard, const ExecutorOptions&,
                                  const std::function<bool(double)>& progress)
        -> absl::StatusOr<std::unique_ptr<Executor>> {
      if (!load(progress)) return absl::CancelledError("ended");
      return std::make_unique<FakeExecutor>(nullptr);
    };
    options.prepare_group = [this](GroupChoice, const GroupSpec& spec) {
      return rendezvous_.Prepare(spec);
    };
    node_ = std::make_unique<WorkerNode>(options);
    service_ = std::make_unique<WorkerService>(
        *node_, [] { return worker::v1::WorkerInfo(); }, times);
    int port = 0;
    server_ = StartOnLoopback(service_.get(), &port);
    ASSERT_NE(server_, nullptr);
    stub_ = worker::v1::Worker::NewStub(grpc::CreateChannel(
        absl::StrCat("127.0.0.1:", port), grpc::InsecureChannelCredentials()));
  }

  struct Call {
    grpc::ClientContext context;
    std::unique_ptr<grpc::ClientReader<worker::v1::PrepareResponse>> reader;
    worker::v1::PrepareResponse last;
    bool Read() { return reader->Read(&last); }
    grpc::StatusCode Finish() {
      while (Read()) {
      }
      return reader->Finish().error_code();
    }
  };
  std::unique_ptr<Call> Prepare(uint64_t epoch) {
    auto call = std::make_unique<Call>();
    call->context.set_deadline(absl::ToChronoTime(absl::Now() + kTimeout));
    call->reader = stub_->Prepare(&call->context, Request(epoch));
    return call;
  }

  InProcessRendezvous rendezvous_;
  std::unique_ptr<WorkerNode> node_;
  std::unique_ptr<WorkerService> service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<worker::v1::Worker::Stub> stub_;
};

// Loads until nobody wants it, and tells when it has begun.
class EndlessLoad {
 public:
  bool operator()(const std::function<bool(double)>& progress) const {
    while (progress(0.5)) {
      if (!state_->HasBeenNotified()) state_->Notify();
    }
    return false;
  }
  void WaitUntilItRuns() const { state_->WaitForNotification(); }

 private:
  std::shared_ptr<absl::Notification> state_ =
      std::make_shared<absl::Notification>();
};

TEST_F(WorkerServiceTest, PrepareThatLoadsOrWaitsSaysSo) {
  absl::Notification release;
  Start(
      [&](const std::function<bool(double)>& progress) {
        release.WaitForNotification();  // as long as reading a cold disk
        return progress(1.0);
      },
      {.keep_alive = absl::Milliseconds(5)});
  const auto loading = Prepare(1);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(loading->Read());
    EXPECT_FALSE(loading->last.has_prepared());
  }
  const auto queued = Prepare(2);
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(queued->Read());
    EXPECT_EQ(queued->last.progress(), 0.0);
  }
  release.Notify();
  EXPECT_EQ(loading->Finish(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(queued->Finish(), grpc::StatusCode::OK);
  EXPECT_TRUE(queued->last.has_prepared());
}

// So that a coordinator does not wait for it until the call's own end.
TEST_F(WorkerServiceTest, PrepareWhoseEngineHangsFallsSilent) {
  absl::Notification release;
  Start(
      [&](const std::function<bool(double)>& progress) {
        release.WaitForNotification();
        return progress(1.0);
      },
      {.keep_alive = absl::Milliseconds(5),
       .max_stall = absl::Milliseconds(50)});
  const auto hanging = Prepare(1);
  std::atomic<int> num_read = 0;
  std::thread reader([&] {
    while (hanging->Read()) ++num_read;
  });
  // It has said something, then nothing for twenty times its interval.
  const absl::Time end = absl::Now() + kTimeout;
  int before = 0;
  do {
    before = num_read;
    absl::SleepFor(absl::Milliseconds(100));
  } while ((before == 0 || num_read != before) && absl::Now() < end);
  EXPECT_GT(before, 0);
  EXPECT_EQ(num_read, before);
  release.Notify();
  reader.join();
  EXPECT_EQ(hanging->Finish(), grpc::StatusCode::OK);
  EXPECT_TRUE(hanging->last.has_prepared()) << "late is not too late";
}

TEST_F(WorkerServiceTest, CancelledPrepareEndsTheLoading) {
  const EndlessLoad endless;
  int num_loads = 0;
  Start([&](const std::function<bool(double)>& progress) {
    return ++num_loads == 1 ? endless(progress) : progress(1.0);
  });
  const auto cancelled = Prepare(1);
  endless.WaitUntilItRuns();
  cancelled->context.TryCancel();
  EXPECT_EQ(cancelled->Finish(), grpc::StatusCode::CANCELLED);
  EXPECT_EQ(Prepare(1)->Finish(), grpc::StatusCode::OK);
}

TEST_F(WorkerServiceTest, ServerStopsWhileAShardLoads) {
  const EndlessLoad endless;
  Start(endless);
  const auto call = Prepare(1);
  endless.WaitUntilItRuns();
  server_->Shutdown(absl::ToChronoTime(absl::Now()));
  server_.reset();
  EXPECT_NE(call->Finish(), grpc::StatusCode::OK);
}

}  // namespace
}  // namespace headwise
