#include "worker/gpu_executor/unit_views.h"

#include <algorithm>

#include "model/head_plan/context_ranges.h"
#include "worker/attention/visible_spans.h"

namespace headwise {
namespace {

// A view of streaming attention: the bounds of each row's sinks and window.
cuda::UnitView StreamingView(const UnitPolicy& policy, const BatchPiece& piece,
                             int64_t prompt_len, int64_t g,
                             std::vector<int64_t>* bounds) {
  cuda::UnitView view;
  view.starts_empty = true;
  view.sinks_end = static_cast<int64_t>(bounds->size());
  std::vector<int64_t> begins;
  bool has_gap = false;
  for (int64_t row = 0; row < piece.num_rows; ++row) {
    const VisibleSpans spans =
        VisibleTo(policy, piece.first_position + row, prompt_len);
    has_gap |= spans.has_gap();
    bounds->insert(bounds->end(), static_cast<size_t>(g),
                   spans.has_gap() ? spans.sinks_end : 0);
    begins.insert(begins.end(), static_cast<size_t>(g), spans.begin);
  }
  view.begin = static_cast<int64_t>(bounds->size());
  bounds->insert(bounds->end(), begins.begin(), begins.end());
  if (has_gap) view.num_sinks = policy.num_sinks;
  view.num_sink_ranges = NumRanges(view.num_sinks);
  // Bounds never descend.
  view.first_range = RangeIndex(begins.front());
  return view;
}

}  // namespace

bool HasView(const UnitPolicy& policy) {
  return policy.kind == PolicyKind::kFull ||
         (policy.kind == PolicyKind::kStreaming && !policy.slot_positions);
}

UnitViews MakeUnitViews(const RowBatch& batch, const PieceStates& pieces,
                        int64_t heads_per_kv_head) {
  struct Known {
    const UnitPolicy* policy;
    int64_t view;
  };
  std::vector<std::vector<Known>> known(pieces.size());
  const size_t num_units = pieces.empty() ? 0 : pieces[0].kv->units.size();
  UnitViews out;
  out.num_parts.assign(num_units, 0);
  for (size_t unit = 0; unit < num_units; ++unit) {
    for (size_t p = 0; p < pieces.size(); ++p) {
      const BatchPiece& piece = batch.pieces[p];
      const SequenceKv& kv = *pieces[p].kv;
      const UnitPolicy& policy = kv.units[unit].policy;
      const auto found = std::find_if(
          known[p].begin(), known[p].end(),
          [&policy](const Known& k) { return *k.policy == policy; });
      int64_t index = static_cast<int64_t>(out.views.size());
      if (found != known[p].end()) {
        index = found->view;
      } else {
        cuda::UnitView view;
        if (policy.kind == PolicyKind::kStreaming) {
          view = StreamingView(policy, piece, kv.prompt_len, heads_per_kv_head,
                               &out.bounds);
        }
        view.num_parts = view.num_sink_ranges +
                         NumRanges(piece.first_position + piece.num_rows) -
                         view.first_range;
        out.views.push_back(view);
        known[p].push_back({&policy, index});
      }
      out.view_of.push_back(index);
      out.num_parts[unit] =
          std::max(out.num_parts[unit], out.views[index].num_parts);
    }
  }
  return out;
}

}  // namespace headwise
