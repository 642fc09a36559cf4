// Workers that die, leave and come under requests: a pause, and not a letter.

#include <sys/mount.h>
#include <sys/stat.h>

#include <atomic>
#include <cerrno>
#include <cstdint>
#include <cstring>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/cluster/replay_fixture.h"

namespace headwise {
namespace {

using KillTest = KillFixture;

TEST_P(KillTest, AtSomeTokens) { KillAt({1, 2, 3, 8, 15, 33, 50, 64}); }

INSTANTIATE_TEST_SUITE_P(Workers, KillTest, testing::Values(2, 3));

using ReplayTest = ReplayFixture;

TEST_F(ReplayTest, KilledInAPrefillTheRestGoesOn) {
  StartCluster(3, {"--prefill-chunk", "32", "--max-step-tokens", "32"});
  ASSERT_FALSE(HasFatalFailure());
  const v1::GenerateRequest request = Ask(20, 8000);
  const Heard expected = Generate(request);
  ASSERT_EQ(expected.tokens.size(), 20u);
  for (const int percent : {10, 50, 90}) {
    SCOPED_TRACE(testing::Message() << percent << " %");
    bool struck = false;
    int64_t processed = 0;
    const Heard heard =
        Generate(request, [&](const v1::GenerateResponse& event, const Heard&) {
          if (!event.has_prefill()) return;
          EXPECT_GT(event.prefill().processed_tokens(), processed);
          processed = event.prefill().processed_tokens();
          if (struck || processed < 80 * percent) return;
          struck = true;
          Kill(workers_.size() - 1);
        });
    ExpectWhole(heard, expected);
    AddWorker();
    ASSERT_TRUE(WaitForWorldSize(3)) << coordinator_->Log();
  }
  EXPECT_EQ(Metric("headwise_rebuilds_total"), 3);
}

TEST_F(ReplayTest, TwoKilledAtOnceTheThirdGoesOn) {
  StartCluster(3);
  ASSERT_FALSE(HasFatalFailure());
  const Heard expected = Generate(Ask(kTokens));
  const Heard heard = GenerateWithFault(Ask(kTokens), 30, [&] {
    Kill(0);
    Kill(2);
  });
  ExpectWhole(heard, expected);
  ASSERT_TRUE(WaitForWorldSize(1)) << coordinator_->Log();
}

TEST_F(ReplayTest, AllKilledASpareGoesOn) {
  StartCluster(2);
  ASSERT_FALSE(HasFatalFailure());
  const Heard expected = Generate(Ask(kTokens));
  const Heard heard = GenerateWithFault(Ask(kTokens), 30, [&] {
    Kill(0);
    Kill(1);
    AddWorker();
  });
  ExpectWhole(heard, expected);
  EXPECT_THAT(coordinator_->Log(),
              testing::HasSubstr("without a group, requests go on: 1"));
}

TEST_F(ReplayTest, AllKilledForGoodEndsInTimeAndSaysWhenToTryAgain) {
  StartCluster(2, {"--rebuild-wait", "2"});
  ASSERT_FALSE(HasFatalFailure());
  absl::Time killed;
  const Heard heard = GenerateWithFault(Ask(kTokens), 30, [&] {
    Kill(0);
    Kill(1);
    killed = absl::Now();
  });
  EXPECT_EQ(heard.status.error_code(), grpc::StatusCode::UNAVAILABLE)
      << heard.status.error_message();
  EXPECT_LT(absl::Now() - killed, absl::Seconds(10)) << "2 s, and slack";
  EXPECT_TRUE(HasRetryInfo(heard.status));
}

// Everything that may run, at once.
TEST_F(ReplayTest, RequestsOfAllKindsOutliveAWorker) {
  StartCluster(3);
  ASSERT_FALSE(HasFatalFailure());
  v1::ScoreRequest score;
  *score.mutable_tokens() = Ask(1, 6000).tokens();
  v1::EmbedRequest embed;
  *embed.mutable_tokens() = score.tokens();
  const auto scored = [&] {
    v1::ScoreResponse response;
    const grpc::Status status =
        inference_->Score(Context(kReady).get(), score, &response);
    return status.ok() ? response.logits_sha256() : status.error_message();
  };
  const auto embedded = [&] {
    v1::EmbedResponse response;
    const grpc::Status status =
        inference_->Embed(Context(kReady).get(), embed, &response);
    response.clear_usage();
    return status.ok() ? response.SerializeAsString() : status.error_message();
  };
  const std::string score_before = scored();
  const std::string embedding_before = embedded();
  const Heard expected = Generate(Ask(kTokens));
  std::string score_after;
  std::string embedding_after;
  std::vector<Heard> others(4);
  std::vector<std::thread> threads;
  const Heard heard = GenerateWithFault(Ask(kTokens), 10, [&] {
    threads.emplace_back([&] { score_after = scored(); });
    threads.emplace_back([&] { embedding_after = embedded(); });
    for (Heard& other : others) {
      threads.emplace_back([&] { other = Generate(Ask(kTokens)); });
    }
    EXPECT_TRUE(WaitUntil(
        [&] { return Metric("headwise_requests_running") >= 7; }, kReady));
    Kill(1);
  });
  for (std::thread& thread : threads) thread.join();
  ExpectWhole(heard, expected);
  for (const Heard& other : others) ExpectWhole(other, expected);
  EXPECT_EQ(score_after, score_before);
  EXPECT_EQ(embedding_after, embedding_before);
}

TEST_F(ReplayTest, OneWorkerToSevenToTwoUnderLoad) {
  StartCluster(1, {"--grow-patience", "0.1"});
  ASSERT_FALSE(HasFatalFailure());
  ExpectWholeWhile([&] {
    for (const uint32_t size : {2, 4, 7}) {
      while (workers_.size() < size) AddWorker();
      EXPECT_TRUE(WaitForWorldSize(size)) << coordinator_->Log();
    }
    for (size_t i = 2; i < workers_.size(); ++i) workers_[i]->Signal(SIGTERM);
    EXPECT_TRUE(WaitForWorldSize(2)) << coordinator_->Log();
  });
  EXPECT_GE(Metric("headwise_rebuilds_total"), 4);
}

TEST_F(ReplayTest, WorkersRestartInTurnAndNoRequestFails) {
  StartCluster(3, {"--grow-patience", "0.1"});
  ASSERT_FALSE(HasFatalFailure());
  ExpectWholeWhile([&] {
    for (size_t i = 0; i < 3; ++i) {
      workers_[i]->Signal(SIGTERM);
      EXPECT_EQ(workers_[i]->Wait(kReady).value_or(-1), 0);
      EXPECT_TRUE(WaitForWorldSize(2)) << coordinator_->Log();
      AddWorker();
      EXPECT_TRUE(WaitForWorldSize(3)) << coordinator_->Log();
    }
  });
}

TEST_F(ReplayTest, TermUnderAHundredStreamsLetsThemEnd) {
  StartCluster(2, {"--drain", "60", "--max-sequences", "128"});
  ASSERT_FALSE(HasFatalFailure());
  const Heard expected = Generate(Ask(50));
  std::vector<Heard> heard(100);
  std::atomic<size_t> num_begun = 0;
  std::vector<std::thread> clients;
  for (Heard& one : heard) {
    clients.emplace_back(
        [&] { one = GenerateWithFault(Ask(50), 1, [&] { ++num_begun; }); });
  }
  EXPECT_TRUE(WaitUntil([&] { return num_begun == heard.size(); }, kReady));
  coordinator_->Signal(SIGTERM);
  for (std::thread& client : clients) client.join();
  for (const Heard& one : heard) ExpectWhole(one, expected);
  EXPECT_EQ(coordinator_->Wait(kReady).value_or(-1), 0) << coordinator_->Log();
}

class SessionReplayTest : public ReplayFixture {
 protected:
  v1::PromptSession Upload() {
    v1::PromptSession session;
    const grpc::Status status =
        ServedCluster::Upload({PieceOf(0, 3000)}, &session);
    EXPECT_TRUE(status.ok()) << status.error_message();
    return session;
  }
};

// A disk of its own, as large as a test says. Needs root.
class SmallDisk {
 public:
  SmallDisk(std::string path, const std::string& size)
      : path_(std::move(path)) {
    EXPECT_EQ(mkdir(path_.c_str(), 0700), 0);
    Resize(size, 0);
  }
  ~SmallDisk() { umount2(path_.c_str(), MNT_DETACH); }
  void Resize(const std::string& size, unsigned long flags = MS_REMOUNT) {
    EXPECT_EQ(mount("headwise-test", path_.c_str(), "tmpfs", flags,
                    ("size=" + size).c_str()),
              0)
        << "tmpfs at " << path_ << ": " << std::strerror(errno);
  }

