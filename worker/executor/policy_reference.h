// Attention of one unit under a policy, slowly: in double, with materialized
// probabilities, straight from the definitions in model/head_plan/head_plan.h
// and the papers that it names. For tests.

#ifndef HEADWISE_WORKER_EXECUTOR_POLICY_REFERENCE_H_
#define HEADWISE_WORKER_EXECUTOR_POLICY_REFERENCE_H_

#include <cstdint>
#include <limits>
#include <map>
#include <utility>
#include <vector>

#include "model/head_plan/head_plan.h"
#include "model/hyperparameters.h"

namespace headwise {

// Everything of one unit. Keys are as they are stored: rotated by their
// position (by their place in the chunk where RotationPeriod says so) and
// rounded.
struct ReferenceUnit {
  UnitPolicy policy;
  int64_t prompt_len = 0;
  Rope rope;
  int64_t head_dim = 0;
  int64_t heads_per_kv_head = 1;
  double softmax_scale = 1.0;
  std::vector<float> queries;  // [length][g][head_dim], not rotated
  std::vector<float> keys;     // [length][head_dim]
  std::vector<float> values;   // [length][head_dim]
};

struct ReferenceRow {
  std::vector<double> out;  // [head_dim]
  // How far fp32 may be from `out`.
  double error = 0.0;
  // What it sees, ascending, where each key stands, and where the query does.
  std::vector<int64_t> seen;
  std::vector<int64_t> places;
  int64_t place = 0;
  // kRazor: how many positions the compensation slot stands for; 0: none.
  int64_t num_dropped = 0;
  std::vector<double> mean_key, mean_value;
  double slot_score = 0.0;
  // kLandmark: scores of the landmarks of the chunks that it sees, by chunk;
  // they are not among `seen`.
  std::map<int64_t, double> landmark_scores;
  // Two chunks score so nearly alike that fp32 may choose either.
  bool is_close_call = false;
};

class PolicyReference {
 public:
  explicit PolicyReference(ReferenceUnit unit);

  const ReferenceUnit& unit() const { return unit_; }

  // The query head `head` of the row at position t.
  ReferenceRow Row(int64_t t, int64_t head);

  // kLongHeads: what stands for a chunk, [head_dim].
  const std::vector<double>& ChunkKey(int64_t chunk, int64_t head);

  // The query at t, times softmax_scale, rotated by `place`.
  std::vector<double> QueryAt(int64_t t, int64_t head, int64_t place) const;
  // By what position a stored key is rotated.
  int64_t StoredPlace(int64_t position) const;

 private:
  bool Sees(int64_t t, int64_t position) const;
  void SeePositions(int64_t t, ReferenceRow* row) const;
  void SeeChunks(int64_t t, int64_t head, ReferenceRow* row);
  double ChunkScore(int64_t t, int64_t head, int64_t chunk);
  double LandmarkScore(int64_t t, int64_t head, int64_t position,
                       int64_t place) const;
  void PlaceChunks(int64_t t, int64_t head, ReferenceRow* row) const;
  void PlaceKeys(int64_t t, ReferenceRow* row) const;
  void AddDropped(int64_t t, ReferenceRow* row) const;
  void Attend(int64_t t, int64_t head, ReferenceRow* row) const;
  void ShareByLandmarks(int64_t t, ReferenceRow* row,
                        const std::vector<double>& scores,
                        std::vector<double>* probs) const;

  std::vector<double> Rotated(std::vector<double> x, int64_t place) const;
  std::vector<double> Key(int64_t position, int64_t place) const;
  std::vector<double> Value(int64_t position) const;

  const ReferenceUnit unit_;
  std::map<std::pair<int64_t, int64_t>, std::vector<double>> chunk_keys_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_POLICY_REFERENCE_H_
