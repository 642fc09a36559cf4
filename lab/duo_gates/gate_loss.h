// The distillation loss of DuoAttention's gates, and its gradient.
//
// Source: Xiao et al., "DuoAttention", arXiv 2410.10819, section 3.2, and its
// released code. Two streams run side by side. The teacher's heads see
// everything. Of the student's units, one per KV head,
//
//   out = gate * (the teacher's out, of the same layer)
//       + (1 - gate) * (streaming attention of the student's own q, k, v)
//
// and the loss is the mean, over labelled rows and channels, of the squared
// difference of the two final states after their norm.

#ifndef HEADWISE_LAB_DUO_GATES_GATE_LOSS_H_
#define HEADWISE_LAB_DUO_GATES_GATE_LOSS_H_

#include "lab/duo_gates/gate_samples.h"
#include "lab/torch_model/torch_model.h"

namespace headwise {

struct StudentOptions {
  int64_t num_sinks = 0;
  int64_t window = 1;
  // Layers whose activations are held at once: the fewer, the less memory; all
  // but the last segment run twice. 0: all layers are one segment.
  int64_t segment_layers = 0;
};

// The loss; its gradient is added to gates.grad(). `gates`: a leaf of shape
// [num_layers, num_kv_heads] that requires a gradient, values in [0, 1].
// At gates of 1, loss and gradient are 0.
double DistillBackward(const TorchModel& model, const GateSample& sample,
                       const StudentOptions& options,
                       const torch::Tensor& gates);

}  // namespace headwise

#endif  // HEADWISE_LAB_DUO_GATES_GATE_LOSS_H_
