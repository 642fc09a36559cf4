#include "server/dispatch/probe_merge.h"

#include <algorithm>
#include <cmath>
#include <tuple>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace headwise {
namespace {

std::string NameOf(const HeadProbe& probe) {
  return absl::StrCat("probe of layer ", probe.layer, ", head ", probe.head);
}

absl::Status CheckCount(const HeadProbe& probe, const char* what, size_t have,
                        int64_t want) {
  if (static_cast<int64_t>(have) == want) return absl::OkStatus();
  return absl::InternalError(absl::StrCat(NameOf(probe), " has ", have, " ",
                                          what, ", expected ", want));
}

// Rounding may lift a sum of probabilities above 1.
absl::Status CheckProbabilities(const HeadProbe& probe,
                                const std::vector<float>& values) {
  for (const float value : values) {
    if (value >= 0.0f && value <= 1.001f) continue;
    return absl::InternalError(absl::StrCat(
        NameOf(probe), " has the probability ", value, ", allowed 0 to 1"));
  }
  return absl::OkStatus();
}

absl::Status CheckProbe(const Slice& slice, const HeadProbe& probe,
                        const ProbeShape& shape) {
  if (probe.layer < 0 || probe.layer >= shape.num_layers || probe.head < 0 ||
      probe.head >= shape.num_heads) {
    return absl::InternalError(absl::StrCat(NameOf(probe), ", the model has ",
                                            shape.num_layers, " layers of ",
                                            shape.num_heads, " heads"));
  }
  const int64_t rows = slice.num_rows();
  const int64_t argmax_rows = slice.probe.argmax ? rows : 0;
  const auto sets = static_cast<int64_t>(slice.probe.distance_sets.size());
  HEADWISE_RETURN_IF_ERROR(
      CheckCount(probe, "argmax", probe.argmax.size(), argmax_rows));
  HEADWISE_RETURN_IF_ERROR(
      CheckCount(probe, "argmax_prob", probe.argmax_prob.size(), argmax_rows));
  HEADWISE_RETURN_IF_ERROR(CheckCount(
      probe, "distance_probs", probe.distance_probs.size(), sets * rows));
  for (int64_t row = 0; row < argmax_rows; ++row) {
    const int64_t position = slice.first_position + row;
    if (probe.argmax[row] >= 0 && probe.argmax[row] <= position) continue;
    return absl::InternalError(absl::StrCat(NameOf(probe), " has argmax ",
                                            probe.argmax[row], " at position ",
                                            position));
  }
  HEADWISE_RETURN_IF_ERROR(CheckProbabilities(probe, probe.argmax_prob));
  return CheckProbabilities(probe, probe.distance_probs);
}

}  // namespace

absl::Status CheckProbes(const Slice& slice,
                         const std::vector<HeadProbe>& probes,
                         const ProbeShape& shape) {
  if (slice.probe.empty() && !probes.empty()) {
    return absl::InternalError(absl::StrCat("sequence ", slice.sequence_id,
                                            " has ", probes.size(),
                                            " probes, asked for none"));
  }
  for (const HeadProbe& probe : probes) {
    HEADWISE_RETURN_IF_ERROR(CheckProbe(slice, probe, shape));
  }
  return absl::OkStatus();
}

absl::Status OrderProbes(const ProbeShape& shape,
                         std::vector<HeadProbe>* probes) {
  std::sort(probes->begin(), probes->end(),
            [](const HeadProbe& a, const HeadProbe& b) {
              return std::tie(a.layer, a.head) < std::tie(b.layer, b.head);
            });
  const int64_t expected = shape.num_layers * shape.num_heads;
  if (static_cast<int64_t>(probes->size()) != expected) {
    return absl::InternalError(absl::StrCat("all ranks together returned ",
                                            probes->size(),
                                            " probes, expected ", expected));
  }
  // As many as heads, each in the model: a missing one means another is twice.
  for (int64_t i = 1; i < expected; ++i) {
    const HeadProbe& one = (*probes)[i - 1];
    const HeadProbe& next = (*probes)[i];
    if (one.layer != next.layer || one.head != next.head) continue;
    return absl::InternalError(absl::StrCat(NameOf(next), " came twice"));
  }
  return absl::OkStatus();
}

}  // namespace headwise
