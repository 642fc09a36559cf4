// What becomes of sessions when their callers break off or fork them often.

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/types/span.h"
#include "base/sha256.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "headwise/v1/attention.grpc.pb.h"
#include "headwise/v1/sessions.grpc.pb.h"
#include "tests/cluster/served_cluster.h"

namespace headwise {
namespace {

class SessionFaultTest : public ServedCluster {
 protected:
  static constexpr int64_t kPieceTokens = 1000;

  // Tokens [begin, end) of a long prompt, as an upload of its own. It is ended
  // in order, or breaks off after the first run.
  grpc::Status Upload(const std::string& id, int64_t begin, int64_t end,
                      bool breaks_off, v1::PromptSession* session) {
    std::vector<v1::UploadRequest> pieces;
    for (int64_t at = begin; at < end; at += kPieceTokens) {
      pieces.push_back(PieceOf(at, std::min(at + kPieceTokens, end)));
    }
    pieces[0].set_session_id(id);
    if (!breaks_off) return ServedCluster::Upload(pieces, session);
    return ServedCluster::Upload(
        pieces, session, [](const v1::UploadProgress& progress) {
          return progress.processed_tokens() >= kPieceTokens + 16'384;
        });
  }

  v1::PromptSession Get(const std::string& id) {
    v1::GetPromptSessionRequest request;
    request.set_session_id(id);
    v1::PromptSession session;
    sessions_->GetSession(Context().get(), request, &session);
    return session;
  }

  // Memory of all workers that is not the system's to take back.
  int64_t WorkerBytes() {
    int64_t sum = 0;
    for (const auto& worker : workers_) sum += MemoryBytes(*worker, "RssAnon");
    return sum;
  }

  HeardAnswer Continue(const std::string& id) {
    v1::GenerateRequest request = PromptOf(5, 20);
    request.set_session_id(id);
    return history_.Generate(*inference_, request, {});
  }

