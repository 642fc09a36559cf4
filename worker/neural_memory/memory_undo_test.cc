// A head that goes back to its mark, and on again, is what it was there.

#include "worker/neural_memory/memory_undo.h"

#include <algorithm>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "worker/neural_memory/memory_head.h"
#include "worker/neural_memory/memory_team.h"
#include "worker/neural_memory/memory_tokens.h"

namespace headwise {
namespace {

constexpr int64_t kChunk = 8;
constexpr int64_t kTokens = 40;

const MemoryKernels& BestKernels() {
  return MemoryKernelsFor(IsasOfThisMachine().back());
}

MemorySpec SpecOf(MemoryRule rule) {
  MemorySpec spec;
  spec.head_dim = 16;
  spec.num_layers = 3;
  spec.hidden_dim = 32;
  spec.norm = MemoryNorm::kRms;
  spec.chunk_len = kChunk;
  spec.rule = rule;
  return spec;
}

// State, and what all queries read now.
struct Answers {
  std::string state;
  std::vector<float> reads;

  bool operator==(const Answers& other) const = default;
};

Answers AnswersOf(const MemoryHead& head, const MemoryTokens& tokens) {
  MemoryScratch scratch;
  Answers answers = {SaveMemoryHead(head),
                     std::vector<float>(tokens.queries.size())};
  head.Read(tokens.queries.data(), tokens.num_tokens, tokens.head_dim,
            answers.reads.data(), BestKernels(), scratch);
  return answers;
}

MemoryHead HeadAt(const MemorySpec& spec, MemoryTokens tokens, int64_t end) {
  MemoryHead head(spec, tokens.initial);
  MemoryScratch scratch;
  EXPECT_TRUE(head.Write(tokens.Rows(0, end), BestKernels(), scratch).ok());
  return head;
}

class MemoryUndoTest : public testing::TestWithParam<MemoryRule> {
 protected:
  const MemorySpec spec_ = SpecOf(GetParam());
  MemoryTokens tokens_{spec_, kTokens, 41};
  MemoryScratch scratch_;
  MemoryUndo undo_;  // its room is used again from case to case
};

// Inside a chunk, up to its end, over one end and over several.
TEST_P(MemoryUndoTest, BothSidesOfAMarkAnswerAsIfAlone) {
  for (int64_t begin : {0, 3, 7, 8, 13}) {
    for (int64_t end : {14, 15, 16, 20, 33}) {
      for (int64_t step : {1, 5, 40}) {
        SCOPED_TRACE(testing::Message()
                     << begin << " to " << end << " by " << step);
        const Answers before =
            AnswersOf(HeadAt(spec_, tokens_, begin), tokens_);
        const Answers after = AnswersOf(HeadAt(spec_, tokens_, end), tokens_);
        MemoryHead head = HeadAt(spec_, tokens_, begin);
        head.Mark(undo_);
        for (int64_t t = begin; t < end; t += step) {
          const MemoryRows rows = tokens_.Rows(t, std::min(t + step, end));
          ASSERT_TRUE(head.Write(rows, BestKernels(), scratch_, &undo_).ok());
        }
        EXPECT_TRUE(AnswersOf(head, tokens_) == after);
        for (int i = 0; i < 2; ++i) {
          head.Swap(undo_);
          EXPECT_TRUE(AnswersOf(head, tokens_) == before);
          head.Swap(undo_);
          EXPECT_TRUE(AnswersOf(head, tokens_) == after);
        }
      }
    }
  }
}

TEST_P(MemoryUndoTest, OtherRowsMayFollowWhatWasTakenBack) {
  MemoryTokens others(spec_, kTokens, 42);
  others.initial = tokens_.initial;
  for (int64_t begin : {0, 5, 8}) {
    for (int64_t end : {7, 8, 30}) {
      if (end <= begin) continue;
      SCOPED_TRACE(testing::Message() << begin << " to " << end);
      MemoryHead head = HeadAt(spec_, tokens_, begin);
      MemoryHead alone = HeadAt(spec_, tokens_, begin);
      head.Mark(undo_);
      const MemoryRows unwanted = others.Rows(begin, end);
      ASSERT_TRUE(head.Write(unwanted, BestKernels(), scratch_, &undo_).ok());
      head.Swap(undo_);
      const std::vector<float> nothing(others.out.size());
      std::vector<float> outs[2];
      for (int i = 0; i < 2; ++i) {
        tokens_.out = nothing;
        MemoryHead& one = i == 0 ? head : alone;
        one.Mark(undo_);
        ASSERT_TRUE(one.Write(tokens_.Rows(begin, kTokens), BestKernels(),
                              scratch_, &undo_)
                        .ok());
        outs[i] = tokens_.out;
      }
      EXPECT_EQ(outs[0], outs[1]);
      EXPECT_TRUE(AnswersOf(head, tokens_) == AnswersOf(alone, tokens_));
    }
  }
}

// The first chunk that ends blows up, and the second.
TEST_P(MemoryUndoTest, AFailedWriteIsTakenBackWhole) {
  for (int64_t bad : {14, 20}) {
    MemoryTokens tokens = tokens_;
    tokens.theta[bad] = 1e6f;
    MemoryHead head = HeadAt(spec_, tokens_, 11);
    const Answers before = AnswersOf(head, tokens_);
    head.Mark(undo_);
    EXPECT_EQ(
        head.Write(tokens.Rows(11, kTokens), BestKernels(), scratch_, &undo_)
            .code(),
        absl::StatusCode::kOutOfRange);
    EXPECT_EQ(head.num_tokens(), bad / kChunk * kChunk);
    head.Swap(undo_);
    EXPECT_TRUE(AnswersOf(head, tokens_) == before) << bad;
  }
}

TEST_P(MemoryUndoTest, OpenRowsThatAreDroppedMayComeBack) {
  for (int64_t end : {8, 9, 15}) {
    MemoryHead head = HeadAt(spec_, tokens_, end);
    const Answers before = AnswersOf(head, tokens_);
    head.Mark(undo_);
    head.DropOpenRows();
    EXPECT_EQ(head.num_tokens(), 8);
    EXPECT_TRUE(AnswersOf(head, tokens_) ==
                AnswersOf(HeadAt(spec_, tokens_, 8), tokens_));
    head.Swap(undo_);
    EXPECT_TRUE(AnswersOf(head, tokens_) == before) << end;
  }
}

// Open rows at fault: no write ends their chunk, until they are dropped.
TEST_P(MemoryUndoTest, AHeadWithBadOpenRowsGoesOnOnceTheyAreDropped) {
  MemoryTokens bad = tokens_;
  bad.theta[9] = 1e6f;
  MemoryHead head = HeadAt(spec_, bad, 12);
  for (int i = 0; i < 2; ++i) {
    head.Mark(undo_);
    EXPECT_EQ(head.Write(tokens_.Rows(12, 20), BestKernels(), scratch_, &undo_)
                  .code(),
              absl::StatusCode::kOutOfRange);
    head.Swap(undo_);
    EXPECT_EQ(head.num_tokens(), 12);
  }
  head.DropOpenRows();
  EXPECT_EQ(head.num_tokens(), 8);
  ASSERT_TRUE(
      head.Write(tokens_.Rows(8, kTokens), BestKernels(), scratch_).ok());
  EXPECT_TRUE(AnswersOf(head, tokens_) ==
              AnswersOf(HeadAt(spec_, tokens_, kTokens), tokens_));
}

// A head whose rows two members of a team write, one after the other.
TEST_P(MemoryUndoTest, ATeamsWritesAreTakenBack) {
  constexpr int64_t kHeads = 3, kRows = 400;
  MemoryTokens tokens(spec_, kRows, 43);
  std::vector<MemoryHead> heads(kHeads,
                                HeadAt(spec_, MemoryTokens(spec_, 5, 44), 5));
  const Answers before = AnswersOf(heads[0], tokens);
  std::vector<MemoryHead*> pointers;
  for (MemoryHead& head : heads) pointers.push_back(&head);
  std::vector<MemoryTokens> of_heads(kHeads, tokens);
  std::vector<MemoryRows> rows;
  for (MemoryTokens& t : of_heads) rows.push_back(t.Rows(0, kRows));
  std::vector<MemoryUndo> undos(kHeads);
  for (int64_t h = 0; h < kHeads; ++h) heads[h].Mark(undos[h]);
  ThreadTeam team(2, {});
  std::vector<MemoryScratch> scratches(2);
  std::vector<absl::Status> statuses(kHeads);
  WriteHeads({pointers, rows, absl::MakeSpan(statuses), absl::MakeSpan(undos)},
             BestKernels(), team, absl::MakeSpan(scratches));
  for (int64_t h = 0; h < kHeads; ++h) {
    ASSERT_TRUE(statuses[h].ok());
    EXPECT_EQ(heads[h].num_tokens(), 405);
    heads[h].Swap(undos[h]);
    EXPECT_TRUE(AnswersOf(heads[h], tokens) == before);
  }
}

INSTANTIATE_TEST_SUITE_P(Rules, MemoryUndoTest,
                         testing::Values(MemoryRule::kToken,
                                         MemoryRule::kChunk),
                         [](const auto& info) {
                           return info.param == MemoryRule::kToken ? "ByToken"
                                                                   : "ByChunk";
                         });

}  // namespace
}  // namespace headwise
