// Requests of every method, almost good: none ends the coordinator, none gets
// an answer that blames the server, and what was served before still is.

#include <sys/stat.h>

#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "headwise/v1/attention.grpc.pb.h"
#include "headwise/v1/neural_memory.grpc.pb.h"
#include "headwise/v1/sessions.grpc.pb.h"
#include "model/files/test_model_writer.h"
#include "tests/cluster/client_seeds.h"
#include "tests/cluster/message_mutator.h"
#include "tests/cluster/rpc_seeds.h"
#include "tests/cluster/rpc_storm.h"
#include "tests/cluster/served_cluster.h"
#include "tests/support/address_space.h"

namespace headwise {
namespace {

// Of each method. A round begins with what the one before may have deleted.
constexpr int kMutationsOfARound = 20;
constexpr int kMaxInFlight = 32;

class RpcMutationTest : public ServedCluster {
 protected:
  void Serve() {
    UseTinyModel();
    ASSERT_FALSE(HasFatalFailure());
    for (const char* name : {"corpus", "jobs", "out", "park"}) {
      ASSERT_EQ(mkdir(folder_.Path(name).c_str(), 0700), 0);
    }
    ASSERT_TRUE(WriteFile(folder_.Path("corpus/a.jsonl"),
                          "{\"id\": \"1\", \"text\": \"Some words.\"}\n")
                    .ok());
    StartServer(
        1, {.flags = {"--selection-state", folder_.Path("jobs"), "--input-root",
                      "corpus=" + folder_.Path("corpus"), "--output-root",
                      folder_.Path("out")},
            .prefix = WithAddressSpace(6)});
    ASSERT_FALSE(HasFatalFailure());
    StartWorkerWith("w0", {.flags = {"--memory-bytes", "268435456",
                                     "--park-dir", folder_.Path("park")},
                           .prefix = WithAddressSpace(6)});
    ASSERT_TRUE(WaitForWorldSize(1)) << Logs();
  }

