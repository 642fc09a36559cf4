#include "worker/executor/unit_summaries.h"

#include <algorithm>
#include <cstring>
#include <numeric>
#include <vector>

#include "model/head_plan/kv_retention.h"
#include "worker/attention/visible_spans.h"

namespace headwise {

bool HasSummaries(const UnitKv& kv) {
  return kv.policy.kind == PolicyKind::kRazor ||
         kv.policy.kind == PolicyKind::kLongHeads ||
         kv.policy.kind == PolicyKind::kQuest ||
         kv.policy.kind == PolicyKind::kLandmark || !kv.calibrated.empty();
}

UnitSummarizer::UnitSummarizer(const Kernels& kernels,
                               const Hyperparameters& hyper)
    : kernels_(kernels),
      g_(hyper.heads_per_kv_head()),
      dim_(hyper.head_dim),
      identity_(dim_ * dim_) {
  std::fill_n(identity_.data(), dim_ * dim_, 0.0f);
  for (int64_t d = 0; d < dim_; ++d) identity_.data()[d * dim_ + d] = 1.0f;
}

void UnitSummarizer::Add(const StoredRows& rows) {
  for (CalibratedHead& head : rows.kv->calibrated) SearchSinks(rows, &head);
  switch (rows.kv->policy.kind) {
    case PolicyKind::kRazor:
      return FoldDropped(rows);
    case PolicyKind::kLongHeads:
      return CloseChunks(rows);
    case PolicyKind::kQuest:
      return BoundPages(rows);
    case PolicyKind::kLandmark:
      return CopyLandmarks(rows);
    default:
      return;
  }
}

// A score with a unit vector is one channel of the key, exactly.
void UnitSummarizer::ReadKeys(const UnitKv& kv, int64_t begin, int64_t end) {
  ScoresArgs args;
  args.layout = kv.layout;
  args.blocks = kv.blocks.data();
  args.begin = begin;
  args.end = end;
  args.queries = identity_.data();
  args.num_rows = dim_;
  args.out_stride = end - begin;
  keys_.Reserve(dim_ * args.out_stride);
  args.out = keys_.data();
  kernels_.scores(args);
}

// Sums in double, in position order.
void UnitSummarizer::FoldUpTo(UnitKv* kv, int64_t end) {
  constexpr int64_t kBlock = KvLayout::kPositions;
  while (kv->folded_end < end) {
    const int64_t begin = kv->folded_end;
    const int64_t block = begin / kBlock;
    const int64_t until = std::min(end, (block + 1) * kBlock);
    const int64_t count = until - begin;
    ReadKeys(*kv, block * kBlock, (block + 1) * kBlock);
    // A query that sees one position gives its value.
    std::vector<int64_t> from(static_cast<size_t>(count));
    std::iota(from.begin(), from.end(), begin - block * kBlock);
    std::vector<int64_t> to = from;
    for (int64_t& position : to) ++position;
    values_.Reserve(2 * count * dim_);
    lse_.Reserve(count);
    scratch_.Reserve(AttendScratchFloats(count, dim_));
    float* queries = values_.data() + count * dim_;
    std::fill_n(queries, count * dim_, 0.0f);
    AttendArgs args;
    args.layout = kv->layout;
    args.blocks = kv->blocks.data() + block;
    args.end = kBlock;
    args.queries = queries;
    args.visible_begin = from.data();
    args.visible_end = to.data();
    args.num_rows = count;
    args.out = values_.data();
    args.lse = lse_.data();
    args.scratch = scratch_.data();
    kernels_.attend(args);
    for (int64_t i = 0; i < count; ++i) {
      for (int64_t d = 0; d < dim_; ++d) {
        kv->folded_sum[d] += keys_.data()[d * kBlock + from[i]];
        kv->folded_sum[dim_ + d] += values_.data()[i * dim_ + d];
      }
    }
    kv->folded_end = until;
  }
}

void UnitSummarizer::FoldDropped(const StoredRows& rows) {
  UnitKv* kv = rows.kv;
  if (kv->folded_sum.empty()) {
    kv->folded_sum.assign(static_cast<size_t>(2 * dim_), 0.0);
    kv->folded_end = kv->policy.num_sinks;
  }
  for (int64_t row = 0; row < rows.num_rows; ++row) {
    float* means = rows.razor_means + row * 2 * dim_;
    const VisibleSpans spans =
        VisibleTo(kv->policy, rows.first_position + row, rows.prompt_len);
    if (!spans.has_gap()) {
      std::fill_n(means, 2 * dim_, 0.0f);
      continue;
    }
    FoldUpTo(kv, spans.begin);
    const auto count = static_cast<double>(spans.begin - kv->policy.num_sinks);
    for (int64_t i = 0; i < 2 * dim_; ++i) {
      means[i] = static_cast<float>(kv->folded_sum[i] / count);
    }
  }
  // What the next row does not see may be gone before it comes.
  const KeptSpans kept =
      KeptOf(kv->policy, rows.first_position + rows.num_rows, rows.prompt_len);
  if (kept.kept_begin > kept.sinks_end) FoldUpTo(kv, kept.kept_begin);
}

void UnitSummarizer::CloseChunks(const StoredRows& rows) {
  UnitKv* kv = rows.kv;
  const int64_t chunk_len = kv->policy.chunk_len;
  const int64_t end = rows.first_position + rows.num_rows;
  if (kv->chunk_keys.empty()) {
    kv->chunk_keys.resize(static_cast<size_t>(g_));
    kv->open_queries.resize(static_cast<size_t>(g_ * chunk_len * dim_));
  }
  while ((kv->num_chunk_keys + 1) * chunk_len <= end) {
    CloseChunk(rows, kv->num_chunk_keys);
    ++kv->num_chunk_keys;
  }
  // Queries of the chunk that is still open.
  const int64_t open = kv->num_chunk_keys * chunk_len;
  for (int64_t t = std::max(open, rows.first_position); t < end; ++t) {
    for (int64_t h = 0; h < g_; ++h) {
      const float* query =
          rows.queries + ((t - rows.first_position) * g_ + h) * dim_;
      std::copy_n(query, dim_,
                  kv->open_queries.data() + (h * chunk_len + t - open) * dim_);
    }
  }
}

void UnitSummarizer::CloseChunk(const StoredRows& rows, int64_t chunk) {
  UnitKv* kv = rows.kv;
  const int64_t chunk_len = kv->policy.chunk_len;
  const int64_t begin = chunk * chunk_len;
  ReadKeys(*kv, begin, begin + chunk_len);
  std::vector<float> key(static_cast<size_t>(dim_));
  chunk_queries_.Reserve(chunk_len * dim_);
  for (int64_t h = 0; h < g_; ++h) {
    // The first ones came with earlier rows.
    const int64_t early =
        std::clamp<int64_t>(rows.first_position - begin, 0, chunk_len);
    std::copy_n(kv->open_queries.data() + h * chunk_len * dim_, early * dim_,
                chunk_queries_.data());
    for (int64_t i = early; i < chunk_len; ++i) {
      const int64_t row = begin + i - rows.first_position;
      std::copy_n(rows.queries + (row * g_ + h) * dim_, dim_,
                  chunk_queries_.data() + i * dim_);
    }
    RepresentChunk(*kv, chunk, chunk_queries_.data(), rows.softmax_scale,
                   key.data());
    AppendChunkKey(chunk, key.data(), &kv->chunk_keys[h]);
  }
}

void UnitSummarizer::AppendChunkKey(int64_t chunk, const float* key,
                                    ChunkKeys* keys) {
  const KvLayout layout = {KvElement::kFp32, dim_};
  if (chunk % KvLayout::kPositions == 0) {
    keys->storage.push_back(
        std::make_shared<AlignedBuffer<uint8_t>>(layout.block_bytes()));
    std::memset(keys->storage.back()->data(), 0,
                static_cast<size_t>(layout.block_bytes()));
    keys->blocks.push_back(keys->storage.back()->data());
  }
  kernels_.append({layout, keys->storage.back()->data(),
                   chunk % KvLayout::kPositions, key, key});
}

void UnitSummarizer::RepresentChunk(const UnitKv& kv, int64_t chunk,
                                    const float* queries, float softmax_scale,
                                    float* key) {
  const int64_t n = kv.policy.chunk_len;
  values_.Reserve(n * dim_);
  lse_.Reserve(n);
  scratch_.Reserve(AttendScratchFloats(n, dim_));
  const std::vector<int64_t> everything(static_cast<size_t>(n), n);
  AttendArgs args;
  args.layout = kv.layout;
  args.blocks = kv.blocks.data() + chunk * n / KvLayout::kPositions;
  args.end = n;
  args.queries = queries;
  args.visible_end = everything.data();
  args.num_rows = n;
  args.out = values_.data();
  args.lse = lse_.data();
  args.scratch = scratch_.data();
  kernels_.attend(args);
  std::vector<float> mean(static_cast<size_t>(dim_), 0.0f);
  for (int64_t t = 0; t < n; ++t) {
    for (int64_t d = 0; d < dim_; ++d) mean[d] += values_.data()[t * dim_ + d];
  }
  const float factor = softmax_scale / static_cast<float>(n);
  for (float& x : mean) x *= factor;
  // It lies in the space of values, yet is used as a query: as released.
  probs_.Reserve(2 * n);
  float* scores = probs_.data() + n;
  ScoresArgs self;
  self.layout = kv.layout;
  self.blocks = args.blocks;
  self.end = n;
  self.queries = mean.data();
  self.num_rows = 1;
  self.out = scores;
  self.out_stride = n;
  kernels_.scores(self);
  const SoftmaxStats stats = kernels_.softmax_stats(scores, n);
  kernels_.exp_below(scores, n, stats.max, probs_.data());
  for (int64_t d = 0; d < dim_; ++d) {
    const float* channel = keys_.data() + d * n;
    float sum = 0.0f;
    for (int64_t t = 0; t < n; ++t) sum += probs_.data()[t] * channel[t];
    key[d] = sum / stats.sum;
  }
}

// Queries of the prompt vote; what they found stays for the answer.
void UnitSummarizer::SearchSinks(const StoredRows& rows, CalibratedHead* head) {
  if (head->sinks.size() > 1) {
    head->sinks.erase(head->sinks.begin(), head->sinks.end() - 1);
  }
  const int64_t end =
      std::min(rows.first_position + rows.num_rows, rows.prompt_len);
  for (int64_t t = rows.first_position; t < end; ++t) {
    if (t % SinkSearch::kBlock == 0) {
      head->sinks.push_back({t, head->search.Sinks(head->sink_threshold)});
    }
    probs_.Reserve(2 * (t + 1));
    float* scores = probs_.data() + t + 1;
    ScoresArgs args;
    args.layout = rows.kv->layout;
    args.blocks = rows.kv->blocks.data();
    args.end = t + 1;
    args.queries =
        rows.queries + ((t - rows.first_position) * g_ + head->head) * dim_;
    args.num_rows = 1;
    args.out = scores;
    args.out_stride = t + 1;
    kernels_.scores(args);
    const SoftmaxStats stats = kernels_.softmax_stats(scores, t + 1);
    kernels_.exp_below(scores, t + 1, stats.max, probs_.data());
    const float scale = 1.0f / stats.sum;
    for (int64_t j = 0; j <= t; ++j) probs_.data()[j] *= scale;
    head->search.Add({probs_.data(), static_cast<size_t>(t + 1)});
  }
}

// A landmark is the last position of its chunk.
void UnitSummarizer::CopyLandmarks(const StoredRows& rows) {
  constexpr int64_t kTile = 16;  // what the scores kernel reads at once
  UnitKv* kv = rows.kv;
  const int64_t chunk_len = kv->policy.chunk_len;
  const int64_t count = (rows.first_position + rows.num_rows) / chunk_len;
  std::vector<float> key(static_cast<size_t>(dim_));
  for (; kv->num_landmarks < count; ++kv->num_landmarks) {
    const int64_t end = (kv->num_landmarks + 1) * chunk_len;
    ReadKeys(*kv, end - kTile, end);
    for (int64_t d = 0; d < dim_; ++d) {
      key[d] = keys_.data()[(d + 1) * kTile - 1];
    }
    AppendChunkKey(kv->num_landmarks, key.data(), &kv->landmarks);
  }
}

void UnitSummarizer::BoundPages(const StoredRows& rows) {
  UnitKv* kv = rows.kv;
  constexpr int64_t kPage = KvLayout::kPositions;
  const int64_t num_pages = (rows.first_position + rows.num_rows) / kPage;
  auto page = static_cast<int64_t>(kv->page_bounds.size()) / (2 * dim_);
  // Grows by 1/64, not by half: the room to spare is not in the books.
  const auto size = static_cast<size_t>(num_pages * 2 * dim_);
  if (size > kv->page_bounds.capacity()) {
    kv->page_bounds.reserve(size + size / 64);
  }
  for (; page < num_pages; ++page) {
    ReadKeys(*kv, page * kPage, (page + 1) * kPage);
    for (const bool largest : {false, true}) {
      for (int64_t d = 0; d < dim_; ++d) {
        const float* channel = keys_.data() + d * kPage;
        kv->page_bounds.push_back(
            largest ? *std::max_element(channel, channel + kPage)
                    : *std::min_element(channel, channel + kPage));
      }
    }
  }
}

}  // namespace headwise
