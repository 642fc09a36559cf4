// One unit of one sequence, stored, summarized, attended to and trimmed as the
// executor does it, and the policies that the conformance suite runs over.

#ifndef HEADWISE_WORKER_EXECUTOR_POLICY_CONFORMANCE_UNIT_H_
#define HEADWISE_WORKER_EXECUTOR_POLICY_CONFORMANCE_UNIT_H_

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <ostream>
#include <random>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "model/head_plan/kv_retention.h"
#include "worker/backends/cpu/attention_case.h"
#include "worker/cache/kv_book.h"
#include "worker/executor/policy_attention.h"
#include "worker/executor/policy_reference.h"
#include "worker/executor/rotation.h"
#include "worker/executor/unit_summaries.h"

namespace headwise {

struct UnitCase {
  UnitPolicy policy;
  int64_t prompt_len = std::numeric_limits<int64_t>::max();
  KvElement element = KvElement::kFp32;
  int64_t head_dim = 32;
  int64_t heads_per_kv_head = 2;
  bool rotates = true;
  RopeLayout rope = RopeLayout::kInterleaved;
  Isa isa = Isa::kAvx2;
  bool trims = true;  // else nothing is dropped, though no query sees it

  Hyperparameters hyper() const {
    Hyperparameters hyper;
    hyper.num_heads = heads_per_kv_head;
    hyper.num_kv_heads = 1;
    hyper.head_dim = head_dim;
    hyper.rope.layout = rope;
    hyper.rope.rotary_dim = rotates ? head_dim : 0;
    return hyper;
  }
  float softmax_scale() const {
    return 1.0f / std::sqrt(static_cast<float>(head_dim));
  }
  KvLayout layout() const { return {element, head_dim}; }
};

// Not rotated.
struct UnitInputs {
  std::vector<float> queries;  // [length][g][head_dim]
  std::vector<float> keys;     // [length][head_dim]
  std::vector<float> values;   // [length][head_dim]
};

inline UnitInputs RandomInputs(const UnitCase& c, int64_t length,
                               uint32_t seed) {
  std::mt19937 random(seed);
  std::normal_distribution<float> normal;
  const auto floats = [&](int64_t n) {
    std::vector<float> x(static_cast<size_t>(n));
    for (float& v : x) v = normal(random);
    return x;
  };
  return {floats(length * c.heads_per_kv_head * c.head_dim),
          floats(length * c.head_dim), floats(length * c.head_dim)};
}

class UnitUnderTest {
 public:
  // `inputs` outlives this.
  UnitUnderTest(const UnitCase& c, const UnitInputs& inputs)
      : case_(c),
        inputs_(&inputs),
        hyper_(c.hyper()),
        kernels_(KernelsFor(c.isa)),
        rotations_(hyper_.rope, kernels_),
        summarizer_(kernels_, hyper_),
        attention_(kernels_, hyper_, rotations_),
        book_({1,
               std::numeric_limits<int64_t>::max() / 2,
               {c.layout().block_bytes()},
               c.head_dim,
               c.heads_per_kv_head}) {
    const auto longest = static_cast<int64_t>(inputs.keys.size()) / c.head_dim;
    const int64_t renumbered = RotationTableSize(c.policy);
    rotations_.Reserve(RotationPeriod(c.policy) > 0
                           ? renumbered
                           : std::max(longest, renumbered));
    book_.Open(kSequence, {{c.policy, 0}}, c.prompt_len);
    kv_.policy = c.policy;
    kv_.layout = c.layout();
  }

