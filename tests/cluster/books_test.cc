// A coordinator that is killed and started again with the books of before.

#include <signal.h>

#include <cstdio>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "client/cpp/client.h"
#include "gmock/gmock.h"
#include "tests/cluster/served_cluster.h"

namespace headwise {
namespace {

using testing::HasSubstr;

class BooksTest : public ServedCluster {
 protected:
  void SetUp() override { ASSERT_NO_FATAL_FAILURE(UseTinyModel()); }
  std::string BooksPath() const { return folder_.Path("books.db"); }
  void StartWithBooks() {
    ASSERT_NO_FATAL_FAILURE(
        StartServer(1, {.flags = {"--books", BooksPath()}, .build = build_}));
    StartWorker("w0");
    ASSERT_TRUE(WaitForWorldSize(1)) << Logs();
    client_ = Client::Connect(address_, {});
  }
  void KillAndStartAgain() {
    coordinator_->Signal(SIGKILL);
    ASSERT_TRUE(coordinator_->Wait(kReady).ok());
    workers_.clear();
    std::remove(folder_.Path("coordinator.port").c_str());
    ASSERT_NO_FATAL_FAILURE(StartWithBooks());
  }
  // In two runs, of which the second begins as a fork of the first.
  std::string Upload() {
    v1::PromptSession session;
    for (int run = 0; run < 2; ++run) {
      bool is_sent = false;
      const auto uploaded = client_->Upload(
          [&](v1::UploadRequest* request) -> absl::StatusOr<bool> {
            if (is_sent) return false;
            is_sent = true;
            request->set_session_id(session.session_id());
            for (int i = 0; i < 300; ++i) {
              request->mutable_tokens()->add_ids((7 * i + run) % 250);
            }
            return true;
          },
          [](const v1::UploadProgress&) {});
      EXPECT_TRUE(uploaded.ok()) << uploaded.status();
      if (!uploaded.ok()) return "";
      session = *uploaded;
    }
    return session.session_id();
  }
  std::vector<int32_t> AnswerAfter(const std::string& session_id) {
    v1::GenerateRequest request = Request(40);
    request.set_session_id(session_id);
    std::vector<int32_t> tokens;
    const absl::Status status =
        client_->Generate(request, [&](const v1::GenerateResponse& event) {
          for (const auto& token : event.generated().tokens()) {
            tokens.push_back(token.token());
          }
          return true;
        });
    EXPECT_TRUE(status.ok()) << status << Logs();
    return tokens;
  }
  absl::StatusOr<v1::PromptSession> Get(const std::string& id) {
    v1::GetPromptSessionRequest request;
    request.set_session_id(id);
    return client_->GetSession(request);
  }

  std::optional<BuildInfo> build_;  // of the coordinator that starts next
  std::unique_ptr<Client> client_;
};

TEST_F(BooksTest, SessionsComeBackAfterAKillWithTheSameAnswers) {
  ASSERT_NO_FATAL_FAILURE(StartWithBooks());
  const std::string kept = Upload();
  const std::string deleted = Upload();
  v1::DeletePromptSessionRequest remove;
  remove.set_session_id(deleted);
  ASSERT_TRUE(client_->DeleteSession(remove).ok());
  const std::vector<int32_t> expected = AnswerAfter(kept);
  const uint64_t epoch = MembershipEpoch();
  ASSERT_NO_FATAL_FAILURE(KillAndStartAgain());
  EXPECT_GT(MembershipEpoch(), epoch);
  const auto session = Get(kept);
  ASSERT_TRUE(session.ok()) << session.status();
  EXPECT_EQ(session->num_tokens(), 600);
  EXPECT_EQ(AnswerAfter(kept), expected);
  EXPECT_EQ(Get(deleted).status().code(), absl::StatusCode::kNotFound);
}

TEST_F(BooksTest, TheNextVersionAndThisOneReadEachOthers) {
  ASSERT_NO_FATAL_FAILURE(StartWithBooks());
  const std::string first = Upload();
  const std::vector<int32_t> expected = AnswerAfter(first);
  build_ = NextBuild();
  ASSERT_NO_FATAL_FAILURE(KillAndStartAgain());
  EXPECT_EQ(AnswerAfter(first), expected);
  const std::string second = Upload();
  build_.reset();
  ASSERT_NO_FATAL_FAILURE(KillAndStartAgain());
  EXPECT_EQ(AnswerAfter(first), expected);
  EXPECT_EQ(AnswerAfter(second), expected);
}

TEST_F(BooksTest, AFileThatIsNoBookIsRefusedByName) {
  std::ofstream(BooksPath()) << std::string(8192, 'x');
  auto process = ChildProcess::Start(
      {std::string(HEADWISE_BINARY_DIR) + "/headwise-coordinator", "--model",
       model_path_, "--books", BooksPath()},
      folder_.Path("refused.log"));
  ASSERT_TRUE(process.ok()) << process.status();
  EXPECT_EQ((*process)->Wait(kReady).value_or(-1), 2);
  EXPECT_THAT((*process)->Log(), HasSubstr(BooksPath()));
}

}  // namespace
}  // namespace headwise
