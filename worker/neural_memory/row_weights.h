// How much of each row's gradient is in the weights and in the momentum: the
// scalar recursions that stand for the two scans of a chunk.

#ifndef HEADWISE_WORKER_NEURAL_MEMORY_ROW_WEIGHTS_H_
#define HEADWISE_WORKER_NEURAL_MEMORY_ROW_WEIGHTS_H_

#include <cstdint>
#include <vector>

namespace headwise {

// Gates of a chunk's rows.
struct ChunkGates {
  const float* theta = nullptr;
  const float* eta = nullptr;
  const float* alpha = nullptr;
};

// What unrolling equations 13 and 14 of Titans over rows 0..n-1 gives:
//   M_n = keep * M_0 + carry * S_0 - sum_i of_weights[i] * grad_i
//   S_n = decay * S_0 - sum_i of_momentum[i] * grad_i
// with every gradient at M_0, and theta within the row weights.
struct ChunkSums {
  float keep = 1.0f;
  float carry = 0.0f;
  float decay = 1.0f;
};

// By token (MemoryRule::kToken), from the last row back; n >= 1. In double: a
// product of 4096 factors in fp32 could be off by 1e-4.
ChunkSums TokenSums(const ChunkGates& gates, int64_t n, float* of_weights,
                    float* of_momentum);

// One step for the chunk (MemoryRule::kChunk).
ChunkSums WholeChunkSums(const ChunkGates& gates, int64_t n, float* of_weights,
                         float* of_momentum);

// The same by token for every prefix in turn, as reads inside a chunk need it:
//   M_t = keep * M_0 + carry * S_0 + sum_(i <= t) row[i] * grad_i
class PrefixSums {
 public:
  // Rows that Next() has passed.
  int64_t num_rows() const { return num_rows_; }
  void Reset();
  // Passes row num_rows(). O(t).
  void Next(const ChunkGates& gates);
  // Of the last row t passed: the negative weights of rows 0..t.
  void Row(const ChunkGates& gates, float* row) const;
  float keep() const { return static_cast<float>(keep_); }
  float carry() const { return static_cast<float>(carry_); }

 private:
  int64_t num_rows_ = 0;
  double keep_ = 1.0;
  double carry_ = 0.0;
  double decay_ = 1.0;
  std::vector<double> of_weights_;   // w_(t,i), theta left out
  std::vector<double> of_momentum_;  // e_(t,i)
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_NEURAL_MEMORY_ROW_WEIGHTS_H_
