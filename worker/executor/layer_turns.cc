// How one or two batches take turns through the layers.

#include "absl/types/span.h"
#include "base/pulse.h"
#include "worker/executor/executor.h"
#include "worker/executor/layer_runner.h"

namespace headwise {

// The turns of one RunLayers, as each member of the team takes them.
class LayerTurns {
 public:
  explicit LayerTurns(absl::Span<LayerRunner* const> runners)
      : runners_(runners),
        first_layer_(runners[0]->batch_->first_layer),
        num_layers_(runners[0]->hyper_.num_layers),
        num_blocks_(static_cast<int64_t>(runners[0]->blocks_.size())) {}

  absl::Status Run() {
    runners_[0]->context_.team->Run([this](int member) {
      if (!RunMember(member) && member == 0) CloseSums();
    });
    for (const LayerRunner* runner : runners_) {
      if (!runner->status_.ok()) return runner->status_;
    }
    return absl::OkStatus();
  }

 private:
  bool RunMember(int member) {
    for (LayerRunner* runner : runners_) runner->EnterRows(member);
    for (int64_t layer = first_layer_; layer < num_layers_; ++layer) {
      if (member == 0) BeatThreadPulse(kStepAllowance);
      for (int64_t block = 0; block < num_blocks_; ++block) {
        for (LayerRunner* runner : runners_) {
          if (block > 0 && !TakeSums(runner, member, layer, block - 1)) {
            return false;
          }
          if (block == 0 && !EnterLayer(runner, member, layer)) return false;
          if (!runner->RunBlock(member, layer, block)) return false;
          runner->StartSums(member, block);
        }
      }
    }
    for (LayerRunner* runner : runners_) {
      if (!EnterLayer(runner, member, num_layers_)) return false;
    }
    return true;
  }

  // Ends the layer before, if there was one.
  bool EnterLayer(LayerRunner* runner, int member, int64_t layer) {
    if (layer > first_layer_ &&
        !TakeSums(runner, member, layer - 1, num_blocks_ - 1)) {
      return false;
    }
    runner->CaptureRows(member, layer);
    return true;
  }

  static bool TakeSums(LayerRunner* runner, int member, int64_t layer,
                       int64_t block) {
    if (!runner->FinishSums(member, layer, block)) return false;
    runner->AddResidual(member);
    return true;
  }

  // The failure of one batch leaves no sum of the other open in the group.
  void CloseSums() {
    for (LayerRunner* runner : runners_) {
      if (!runner->is_started_) continue;
      runner->is_started_ = false;
      // A group that is dead says so in its next call.
      runner->group_->FinishSum(runner->ExactSums()).IgnoreError();
    }
  }

  const absl::Span<LayerRunner* const> runners_;
  const int64_t first_layer_;
  const int64_t num_layers_;
  const int64_t num_blocks_;
};

absl::Status RunLayers(absl::Span<LayerRunner* const> runners) {
  return LayerTurns(runners).Run();
}

}  // namespace headwise
