// A coordinator that speaks the protocol wrongly to a real worker, which lives,
// and serves once a good one comes.

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/build_info.h"
#include "gmock/gmock.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "gtest/gtest.h"
#include "headwise/worker/v1/attention_worker.pb.h"
#include "headwise/worker/v1/memory_worker.pb.h"
#include "headwise/worker/v1/worker.grpc.pb.h"
#include "tests/cluster/message_mutator.h"
#include "tests/cluster/rpc_seeds.h"
#include "tests/cluster/rpc_storm.h"
#include "tests/cluster/served_cluster.h"
#include "tests/support/address_space.h"
#include "worker/memory_parts/memory_fixture.h"
#include "worker/memory_wire/memory_wire.h"
#include "worker/step_wire/message_checksum.h"
#include "worker/step_wire/rpc_limits.h"

namespace headwise {
namespace {

namespace wire = worker::v1;

// With a checksum that is right, whatever the message says.
std::string SummedBytes(google::protobuf::Message& message) {
  const auto& reflection = *message.GetReflection();
  const auto* field = message.GetDescriptor()->FindFieldByName("crc32c");
  reflection.ClearField(&message, field);
  reflection.SetUInt32(&message, field,
                       ChecksumOf(message, message.ByteSizeLong(), 0));
  return message.SerializeAsString();
}

// A coordinator's messages, almost good.
class HostileCoordinatorTest : public ServedCluster {
 protected:
  // What it allocates on a lie is bounded, or fails here and not the machine.
  void StartLimitedWorker() {
    UseTinyModel();
    ASSERT_FALSE(HasFatalFailure());
    StartWorkerWith("w0", {.flags = {"--memory-bytes", "268435456"},
                           .prefix = WithAddressSpace(4)});
    worker_address_ = WaitForWorkerAddress("w0");
    channel_ = grpc::CreateChannel(worker_address_,
                                   grpc::InsecureChannelCredentials());
    worker_ = wire::Worker::NewStub(channel_);
  }
  // An honest one can still use it: with a newer epoch than was ever said.
  void ExpectItServes() {
    StartServer(1, {.flags = {"--workers", worker_address_}});
    ASSERT_FALSE(HasFatalFailure());
    ASSERT_TRUE(WaitForWorldSize(1)) << Logs();
    AskUntilWhole(Request(10), {});
  }

