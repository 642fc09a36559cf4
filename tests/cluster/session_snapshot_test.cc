// A prompt session that is taken elsewhere as a file: what arrives is equal to
// the bit, or nothing arrives.

#include <signal.h>

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "headwise/v1/sessions.grpc.pb.h"
#include "server/frontends/prompt_snapshot.h"
#include "tests/cluster/served_cluster.h"
#include "tests/support/fault_proxy.h"

namespace headwise {
namespace {

using testing::AllOf;
using testing::HasSubstr;

class SessionSnapshotTest : public ServedCluster {
 protected:
  using Parts = std::vector<v1::PromptSnapshotPart>;

  void ServeSessions(int num_workers) {
    UseTinyModel(1 << 20);
    ASSERT_FALSE(HasFatalFailure());
    StartServing(num_workers, {"--kv-bytes", "67108864"});
  }

  // A session of a text of so many tokens; its id.
  std::string Upload(int64_t num_tokens) {
    v1::PromptSession session;
    const grpc::Status status =
        ServedCluster::Upload({PieceOf(0, num_tokens)}, &session);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return session.session_id();
  }

  grpc::Status Snapshot(const std::string& id, Parts* parts) {
    v1::SnapshotPromptSessionRequest request;
    request.set_session_id(id);
    const auto context = Context();
    const auto reader = sessions_->Snapshot(context.get(), request);
    v1::PromptSnapshotPart part;
    parts->clear();
    while (reader->Read(&part)) parts->push_back(part);
    return reader->Finish();
  }

  grpc::Status Restore(const Parts& parts, v1::PromptSession* session) {
    const auto context = Context();
    const auto writer = sessions_->Restore(context.get(), session);
    for (const v1::PromptSnapshotPart& part : parts) {
      if (!writer->Write(part)) break;
    }
    writer->WritesDone();
    return writer->Finish();
  }

  v1::GenerateRequest Question(const std::string& id, int num_tokens) const {
    v1::GenerateRequest request = PromptOf(5, num_tokens);
    request.set_session_id(id);
    request.mutable_options()->set_logprobs(true);
    return request;
  }
  // Tokens, and the bits of their log-probabilities.
  std::string Answer(const std::string& id) {
    const auto context = Context(kReady);
    const auto reader = inference_->Generate(context.get(), Question(id, 20));
    v1::GenerateResponse response;
    std::string heard;
    while (reader->Read(&response)) {
      for (const v1::TokenLogprob& token : response.generated().tokens()) {
        heard += token.SerializeAsString();
      }
    }
    const grpc::Status status = reader->Finish();
    EXPECT_TRUE(status.ok()) << status.error_message();
    return heard;
  }
  int NumSessions() {
    v1::ListPromptSessionsResponse list;
    EXPECT_TRUE(sessions_->ListSessions(Context().get(), {}, &list).ok());
    return list.sessions_size();
  }
};

// Case 26: what generates from it meanwhile notices nothing.
TEST_F(SessionSnapshotTest, WhileTokensAreGeneratedItIsWholeAndDelaysNothing) {
  ServeSessions(2);
  ASSERT_FALSE(HasFatalFailure());
  const std::string id = Upload(3000);
  const std::string expected = Answer(id);
  const v1::GenerateRequest question = Question(id, 2000);
  const HeardAnswer alone = history_.Generate(*inference_, question, {});
  ASSERT_TRUE(alone.is_whole()) << alone.end->error_message();
  Parts first;
  ASSERT_TRUE(Snapshot(id, &first).ok());
  const auto stream = Begin(question);
  for (int i = 0; i < 20; ++i) {
    Parts parts;
    const grpc::Status status = Snapshot(id, &parts);
    ASSERT_TRUE(status.ok()) << status.error_message();
    ASSERT_EQ(parts.size(), first.size());
    for (size_t part = 0; part < parts.size(); ++part) {
      EXPECT_EQ(parts[part].SerializeAsString(),
                first[part].SerializeAsString());
    }
  }
  EXPECT_TRUE(stream->End().ok());
  EXPECT_EQ(Answer(id), expected);
}

// Case 28.
TEST_F(SessionSnapshotTest, OnMoreAndFewerWorkersItsBitsAreEqual) {
  ServeSessions(2);
  ASSERT_FALSE(HasFatalFailure());
  const std::string id = Upload(3000);
  const std::string expected = Answer(id);
  Parts parts;
  ASSERT_TRUE(Snapshot(id, &parts).ok());
  v1::DeletePromptSessionRequest remove;
  remove.set_session_id(id);
  v1::DeletePromptSessionResponse removed;
  ASSERT_TRUE(sessions_->Delete(Context().get(), remove, &removed).ok());
  StartWorker("w2");
  ASSERT_TRUE(WaitForWorldSize(3)) << Logs();
  v1::PromptSession three;
  grpc::Status status = Restore(parts, &three);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(three.num_tokens(), 3000);
  EXPECT_EQ(Answer(three.session_id()), expected);
  for (int i : {0, 1}) workers_[static_cast<size_t>(i)]->Signal(SIGTERM);
  ASSERT_TRUE(WaitForWorldSize(1)) << Logs();
  v1::PromptSession one;
  status = Restore(parts, &one);
  ASSERT_TRUE(status.ok()) << status.error_message();
  EXPECT_EQ(Answer(one.session_id()), expected);
}

// Cases 29 and 30.
TEST_F(SessionSnapshotTest, AChangedByteOrAnotherModelLeavesNothingBehind) {
  ServeSessions(1);
  ASSERT_FALSE(HasFatalFailure());
  const std::string id = Upload(700);
  Parts parts;
  ASSERT_TRUE(Snapshot(id, &parts).ok());
  v1::PromptSession session;
  Parts flipped = parts;
  flipped.back().mutable_tokens()->set_ids(
      100, flipped.back().tokens().ids(100) ^ 1);
  grpc::Status status = Restore(flipped, &session);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DATA_LOSS);
  EXPECT_THAT(status.error_message(), HasSubstr("tokens 0 to 700"));
  Parts cut = parts;
  cut.pop_back();
  EXPECT_EQ(Restore(cut, &session).error_code(), grpc::StatusCode::DATA_LOSS);
  Parts foreign = parts;
  const std::string ours = parts[0].header().model_sha256();
  const std::string other(64, 'f');
  foreign[0].mutable_header()->set_model_sha256(other);
  status = Restore(foreign, &session);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), AllOf(HasSubstr(ours), HasSubstr(other)));
  Parts newer = parts;
  newer[0].mutable_header()->set_format(7);
  status = Restore(newer, &session);
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(),
              AllOf(HasSubstr("format 7"), HasSubstr("reads 1")));
  EXPECT_EQ(NumSessions(), 1);
}

