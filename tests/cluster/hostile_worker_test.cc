// A worker that speaks the protocol wrongly to a real coordinator, which lives,
// and serves once a good one comes.

#include <signal.h>

#include <atomic>
#include <cmath>
#include <functional>
#include <limits>
#include <memory>
#include <ostream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "gtest/gtest.h"
#include "headwise/worker/v1/worker.grpc.pb.h"
#include "tests/cluster/good_answers.h"
#include "tests/cluster/served_cluster.h"
#include "worker/service/registrar.h"
#include "worker/service/worker_server.h"
#include "worker/step_wire/message_checksum.h"

namespace headwise {
namespace {

namespace wire = worker::v1;
using Answers = grpc::ServerReaderWriter<wire::StepResponse, wire::StepRequest>;

constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();

// What a hostile worker does instead of its work. Without one it answers as a
// good worker would that knows no model.
struct Misdeed {
  std::string name;
  // Of what goes into metrics alone, or a token that it makes up: what a model
  // of its own would say.
  bool may_answer = false;
  std::function<void(grpc::ServerWriter<wire::PrepareResponse>&)> prepare;
  std::function<void(const wire::StepRequest&, Answers&)> step;
};

wire::StepResponse AnswerTo(const wire::StepRequest& request) {
  wire::StepResponse answer = GoodAnswer(request);
  WriteChecksum(&answer);
  return answer;
}

wire::PrepareResponse Prepared() {
  wire::PrepareResponse response = GoodPrepared();
  WriteChecksum(&response);
  return response;
}

class HostileWorker final : public wire::Worker::Service {
 public:
  HostileWorker(Misdeed misdeed, const std::string& coordinator)
      : misdeed_(std::move(misdeed)) {
    grpc::ServerBuilder builder;
    int port = 0;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                             &port);
    builder.RegisterService(this);
    builder.SetMaxSendMessageSize(-1);
    server_ = builder.BuildAndStart();
    RegistrarOptions options;
    options.coordinators = {coordinator};
    options.info.set_name(absl::StrCat("evil-", port));
    options.info.set_address(absl::StrCat("127.0.0.1:", port));
    options.info.set_speed(1.0);
    options.info.set_process_id(static_cast<uint64_t>(port));
    WriteOwnBuild(&options.info);
    options.max_backoff = absl::Milliseconds(200);
    info_ = options.info;
    registrar_ = std::make_unique<Registrar>(std::move(options));
  }
  ~HostileWorker() override {
    registrar_.reset();
    server_->Shutdown(absl::ToChronoTime(absl::Now()));
    server_->Wait();
  }

  int num_calls() const { return num_calls_; }

  grpc::Status GetInfo(grpc::ServerContext*, const wire::GetInfoRequest*,
                       wire::WorkerInfo* info) override {
    *info = info_;
    return grpc::Status::OK;
  }
  grpc::Status Prepare(
      grpc::ServerContext*, const wire::PrepareRequest*,
      grpc::ServerWriter<wire::PrepareResponse>* writer) override {
    ++num_calls_;
    if (misdeed_.prepare) {
      misdeed_.prepare(*writer);
    } else {
      writer->Write(Prepared());
    }
    return grpc::Status::OK;
  }
  grpc::Status Join(grpc::ServerContext*, const wire::JoinRequest*,
                    wire::JoinResponse*) override {
    return grpc::Status::OK;  // though nothing has joined
  }
  grpc::Status Run(grpc::ServerContext* context, Answers* stream) override {
    wire::StepRequest request;
    while (!context->IsCancelled() && stream->Read(&request)) {
      ++num_calls_;
      if (misdeed_.step) {
        misdeed_.step(request, *stream);
      } else {
        stream->Write(AnswerTo(request));
      }
    }
    return grpc::Status::OK;
  }

