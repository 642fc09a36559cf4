// What policies remember of positions besides their keys and values.

#ifndef HEADWISE_WORKER_EXECUTOR_UNIT_SUMMARIES_H_
#define HEADWISE_WORKER_EXECUTOR_UNIT_SUMMARIES_H_

#include <cstdint>

#include "model/hyperparameters.h"
#include "worker/backends/cpu/aligned_buffer.h"
#include "worker/backends/cpu/kernels.h"
#include "worker/executor/unit_kv.h"

namespace headwise {

// Rows of one unit that have just been stored: their keys and values lie in
// kv->blocks.
struct StoredRows {
  UnitKv* kv = nullptr;
  int64_t prompt_len = 0;
  int64_t first_position = 0;
  int64_t num_rows = 0;
  // [num_rows][g][head_dim], rotated as they are for the cache, times
  // softmax_scale. kLongHeads, and calibrated heads.
  const float* queries = nullptr;
  float softmax_scale = 1.0f;
  // Out, kRazor: means of the dropped keys and values before each row,
  // [num_rows][2][head_dim]; 0 where nothing was dropped.
  float* razor_means = nullptr;
};

// Whether rows must go through UnitSummarizer before they are attended to.
bool HasSummaries(const UnitKv& kv);

// One thread's. Rows of a unit come in order of position; everything is a
// chain over positions, so that it doesn't matter how many come at once.
class UnitSummarizer {
 public:
  UnitSummarizer(const Kernels& kernels, const Hyperparameters& hyper);

  void Add(const StoredRows& rows);

 private:
  void FoldDropped(const StoredRows& rows);
  void FoldUpTo(UnitKv* kv, int64_t end);
  void CloseChunks(const StoredRows& rows);
  void CloseChunk(const StoredRows& rows, int64_t chunk);
  // The query-independent summary of a chunk for one head, [head_dim]
  // (LongHeads, Lu et al., 2402.10685): what the chunk attends to in itself, on
  // average, then as a query for its own keys.
  void RepresentChunk(const UnitKv& kv, int64_t chunk, const float* queries,
                      float softmax_scale, float* key);
  void AppendChunkKey(int64_t chunk, const float* key, ChunkKeys* keys);
  void BoundPages(const StoredRows& rows);
  void CopyLandmarks(const StoredRows& rows);
  void SearchSinks(const StoredRows& rows, CalibratedHead* head);
  // Keys [begin, end) of the cache, one row of `end - begin` per channel.
  void ReadKeys(const UnitKv& kv, int64_t begin, int64_t end);

  const Kernels& kernels_;
  const int64_t g_;
  const int64_t dim_;
  AlignedBuffer<float> identity_;  // [head_dim][head_dim]
  AlignedBuffer<float> keys_;      // [head_dim][positions]
  AlignedBuffer<float> values_;    // [positions][head_dim]
  AlignedBuffer<float> lse_, scratch_, chunk_queries_, probs_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_UNIT_SUMMARIES_H_