// Case 27, over a link that makes it last.
TEST_F(SessionSnapshotTest, AKillWhileAFileIsWrittenLeavesTheOldOne) {
  ServeSessions(1);
  ASSERT_FALSE(HasFatalFailure());
  const std::string file = folder_.Path("s.snap"), part = file + ".part";
  auto proxy = FaultProxy::Start(address_);
  ASSERT_TRUE(proxy.ok()) << proxy.status();
  const auto run = [&](const std::vector<std::string>& words) {
    std::vector<std::string> command = {
        std::string(HEADWISE_BINARY_DIR) + "/headwise", "session"};
    command.insert(command.end(), words.begin(), words.end());
    command.insert(command.end(), {"--server", (*proxy)->address()});
    return *ChildProcess::Start(command, folder_.Path("cli.log"));
  };
  // What would take long to run comes from a snapshot, and runs once it is
  // asked, which nobody does.
  Parts parts;
  ASSERT_TRUE(Snapshot(Upload(64), &parts).ok());
  PromptSnapshot longer = {.model_sha256 = parts[0].header().model_sha256(),
                           .plan = {},
                           .tokens = std::vector<int32_t>(400'000, 200)};
  PromptSnapshotWriter writer(std::move(longer));
  parts.clear();
  while (auto next = writer.Next()) parts.push_back(*std::move(next));
  v1::PromptSession session;
  const grpc::Status status = Restore(parts, &session);
  ASSERT_TRUE(status.ok()) << status.error_message();
  const std::string& id = session.session_id();
  ASSERT_EQ(run({"snapshot", id, "--file", file})->Wait(kReady).value_or(-1),
            0);
  const auto old_bytes = std::filesystem::file_size(file);

  LinkFaults slow;
  slow.bytes_per_second = 50'000;
  (*proxy)->SetFaults(slow);
  auto writing = run({"snapshot", id, "--file", file});
  std::error_code error;
  ASSERT_TRUE(WaitUntil(
      [&] {
        const auto size = std::filesystem::file_size(part, error);
        return !error && size > 100'000;
      },
      kReady));
  writing->Signal(SIGKILL);
  writing->Wait(kReady).IgnoreError();
  (*proxy)->SetFaults({});
  EXPECT_TRUE(std::filesystem::exists(part));
  EXPECT_EQ(std::filesystem::file_size(file), old_bytes);
  EXPECT_EQ(run({"restore", "--file", file})->Wait(kReady).value_or(-1), 0);
  EXPECT_NE(run({"restore", "--file", part})->Wait(kReady).value_or(0), 0)
      << "half a snapshot is none";
  EXPECT_EQ(run({"snapshot", id, "--file", file})->Wait(kReady).value_or(-1),
            0);
  EXPECT_FALSE(std::filesystem::exists(part));
  EXPECT_EQ(NumSessions(), 3);
}

}  // namespace
}  // namespace headwise