  void ServeSessions() {
    UseTinyModel(1 << 16);
    ASSERT_FALSE(HasFatalFailure());
    StartServing(2, {"--kv-bytes", "67108864"});
  }
};

// Case 45.
TEST_F(SessionFaultTest, AnUploadThatBreaksOffGoesOnWhereItHadCome) {
  ServeSessions();
  ASSERT_FALSE(HasFatalFailure());
  v1::PromptSession whole, broken;
  ASSERT_TRUE(Upload("", 0, 24'000, false, &whole).ok());
  EXPECT_EQ(whole.num_tokens(), 24'000);
  const HeardAnswer expected = Continue(whole.session_id());
  ASSERT_TRUE(expected.is_whole()) << expected.end->error_message();
  // A first piece gives the session its id; then the caller vanishes.
  ASSERT_TRUE(Upload("", 0, 1000, false, &broken).ok());
  const std::string id = broken.session_id();
  EXPECT_FALSE(Upload(id, 1000, 22'000, true, &broken).ok());
  v1::PromptSession found;
  ASSERT_TRUE(WaitUntil(
      [&] {
        found = Get(id);
        return found.state() == v1::PROMPT_SESSION_STATE_READY;
      },
      absl::Seconds(20)))
      << found.ShortDebugString();
  // In runs of 16,384 tokens; one that is on its way is lost.
  EXPECT_GE(found.num_tokens(), 1000 + 16'384) << "what has run stays";
  EXPECT_LE(found.num_tokens(), 22'000);
  // A wrong offset is refused and changes nothing; the right one goes on.
  EXPECT_FALSE(Upload(id, found.num_tokens() + 1, 24'000, false, &broken).ok());
  EXPECT_EQ(Get(id).num_tokens(), found.num_tokens());
  const grpc::Status rest =
      Upload(id, found.num_tokens(), 24'000, false, &broken);
  ASSERT_TRUE(rest.ok()) << rest.error_message();
  EXPECT_EQ(broken.num_tokens(), 24'000);
  const HeardAnswer answer = Continue(id);
  EXPECT_EQ(answer.text, expected.text) << "the same bits as in one upload";
}

// Case 31, of prompts: requests share what they begin with.
TEST_F(SessionFaultTest, AThousandForksOfAPromptHoldTheirOwnTokensAlone) {
  ServeSessions();
  ASSERT_FALSE(HasFatalFailure());
  v1::PromptSession session;
  ASSERT_TRUE(Upload("", 0, 8000, false, &session).ok());
  const double base = Metric("headwise_kv_bytes", "tier=\"memory\"");
  ASSERT_GT(base, 0.0);
  std::vector<std::thread> callers;
  double most = 0.0;
  std::atomic<int> num_whole = 0, num_left = 1000;
  for (int thread = 0; thread < 32; ++thread) {
    callers.emplace_back([&] {
      while (num_left.fetch_sub(1) > 0) {
        if (Continue(session.session_id()).is_whole()) ++num_whole;
      }
    });
  }
  while (num_left > 0) {
    most = std::max(most, Metric("headwise_kv_bytes", "tier=\"memory\""));
  }
  for (std::thread& caller : callers) caller.join();
  EXPECT_EQ(num_whole, 1000);
  // 32 at once, each with 25 tokens of its own: two blocks at most, and one of
  // the prompt's end, of 8,000 tokens.
  EXPECT_LE(most, base * (1.0 + 32.0 * 3 * 64 / 8000)) << base;
  EXPECT_TRUE(WaitUntil(
      [&] { return Metric("headwise_kv_bytes", "tier=\"memory\"") == base; },
      absl::Seconds(20)));
  std::string text;
  for (const HeardAnswer& answer : history_.answers()) {
    if (text.empty()) text = answer.text;
    EXPECT_EQ(answer.text, text);
  }
}

// Case 36: those that nobody uses give way, what runs does not notice, and each
// comes back with its next use.
TEST_F(SessionFaultTest, TenThousandIdleSessionsGiveWayAndComeBack) {
  constexpr int kNumSessions = 10'000, kThreads = 16;
  ServeSessions();
  ASSERT_FALSE(HasFatalFailure());
  v1::PromptSession first;
  ASSERT_TRUE(Upload("", 0, 100, false, &first).ok());
  const HeardAnswer expected = Continue(first.session_id());
  ASSERT_TRUE(expected.is_whole()) << expected.end->error_message();
  const auto active = Begin(Request(2000));
  std::vector<std::string> ids(kNumSessions);
  std::atomic<int> next = 0;
  std::vector<std::thread> callers;
  for (int thread = 0; thread < kThreads; ++thread) {
    callers.emplace_back([&] {
      for (int i = next++; i < kNumSessions; i = next++) {
        v1::PromptSession session;
        const grpc::Status status = Upload("", 0, 100, false, &session);
        ASSERT_TRUE(status.ok()) << i << ": " << status.error_message();
        ids[i] = session.session_id();
      }
    });
  }
  for (std::thread& caller : callers) caller.join();
  ASSERT_FALSE(HasFatalFailure());
  EXPECT_TRUE(active->End().ok());
  const double in_memory =
      Metric("headwise_prompt_prefixes", "place=\"memory\"");
  EXPECT_LE(in_memory, 1024 + kThreads);
  EXPECT_EQ(in_memory + Metric("headwise_prompt_prefixes", "place=\"tokens\""),
            kNumSessions + 1);
  for (const std::string& id :
       {first.session_id(), ids.front(), ids[kNumSessions / 2], ids.back()}) {
    const HeardAnswer answer = Continue(id);
    ASSERT_TRUE(answer.is_whole()) << answer.end->error_message();
    EXPECT_EQ(answer.text, expected.text);
  }
}

constexpr int kHeads = 2, kDim = 16;  // of attention sessions

// `num_positions` of them from `begin` on, of the same bytes for all.
grpc::Status Append(v1::Attention::Stub& attention, const std::string& id,
                    int64_t begin, int64_t num_positions) {
  const auto floats = static_cast<size_t>(num_positions * kHeads * kDim);
  v1::AppendRequest request;
  request.set_session_id(id);
  request.set_offset(begin);
  request.set_keys(std::string(4 * floats, '\x3c'));
  request.set_values(std::string(4 * floats, '\x3d'));
  const std::string bytes = request.keys() + request.values();
  const Sha256Digest digest = Sha256Of(absl::MakeConstSpan(
      reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()));
  request.set_sha256(digest.data(), digest.size());
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(30)));
  v1::AppendResponse response;
  const auto writer = attention.Append(&context, &response);
  writer->Write(request);
  writer->WritesDone();
  return writer->Finish();
}

// Case 31, of attention sessions.
TEST_F(SessionFaultTest, AThousandForksOfAnAttentionSessionShareItsBlocks) {
  constexpr int64_t kPositions = 8000;
  constexpr int kNumForks = 1000;
  ServeSessions();
  ASSERT_FALSE(HasFatalFailure());
  const auto attention = v1::Attention::NewStub(channel_);
  v1::OpenSessionRequest open;
  open.set_num_heads(kHeads);
  open.set_num_kv_heads(kHeads);
  open.set_head_dim(kDim);
  open.set_softmax_scale(0.25);
  open.set_max_positions(kPositions + 1000);
  v1::AttentionSession session;
  ASSERT_TRUE(attention->Open(Context().get(), open, &session).ok());
  for (int64_t at = 0; at < kPositions; at += 1000) {
    const grpc::Status status =
        Append(*attention, session.session_id(), at, 1000);
    ASSERT_TRUE(status.ok()) << status.error_message();
  }
  const double base = Metric("headwise_attention_bytes");
  const int64_t bytes_before = WorkerBytes();
  std::vector<std::string> forks;
  for (int i = 0; i < kNumForks; ++i) {
    v1::ForkSessionRequest request;
    request.set_session_id(session.session_id());
    v1::AttentionSession fork;
    const grpc::Status status =
        attention->Fork(Context().get(), request, &fork);
    ASSERT_TRUE(status.ok()) << i << ": " << status.error_message();
    forks.push_back(fork.session_id());
  }
  // Each is promised what it may yet have, of 9,000 positions 1,000 and its
  // tables; what it has is its open block, where a thousand copies would be 2
  // GiB.
  const double all = Metric("headwise_attention_bytes");
  const double of_fork = (all - base) / kNumForks;
  EXPECT_GT(of_fork, 0.1 * base);
  EXPECT_LT(of_fork, 0.2 * base);
  EXPECT_LT(WorkerBytes() - bytes_before, 200 << 20);
  // One that grows, grows alone.
  ASSERT_TRUE(Append(*attention, forks[0], kPositions, 10).ok());
  v1::GetSessionRequest get;
  get.set_session_id(forks[1]);
  v1::AttentionSession other;
  ASSERT_TRUE(attention->GetSession(Context().get(), get, &other).ok());
  EXPECT_EQ(other.stored_positions(), kPositions);
  // Without the first one its blocks are a fork's.
  const auto expect_bytes = [&](double bytes) {
    EXPECT_NEAR(Metric("headwise_attention_bytes"), bytes, 1.0);
  };
  forks.insert(forks.begin(), session.session_id());
  double left = all;
  for (const std::string& id : forks) {
    v1::DeleteSessionRequest request;
    request.set_session_id(id);
    v1::DeleteSessionResponse response;
    EXPECT_TRUE(attention->Delete(Context().get(), request, &response).ok());
    left -= of_fork;
    if (id == forks.front()) expect_bytes(left);
  }
  expect_bytes(0.0);
}

}  // namespace
}  // namespace headwise
