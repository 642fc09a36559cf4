// A coordinator that speaks the protocol wrongly to a real worker, which lives,
// and serves once a good one comes.

#include <memory>
#include <random>
#include <string>

#include "absl/strings/str_cat.h"
#include "grpcpp/create_channel.h"
#include "gtest/gtest.h"
#include "headwise/worker/v1/worker.grpc.pb.h"
#include "tests/cluster/served_cluster.h"
#include "worker/step_wire/rpc_limits.h"

namespace headwise {
namespace {

namespace wire = worker::v1;

// A coordinator's messages, with bytes changed at random.
class HostileCoordinatorTest : public ServedCluster {
 protected:
  template <typename Message>
  Message Mutated(const Message& message, std::mt19937& random) {
    std::string bytes = message.SerializeAsString();
    Message mutated;
    for (int tries = 0; tries < 20; ++tries) {
      std::string changed = bytes;
      const int num_changes = 1 + static_cast<int>(random() % 4);
      for (int i = 0; i < num_changes && !changed.empty(); ++i) {
        changed[random() % changed.size()] = static_cast<char>(random());
      }
      if (mutated.ParseFromString(changed)) return mutated;
    }
    return message;
  }

  wire::PrepareRequest GoodPrepare(uint64_t epoch) const {
    wire::PrepareRequest request;
    request.set_membership_epoch(epoch);
    request.set_model_path(model_path_);
    request.set_world_size(1);
    for (int layer = 0; layer < 2; ++layer) {
      wire::LayerShard& shard = *request.mutable_shard()->add_layers();
      for (uint32_t unit = 0; unit < 2; ++unit) shard.add_kv_heads(unit);
      for (uint32_t tile = 0; tile < 2; ++tile) shard.add_mlp_tiles(tile);
    }
    request.mutable_shard()->add_vocab_tiles(0);
    request.add_vocab_tile_rank(0);
    request.set_group_kind(wire::GROUP_KIND_SHARED_MEMORY);
    request.set_group_timeout_ms(1000);
    request.set_kv_type("fp16");
    request.set_kv_capacity_bytes(1 << 20);
    request.set_max_step_tokens(64);
    return request;
  }

  void Prepare(const wire::PrepareRequest& request) {
    const auto context = Context(absl::Seconds(20));
    const auto reader = worker_->Prepare(context.get(), request);
    wire::PrepareResponse response;
    while (reader->Read(&response)) {
    }
    const grpc::Status end = reader->Finish();
    EXPECT_NE(end.error_code(), grpc::StatusCode::UNAVAILABLE)
        << end.error_message() << request.ShortDebugString();
  }

  // A stream of one step, or of what is left of it.
  void Run(const std::string& epoch, const wire::StepRequest& step) {
    const auto context = Context(absl::Seconds(20));
    context->AddMetadata(kEpochMetadata, epoch);
    const auto stream = worker_->Run(context.get());
    stream->Write(step);
    stream->WritesDone();
    wire::StepResponse response;
    while (stream->Read(&response)) {
    }
    stream->Finish();
  }

  std::unique_ptr<wire::Worker::Stub> worker_;
};

TEST_F(HostileCoordinatorTest, NoMutationOfItsMessagesEndsAWorker) {
  constexpr int kNumMutations = 500;
  UseTinyModel();
  ASSERT_FALSE(HasFatalFailure());
  // What it allocates on a lie is bounded, or fails here and not the machine.
  StartWorkerWith("w0", {.flags = {"--memory-bytes", "268435456"},
                         .prefix = {"/bin/sh", "-c",
                                    "ulimit -v 4194304; exec \"$0\" \"$@\""}});
  const std::string address = WaitForWorkerAddress("w0");
  worker_ = wire::Worker::NewStub(
      grpc::CreateChannel(address, grpc::InsecureChannelCredentials()));
  constexpr uint32_t kSeed = 53;
  SCOPED_TRACE(absl::StrCat("seed ", kSeed));
  std::mt19937 random(kSeed);
  wire::StepRequest step;
  step.set_step_id(1);
  wire::Slice& slice = *step.add_slices();
  slice.set_sequence_id(1);
  for (int token : {1, 2, 3}) slice.add_tokens(token);
  slice.set_sample(true);
  slice.mutable_sampling()->set_temperature(1.0f);
  uint64_t epoch = 1;
  for (int i = 0; i < kNumMutations; ++i) {
    wire::PrepareRequest prepare = GoodPrepare(++epoch);
    const bool is_good = i % 4 == 0;
    if (!is_good) prepare = Mutated(prepare, random);
    prepare.set_membership_epoch(epoch);  // a higher one would end the test
    Prepare(prepare);
    wire::JoinRequest join;
    join.set_membership_epoch(epoch);
    join.add_endpoints("endpoint");
    wire::JoinResponse joined;
    worker_->Join(Context().get(), is_good ? join : Mutated(join, random),
                  &joined);
    step.set_membership_epoch(epoch);
    Run(absl::StrCat(epoch), Mutated(step, random));
    ASSERT_TRUE(workers_[0]->IsRunning()) << "mutation " << i << "\n"
                                          << workers_[0]->Log();
  }
  // An honest one can still use it: with a newer epoch than was ever said.
  StartServer(1, {.flags = {"--workers", address}});
  ASSERT_FALSE(HasFatalFailure());
  ASSERT_TRUE(WaitForWorldSize(1)) << Logs();
  AskUntilWhole(Request(10), {});
}

}  // namespace
}  // namespace headwise
