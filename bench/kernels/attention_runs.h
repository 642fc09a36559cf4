// The runs that attention_bench times: one token's attention over a context,
// and every token's, over a cache of random keys and values.

#ifndef HEADWISE_BENCH_KERNELS_ATTENTION_RUNS_H_
#define HEADWISE_BENCH_KERNELS_ATTENTION_RUNS_H_

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <random>
#include <vector>

#include "base/huge_memory.h"
#include "base/thread_team.h"
#include "model/head_plan/context_ranges.h"
#include "worker/backends/cpu/aligned_buffer.h"
#include "worker/backends/cpu/kernels.h"

namespace headwise {

// What is attended to, and by how many threads.
struct AttentionShape {
  int threads = 2;
  int64_t positions = 1'000'000;
  int64_t kv_heads = 8;
  int64_t head_dim = 64;
  KvElement type = KvElement::kBf16;
};

// Numbers of a fixed seed; the same ones again and again are random enough.
class Noise {
 public:
  explicit Noise(float size) : values_(kPeriod + 4096) {
    std::mt19937 random(1);
    std::normal_distribution<float> normal(0.0f, size);
    for (float& value : values_) value = normal(random);
  }
  const float* Row(int64_t index) const {
    return values_.data() + index * 97 % kPeriod;
  }

 private:
  static constexpr int64_t kPeriod = 65536;
  std::vector<float> values_;
};

// The cache of each KV head, its blocks one after the other.
class AttentionCache {
 public:
  AttentionCache(const AttentionShape& shape, const Kernels& kernels,
                 ThreadTeam& team)
      : layout_{shape.type, shape.head_dim},
        num_blocks_((shape.positions + KvLayout::kPositions - 1) /
                    KvLayout::kPositions),
        memory_(shape.kv_heads * head_bytes()) {
    const Noise noise(1.0f);
    std::atomic<int64_t> next{0};
    team.Run([&](int) {
      for (int64_t b = next++; b < shape.kv_heads * num_blocks_; b = next++) {
        uint8_t* block = memory_.data() + b * layout_.block_bytes();
        for (int64_t slot = 0; slot < KvLayout::kPositions; ++slot) {
          const int64_t row = b * KvLayout::kPositions + slot;
          kernels.append({layout_, block, slot, noise.Row(2 * row),
                          noise.Row(2 * row + 1)});
        }
      }
    });
    for (int64_t b = 0; b < shape.kv_heads * num_blocks_; ++b) {
      blocks_.push_back(memory_.data() + b * layout_.block_bytes());
    }
  }

  const KvLayout& layout() const { return layout_; }
  int64_t head_bytes() const { return num_blocks_ * layout_.block_bytes(); }
  const uint8_t* const* blocks(int64_t kv_head) const {
    return blocks_.data() + kv_head * num_blocks_;
  }
  const uint8_t* data() const { return memory_.data(); }

 private:
  const KvLayout layout_;
  const int64_t num_blocks_;
  const HugeMemory memory_;
  std::vector<const uint8_t*> blocks_;
};

// One token's attention over all positions.
class DecodeRun {
 public:
  DecodeRun(const AttentionShape& shape, const Kernels& kernels,
            const AttentionCache& cache, int64_t heads_per_kv_head)
      : shape_(shape),
        kernels_(kernels),
        cache_(cache),
        rows_(heads_per_kv_head),
        num_ranges_(NumRanges(shape.positions)),
        visible_(static_cast<size_t>(rows_), shape.positions),
        out_(shape.kv_heads * num_ranges_ * rows_ * shape.head_dim),
        lse_(shape.kv_heads * num_ranges_ * rows_),
        scratch_floats_(AttendScratchFloats(rows_, shape.head_dim)),
        scratch_(shape.threads * scratch_floats_),
        queries_(0.1f) {
    for (int64_t begin = 0; begin < shape.positions; begin = RangeEnd(begin))
      begins_.push_back(begin);
  }

  void Run(ThreadTeam& team) {
    std::atomic<int64_t> next{0};
    team.Run([&](int member) {
      const int64_t count = shape_.kv_heads * num_ranges_;
      for (int64_t i = next++; i < count; i = next++) AttendRange(i, member);
      team.Barrier();
      const PartRange heads =
          PartOf(shape_.kv_heads, member, team.num_threads());
      for (int64_t h = heads.begin; h < heads.end; ++h) MergeRanges(h);
    });
  }

 private:
  void AttendRange(int64_t item, int member) {
    const int64_t kv_head = item / num_ranges_;
    AttendArgs args;
    args.layout = cache_.layout();
    args.blocks = cache_.blocks(kv_head);
    args.begin = begins_[static_cast<size_t>(item % num_ranges_)];
    args.end = std::min(RangeEnd(args.begin), shape_.positions);
    args.queries = queries_.Row(kv_head);
    args.visible_end = visible_.data();
    args.num_rows = rows_;
    args.out = out_.data() + item * rows_ * shape_.head_dim;
    args.lse = lse_.data() + item * rows_;
    args.scratch = scratch_.data() + member * scratch_floats_;
    kernels_.attend(args);
  }