 private:
  const std::string path_;
};

// Case 11.
TEST_F(SessionReplayTest, OnAFullDiskASessionStaysInMemoryAndItIsSaid) {
  park_dir_ = folder_.Path("disk");
  SmallDisk disk(park_dir_, "8k");
  ASSERT_FALSE(HasFailure());
  StartCluster(2);
  ASSERT_FALSE(HasFatalFailure());
  v1::GenerateRequest request = Ask(50);
  request.set_session_id(Upload().session_id());
  const Heard expected = Generate(request);
  v1::ParkSessionRequest park;
  park.set_session_id(request.session_id());
  v1::PromptSession session;
  const grpc::Status full = sessions_->Park(Context().get(), park, &session);
  EXPECT_EQ(full.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(full.error_message(), testing::HasSubstr("No space left"));
  EXPECT_THAT(full.error_message(), testing::HasSubstr("it is not durable"));
  v1::GetPromptSessionRequest get;
  get.set_session_id(request.session_id());
  ASSERT_TRUE(sessions_->GetSession(Context().get(), get, &session).ok());
  EXPECT_EQ(session.state(), v1::PROMPT_SESSION_STATE_READY);
  ExpectWhole(Generate(request), expected);
  EXPECT_EQ(Metric("headwise_rebuilds_total"), 0.0) << "no group was lost";
  disk.Resize("16m");
  const grpc::Status moved = sessions_->Park(Context().get(), park, &session);
  EXPECT_TRUE(moved.ok()) << moved.error_message();
  EXPECT_EQ(session.state(), v1::PROMPT_SESSION_STATE_PARKED);
}

TEST_F(SessionReplayTest, IdleAndParkedSessionsComeBackWithTheirNextUse) {
  StartCluster(2);
  ASSERT_FALSE(HasFatalFailure());
  v1::GenerateRequest request = Ask(50);
  request.set_session_id(Upload().session_id());
  const Heard expected = Generate(request);
  ASSERT_EQ(expected.tokens.size(), 50u) << expected.status.error_message();

  Kill(0);
  ASSERT_TRUE(WaitForWorldSize(1)) << coordinator_->Log();
  v1::GetPromptSessionRequest get;
  get.set_session_id(request.session_id());
  v1::PromptSession session;
  ASSERT_TRUE(sessions_->GetSession(Context().get(), get, &session).ok());
  EXPECT_EQ(session.state(), v1::PROMPT_SESSION_STATE_READY);
  ExpectWhole(Generate(request), expected);

  v1::ParkSessionRequest park;
  park.set_session_id(request.session_id());
  grpc::Status moved = sessions_->Park(Context().get(), park, &session);
  ASSERT_TRUE(moved.ok()) << moved.error_message();
  AddWorker();
  ASSERT_TRUE(WaitForWorldSize(2));
  Kill(1);  // with its file
  ASSERT_TRUE(WaitForWorldSize(1)) << coordinator_->Log();
  v1::ResumeSessionRequest resume;
  resume.set_session_id(request.session_id());
  moved = sessions_->Resume(Context().get(), resume, &session);
  ASSERT_TRUE(moved.ok()) << moved.error_message();
  ExpectWhole(Generate(request), expected);
}

}  // namespace
}  // namespace headwise
