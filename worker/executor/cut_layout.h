// Where partials of cut units lie when all ranks have gathered them.

#ifndef HEADWISE_WORKER_EXECUTOR_CUT_LAYOUT_H_
#define HEADWISE_WORKER_EXECUTOR_CUT_LAYOUT_H_

#include <cstdint>
#include <vector>

#include "worker/executor/row_batch.h"
#include "worker/step/worker_config.h"

namespace headwise {

// Of one layer and batch. A rank's section holds, by cut, then by piece, then
// by range in position order, the partials of its ranges:
//   out [rows of the piece * g][head_dim], lse [rows of the piece * g].
// Every rank computes the same layout. Sections are of equal size.
class CutLayout {
 public:
  struct Shape {
    int world_size = 1;
    int64_t heads_per_kv_head = 1;
    int64_t head_dim = 0;
  };

  // `is_cut[cut][piece]`: whether the piece's plan leaves the unit as trained;
  // under any other policy the owner has it whole.
  CutLayout(const std::vector<ContextCut>& cuts, const RowBatch& batch,
            const std::vector<std::vector<bool>>& is_cut, const Shape& shape);

  // Floats of one rank's section; 0: there is nothing to gather.
  int64_t section_size() const { return section_size_; }
  // Floats of the partial of one range of a piece: out, then lse.
  int64_t rows(int64_t piece) const { return rows_[piece]; }

  // Where the partial of range `index` begins: in the section of its rank.
  struct Place {
    int rank = 0;
    int64_t offset = 0;  // floats from the section's begin
  };
  Place Find(int64_t cut, int64_t piece, int64_t index) const;

 private:
  const std::vector<ContextCut>& cuts_;
  const Shape shape_;
  std::vector<int64_t> rows_;  // [pieces] rows * g
  // [cuts][pieces][ranks] floats before the first partial.
  std::vector<std::vector<std::vector<int64_t>>> begin_;
  int64_t section_size_ = 0;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_CUT_LAYOUT_H_
