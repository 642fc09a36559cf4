// What the bits of a memory must not depend on.

#include <algorithm>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "worker/neural_memory/memory_head.h"
#include "worker/neural_memory/memory_team.h"
#include "worker/neural_memory/memory_tokens.h"

namespace headwise {
namespace {

const MemoryKernels& BestKernels() {
  return MemoryKernelsFor(IsasOfThisMachine().back());
}

// One spec of each rule; three layers and a norm, so that all parts are there.
std::vector<MemorySpec> Specs() {
  MemorySpec spec;
  spec.head_dim = 32;
  spec.num_layers = 3;
  spec.hidden_dim = 48;
  spec.norm = MemoryNorm::kLayer;
  spec.chunk_len = 20;
  MemorySpec by_chunk = spec;
  by_chunk.rule = MemoryRule::kChunk;
  by_chunk.activation = MemoryActivation::kGelu;
  by_chunk.norm = MemoryNorm::kRms;
  return {spec, by_chunk};
}

// Writes [begin, end), `step` tokens a call.
void WriteBySteps(MemoryHead& head, MemoryTokens& tokens, int64_t begin,
                  int64_t end, int64_t step,
                  const MemoryKernels& kernels = BestKernels()) {
  MemoryScratch scratch;
  for (int64_t t = begin; t < end; t += step) {
    const MemoryRows rows = tokens.Rows(t, std::min(t + step, end));
    ASSERT_TRUE(head.Write(rows, kernels, scratch).ok());
  }
}

void ExpectSameState(const MemoryHead& a, const MemoryHead& b) {
  EXPECT_EQ(SaveMemoryHead(a), SaveMemoryHead(b));
}

// Reads now by way of each, which need what is open.
void ExpectSameReads(const MemoryHead& a, const MemoryHead& b,
                     const MemoryTokens& tokens) {
  MemoryScratch scratch;
  std::vector<float> outs[2];
  for (int i = 0; i < 2; ++i) {
    outs[i].resize(tokens.queries.size());
    (i == 0 ? a : b)
        .Read(tokens.queries.data(), tokens.num_tokens, tokens.head_dim,
              outs[i].data(), BestKernels(), scratch);
  }
  EXPECT_EQ(outs[0], outs[1]);
}

TEST(MemoryStateTest, BitsAreTheSameHoweverRowsAreDealt) {
  for (const MemorySpec& spec : Specs()) {
    constexpr int64_t kTokens = 230;
    MemoryTokens whole(spec, kTokens, 21);
    MemoryHead at_once(spec, whole.initial);
    WriteBySteps(at_once, whole, 0, kTokens, kTokens);
    for (int64_t step :
         {int64_t{1}, int64_t{7}, spec.chunk_len, 3 * spec.chunk_len + 2}) {
      SCOPED_TRACE(step);
      MemoryTokens tokens = whole;
      std::fill(tokens.out.begin(), tokens.out.end(), 0.0f);
      MemoryHead head(spec, tokens.initial);
      WriteBySteps(head, tokens, 0, kTokens, step);
      EXPECT_EQ(tokens.out, whole.out);
      EXPECT_EQ(tokens.surprise, whole.surprise);
      ExpectSameState(head, at_once);
      ExpectSameReads(head, at_once, tokens);
    }
  }
}

TEST(MemoryStateTest, BitsAreTheSameOnEveryInstructionSet) {
  for (MemorySpec spec : AllKindsOfMemory()) {
    SCOPED_TRACE(NameOf(spec));
    spec.chunk_len = 20;
    constexpr int64_t kTokens = 70;
    std::vector<std::string> states;
    std::vector<std::vector<float>> outs;
    for (Isa isa : IsasOfThisMachine()) {
      MemoryTokens tokens(spec, kTokens, 22);
      MemoryHead head(spec, tokens.initial);
      WriteBySteps(head, tokens, 0, kTokens, 33, MemoryKernelsFor(isa));
      states.push_back(SaveMemoryHead(head));
      outs.push_back(tokens.out);
      outs.back().insert(outs.back().end(), tokens.surprise.begin(),
                         tokens.surprise.end());
    }
    for (size_t i = 1; i < states.size(); ++i) {
      EXPECT_EQ(states[i], states[0]);
      EXPECT_EQ(outs[i], outs[0]);
    }
  }
}

TEST(MemoryStateTest, AReadAfterARowIsWhatTheRowRead) {
  for (const MemorySpec& spec : Specs()) {
    MemoryTokens tokens(spec, 50, 23);
    MemoryHead head(spec, tokens.initial);
    MemoryScratch scratch;
    std::vector<float> out(static_cast<size_t>(spec.head_dim));
    for (int64_t t = 0; t < 50; ++t) {
      WriteBySteps(head, tokens, t, t + 1, 1);
      if (spec.rule == MemoryRule::kToken && (t + 1) % spec.chunk_len == 0) {
        continue;  // read by rows there, by the weights they became here
      }
      const int64_t at = t * spec.head_dim;
      head.Read(tokens.queries.data() + at, 1, spec.head_dim, out.data(),
                BestKernels(), scratch);
      EXPECT_TRUE(std::equal(out.begin(), out.end(), tokens.out.begin() + at))
          << t;
    }
  }
}

TEST(MemoryStateTest, ReadsLeaveEverythingAsItWas) {
  for (const MemorySpec& spec : Specs()) {
    MemoryTokens tokens(spec, 50, 24);
    MemoryHead quiet(spec, tokens.initial), asked(spec, tokens.initial);
    MemoryTokens silent = tokens;
    MemoryScratch scratch;
    std::vector<float> out(tokens.out.size());
    for (int64_t t = 0; t < 50; ++t) {
      MemoryRows rows = silent.Rows(t, t + 1);
      rows.queries = nullptr;
      rows.surprise = nullptr;
      ASSERT_TRUE(quiet.Write(rows, BestKernels(), scratch).ok());
      WriteBySteps(asked, tokens, t, t + 1, 1);
      asked.Read(tokens.queries.data(), 50, spec.head_dim, out.data(),
                 BestKernels(), scratch);
      asked.ReadChunkStart(tokens.queries.data(), 50, spec.head_dim, out.data(),
                           BestKernels(), scratch);
    }
    ExpectSameState(quiet, asked);
    ExpectSameReads(quiet, asked, tokens);
  }
}

TEST(MemoryStateTest, SnapshotsGoOnAsIfNothingHadBeen) {
  for (const MemorySpec& spec : Specs()) {
    constexpr int64_t kTokens = 110;
    for (int64_t cut : {int64_t{0}, spec.chunk_len, spec.chunk_len + 13}) {
      SCOPED_TRACE(cut);
      MemoryTokens tokens(spec, kTokens, 25);
      MemoryHead unmoved(spec, tokens.initial);
      WriteBySteps(unmoved, tokens, 0, cut, 9);
      absl::StatusOr<MemoryHead> moved =
          LoadMemoryHead(spec, SaveMemoryHead(unmoved));
      ASSERT_TRUE(moved.ok()) << moved.status();
      EXPECT_EQ(moved->num_tokens(), cut);
      ExpectSameReads(*moved, unmoved, tokens);
      MemoryTokens others = tokens;
      WriteBySteps(unmoved, tokens, cut, kTokens, 9);
      WriteBySteps(*moved, others, cut, kTokens, 31);
      EXPECT_EQ(others.out, tokens.out);
      ExpectSameState(*moved, unmoved);
    }
  }
}

TEST(MemoryStateTest, TenThousandUpdatesThenAMoveThenMore) {
  MemorySpec spec;
  spec.head_dim = 16;
  spec.hidden_dim = 32;
  spec.chunk_len = 1;  // every token is an update
  MemoryTokens tokens(spec, 10'100, 26);
  MemoryHead unmoved(spec, tokens.initial);
  WriteBySteps(unmoved, tokens, 0, 10'000, 1'000);
  absl::StatusOr<MemoryHead> moved =
      LoadMemoryHead(spec, SaveMemoryHead(unmoved));
  ASSERT_TRUE(moved.ok()) << moved.status();
  MemoryTokens others = tokens;
  WriteBySteps(unmoved, tokens, 10'000, 10'100, 100);
  WriteBySteps(*moved, others, 10'000, 10'100, 3);
  ExpectSameState(*moved, unmoved);
  EXPECT_EQ(others.out, tokens.out);
}

TEST(MemoryStateTest, AForkKeepsWhatItWas) {
  for (const MemorySpec& spec : Specs()) {
    MemoryTokens tokens(spec, 90, 27);
    MemoryHead head(spec, tokens.initial);
    WriteBySteps(head, tokens, 0, 33, 8);
    const std::string before = SaveMemoryHead(head);
    MemoryHead fork = head;
    WriteBySteps(head, tokens, 33, 90, 8);
    EXPECT_EQ(SaveMemoryHead(fork), before);
    MemoryTokens others = tokens;
    WriteBySteps(fork, others, 33, 90, 50);
    EXPECT_EQ(others.out, tokens.out);
    ExpectSameState(fork, head);
  }
}

TEST(MemoryStateTest, HeadsKnowNothingOfTheTeamThatWritesThem) {
  for (const MemorySpec& spec : Specs()) {
    constexpr int64_t kHeads = 9, kTokens = 300;
    std::vector<MemoryTokens> tokens;
    std::vector<std::string> states;
    for (int64_t h = 0; h < kHeads; ++h) {
      tokens.emplace_back(spec, kTokens, static_cast<uint32_t>(100 + h));
      MemoryHead head(spec, tokens[h].initial);
      WriteBySteps(head, tokens[h], 0, kTokens, kTokens);
      states.push_back(SaveMemoryHead(head));
    }
    for (int threads : {1, 2, 3, 4, 16}) {
      SCOPED_TRACE(threads);
      std::vector<MemoryTokens> others = tokens;
      std::vector<MemoryHead> heads;
      std::vector<MemoryHead*> pointers;
      std::vector<MemoryRows> rows;
      for (MemoryTokens& t : others) heads.emplace_back(spec, t.initial);
      for (int64_t h = 0; h < kHeads; ++h) {
        std::fill(others[h].out.begin(), others[h].out.end(), 0.0f);
        pointers.push_back(&heads[h]);
        rows.push_back(others[h].Rows(0, kTokens));
      }
      ThreadTeam team(threads, {});
      std::vector<MemoryScratch> scratches(static_cast<size_t>(threads));
      std::vector<absl::Status> statuses(kHeads);
      WriteHeads({pointers, rows, absl::MakeSpan(statuses)}, BestKernels(),
                 team, absl::MakeSpan(scratches));
      for (int64_t h = 0; h < kHeads; ++h) {
        EXPECT_TRUE(statuses[h].ok());
        EXPECT_EQ(SaveMemoryHead(heads[h]), states[h]);
        EXPECT_EQ(others[h].out, tokens[h].out);
      }
    }
  }
}

// Every row of every head once, in order, and nobody has much more to do.
TEST(MemoryTeamTest, PartsCoverAllRowsOnceAndEvenly) {
  constexpr int64_t kGrain = 64;
  for (int64_t heads : {1, 2, 5, 9, 32}) {
    for (int64_t rows : {1, 64, 640, 1000}) {
      for (int members : {1, 2, 3, 8}) {
        std::vector<int64_t> covered(static_cast<size_t>(heads), 0);
        const int64_t sharing = std::min<int64_t>(heads, members);
        for (int m = 0; m < members; ++m) {
          int64_t done = 0;
          for (const HeadPart& part :
               PartsOfMember(heads, rows, kGrain, m, members)) {
            EXPECT_LT(part.begin, part.end);
            covered[part.head] += part.end - part.begin;
            done += part.end - part.begin;
            if (part.begin > 0) {
              // The member before began with the rows up to there.
              const HeadPart other =
                  PartsOfMember(heads, rows, kGrain, m - 1, members)[0];
              EXPECT_EQ(other.head, part.head);
              EXPECT_EQ(other.end, part.begin);
            }
          }
          EXPECT_LE(done, heads * rows / sharing + std::min(kGrain, rows));
        }
        EXPECT_EQ(covered, std::vector<int64_t>(covered.size(), rows));
      }
    }
  }
}

TEST(MemoryStateTest, StateIsTheWeightsTheMomentumAndOpenRows) {
  MemorySpec spec;
  MemoryTokens tokens(spec, 65, 28);
  MemoryHead head(spec, tokens.initial);
  WriteBySteps(head, tokens, 0, 64, 64);
  EXPECT_EQ(head.state_bytes(), 2 * 2 * 64 * 128 * 4);
  // 64 bytes of header, 32 of digest.
  EXPECT_EQ(SaveMemoryHead(head).size(), 2 * 2 * 64 * 128 * 4 + 96);
  WriteBySteps(head, tokens, 64, 65, 1);
  EXPECT_EQ(head.state_bytes(), 2 * 2 * 64 * 128 * 4 + (2 * 64 + 3) * 4);
}

}  // namespace
}  // namespace headwise
