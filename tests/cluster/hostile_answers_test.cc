// A worker whose answers are almost good, and the coordinator's end of the
// wire.

#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/synchronization/notification.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server.h"
#include "gtest/gtest.h"
#include "headwise/worker/v1/worker.grpc.pb.h"
#include "server/dispatch/cluster_dispatcher.h"
#include "server/dispatch/grpc_worker_link.h"
#include "tests/cluster/good_answers.h"
#include "tests/cluster/message_mutator.h"
#include "tests/support/loopback_server.h"
#include "worker/step_wire/message_checksum.h"

namespace headwise {
namespace {

namespace wire = worker::v1;

constexpr int64_t kVocabSize = 2000;

class AlmostGoodWorker final : public wire::Worker::Service {
 public:
  grpc::Status Prepare(
      grpc::ServerContext*, const wire::PrepareRequest*,
      grpc::ServerWriter<wire::PrepareResponse>* writer) override {
    wire::PrepareResponse response = GoodPrepared();
    Mutate(response);
    WriteChecksum(&response);
    writer->Write(response);
    return grpc::Status::OK;
  }
  grpc::Status Run(
      grpc::ServerContext*,
      grpc::ServerReaderWriter<wire::StepResponse, wire::StepRequest>* stream)
      override {
    wire::StepRequest request;
    while (stream->Read(&request)) {
      wire::StepResponse answer = GoodAnswer(request);
      Mutate(answer);
      WriteChecksum(&answer);  // as a liar would
      stream->Write(answer);
    }
    return grpc::Status::OK;
  }

 private:
  void Mutate(google::protobuf::Message& message) {
    absl::MutexLock lock(&mutex_);
    mutator_.Mutate(message);
  }

  absl::Mutex mutex_;
  MessageMutator mutator_ ABSL_GUARDED_BY(mutex_){53};
};

class HostileAnswersTest : public testing::Test {
 protected:
  void SetUp() override {
    int port = 0;
    server_ = StartOnLoopback(&service_, &port);
    link_ = std::make_shared<GrpcWorkerLink>(
        MakeWorkerChannel(absl::StrCat("127.0.0.1:", port), {}));
  }

  // Of one row that is to draw a token.
  absl::StatusOr<StepResult> Ask() {
    Step step;
    step.step_id = ++step_id_;
    step.slices.resize(1);
    step.slices[0].sequence_id = 5;
    step.slices[0].tokens = {1};
    step.slices[0].sample = true;
    absl::Notification done;
    absl::StatusOr<StepResult> result;
    dispatcher_.Submit(std::move(step), [&](absl::StatusOr<StepResult> r) {
      result = std::move(r);
      done.Notify();
    });
    done.WaitForNotification();
    return result;
  }

  AlmostGoodWorker service_;
  std::unique_ptr<grpc::Server> server_;
  std::shared_ptr<GrpcWorkerLink> link_;
  uint64_t step_id_ = 0;
  ClusterDispatcher dispatcher_{
      {.step_timeout = absl::Seconds(2),
       .limits = {.vocab_size = kVocabSize, .model_dim = 32},
       .on_sample = nullptr},
      Clock::Monotonic()};
};

// An answer that is taken has what the step asked for; any other loses the
// group, and so does none at all.
TEST_F(HostileAnswersTest, AStepHasOneWholeAnswerOrLosesItsGroup) {
  constexpr int kNumSteps = 2000;
  int num_taken = 0;
  bool stands = false;
  uint64_t epoch = 0;
  for (int i = 0; i < kNumSteps; ++i) {
    if (!stands) {
      // It may stand still: a worker may say of a step that it failed.
      dispatcher_.ClearGroup(absl::UnavailableError("the next one"));
      dispatcher_.SetGroup(
          {++epoch, GroupChoice::kInProcess, {"almost good"}, {link_}},
          [](const GroupLoss&) {});
    }
    const absl::StatusOr<StepResult> result = Ask();
    stands = result.ok();
    if (!result.ok()) continue;
    ++num_taken;
    ASSERT_EQ(result->results.size(), 1u) << "step " << i;
    EXPECT_EQ(result->results[0].sequence_id, 5u);
    EXPECT_GE(result->results[0].token, 0);
    EXPECT_LT(result->results[0].token, kVocabSize);
  }
  // Most fields are of what nobody asked for.
  EXPECT_GT(num_taken, 0);
  EXPECT_LT(num_taken, kNumSteps);
}

TEST_F(HostileAnswersTest, WhatIsSaidToBePreparedIsCheckedOrRefused) {
  constexpr int kNumPrepares = 2000;
  int num_ok = 0;
  for (int i = 0; i < kNumPrepares; ++i) {
    WorkerConfig config;
    config.membership_epoch = static_cast<uint64_t>(i + 1);
    config.model_path = "model";
    config.world_size = 1;
    absl::Notification done;
    absl::StatusOr<PreparedShard> result;
    link_->Prepare(config, absl::Seconds(10), nullptr,
                   [&](absl::StatusOr<PreparedShard> prepared) {
                     result = std::move(prepared);
                     done.Notify();
                   });
    done.WaitForNotification();
    if (!result.ok()) continue;
    ++num_ok;
    EXPECT_GE(result->weight_bytes, 0);
  }
  EXPECT_GT(num_ok, 0);
  EXPECT_LT(num_ok, kNumPrepares);
}

}  // namespace
}  // namespace headwise