  template <typename Message>
  Message Mutated(Message message) {
    if (mutator_.Below(2) == 0) {
      mutator_.Mutate(message);
      return message;
    }
    const std::string bytes = message.SerializeAsString();
    Message mutated;
    for (int tries = 0; tries < 20; ++tries) {
      if (mutated.ParseFromString(mutator_.MutateBytes(bytes))) return mutated;
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
    request.set_protocol(OwnBuild().protocols.newest);
    request.set_numerics(OwnBuild().numerics);
    return request;
  }

  // The endpoint, if one was prepared. With a checksum that is right, as in all
  // of these: what arrives as it was meant.
  std::string Prepare(wire::PrepareRequest request) {
    WriteChecksum(&request);
    const auto context = Context(absl::Seconds(20));
    const auto reader = worker_->Prepare(context.get(), request);
    wire::PrepareResponse response;
    std::string endpoint;
    while (reader->Read(&response)) endpoint = response.prepared().endpoint();
    const grpc::Status end = reader->Finish();
    EXPECT_NE(end.error_code(), grpc::StatusCode::UNAVAILABLE)
        << end.error_message() << request.ShortDebugString();
    return endpoint;
  }

  // A stream of one step, or of what is left of it.
  void Run(const std::string& epoch, wire::StepRequest step) {
    WriteChecksum(&step);
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

  // Prepares and joins a group of one.
  void FormGroup(uint64_t epoch) {
    wire::JoinRequest join;
    join.add_endpoints(Prepare(GoodPrepare(epoch)));
    join.set_membership_epoch(epoch);
    WriteChecksum(&join);
    wire::JoinResponse joined;
    const grpc::Status status = worker_->Join(Context().get(), join, &joined);
    EXPECT_TRUE(status.ok()) << status.error_message();
  }

  MessageMutator mutator_{53};
  std::string worker_address_;
  std::unique_ptr<wire::Worker::Stub> worker_;
};

TEST_F(HostileCoordinatorTest, NoMutationOfItsMessagesEndsAWorker) {
  constexpr int kNumMutations = 500;
  StartLimitedWorker();
  ASSERT_FALSE(HasFatalFailure());
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
    if (!is_good) prepare = Mutated(prepare);
    prepare.set_membership_epoch(epoch);  // a higher one would end the test
    wire::JoinRequest join;
    join.add_endpoints(Prepare(prepare));
    join.set_membership_epoch(epoch);
    wire::JoinResponse joined;
    if (!is_good) join = Mutated(join);
    WriteChecksum(&join);
    worker_->Join(Context().get(), join, &joined);
    step.set_membership_epoch(epoch);
    Run(absl::StrCat(epoch), Mutated(step));
    ASSERT_TRUE(workers_[0]->IsRunning()) << "mutation " << i << "\n"
                                          << workers_[0]->Log();
  }
  ExpectItServes();
}

constexpr char kStoreSeeds[] = R"(
headwise.worker.v1.AttentionWorker.DeletePart
session_id: "s"
headwise.worker.v1.AttentionWorker.DeletePart
session_id: "f"
headwise.worker.v1.AttentionWorker.OpenPart
session_id: "s" units { count_weight: true full_prompt: true }
shape { num_kv_heads: 1 heads_per_kv_head: 2 head_dim: 16 max_positions: 512 }
headwise.worker.v1.AttentionWorker.Stage
session_id: "s"
pieces { num_positions: 4 keys: "$ROWS" values: "$ROWS" }
headwise.worker.v1.AttentionWorker.AttendPart
session_id: "s" length: 4 visible_end: 4 units { queries: [$FLOATS, $FLOATS] }
headwise.worker.v1.AttentionWorker.ProbePart
session_id: "s" length: 4 visible_end: 4 num_top_keys: 2 entropy: true
segment_bounds: [1, 3] units { queries: [$FLOATS, $FLOATS] lse: [0, 0] }
headwise.worker.v1.AttentionWorker.ForkPart
session_id: "s" fork_id: "f" length: 4
headwise.worker.v1.AttentionWorker.ExportBlocks
session_id: "s" length: 4 run { num_blocks: 1 }
headwise.worker.v1.AttentionWorker.ImportBlocks
session_id: "s" run { num_blocks: 1 } data: "$BLOCK"
headwise.worker.v1.AttentionWorker.Renew
session_ids: ["s", "f"]

headwise.worker.v1.MemoryWorker.Delete
memory_id: "m"
headwise.worker.v1.MemoryWorker.Delete
memory_id: "n"
headwise.worker.v1.MemoryWorker.Open
memory_id: "m" num_heads: 1 spec { $SPEC }
headwise.worker.v1.MemoryWorker.Import
memory_id: "m" data: "$HEAD"
headwise.worker.v1.MemoryWorker.Write
memory_id: "m" next_version: 1 num_rows: 1 keys: [$FLOATS] values: [$FLOATS]
queries: [$FLOATS] theta: 0.1 eta: 0.5 alpha: 0
headwise.worker.v1.MemoryWorker.Read
memory_id: "m" version: 1 num_rows: 1 queries: [$FLOATS]
headwise.worker.v1.MemoryWorker.DropOpenRows
memory_id: "m" version: 1 next_version: 2
headwise.worker.v1.MemoryWorker.Fork
memory_id: "m" fork_id: "n" version: 2
headwise.worker.v1.MemoryWorker.Export
memory_id: "m" version: 2
headwise.worker.v1.MemoryWorker.Renew
memory_ids: ["m", "n"]
)";

// Sessions and memories that callers keep at a worker.
TEST_F(HostileCoordinatorTest, NoMutationOfCallsToItsStoresEndsAWorker) {
  constexpr int kMutationsOfEach = 400;
  StartLimitedWorker();
  ASSERT_FALSE(HasFatalFailure());
  FormGroup(1);
  const MemoryShare share = {TestMemorySpec(), 0, 1};
  wire::OpenMemoryRequest open;
  WriteOpenMemory({"m", share}, &open);
  const auto seeds = ReadRpcSeeds(
      kStoreSeeds,
      {{"$ROWS", std::string(256, '\1')},
       {"$BLOCK", std::string(8192, '\1')},
       {"$SPEC", open.spec().ShortDebugString()},
       {"$HEAD", absl::CEscape(SaveMemoryHead(TestMemoryHead(share.spec, 0)))},
       {"$FLOATS", "0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1"}},
      {wire::OpenPartRequest::descriptor()->file(),
       wire::OpenMemoryRequest::descriptor()->file()});
  ASSERT_TRUE(seeds.ok()) << seeds.status();
  const auto send_good = [&](RpcStorm& storm, const RpcSeed& seed) {
    storm.Send(
        {.method = seed.path(), .messages = {SummedBytes(*seed.messages[0])}});
  };
  {
    RpcStorm good(channel_, 1,
                  [](const RpcStorm::Call& call, const grpc::Status& status,
                     const std::string&) {
                    EXPECT_TRUE(status.ok() || status.error_code() ==
                                                   grpc::StatusCode::NOT_FOUND)
                        << call.method << ": " << status.error_message();
                  });
    for (const RpcSeed& seed : *seeds) send_good(good, seed);
  }
  std::map<std::string, int> unnamed;
  RpcStorm storm(channel_, 16,
                 [&](const RpcStorm::Call& call, const grpc::Status& status,
                     const std::string&) {
                   if (status.error_code() == grpc::StatusCode::UNKNOWN) {
                     ++unnamed[call.method];
                   }
                 });
  for (int i = 0; i < kMutationsOfEach; ++i) {
    for (const RpcSeed& seed : *seeds) {
      if (i % 8 == 0) {  // what it opens may have been deleted
        send_good(storm, seed);
        continue;
      }
      const bool deletes = absl::StartsWith(seed.method->name(), "Delete");
      if (deletes && i % 8 != 7) continue;
      const auto message = CopyOf(*seed.messages[0]);
      mutator_.Mutate(*message);
      std::string bytes = SummedBytes(*message);
      if (i % 8 == 7) {
        bytes = mutator_.MutateBytes(std::move(bytes));
        if (message->ParseFromString(bytes)) bytes = SummedBytes(*message);
      }
      storm.Send({.method = seed.path(), .messages = {std::move(bytes)}});
    }
  }
  storm.Finish();
  ASSERT_TRUE(workers_[0]->IsRunning()) << workers_[0]->Log();
  EXPECT_THAT(unnamed, testing::IsEmpty());
  ExpectItServes();
}

}  // namespace
}  // namespace headwise