  // A copy of what the other one remembers; it shares nothing with it.
  UnitUnderTest(const UnitUnderTest& other)
      : UnitUnderTest(other.case_, *other.inputs_) {
    EXPECT_TRUE(book_.Append(kSequence, other.length_).ok());
    if (case_.trims) book_.Trim(kSequence);
    kv_ = other.kv_;
    // As in a fork, which makes them anew.
    kv_.num_landmarks = 0;
    kv_.landmarks = {};
    length_ = other.length_;
    out_ = other.out_;
    UpdateBlocks();
    for (size_t b = 0; b < kv_.blocks.size(); ++b) {
      if (kv_.blocks[b] == nullptr) continue;
      std::memcpy(kv_.blocks[b], other.kv_.blocks[b],
                  static_cast<size_t>(kv_.layout.block_bytes()));
    }
    for (ChunkKeys& keys : kv_.chunk_keys) {
      for (size_t b = 0; b < keys.storage.size(); ++b) {
        const int64_t bytes = keys.storage[b]->capacity();
        auto copy = std::make_shared<AlignedBuffer<uint8_t>>(bytes);
        std::memcpy(copy->data(), keys.blocks[b], static_cast<size_t>(bytes));
        keys.blocks[b] = copy->data();
        keys.storage[b] = std::move(copy);
      }
    }
  }

  // What comes next is taken from here.
  void ReadFrom(const UnitInputs& inputs) { inputs_ = &inputs; }

  // The next positions, as one batch whose rows are attended to `rows_at_once`.
  void Feed(int64_t count, int64_t rows_at_once = 128) {
    const int64_t first = length_;
    EXPECT_TRUE(book_.Append(kSequence, count).ok());
    most_used_bytes_ = std::max(most_used_bytes_, book_.used_bytes());
    UpdateBlocks();
    length_ += count;
    Store(first, count);
    for (int64_t row = 0; row < count; row += rows_at_once) {
      Attend(first, row, std::min(rows_at_once, count - row));
    }
    if (!case_.trims) return;
    book_.Trim(kSequence);
    UpdateBlocks();
  }
  void FeedAll(int64_t count, int64_t batch, int64_t rows_at_once = 128) {
    while (count > 0) {
      const int64_t n = std::min(batch, count);
      Feed(n, rows_at_once);
      count -= n;
    }
  }

  const UnitKv& kv() const { return kv_; }
  int64_t length() const { return length_; }
  int64_t used_bytes() const { return book_.used_bytes(); }
  int64_t most_used_bytes() const { return most_used_bytes_; }
  // [length][g][head_dim]
  const std::vector<float>& out() const { return out_; }
  const float* out(int64_t t, int64_t head) const {
    return out_.data() + (t * case_.heads_per_kv_head + head) * case_.head_dim;
  }

 private:
  static constexpr uint64_t kSequence = 1;

  // Blocks that are not in use are full of NaN.
  void UpdateBlocks() {
    const auto bytes = static_cast<size_t>(kv_.layout.block_bytes());
    const std::vector<int32_t>& ids = book_.Blocks(kSequence, 0);
    kv_.blocks.resize(ids.size());
    for (size_t b = 0; b < ids.size(); ++b) {
      uint8_t*& block = kv_.blocks[b];
      if (ids[b] == KvBook::kDropped) {
        if (block != nullptr) std::memset(block, 0xff, bytes);
        block = nullptr;
        continue;
      }
      while (static_cast<size_t>(ids[b]) >= storage_.size()) {
        storage_.emplace_back(kv_.layout.block_bytes());
        std::memset(storage_.back().data(), 0xff, bytes);
      }
      block = storage_[ids[b]].data();
    }
  }

  void Rotate(int64_t position, float* head) const {
    const int64_t period = RotationPeriod(kv_.policy);
    RotateHead(hyper_.rope,
               rotations_.At(period > 0 ? position % period : position), head);
  }

  void Store(int64_t first, int64_t count) {
    const int64_t dim = case_.head_dim;
    const int64_t g = case_.heads_per_kv_head;
    const auto begin = inputs_->queries.begin() + first * g * dim;
    plain_.assign(begin, begin + count * g * dim);
    for (float& x : plain_) x *= case_.softmax_scale();
    rotated_.assign(begin, begin + count * g * dim);
    for (int64_t i = 0; i < count; ++i) {
      const int64_t position = first + i;
      for (int64_t h = 0; h < g; ++h) {
        Rotate(position, rotated_.data() + (i * g + h) * dim);
      }
      std::vector<float> key(inputs_->keys.begin() + position * dim,
                             inputs_->keys.begin() + (position + 1) * dim);
      Rotate(position, key.data());
      kernels_.append({kv_.layout, kv_.blocks[position / KvLayout::kPositions],
                       position % KvLayout::kPositions, key.data(),
                       inputs_->values.data() + position * dim});
    }
    for (float& x : rotated_) x *= case_.softmax_scale();
    means_.assign(static_cast<size_t>(count * 2 * dim), NAN);
    summarizer_.Add({&kv_, case_.prompt_len, first, count, rotated_.data(),
                     case_.softmax_scale(), means_.data()});
  }

