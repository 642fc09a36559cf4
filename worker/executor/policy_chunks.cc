// Policies that choose chunks of the context for every query: LongHeads, Quest,
// landmarks, and blocks by their own log-sum-exp.

#include <algorithm>
#include <cstring>
#include <limits>
#include <tuple>

#include "worker/attention/chunk_choice.h"
#include "worker/executor/policy_attention.h"

namespace headwise {

// The score of one chunk key is one chain, however many rows share it.
void PolicyAttention::ScoreChunks(const UnitRows& rows, int64_t head,
                                  int64_t count, float* out) {
  for (int64_t row = 0; row < rows.num_rows; ++row) {
    std::memcpy(gathered_.data() + row * dim_,
                rows.plain_queries + (row * g_ + head) * dim_,
                static_cast<size_t>(dim_) * sizeof(float));
  }
  ScoresArgs args;
  args.layout = {KvElement::kFp32, dim_};
  args.blocks = rows.kv->chunk_keys[head].blocks.data();
  args.end = count;
  args.queries = gathered_.data();
  args.num_rows = rows.num_rows;
  args.out = out;
  args.out_stride = count;
  kernels_.scores(args);
}

// The most that a key of each page can score (Quest, Tang et al., 2406.10774,
// algorithm 1).
void PolicyAttention::ScorePages(const UnitRows& rows, int64_t head,
                                 int64_t count, float* out) {
  for (int64_t row = 0; row < rows.num_rows; ++row) {
    const float* query = rows.queries + (row * g_ + head) * dim_;
    for (int64_t page = 0; page < count; ++page) {
      const float* smallest = rows.kv->page_bounds.data() + page * 2 * dim_;
      const float* largest = smallest + dim_;
      float sum = 0.0f;
      for (int64_t d = 0; d < dim_; ++d) {
        sum += std::max(query[d] * smallest[d], query[d] * largest[d]);
      }
      out[row * count + page] = sum;
    }
  }
}

// The log-sum-exp of each block: what its landmark would score if it were
// perfect.
void PolicyAttention::ScoreBlocks(const UnitRows& rows, int64_t head,
                                  int64_t count, float* out) {
  const int64_t chunk_len = rows.kv->policy.chunk_len;
  for (int64_t row = 0; row < rows.num_rows; ++row) {
    for (int64_t chunk = 0; chunk < count; ++chunk) {
      AttendArgs args;
      args.layout = rows.kv->layout;
      args.blocks =
          rows.kv->blocks.data() + chunk * chunk_len / KvLayout::kPositions;
      args.end = chunk_len;
      args.queries = rows.queries + (row * g_ + head) * dim_;
      args.visible_end = &chunk_len;
      args.num_rows = 1;
      args.out = part_out_.data();
      args.lse = out + row * count + chunk;
      args.scratch = scratch_.data();
      kernels_.attend(args);
    }
  }
}

// The best score of heads [first, first + count) for every row and chunk, in
// best_scores_, [num_rows][num_scores].
void PolicyAttention::ScoreHeads(const UnitRows& rows, int64_t first,
                                 int64_t count, int64_t num_scores) {
  const auto size = static_cast<size_t>(rows.num_rows * num_scores);
  best_scores_.assign(size, -std::numeric_limits<float>::infinity());
  // A head that chooses for itself has nothing to be compared with.
  if (count > 1) chunk_scores_.resize(size);
  for (int64_t head = first; size > 0 && head < first + count; ++head) {
    float* out = count > 1 ? chunk_scores_.data() : best_scores_.data();
    if (rows.kv->policy.kind == PolicyKind::kLongHeads) {
      ScoreChunks(rows, head, num_scores, out);
    } else if (rows.kv->policy.kind == PolicyKind::kQuest) {
      ScorePages(rows, head, num_scores, out);
    } else if (rows.kv->policy.kind == PolicyKind::kLandmark) {
      ScoreLandmarks(rows, head, num_scores, out);
    } else {
      ScoreBlocks(rows, head, num_scores, out);
    }
    for (size_t i = 0; count > 1 && i < size; ++i) {
      best_scores_[i] = std::max(best_scores_[i], chunk_scores_[i]);
    }
  }
}

void PolicyAttention::ListChunks(const UnitRows& rows,
                                 std::vector<ChunkRow>* list) {
  const UnitPolicy& policy = rows.kv->policy;
  const int64_t num_choices = policy.per_query_head ? g_ : 1;
  const int64_t heads_at_once = g_ / num_choices;
  const int64_t last = rows.first_position + rows.num_rows - 1;
  // Chunks that some row of these may choose.
  const int64_t num_scores = CandidatesOf(policy, last / policy.chunk_len).end;
  list->clear();
  for (int64_t choice = 0; choice < num_choices; ++choice) {
    ScoreHeads(rows, choice * heads_at_once, heads_at_once, num_scores);
    for (int64_t row = 0; row < rows.num_rows; ++row) {
      const int64_t own = (rows.first_position + row) / policy.chunk_len;
      const ChunkCandidates from = CandidatesOf(policy, own);
      const absl::Span<const float> scores(
          best_scores_.data() + row * num_scores + from.begin,
          static_cast<size_t>(from.end - from.begin));
      ChooseChunks(policy, own, scores, &chosen_);
      const auto seen = static_cast<int64_t>(chosen_.size());
      const bool is_landmark = policy.kind == PolicyKind::kLandmark;
      for (int64_t i = 0; i < seen; ++i) {
        const int64_t chunk = chosen_[i];
        const int64_t slot =
            is_landmark ? AttendedSlot(own, seen, chunk, i) : i;
        list->push_back({chunk, row, choice * heads_at_once, slot,
                         is_landmark ? seen + 1 : seen, chunk == own});
      }
    }
  }
  std::sort(list->begin(), list->end(),
            [](const ChunkRow& a, const ChunkRow& b) {
              return std::tie(a.chunk, a.row, a.head) <
                     std::tie(b.chunk, b.row, b.head);
            });
}

void PolicyAttention::AttendChunks(const UnitRows& rows) {
  ListChunks(rows, &chunk_rows_);
  // Chunks ascend, so every row merges its own in position order.
  for (size_t i = 0; i < chunk_rows_.size();) {
    size_t end = i + 1;
    while (end < chunk_rows_.size() &&
           chunk_rows_[end].chunk == chunk_rows_[i].chunk &&
           chunk_rows_[end].is_own == chunk_rows_[i].is_own) {
      ++end;
    }
    AddChunk(rows, &chunk_rows_[i], static_cast<int64_t>(end - i), lse_.data());
    i = end;
  }
}

// Adds one chunk to rows that see it.
void PolicyAttention::AddChunk(const UnitRows& rows, const ChunkRow* first,
                               int64_t count, float* lse) {
  const UnitPolicy& policy = rows.kv->policy;
  const int64_t heads = policy.per_query_head ? 1 : g_;
  const bool renumbers = RotationPeriod(policy) > 0;
  // Of the query's own chunk the landmark is a position like others.
  const bool by_landmark =
      policy.kind == PolicyKind::kLandmark && !first->is_own;
  const float* source = renumbers ? rows.plain_queries : rows.queries;
  end_.resize(static_cast<size_t>(count * heads));
  for (int64_t i = 0; i < count; ++i) {
    const ChunkRow& at = first[i];
    const int64_t t = rows.first_position + at.row;
    const int64_t offset = t % policy.chunk_len;
    float* query = gathered_.data() + i * heads * dim_;
    std::memcpy(query, source + (at.row * g_ + at.head) * dim_,
                static_cast<size_t>(heads * dim_) * sizeof(float));
    for (int64_t h = 0; h < heads; ++h) {
      end_[i * heads + h] =
          at.is_own ? offset + 1 : policy.chunk_len - (by_landmark ? 1 : 0);
      if (!renumbers) continue;
      RotateHead(hyper_.rope,
                 rotations_.At(MappedPosition(at.num_slots, at.slot,
                                              policy.chunk_len, offset)),
                 query + h * dim_);
    }
  }
  AttendArgs args;
  args.layout = rows.kv->layout;
  args.blocks = rows.kv->blocks.data() +
                first->chunk * policy.chunk_len / KvLayout::kPositions;
  args.end = end_[count * heads - 1];
  args.queries = gathered_.data();
  args.visible_end = end_.data();
  args.num_rows = count * heads;
  args.out = part_out_.data();
  args.lse = part_lse_.data();
  args.scratch = scratch_.data();
  kernels_.attend(args);
  if (by_landmark) {
    ScoreLandmark(rows, first->chunk, count * heads, part_lse_.data());
  }
  for (int64_t i = 0; i < count; ++i) {
    const int64_t to = first[i].row * g_ + first[i].head;
    kernels_.merge({rows.out + to * dim_, lse + to,
                    part_out_.data() + i * heads * dim_,
                    part_lse_.data() + i * heads, heads, dim_});
  }
}

}  // namespace headwise
