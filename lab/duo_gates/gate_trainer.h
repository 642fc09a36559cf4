// Trains DuoAttention's gates.
//
// Source: Xiao et al., "DuoAttention", arXiv 2410.10819, section 3.2, and its
// released code: loss = distillation + l1_weight * mean |gate|, AdamW without
// weight decay, one prompt a step, gates start at 1 and are clamped to [0, 1]
// before each step.

#ifndef HEADWISE_LAB_DUO_GATES_GATE_TRAINER_H_
#define HEADWISE_LAB_DUO_GATES_GATE_TRAINER_H_

#include <cstdint>
#include <functional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lab/duo_gates/gate_options.h"
#include "lab/duo_gates/gate_samples.h"
#include "lab/torch_model/torch_model.h"
#include "model/head_scores/head_scores.h"

namespace headwise {

// Of step `step`, from 0: rises over the first fifth, falls over the last one,
// and is never below a tenth.
double LearningRateFactor(int64_t step, int64_t num_steps);

struct GateStep {
  int64_t step = 0;  // from 0
  int64_t num_tokens = 0;
  int64_t num_labelled = 0;
  double learning_rate = 0.0;
  double distill_loss = 0.0;
  double mean_gate = 0.0;  // of the gates that the loss is of
  double loss = 0.0;
};

class GateTrainer {
 public:
  // The sample of a step.
  using Samples = std::function<absl::StatusOr<GateSample>(int64_t)>;

  // Options as CheckGateOptions accepts them. `model` must outlive the trainer.
  GateTrainer(const TorchModel& model, std::string model_sha256,
              const GateOptions& options, Samples samples);

  bool done() const { return step_ == options_.num_steps; }
  int64_t step() const { return step_; }

  // Requires !done(). Internal, with nothing changed: the loss is not finite.
  absl::StatusOr<GateStep> Step();

  // The gates as units, method "duo-gates".
  HeadScores Scores() const;

  // Gates, optimizer and step. A run that is loaded goes on to the gates that
  // it would have reached. FailedPrecondition names what of the manifest
  // differs, InvalidArgument a file that is no such state: no step may follow.
  absl::Status Save(const std::string& path) const;
  absl::Status Load(const std::string& path);

 private:
  absl::Status LoadChecked(const std::string& path);

  const TorchModel& model_;
  const std::string model_sha256_;
  const GateOptions options_;
  const Samples samples_;
  torch::Tensor gates_;  // [num_layers, num_kv_heads]
  torch::optim::AdamW optimizer_;
  int64_t step_ = 0;  // steps done
};

}  // namespace headwise

#endif  // HEADWISE_LAB_DUO_GATES_GATE_TRAINER_H_