  // `count` rows of the batch that begins at `first`, from its `row` on.
  void Attend(int64_t first, int64_t row, int64_t count) {
    const int64_t width = case_.heads_per_kv_head * case_.head_dim;
    std::vector<float> out(static_cast<size_t>(count * width), NAN);
    attention_.Attend({&kv_, case_.prompt_len, first + row, count,
                       rotated_.data() + row * width,
                       plain_.data() + row * width,
                       means_.data() + row * 2 * case_.head_dim, out.data()});
    out_.insert(out_.end(), out.begin(), out.end());
  }

  const UnitCase case_;
  const UnitInputs* inputs_;
  const Hyperparameters hyper_;
  const Kernels& kernels_;
  RotationTable rotations_;
  UnitSummarizer summarizer_;
  PolicyAttention attention_;
  KvBook book_;
  std::vector<AlignedBuffer<uint8_t>> storage_;  // by block id
  UnitKv kv_;
  int64_t length_ = 0;
  int64_t most_used_bytes_ = 0;
  std::vector<float> plain_, rotated_, means_;  // of the batch
  std::vector<float> out_;
};

// A policy with a budget that some hundred positions exceed.
struct NamedPolicy {
  const char* name;
  UnitPolicy policy;
  int64_t prompt_len = std::numeric_limits<int64_t>::max();