  void MergeRanges(int64_t kv_head) {
    const int64_t first = kv_head * num_ranges_ * rows_;
    for (int64_t i = 1; i < num_ranges_; ++i) {
      const int64_t part = first + i * rows_;
      kernels_.merge({out_.data() + first * shape_.head_dim,
                      lse_.data() + first, out_.data() + part * shape_.head_dim,
                      lse_.data() + part, rows_, shape_.head_dim});
    }
  }

  const AttentionShape& shape_;
  const Kernels& kernels_;
  const AttentionCache& cache_;
  const int64_t rows_;
  const int64_t num_ranges_;
  std::vector<int64_t> visible_;
  std::vector<int64_t> begins_;
  AlignedBuffer<float> out_;  // [kv_heads][num_ranges][rows][head_dim]
  AlignedBuffer<float> lse_;  // [kv_heads][num_ranges][rows]
  const int64_t scratch_floats_;
  AlignedBuffer<float> scratch_;  // [threads][scratch_floats]
  const Noise queries_;
};

// Causal attention of every token. A work item is some tokens of one KV head;
// late ones, which see most, come first.
class PrefillRun {
 public:
  static constexpr int64_t kTokens = 128;  // of an item; as in a step

  PrefillRun(const AttentionShape& shape, const Kernels& kernels,
             const AttentionCache& cache, int64_t heads_per_kv_head)
      : shape_(shape),
        kernels_(kernels),
        cache_(cache),
        g_(heads_per_kv_head),
        out_(shape.kv_heads * shape.positions * g_ * shape.head_dim),
        queries_(shape.kv_heads * shape.positions * g_ * shape.head_dim),
        scratch_floats_(AttendScratchFloats(kTokens * g_, shape.head_dim) +
                        kTokens * g_ * (shape.head_dim + 2)),
        scratch_(shape.threads * scratch_floats_),
        visible_(static_cast<size_t>(shape.threads * kTokens * g_)) {
    const Noise noise(0.1f);
    for (int64_t r = 0; r < shape.kv_heads * shape.positions * g_; ++r) {
      std::copy_n(noise.Row(r), shape.head_dim,
                  queries_.data() + r * shape.head_dim);
    }
  }

  void Run(ThreadTeam& team) {
    std::atomic<int64_t> next{0};
    const int64_t pieces = (shape_.positions + kTokens - 1) / kTokens;
    team.Run([&](int member) {
      for (int64_t i = next++; i < pieces * shape_.kv_heads; i = next++) {
        Attend(i % shape_.kv_heads,
               (pieces - 1 - i / shape_.kv_heads) * kTokens, member);
      }
    });
  }

 private:
  void Attend(int64_t kv_head, int64_t first_token, int member) {
    const int64_t tokens = std::min(kTokens, shape_.positions - first_token);
    const int64_t dim = shape_.head_dim;
    const int64_t row = (kv_head * shape_.positions + first_token) * g_;
    int64_t* visible = visible_.data() + member * kTokens * g_;
    for (int64_t i = 0; i < tokens * g_; ++i) {
      visible[i] = first_token + i / g_ + 1;
    }
    float* scratch = scratch_.data() + member * scratch_floats_;
    AttendArgs args;
    args.layout = cache_.layout();
    args.blocks = cache_.blocks(kv_head);
    args.queries = queries_.data() + row * dim;
    args.visible_end = visible;
    args.num_rows = tokens * g_;
    args.lse = scratch;
    float* part_lse = scratch + kTokens * g_;
    float* part_out = part_lse + kTokens * g_;
    args.scratch = part_out + kTokens * g_ * dim;
    float* out = out_.data() + row * dim;
    float* lse = args.lse;
    for (args.begin = 0; args.begin < first_token + tokens;
         args.begin = args.end) {
      args.end = std::min(RangeEnd(args.begin), first_token + tokens);
      args.out = args.begin == 0 ? out : part_out;
      args.lse = args.begin == 0 ? lse : part_lse;
      kernels_.attend(args);
      if (args.begin == 0) continue;
      kernels_.merge({out, lse, part_out, part_lse, tokens * g_, dim});
    }
  }

  const AttentionShape& shape_;
  const Kernels& kernels_;
  const AttentionCache& cache_;
  const int64_t g_;
  AlignedBuffer<float> out_;      // [kv_heads][positions][g][head_dim]
  AlignedBuffer<float> queries_;  // the same shape
  const int64_t scratch_floats_;
  AlignedBuffer<float> scratch_;  // [threads][scratch_floats]
  std::vector<int64_t> visible_;  // [threads][kTokens * g]
};

}  // namespace headwise

#endif  // HEADWISE_BENCH_KERNELS_ATTENTION_RUNS_H_
