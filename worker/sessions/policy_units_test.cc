// Sessions under policies that choose: against full attention, against the
// reference in double, and for equal bits.

#include "worker/sessions/policy_units.h"

#include <algorithm>
#include <cmath>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/fake_clock.h"
#include "base/thread_team.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/backends/cpu/isa.h"
#include "worker/executor/policy_reference.h"
#include "worker/sessions/session_geometry.h"
#include "worker/sessions/session_store.h"

namespace headwise {
namespace {

using testing::HasSubstr;

constexpr int64_t kDim = 32;
constexpr int64_t kHeads = 2;  // of the KV head
constexpr float kScale = 0.2f;

UnitPolicy Razor(int64_t sinks, int64_t window, bool count_weight = true) {
  return {.kind = PolicyKind::kRazor,
          .num_sinks = sinks,
          .window = window,
          .count_weight = count_weight,
          .full_prompt = false};
}
UnitPolicy Quest(int64_t chunks, bool per_query_head = false) {
  return {.kind = PolicyKind::kQuest,
          .chunk_len = 64,
          .num_chunks = chunks,
          .per_query_head = per_query_head};
}
UnitPolicy Oracle(int64_t chunk_len, int64_t chunks) {
  return {.kind = PolicyKind::kLandmarkOracle,
          .chunk_len = chunk_len,
          .num_chunks = chunks};
}

std::vector<float> RandomFloats(int64_t n, uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  std::vector<float> x(static_cast<size_t>(n));
  for (float& v : x) v = normal(random);
  return x;
}

// A store with sessions of one KV head, all of whose keys are random.
class PolicySessions {
 public:
  explicit PolicySessions(int64_t length, int num_threads = 2)
      : length_(length),
        keys_(RandomFloats(length * kDim, 1)),
        values_(RandomFloats(length * kDim, 2)),
        queries_(RandomFloats(length * kHeads * kDim, 3)),
        team_(num_threads, {}),
        store_({.capacity_bytes = 256 << 20},
               KernelsFor(IsasOfThisMachine().back()), team_, clock_) {}

  SessionStore& store() { return store_; }

  absl::Status Open(const std::string& id, const UnitPolicy& policy) {
    OpenPartRequest request = {id,
                               {.num_kv_heads = 1,
                                .heads_per_kv_head = kHeads,
                                .head_dim = kDim,
                                .element = KvElement::kFp32,
                                .input_type = FloatType::kFp32,
                                .max_positions = 1 << 16},
                               {{.kv_head = 0, .policy = policy}}};
    return store_.Open(request).status();
  }
  // Stores [begin, end) in chunks.
  void Append(const std::string& id, int64_t begin, int64_t end,
              int64_t chunk = 1000) {
    for (int64_t at = begin; at < end; at += chunk) {
      const int64_t n = std::min(chunk, end - at);
      const absl::Status staged = store_.Stage(
          {id, at, {{0, at, n, Bytes(keys_, at, n), Bytes(values_, at, n)}}});
      ASSERT_TRUE(staged.ok()) << staged;
    }
  }
  void Fill(const std::string& id, const UnitPolicy& policy) {
    const absl::Status opened = Open(id, policy);
    ASSERT_TRUE(opened.ok()) << opened;
    Append(id, 0, length_);
  }

  // Row r asks from position visible_end[r] - 1, with that position's query.
  absl::StatusOr<RangePartial> Ask(const std::string& id,
                                   const std::vector<int64_t>& visible_end,
                                   int64_t length = -1) {
    AttendPartRequest request = {
        id, length < 0 ? length_ : length, visible_end, {}};
    UnitQueries& unit = request.units.emplace_back();
    for (const int64_t end : visible_end) {
      for (int64_t i = 0; i < kHeads * kDim; ++i) {
        const int64_t at = std::max<int64_t>(end - 1, 0) * kHeads * kDim + i;
        unit.queries.push_back(queries_[at] * kScale);
      }
    }
    auto result = store_.Attend(request);
    if (!result.ok()) return result.status();
    return std::move(result->units.at(0).parts.at(0));
  }

