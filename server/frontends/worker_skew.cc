#include "server/frontends/worker_skew.h"

#include <algorithm>

namespace headwise {

void WorkerSkew::Observe(absl::string_view worker, double compute_seconds) {
  absl::MutexLock lock(&mutex_);
  auto found = means_.find(worker);
  if (found == means_.end()) {
    if (means_.size() >= kMaxWorkers) return;
    found = means_.emplace(std::string(worker), Mean()).first;
  }
  Mean& mean = found->second;
  mean.num_steps = std::min(mean.num_steps + 1, kMemory);
  mean.seconds +=
      (compute_seconds - mean.seconds) / static_cast<double>(mean.num_steps);
}

std::vector<double> WorkerSkew::Ratios(
    const std::vector<std::string>& group) const {
  std::vector<double> seconds;
  double sum = 0.0;
  {
    absl::MutexLock lock(&mutex_);
    for (const std::string& worker : group) {
      const auto found = means_.find(worker);
      seconds.push_back(found == means_.end() ? 0.0 : found->second.seconds);
      sum += seconds.back();
    }
  }
  std::vector<double> ratios;
  for (const double own : seconds) {
    const double others = (sum - own) / static_cast<double>(group.size() - 1);
    ratios.push_back(group.size() > 1 && own > 0 && others > 0 ? own / others
                                                               : 1.0);
  }
  return ratios;
}

}  // namespace headwise
