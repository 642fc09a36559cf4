#include "server/scheduler/prompt_shares.h"

#include <algorithm>
#include <vector>

namespace headwise {
namespace {

struct Tenant {
  absl::string_view name;
  std::vector<size_t> prompts;  // by arrival
};

std::vector<Tenant> TenantsOf(absl::Span<const PromptNeed> prompts) {
  std::vector<Tenant> tenants;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const auto known = std::find_if(
        tenants.begin(), tenants.end(),
        [&](const Tenant& one) { return one.name == prompts[i].tenant; });
    if (known == tenants.end()) {
      tenants.push_back({prompts[i].tenant, {i}});
    } else {
      known->prompts.push_back(i);
    }
  }
  return tenants;
}

}  // namespace

void DealRoom(absl::Span<const PromptNeed> prompts, double room,
              absl::FunctionRef<double(size_t, double)> take) {
  const std::vector<Tenant> tenants = TenantsOf(prompts);
  for (size_t t = 0; t < tenants.size(); ++t) {
    double share = room / static_cast<double>(tenants.size() - t);
    double kept = share * kOldestShare;  // until the oldest has had its turn
    const size_t oldest = tenants[t].prompts.front();
    std::vector<size_t> order = tenants[t].prompts;
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) {
      return prompts[a].rows_left < prompts[b].rows_left;
    });
    for (const size_t index : order) {
      if (index == oldest) kept = 0;
      const double taken = take(index, std::max(share - kept, 0.0));
      share -= taken;
      room = std::max(room - taken, 0.0);
    }
  }
}

}  // namespace headwise
