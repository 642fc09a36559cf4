// Trains a Titans model: the outer loop, through the memory's inner one.
//
// Source: Behrouz, Zhong and Mirrokni, "Titans", arXiv 2501.00663, section 5.1
// (AdamW, cosine decay). Ours: the penalty on gates, after the L0 penalty of
// Louizos, Welling and Kingma, arXiv 1712.01312: its stretched gates reach 0
// exactly, and as the penalty is on sigma(z), not on the clamped gate, it goes
// on where a gate is 0 already: a margin for what training never showed.

#ifndef HEADWISE_LAB_TITANS_TITANS_TRAINER_H_
#define HEADWISE_LAB_TITANS_TITANS_TRAINER_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lab/titans/titans_forward.h"
#include "lab/titans/titans_task.h"
#include "lab/titans/titans_weights.h"
#include "nlohmann/json.hpp"

namespace headwise {

struct TitansTraining {
  bool is_recall = true;     // else text
  int64_t num_steps = 1000;  // 1 to 1,000,000
  int64_t num_sequences = 16;
  int64_t min_length = 64;  // tokens, a multiple of the memory's chunk
  int64_t length = 256;     // a multiple of min_length
  int64_t num_pairs = 8;    // recall alone
  double learning_rate = 3e-3;
  double gate_penalty = 2.0;    // of mean sigma(z) of theta and of alpha
  double eta_penalty = 0.01;    // of eta
  double growth_penalty = 0.0;  // of MemoryGrowth
  double theta_bias = -2.0;     // of gates, to start with: at a stretch of 0.1
  double alpha_bias = -8.0;     // a gate is 0 below -2.4
  int64_t detach_chunks = 0;    // truncation of gradients; 0: none
  bool no_momentum = false;     // eta is 0
  bool no_forgetting = false;   // alpha is 0
  uint64_t seed = 0;
};

// InvalidArgument names the option, its value and the limit.
absl::Status CheckTitansTraining(const TitansTraining& training,
                                 const Hyperparameters& hyper);

// All that the weights depend on; runs whose manifests are equal are one run.
nlohmann::ordered_json TitansManifest(const Hyperparameters& hyper,
                                      const TitansTraining& training,
                                      const TitansText& text);

// Mean over memories of how far the logarithm of the squared norm is beyond
// that of twice the initial one: 0 while none has grown much. What a memory
// gives is normed, so a loss does not tell that it grows; yet with one that
// does, a chunk of keys that are alike runs away, within a few steps, to where
// nothing is finite. Of a variant with memories.
torch::Tensor MemoryGrowth(const TitansWeights& weights,
                           const TitansState& state);

// Of a step from 0: rises over the first twentieth, then falls as a cosine to a
// twentieth.
double TitansRateFactor(int64_t step, int64_t num_steps);
// Of the gates' penalty after `num_learned` steps in which most of what is
// asked for was answered: rises to 1 over a quarter of the run. What the memory
// is for is learned first, or nothing would ever be written.
double PenaltyFactor(int64_t num_learned, int64_t num_steps);
// In tokens: drawn from the multiples of min_length up to a limit that rises to
// `length` over the first half.
int64_t LengthOfStep(const TitansTraining& training, int64_t step,
                     Draws& draws);

struct TitansStep {
  int64_t step = 0;        // from 0
  int64_t num_tokens = 0;  // of all sequences
  double learning_rate = 0.0;
  double loss = 0.0;      // nats per labelled token, without penalties
  double accuracy = 0.0;  // part of labelled tokens that were ranked first
  // Parts of gates, over heads, that are above 0; 0 without a memory.
  double theta_share = 0.0;
  double alpha_share = 0.0;
  double mean_eta = 0.0;
  // The loss, or a gradient, was not finite and no weight was changed: a memory
  // that learns too fast in a chunk runs away, and a later batch may not.
  bool is_skipped = false;
};

class TitansTrainer {
 public:
  // Options as CheckTitansTraining accepts them; `text` must outlive the
  // trainer. Weights are a function of the seed.
  TitansTrainer(const Hyperparameters& hyper, const TitansTraining& training,
                const TitansText& text);

  const TitansWeights& weights() const { return weights_; }
  bool done() const { return step_ == training_.num_steps; }
  int64_t step() const { return step_; }

  // Requires !done(). Internal: more than a twentieth of the run was skipped.
  absl::StatusOr<TitansStep> Step();

  // Weights, optimizer and counts. FailedPrecondition names what of the
  // manifest differs, InvalidArgument a file that is no such state: no step may
  // follow.
  absl::Status Save(const std::string& path) const;
  absl::Status Load(const std::string& path);

 private:
  TitansBatch BatchOfStep(int64_t step) const;
  absl::Status LoadChecked(const std::string& path);

  const TitansTraining training_;
  const TitansText& text_;
  const std::string manifest_;
  TitansWeights weights_;
  torch::optim::AdamW optimizer_;
  int64_t step_ = 0;         // steps done
  int64_t num_learned_ = 0;  // of PenaltyFactor
  int64_t num_skipped_ = 0;
  double mean_accuracy_ = 0;  // of the last steps, each a tenth less
};

// Mean nats per byte of `text`, in whole windows of `length`, at most
// `num_windows`; each begins with no token before it.
double TextLoss(const TitansWeights& weights, const std::string& text,
                int64_t length, int64_t num_windows);

}  // namespace headwise

#endif  // HEADWISE_LAB_TITANS_TITANS_TRAINER_H_