  PolicyReference Reference(const UnitPolicy& policy) const {
    ReferenceUnit unit;
    unit.policy = policy;
    unit.head_dim = kDim;
    unit.heads_per_kv_head = kHeads;
    unit.softmax_scale = kScale;
    unit.queries = queries_;
    unit.keys = keys_;
    unit.values = values_;
    return PolicyReference(std::move(unit));
  }
  // Natural log of the sum of what the reference's row sees.
  double LseOf(const PolicyReference& reference, const ReferenceRow& row,
               int64_t t, int64_t head) const {
    const std::vector<double> query = reference.QueryAt(t, head, t);
    double sum = 0.0;
    for (const int64_t j : row.seen) {
      double score = 0.0;
      for (int64_t d = 0; d < kDim; ++d) {
        score += query[d] * keys_[j * kDim + d];
      }
      sum += std::exp(score);
    }
    if (row.num_dropped > 0) sum += std::exp(row.slot_score);
    return std::log(sum);
  }

 private:
  static std::string Bytes(const std::vector<float>& x, int64_t begin,
                           int64_t n) {
    return {reinterpret_cast<const char*>(x.data() + begin * kDim),
            static_cast<size_t>(n * kDim) * sizeof(float)};
  }

  const int64_t length_;
  const std::vector<float> keys_, values_, queries_;
  FakeClock clock_;
  ThreadTeam team_;
  SessionStore store_;
};

void ExpectEqual(const absl::StatusOr<RangePartial>& a,
                 const absl::StatusOr<RangePartial>& b) {
  ASSERT_TRUE(a.ok()) << a.status();
  ASSERT_TRUE(b.ok()) << b.status();
  EXPECT_EQ(a->out, b->out);
  EXPECT_EQ(a->lse, b->lse);
}

TEST(PolicyUnitsTest, OutputAndLseAreTheReferences) {
  constexpr int64_t kLength = 700;
  PolicySessions sessions(kLength);
  int num_close = 0;
  for (const UnitPolicy& policy :
       {Razor(4, 100), Razor(0, 1), Razor(70, 200, /*count_weight=*/false),
        Quest(4), Quest(5, /*per_query_head=*/true), Oracle(128, 3)}) {
    SCOPED_TRACE(testing::PrintToString(static_cast<int>(policy.kind)));
    const std::string id = absl::StrCat("s", sessions.store().num_sessions());
    sessions.Fill(id, policy);
    PolicyReference reference = sessions.Reference(policy);
    // Runs, repeats, gaps, and a row that sees nothing.
    const std::vector<int64_t> ends = {0,   1,   2,   64,  65,  65, 66,
                                       300, 300, 301, 302, 575, 700};
    const auto answer = sessions.Ask(id, ends);
    ASSERT_TRUE(answer.ok()) << answer.status();
    for (size_t i = 0; i < ends.size(); ++i) {
      for (int64_t h = 0; h < kHeads; ++h) {
        const size_t at = i * kHeads + h;
        if (ends[i] == 0) {
          EXPECT_EQ(answer->lse[at], -INFINITY);
          EXPECT_EQ(answer->out[at * kDim], 0.0f);
          continue;
        }
        const ReferenceRow row = reference.Row(ends[i] - 1, h);
        if (row.is_close_call) {
          ++num_close;
          continue;
        }
        EXPECT_NEAR(answer->lse[at],
                    sessions.LseOf(reference, row, ends[i] - 1, h), 1e-5)
            << "row " << i;
        for (int64_t d = 0; d < kDim; ++d) {
          ASSERT_NEAR(answer->out[at * kDim + d], row.out[d], row.error)
              << "row " << i << " head " << h;
        }
      }
    }
  }
  EXPECT_LT(num_close, 10);
}

// Razor drops nothing, so that its bits are those of full attention; the others
// merge chunk by chunk.
TEST(PolicyUnitsTest, ABudgetForEverythingIsFullAttention) {
  constexpr int64_t kLength = 1500;
  PolicySessions sessions(kLength);
  sessions.Fill("full", {});
  sessions.Fill("razor", Razor(4, kLength));
  sessions.Fill("quest", Quest(kLength / 64 + 1));
  sessions.Fill("oracle", Oracle(256, 6));
  const std::vector<int64_t> ends = {1, 64, 700, 701, 1499, 1500};
  const auto full = sessions.Ask("full", ends);
  ExpectEqual(sessions.Ask("razor", ends), full);
  for (const char* id : {"quest", "oracle"}) {
    const auto answer = sessions.Ask(id, ends);
    ASSERT_TRUE(answer.ok()) << answer.status();
    for (size_t i = 0; i < full->out.size(); ++i) {
      ASSERT_NEAR(answer->out[i], full->out[i], 1e-5) << id;
    }
    for (size_t i = 0; i < full->lse.size(); ++i) {
      ASSERT_NEAR(answer->lse[i], full->lse[i], 1e-5) << id;
    }
  }
}

// Chunks, threads, and which rows are asked together.
TEST(PolicyUnitsTest, BitsDependOnTheSessionAndTheQueryAlone) {
  constexpr int64_t kLength = 6000;
  for (const UnitPolicy& policy : {Razor(4, 100), Quest(4), Oracle(512, 3)}) {
    PolicySessions one(kLength, /*num_threads=*/1);
    PolicySessions three(kLength, /*num_threads=*/3);
    one.Fill("s", policy);
    ASSERT_TRUE(three.Open("s", policy).ok());
    three.Append("s", 0, 77, 5);
    three.Append("s", 77, kLength, 333);
    const std::vector<int64_t> ends = {2000, 2000, 2001, 5999, 6000};
    const auto all = one.Ask("s", ends);
    ExpectEqual(three.Ask("s", ends), all);
    for (size_t i = 0; i < ends.size(); ++i) {
      const auto alone = three.Ask("s", {ends[i]});
      ASSERT_TRUE(alone.ok()) << alone.status();
      EXPECT_TRUE(std::equal(alone->out.begin(), alone->out.end(),
                             all->out.begin() + i * kHeads * kDim));
    }
  }
}

// 14,000 positions of a window of 100: 9,000 of them are dropped.
TEST(PolicyUnitsTest, ForksAndSnapshotsGoOnWithTheSameBits) {
  constexpr int64_t kLength = 14'000;
  constexpr int64_t kHalf = 12'345;
  for (const UnitPolicy& policy : {Razor(4, 100), Quest(4), Oracle(512, 3)}) {
    PolicySessions sessions(kLength);
    ASSERT_TRUE(sessions.Open("s", policy).ok());
    sessions.Append("s", 0, kHalf);
    ASSERT_TRUE(sessions.store().Fork("s", "fork", kHalf).ok());

    ASSERT_TRUE(sessions.Open("restored", policy).ok());
    const UnitShare share = {.kv_head = 0, .policy = policy};
    const auto runs = BlockRuns(share, kHalf, 16);
    EXPECT_EQ(runs[0].num_blocks == 0, policy.kind == PolicyKind::kRazor);
    for (const BlockRun& run : runs) {
      const auto bytes = sessions.store().Export("s", run, kHalf);
      ASSERT_TRUE(bytes.ok()) << bytes.status();
      const absl::Status imported =
          sessions.store().Import("restored", run, *bytes);
      ASSERT_TRUE(imported.ok()) << imported;
    }
    const std::vector<int64_t> before = {kHalf - 4000, kHalf - 1, kHalf};
    const auto expected = sessions.Ask("s", before, kHalf);
    ExpectEqual(sessions.Ask("fork", before, kHalf), expected);
    ExpectEqual(sessions.Ask("restored", before, kHalf), expected);
    for (const char* id : {"s", "fork", "restored"}) {
      sessions.Append(id, kHalf, kLength);
    }
    const std::vector<int64_t> after = {kLength - 4000, kLength - 5, kLength};
    const auto last = sessions.Ask("s", after);
    ExpectEqual(sessions.Ask("fork", after), last);
    ExpectEqual(sessions.Ask("restored", after), last);
  }
}

TEST(PolicyUnitsTest, WhatIsDroppedIsAnErrorNotANumber) {
  PolicySessions sessions(14'000);
  sessions.Fill("s", Razor(4, 100));
  EXPECT_TRUE(sessions.Ask("s", {14'000 - 4095}).ok());
  const absl::Status gone = sessions.Ask("s", {200}).status();
  EXPECT_EQ(gone.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(gone.message()), HasSubstr("is not held any more"));
}

TEST(PolicyUnitsTest, BytesArePromisedWithWhatIsRemembered) {
  PolicySessions sessions(100);
  ASSERT_TRUE(sessions.Open("full", {}).ok());
  const int64_t full = sessions.store().committed_bytes();
  ASSERT_TRUE(sessions.Open("quest", Quest(4)).ok());
  const int64_t quest = sessions.store().committed_bytes() - full;
  // Two vectors for each of 1,024 pages, and 1/64 of room to grow.
  EXPECT_EQ(quest - full, 1024 * 2 * kDim * 4 * 65 / 64);
  ASSERT_TRUE(
      sessions
          .Open("streaming",
                {.kind = PolicyKind::kStreaming, .num_sinks = 4, .window = 100})
          .ok());
  const int64_t streaming = sessions.store().committed_bytes() - full - quest;
  ASSERT_TRUE(sessions.Open("razor", Razor(4, 100)).ok());
  EXPECT_EQ(sessions.store().committed_bytes() - full - quest - 2 * streaming,
            2 * kDim * 8 * 65 / 64);
}

TEST(PolicyUnitsTest, OtherPoliciesAreRefusedByName) {
  PolicySessions sessions(1);
  const auto message = [&](const UnitPolicy& policy) {
    const absl::Status status = sessions.Open("s", policy);
    EXPECT_FALSE(status.ok());
    return std::string(status.message());
  };
  UnitPolicy slots = {
      .kind = PolicyKind::kStreaming, .window = 8, .slot_positions = true};
  EXPECT_THAT(message(slots), HasSubstr("renumbers positions"));
  UnitPolicy longheads = Oracle(64, 3);
  longheads.kind = PolicyKind::kLongHeads;
  EXPECT_THAT(message(longheads), HasSubstr("keys come as the caller has"));
  UnitPolicy prompt = Razor(4, 100);
  prompt.full_prompt = true;
  EXPECT_THAT(message(prompt), HasSubstr("full_prompt"));
  EXPECT_THAT(message(Quest(2)), HasSubstr("num_chunks"));
  EXPECT_THAT(message(Oracle(100, 3)), HasSubstr("chunk_len"));
}

TEST(PolicyUnitsTest, BadSumsAreRefused) {
  PolicySessions sessions(14'000);
  sessions.Fill("s", Razor(4, 100));
  ASSERT_TRUE(sessions.Open("t", Razor(4, 100)).ok());
  ASSERT_TRUE(sessions.Open("full", {}).ok());
  const BlockRun run = {0, 0, 0};
  std::string good = *sessions.store().Export("s", run, 14'000);
  EXPECT_EQ(static_cast<int64_t>(good.size()), SumsBytes(kDim));
  const auto import = [&](const std::string& id, const std::string& bytes) {
    return std::string(sessions.store().Import(id, run, bytes).message());
  };
  EXPECT_THAT(import("t", good.substr(1)), HasSubstr("sums of kv_head 0"));
  EXPECT_THAT(import("full", good), HasSubstr("policy razor"));
  std::string bad = good;
  bad[1] = bad[7] = '\x7f';
  EXPECT_THAT(import("t", bad), HasSubstr("allowed 5 to 65536"));
  bad = good;
  bad.replace(8, 8, 8, '\xff');  // NaN
  EXPECT_THAT(import("t", bad), HasSubstr("a sum is not finite"));
  EXPECT_EQ(import("t", good), "");
  // The end is within the context, but nothing of it is here.
  EXPECT_FALSE(sessions.Ask("t", {14'000}).ok());
}

}  // namespace
}  // namespace headwise