  friend void PrintTo(const NamedPolicy& named, std::ostream* out) {
    *out << named.name;
  }
};

inline UnitPolicy Windowed(PolicyKind kind, int64_t sinks, int64_t window) {
  UnitPolicy policy;
  policy.kind = kind;
  policy.num_sinks = sinks;
  policy.window = window;
  policy.full_prompt = kind == PolicyKind::kRazor;
  return policy;
}

inline UnitPolicy Chunked(PolicyKind kind, int64_t chunk_len,
                          int64_t num_chunks, bool per_query_head) {
  UnitPolicy policy;
  policy.kind = kind;
  policy.chunk_len = chunk_len;
  policy.num_chunks = num_chunks;
  policy.per_query_head = per_query_head;
  return policy;
}

// A new policy, or a new way to use one, is a line here.
inline std::vector<NamedPolicy> ConformancePolicies() {
  UnitPolicy slots = Windowed(PolicyKind::kStreaming, 4, 100);
  slots.slot_positions = true;
  UnitPolicy always = Windowed(PolicyKind::kRazor, 3, 90);
  always.full_prompt = false;
  UnitPolicy weight_one = Windowed(PolicyKind::kRazor, 70, 65);
  weight_one.count_weight = false;
  UnitPolicy stingy = Chunked(PolicyKind::kLandmark, 64, 4, true);
  stingy.slot_positions = true;
  UnitPolicy stingy_shared = Chunked(PolicyKind::kLandmark, 128, 3, false);
  stingy_shared.slot_positions = true;
  UnitPolicy divisor = Windowed(PolicyKind::kRazor, 4, 40);
  divisor.window_divisor = 2;
  return {
      {"Full", UnitPolicy()},
      {"Streaming", Windowed(PolicyKind::kStreaming, 4, 100)},
      {"StreamingManySinks", Windowed(PolicyKind::kStreaming, 70, 33)},
      {"StreamingNoSinks", Windowed(PolicyKind::kStreaming, 0, 64)},
      {"StreamingSlots", slots},
      {"Razor", Windowed(PolicyKind::kRazor, 4, 60), 150},
      {"RazorFromTheStart", always, 150},
      {"RazorWeightOne", weight_one, 10},
      {"RazorDivisor", divisor, 200},
      {"LongHeads", Chunked(PolicyKind::kLongHeads, 64, 4, false)},
      {"LongHeadsPerHead", Chunked(PolicyKind::kLongHeads, 128, 3, true)},
      {"Quest", Chunked(PolicyKind::kQuest, 64, 4, false)},
      {"QuestPerHead", Chunked(PolicyKind::kQuest, 64, 5, true)},
      {"Oracle", Chunked(PolicyKind::kLandmarkOracle, 128, 4, false)},
      {"OraclePerHead", Chunked(PolicyKind::kLandmarkOracle, 64, 4, true)},
      {"Landmark", Chunked(PolicyKind::kLandmark, 64, 5, false)},
      {"LandmarkPerHead", Chunked(PolicyKind::kLandmark, 128, 4, true)},
      {"LandmarkSlots", stingy_shared},
      {"LandmarkSlotsPerHead", stingy},
  };
}

// All outputs of a sequence that comes in batches.
inline std::vector<float> Outputs(const UnitCase& c, const UnitInputs& inputs,
                                  int64_t batch, int64_t rows_at_once = 128) {
  UnitUnderTest unit(c, inputs);
  unit.FeedAll(static_cast<int64_t>(inputs.keys.size()) / c.head_dim, batch,
               rows_at_once);
  return unit.out();
}

// The definition over the same inputs, rounded as they are stored.
inline PolicyReference ReferenceOf(const UnitCase& c,
                                   const UnitInputs& inputs) {
  const Hyperparameters hyper = c.hyper();
  const int64_t dim = c.head_dim;
  const auto length = static_cast<int64_t>(inputs.keys.size()) / dim;
  RotationTable rotations(hyper.rope, KernelsFor(c.isa));
  rotations.Reserve(length);
  ReferenceUnit unit = {
      c.policy,          c.prompt_len,   hyper.rope, dim, c.heads_per_kv_head,
      c.softmax_scale(), inputs.queries, {},         {}};
  const int64_t period =
      RotationPeriod(c.policy) > 0 ? RotationPeriod(c.policy) : length;
  for (int64_t j = 0; j < length; ++j) {
    std::vector<float> key(inputs.keys.begin() + j * dim,
                           inputs.keys.begin() + (j + 1) * dim);
    RotateHead(hyper.rope, rotations.At(j % period), key.data());
    key = Stored(c.element, key.data(), dim);
    const std::vector<float> value =
        Stored(c.element, inputs.values.data() + j * dim, dim);
    unit.keys.insert(unit.keys.end(), key.begin(), key.end());
    unit.values.insert(unit.values.end(), value.begin(), value.end());
  }
  return PolicyReference(std::move(unit));
}

// Rows [first, length) in steps of `stride` against the definition. Returns how
// many were left out as close calls.
inline int64_t ExpectByDefinition(const UnitUnderTest& unit,
                                  PolicyReference reference, int64_t first,
                                  int64_t stride) {
  const int64_t dim = reference.unit().head_dim;
  int64_t close_calls = 0;
  for (int64_t t = first; t < unit.length(); t += stride) {
    for (int64_t h = 0; h < reference.unit().heads_per_kv_head; ++h) {
      const ReferenceRow row = reference.Row(t, h);
      if (row.is_close_call) {
        ++close_calls;
        continue;
      }
      for (int64_t d = 0; d < dim; ++d) {
        EXPECT_NEAR(unit.out(t, h)[d], row.out[d], row.error)
            << "position " << t << " head " << h << " channel " << d;
        if (testing::Test::HasFailure()) return close_calls;
      }
    }
  }
  return close_calls;
}

inline std::vector<float> LastRow(const UnitCase& c,
                                  const std::vector<float>& out) {
  return {out.end() - c.heads_per_kv_head * c.head_dim, out.end()};
}

inline void ExpectNear(const std::vector<float>& x,
                       const std::vector<float>& y) {
  ASSERT_EQ(x.size(), y.size());
  for (size_t i = 0; i < x.size(); ++i) {
    ASSERT_NEAR(x[i], y[i], 1e-5f * (1.0f + std::abs(y[i]))) << i;
  }
}

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_POLICY_CONFORMANCE_UNIT_H_
