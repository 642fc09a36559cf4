// What gates are trained on, and how.

#ifndef HEADWISE_LAB_DUO_GATES_GATE_OPTIONS_H_
#define HEADWISE_LAB_DUO_GATES_GATE_OPTIONS_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "model/hyperparameters.h"
#include "nlohmann/json.hpp"

namespace headwise {

struct GateOptions {
  int64_t num_steps = 200;      // 1 to 100,000; one prompt each
  int64_t length = 1024;        // tokens of the longest prompt
  int64_t min_length = 0;       // of the shortest; 0: length
  int64_t num_needles = 4;      // pass keys of a prompt, 1 to 16
  int64_t num_words = 8;        // of a pass key, 1 to 32
  int64_t num_sinks = 64;       // positions, 0 to 4,096
  int64_t window = 256;         // positions, 1 to 2^20
  double l1_weight = 0.05;      // lambda, 0 to 1,000
  double learning_rate = 0.02;  // at the peak, above 0, at most 1
  int64_t segment_layers = 0;   // run again at once for gradients; 0: none is
  std::string haystack;         // text; empty: drawn sentences
  uint64_t seed = 0;

  int64_t shortest() const { return min_length == 0 ? length : min_length; }
};

// InvalidArgument names the option, its value and the limit.
absl::Status CheckGateOptions(const GateOptions& options,
                              const Hyperparameters& hyper);

// All that the gates depend on; runs whose manifests are equal are one run.
nlohmann::ordered_json GateManifest(const GateOptions& options,
                                    const std::string& model_sha256);

}  // namespace headwise

#endif  // HEADWISE_LAB_DUO_GATES_GATE_OPTIONS_H_
