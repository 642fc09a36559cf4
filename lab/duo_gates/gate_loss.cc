#include "lab/duo_gates/gate_loss.h"

#include <algorithm>
#include <vector>

namespace headwise {
namespace {

struct Teacher {
  // Of each layer, [num_kv_heads, heads_per_kv_head, tokens, head_dim].
  std::vector<torch::Tensor> attended;
  torch::Tensor target;  // [labelled, model_dim]
};

// One sample's two streams.
class TwoStreams {
 public:
  TwoStreams(const TorchModel& model, const GateSample& sample,
             const StudentOptions& options, const torch::Tensor& gates)
      : model_(model), sample_(sample), gates_(gates) {
    const auto tokens = static_cast<int64_t>(sample.tokens.size());
    rotation_ = model.Rotation(tokens);
    causal_ = VisibilityMask(tokens, 0, tokens);
    streaming_ = VisibilityMask(tokens, options.num_sinks, options.window);
    RunTeacher();
  }

  torch::Tensor Embed() const { return model_.Embed(sample_.tokens); }

  // The student's layers [begin, end).
  torch::Tensor RunStudent(int64_t begin, int64_t end,
                           torch::Tensor states) const {
    for (int64_t i = begin; i < end; ++i) {
      const TorchHeads heads = model_.Project(i, states, rotation_);
      const torch::Tensor gate = gates_[i].view({-1, 1, 1, 1});
      const torch::Tensor attended =
          gate * teacher_.attended[static_cast<size_t>(i)] +
          (1 - gate) * model_.Attend(heads, streaming_);
      states = model_.Finish(i, states, attended);
    }
    return states;
  }

  torch::Tensor Loss(const torch::Tensor& states) const {
    return torch::mse_loss(Labelled(states), teacher_.target);
  }

 private:
  void RunTeacher() {
    const torch::NoGradGuard no_gradient;
    torch::Tensor states = Embed();
    for (int64_t i = 0; i < model_.hyperparameters().num_layers; ++i) {
      const TorchHeads heads = model_.Project(i, states, rotation_);
      teacher_.attended.push_back(model_.Attend(heads, causal_));
      states = model_.Finish(i, states, teacher_.attended.back());
    }
    teacher_.target = Labelled(states);
  }

  torch::Tensor Labelled(const torch::Tensor& states) const {
    return model_.FinalNorm(states.slice(0, sample_.first_labelled));
  }

  const TorchModel& model_;
  const GateSample& sample_;
  const torch::Tensor gates_;
  TorchRotation rotation_;
  torch::Tensor causal_, streaming_;
  Teacher teacher_;
};

}  // namespace

double DistillBackward(const TorchModel& model, const GateSample& sample,
                       const StudentOptions& options,
                       const torch::Tensor& gates) {
  const TwoStreams streams(model, sample, options, gates);
  const int64_t num_layers = model.hyperparameters().num_layers;
  const int64_t step =
      options.segment_layers == 0 ? num_layers : options.segment_layers;
  // What each segment begins with; the states alone are kept.
  std::vector<torch::Tensor> inputs = {streams.Embed()};
  int64_t begin = 0;
  for (; begin + step < num_layers; begin += step) {
    const torch::NoGradGuard no_gradient;
    inputs.push_back(streams.RunStudent(begin, begin + step, inputs.back()));
  }
  double loss_value = 0.0;
  torch::Tensor gradient;  // of the states after the segment
  for (; begin >= 0; begin -= step, inputs.pop_back()) {
    const torch::Tensor states = inputs.back().detach().requires_grad_();
    const torch::Tensor out =
        streams.RunStudent(begin, std::min(begin + step, num_layers), states);
    if (!gradient.defined()) {
      const torch::Tensor loss = streams.Loss(out);
      loss_value = loss.item<double>();
      loss.backward();
    } else {
      out.backward(gradient);
    }
    gradient = states.grad();
  }
  return loss_value;
}

}  // namespace headwise
