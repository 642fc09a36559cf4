// The stream of `headwise bench memory` with hand-set gates: needles, then
// filler, all of random unit vectors.

#ifndef HEADWISE_CLIENT_CLI_BENCH_MEMORY_STREAM_H_
#define HEADWISE_CLIENT_CLI_BENCH_MEMORY_STREAM_H_

#include <cstdint>
#include <vector>

#include "model/memory_spec.h"

namespace headwise {

// A pure function of its arguments, wherever it is asked, on any machine:
// Philox4x32 numbers a row's bytes, a byte b gives the component 2 b - 255, and
// each head's part is divided by its length.
class MemoryStream {
 public:
  // num_heads >= 1; head_dim a multiple of 16, at most 256.
  MemoryStream(uint64_t seed, int64_t num_heads, int64_t head_dim)
      : seed_(seed), num_heads_(num_heads), head_dim_(head_dim) {}

  // Floats of a row: [num_heads][head_dim].
  int64_t row_floats() const { return num_heads_ * head_dim_; }

  // Rows [first, first + count) of each, [count][row_floats()].
  void NeedleKeys(int64_t first, int64_t count, float* rows) const;
  // What is to be found: needle i has candidate i for its value.
  void Candidates(int64_t first, int64_t count, float* rows) const;
  void FillerKeys(int64_t first, int64_t count, float* rows) const;
  void FillerValues(int64_t first, int64_t count, float* rows) const;

  // Weights that a head's memory begins with, [spec.num_weights()]: matrices
  // uniform in +-sqrt(6 / (inputs + outputs)) (Glorot and Bengio, AISTATS
  // 2010), gamma zero. All zero with one layer, which learns from there; deeper
  // ones would have no gradient.
  std::vector<float> InitialWeights(const MemorySpec& spec, int64_t head) const;

 private:
  void UnitRows(uint32_t kind, int64_t first, int64_t count, float* rows) const;

  uint64_t seed_;
  int64_t num_heads_;
  int64_t head_dim_;
};

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_BENCH_MEMORY_STREAM_H_
