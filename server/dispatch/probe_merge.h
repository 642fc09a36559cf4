// Probes of one slice, from the ranks that hold its heads.

#ifndef HEADWISE_SERVER_DISPATCH_PROBE_MERGE_H_
#define HEADWISE_SERVER_DISPATCH_PROBE_MERGE_H_

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "worker/step/step.h"

namespace headwise {

// Of the model.
struct ProbeShape {
  int64_t num_layers = 0;
  int64_t num_heads = 0;  // query heads of a layer
};

// Whether one rank may answer the slice so: heads of the model, as many values
// as were asked for, positions that a row sees, finite probabilities. Internal
// names what is wrong.
absl::Status CheckProbes(const Slice& slice,
                         const std::vector<HeadProbe>& probes,
                         const ProbeShape& shape);

// Puts the probes of all ranks in order of (layer, head). Internal if a head of
// the model is missing or has two.
absl::Status OrderProbes(const ProbeShape& shape,
                         std::vector<HeadProbe>* probes);

}  // namespace headwise

#endif  // HEADWISE_SERVER_DISPATCH_PROBE_MERGE_H_