 private:
  const Misdeed misdeed_;
  std::atomic<int> num_calls_ = 0;
  wire::WorkerInfo info_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Registrar> registrar_;
};

Misdeed InPrepare(const std::string& name,
                  std::function<void(wire::PrepareResponse&)> change) {
  Misdeed misdeed;
  misdeed.name = name;
  misdeed.prepare = [change = std::move(change)](auto& writer) {
    wire::PrepareResponse response = Prepared();
    change(response);
    WriteChecksum(&response);
    writer.Write(response);
  };
  return misdeed;
}

Misdeed InStep(const std::string& name,
               std::function<void(wire::StepResponse&)> change) {
  Misdeed misdeed;
  misdeed.name = name;
  misdeed.step = [change = std::move(change)](const wire::StepRequest& request,
                                              Answers& stream) {
    wire::StepResponse answer = AnswerTo(request);
    change(answer);
    WriteChecksum(&answer);
    stream.Write(answer);
  };
  return misdeed;
}

std::vector<Misdeed> PrepareMisdeeds() {
  return {
      InPrepare("NothingPrepared", [](auto& r) { r.clear_prepared(); }),
      InPrepare("ProgressOfNan", [](auto& r) { r.set_progress(std::nan("")); }),
      InPrepare("NegativeWeights",
                [](auto& r) { r.mutable_prepared()->set_weight_bytes(-1); }),
      InPrepare("HugeWeights",
                [](auto& r) { r.mutable_prepared()->set_weight_bytes(kHuge); }),
      InPrepare("NegativeBlocks",
                [](auto& r) {
                  r.mutable_prepared()->set_kv_capacity_blocks(-kHuge);
                }),
      InPrepare(
          "HugeBlocks",
          [](auto& r) { r.mutable_prepared()->set_kv_capacity_blocks(kHuge); }),
      InPrepare("HugeEndpoint",
                [](auto& r) {
                  r.mutable_prepared()->set_endpoint(
                      std::string(70 << 20, 'x'));
                }),
  };
}

std::vector<Misdeed> StepMisdeeds() {
  return {
      InStep("AnotherEpoch", [](auto& r) { r.set_membership_epoch(1); }),
      InStep("AnotherStep", [](auto& r) { r.set_step_id(r.step_id() + 7); }),
      InStep("UnknownCode", [](auto& r) { r.set_status_code(1 << 30); }),
      InStep("NoResults", [](auto& r) { r.clear_results(); }),
      InStep("AnotherSequence",
             [](auto& r) { r.mutable_results(0)->set_sequence_id(99); }),
      InStep("TokenBelowZero",
             [](auto& r) { r.mutable_results(0)->set_token(-1); }),
      InStep("TokenBeyondTheVocabulary",
             [](auto& r) { r.mutable_results(0)->set_token(1 << 30); }),
      InStep("LogprobOfNan",
             [](auto& r) { r.mutable_results(0)->set_logprob(std::nan("")); }),
      InStep("AMillionResults",
             [](auto& r) {
               for (int i = 0; i < 1'000'000; ++i) r.add_results();
             }),
      InStep("ManyHiddenStates",
             [](auto& r) {
               for (int i = 0; i < 1'000'000; ++i) {
                 r.mutable_results(0)->add_hidden(1.0f);
               }
             }),
      InStep("TimesOfNan",
             [](auto& r) {
               r.set_compute_seconds(std::nan(""));
               r.set_collective_seconds(-1e300);
               r.set_num_collectives(-kHuge);
               r.set_collective_bytes(-kHuge);
             }),
  };
}

std::vector<Misdeed> Misdeeds() {
  std::vector<Misdeed> all = PrepareMisdeeds();
  for (const Misdeed& misdeed : StepMisdeeds()) all.push_back(misdeed);
  Misdeed flood;
  flood.name = "AFloodOfProgress";
  flood.prepare = [](auto& writer) {
    wire::PrepareResponse response;
    for (int i = 0; i < 20'000; ++i) writer.Write(response);
  };
  all.push_back(std::move(flood));
  Misdeed replay;
  replay.name = "EachAnswerTwice";
  replay.step = [](const wire::StepRequest& request, Answers& stream) {
    stream.Write(AnswerTo(request));
    stream.Write(AnswerTo(request));
  };
  all.push_back(std::move(replay));
  Misdeed mute;
  mute.name = "NoAnswer";
  mute.step = [](const wire::StepRequest&, Answers&) {};
  all.push_back(std::move(mute));
  for (Misdeed& misdeed : all) {
    misdeed.may_answer = misdeed.name == "TimesOfNan" ||
                         misdeed.name == "ProgressOfNan" ||
                         misdeed.name == "EachAnswerTwice";
  }
  return all;
}

// For GoogleTest, which would print its bytes.
void PrintTo(const Misdeed& misdeed, std::ostream* out) {
  *out << misdeed.name;
}

class HostileWorkerTest : public ServedCluster {};

class MisdeedTest : public ServedCluster,
                    public testing::WithParamInterface<Misdeed> {};

// It alone is all that the coordinator has; what the coordinator makes of a
// request is an error, not a text.
TEST_P(MisdeedTest, NeitherEndsTheCoordinatorNorPassesForAnAnswer) {
  UseTinyModel();
  StartServing(1);
  ASSERT_FALSE(HasFatalFailure());
  const v1::GenerateRequest request = Request(20);
  AskUndisturbed(request);
  workers_[0]->Signal(SIGTERM);
  ASSERT_EQ(workers_[0]->Wait(kReady).value_or(-1), 0);
  {
    HostileWorker worker(GetParam(), address_);
    ASSERT_TRUE(WaitUntil(
        [&] {
          history_.Generate(*inference_, request,
                            {.timeout = absl::Milliseconds(500)});
          return worker.num_calls() > 0;
        },
        kReady))
        << Logs();
    history_.Generate(*inference_, request, {.timeout = absl::Seconds(1)});
    ASSERT_TRUE(coordinator_->IsRunning()) << Logs();
  }
  int num_whole = -1;  // the undisturbed one is among them
  for (const HeardAnswer& answer : history_.answers()) {
    num_whole += answer.is_whole() ? 1 : 0;
  }
  if (!GetParam().may_answer) {
    EXPECT_EQ(num_whole, 0);
  }
  EXPECT_THAT(history_.CheckEnds(), testing::IsEmpty());
  StartWorker("good");
  ASSERT_TRUE(WaitForWorldSize(1)) << Logs();
  const HeardAnswer answer = AskUntilWhole(request, {});
  EXPECT_EQ(answer.text, fault_free_.answers()[0].text);
  EXPECT_FALSE(MetricsPage().empty());
}

INSTANTIATE_TEST_SUITE_P(All, MisdeedTest, testing::ValuesIn(Misdeeds()),
                         [](const testing::TestParamInfo<Misdeed>& info) {
                           return info.param.name;
                         });

// Beside a good worker: the group goes on without it.
TEST_F(HostileWorkerTest, AGoodWorkerServesOnAfterABadOneCame) {
  UseTinyModel();
  StartServing(1);
  ASSERT_FALSE(HasFatalFailure());
  const v1::GenerateRequest request = Request(20);
  AskUndisturbed(request);
  Misdeed liar;
  liar.name = "JoinsThoughItHasNot";
  HostileWorker worker(liar, address_);
  ASSERT_TRUE(WaitUntil([&] { return worker.num_calls() > 0; }, kReady));
  AskUntilWhole(request, {});
  EXPECT_TRUE(WaitForWorldSize(1)) << Logs();
  EXPECT_THAT(history_.CheckTokens(fault_free_), testing::IsEmpty());
}

}  // namespace
}  // namespace headwise
