// Sessions of random keys and values for tests, and attention in double.

#ifndef HEADWISE_WORKER_SESSIONS_SESSION_FIXTURE_H_
#define HEADWISE_WORKER_SESSIONS_SESSION_FIXTURE_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <random>
#include <string>
#include <vector>

#include "base/fake_clock.h"
#include "base/thread_team.h"
#include "worker/backends/cpu/isa.h"
#include "worker/sessions/session_geometry.h"
#include "worker/sessions/session_store.h"

namespace headwise {

// Keys or values of all units: [num_positions][num_kv_heads][head_dim].
struct RandomTensor {
  int64_t num_kv_heads = 0;
  int64_t head_dim = 0;
  std::vector<float> data;

  RandomTensor(int64_t num_positions, int64_t kv_heads, int64_t dim,
               uint32_t seed)
      : num_kv_heads(kv_heads), head_dim(dim) {
    std::mt19937 random(seed);
    std::normal_distribution<float> normal;
    data.resize(num_positions * kv_heads * dim);
    for (float& x : data) x = normal(random);
  }
  const float* row(int64_t position, int64_t kv_head) const {
    return data.data() + (position * num_kv_heads + kv_head) * head_dim;
  }
};

// Softmax attention of one query row over the positions that `sees` allows.
struct ReferenceRow {
  std::vector<double> out;
  double lse = -INFINITY;
  std::vector<double> probs;  // by position
};
inline ReferenceRow ReferenceAttention(
    const float* query, const RandomTensor& keys, const RandomTensor& values,
    int64_t kv_head, int64_t length, const std::function<bool(int64_t)>& sees) {
  ReferenceRow row;
  row.out.resize(keys.head_dim);
  row.probs.resize(length);
  std::vector<double> scores(length, -INFINITY);
  double max = -INFINITY;
  for (int64_t j = 0; j < length; ++j) {
    if (!sees(j)) continue;
    scores[j] = 0.0;
    for (int64_t d = 0; d < keys.head_dim; ++d) {
      scores[j] += double{query[d]} * keys.row(j, kv_head)[d];
    }
    max = std::max(max, scores[j]);
  }
  if (max == -INFINITY) return row;
  double sum = 0.0;
  for (const double score : scores) sum += std::exp(score - max);
  row.lse = max + std::log(sum);
  for (int64_t j = 0; j < length; ++j) {
    row.probs[j] = std::exp(scores[j] - row.lse);
    for (int64_t d = 0; d < keys.head_dim; ++d) {
      row.out[d] += row.probs[j] * values.row(j, kv_head)[d];
    }
  }
  return row;
}

// A store with what it needs around it.
struct StoreUnderTest {
  explicit StoreUnderTest(int num_threads = 2, int64_t capacity = 256 << 20)
      : team(num_threads, {}),
        store({.capacity_bytes = capacity},
              KernelsFor(IsasOfThisMachine().back()), team, clock) {}
  FakeClock clock;
  ThreadTeam team;
  SessionStore store;
};

inline std::string BytesOf(const float* x, int64_t n) {
  return std::string(reinterpret_cast<const char*>(x),
                     static_cast<size_t>(n) * sizeof(float));
}

// Positions [begin, end) of the units in `shares`, cut at ranges.
inline StageRequest StageOf(const std::string& id,
                            const std::vector<UnitShare>& shares,
                            const RandomTensor& keys,
                            const RandomTensor& values, int64_t begin,
                            int64_t end) {
  StageRequest request = {id, begin, {}};
  for (const UnitShare& share : shares) {
    for (int64_t first = begin; first < end;) {
      const int64_t range = RangeIndexOf(first);
      const int64_t last = std::min(RangeEnd(BeginOfRange(range)), end);
      StagePiece piece = {share.kv_head, first, last - first, "", ""};
      for (int64_t j = first; j < last; ++j) {
        piece.keys += BytesOf(keys.row(j, share.kv_head), keys.head_dim);
        piece.values += BytesOf(values.row(j, share.kv_head), keys.head_dim);
      }
      if (HoldsRange(share, range)) request.pieces.push_back(std::move(piece));
      first = last;
    }
  }
  return request;
}

}  // namespace headwise

#endif  // HEADWISE_WORKER_SESSIONS_SESSION_FIXTURE_H_