  void ExpectSeedsAreGood();
  void RunRounds(int num_rounds);
  // What requests have made, so that the next ones find room.
  void DeleteWhatIsHeld();
};

void RpcMutationTest::DeleteWhatIsHeld() {
  const auto prompts = v1::Sessions::NewStub(channel_);
  v1::ListPromptSessionsResponse prompt_list;
  EXPECT_TRUE(prompts->ListSessions(Context().get(), {}, &prompt_list).ok());
  for (const v1::PromptSession& session : prompt_list.sessions()) {
    v1::DeletePromptSessionRequest request;
    request.set_session_id(session.session_id());
    v1::DeletePromptSessionResponse response;
    EXPECT_TRUE(prompts->Delete(Context().get(), request, &response).ok());
  }
  const auto attention = v1::Attention::NewStub(channel_);
  v1::ListSessionsResponse session_list;
  EXPECT_TRUE(attention->ListSessions(Context().get(), {}, &session_list).ok());
  for (const v1::AttentionSession& session : session_list.sessions()) {
    v1::DeleteSessionRequest request;
    request.set_session_id(session.session_id());
    v1::DeleteSessionResponse response;
    EXPECT_TRUE(attention->Delete(Context().get(), request, &response).ok());
  }
  const auto memories = v1::NeuralMemory::NewStub(channel_);
  v1::ListMemoriesResponse memory_list;
  EXPECT_TRUE(memories->ListMemories(Context().get(), {}, &memory_list).ok());
  for (const v1::Memory& memory : memory_list.memories()) {
    v1::DeleteMemoryRequest request;
    request.set_memory_id(memory.memory_id());
    v1::DeleteMemoryResponse response;
    EXPECT_TRUE(memories->Delete(Context().get(), request, &response).ok());
  }
}

std::vector<std::string> Serialized(const RpcSeed& seed) {
  std::vector<std::string> messages;
  for (const auto& message : seed.messages) {
    messages.push_back(message->SerializeAsString());
  }
  return messages;
}

// One of its messages changed, or its bytes.
std::vector<std::string> Mutated(const RpcSeed& seed, MessageMutator& mutator,
                                 bool as_bytes) {
  std::vector<std::string> messages = Serialized(seed);
  const auto size = static_cast<uint32_t>(messages.size());
  const uint32_t which = mutator.Below(size);
  if (as_bytes) {
    messages[which] = mutator.MutateBytes(std::move(messages[which]));
  } else {
    const auto message = CopyOf(*seed.messages[which]);
    mutator.Mutate(*message);
    messages[which] = message->SerializeAsString();
  }
  // Of a stream sometimes too many.
  if (seed.method->client_streaming() && mutator.Below(4) == 0) {
    messages.push_back(messages[mutator.Below(size)]);
  }
  return messages;
}

// None is refused for what it says; some name what is not there.
void RpcMutationTest::ExpectSeedsAreGood() {
  std::map<std::string, std::string> refused;
  RpcStorm storm(channel_, 1,
                 [&](const RpcStorm::Call& call, const grpc::Status& status,
                     const std::string&) {
                   switch (status.error_code()) {
                     case grpc::StatusCode::OK:
                     case grpc::StatusCode::NOT_FOUND:
                     case grpc::StatusCode::FAILED_PRECONDITION:
                       return;
                     default:
                       refused[call.method] = status.error_message();
                   }
                 });
  const auto seeds = ClientSeeds(channel_);
  ASSERT_TRUE(seeds.ok()) << seeds.status();
  for (const RpcSeed& seed : *seeds) {
    storm.Send({.method = seed.path(), .messages = Serialized(seed)});
  }
  storm.Finish();
  // Their hashes are made up.
  EXPECT_EQ(refused.erase("/headwise.v1.NeuralMemory/Restore"), 1u);
  EXPECT_EQ(refused.erase("/headwise.v1.Sessions/Restore"), 1u);
  EXPECT_THAT(refused, testing::IsEmpty());
}

void RpcMutationTest::RunRounds(int num_rounds) {
  Serve();
  ASSERT_FALSE(HasFatalFailure());
  AskUndisturbed(Request(20));
  ASSERT_NO_FATAL_FAILURE(ExpectSeedsAreGood());
  MessageMutator mutator(47);
  std::map<std::string, int> refused;
  int num_ok = 0;
  int num_sent = 0;
  bool as_bytes = false;
  const auto on_end = [&](const RpcStorm::Call& call,
                          const grpc::Status& status, const std::string&) {
    if (status.ok()) ++num_ok;
    // gRPC itself answers bytes that are no message with INTERNAL.
    if (as_bytes) return;
    if (status.error_code() == grpc::StatusCode::INTERNAL ||
        status.error_code() == grpc::StatusCode::UNKNOWN) {
      ++refused[absl::StrCat(call.method, ": ", status.error_message())];
    }
  };
  for (int round = 0; round < num_rounds; ++round) {
    const auto seeds = ClientSeeds(channel_);
    ASSERT_TRUE(seeds.ok()) << seeds.status() << ", round " << round << Logs();
    as_bytes = round % 4 == 3;
    RpcStorm storm(channel_, kMaxInFlight, on_end);
    for (int i = 0; i < kMutationsOfARound; ++i) {
      for (const RpcSeed& seed : *seeds) {
        ++num_sent;
        storm.Send({.method = seed.path(),
                    .messages = Mutated(seed, mutator, as_bytes),
                    .timeout = absl::Seconds(2)});
      }
    }
    storm.Finish();
    ASSERT_TRUE(coordinator_->IsRunning()) << "round " << round << Logs();
    ASSERT_TRUE(workers_[0]->IsRunning()) << "round " << round << Logs();
    DeleteWhatIsHeld();
  }
  EXPECT_GE(num_sent, num_rounds * 1000);
  EXPECT_GT(num_ok, 0);
  EXPECT_THAT(refused, testing::IsEmpty());
  AskUntilWhole(Request(20), {});
  EXPECT_THAT(history_.CheckTokens(fault_free_), testing::IsEmpty());
  EXPECT_TRUE(WaitForKvFreed(absl::Seconds(30)));
}

TEST_F(RpcMutationTest, HundredsOfEveryMethodAreAnsweredOrRefused) {
  RunRounds(10);
}

// Label slow.
TEST_F(RpcMutationTest, AHundredThousandAreAnsweredOrRefused) {
  RunRounds(100);
}

}  // namespace
}  // namespace headwise
