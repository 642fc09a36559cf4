#include "worker/sessions/session_node.h"

#include <algorithm>
#include <fstream>
#include <memory>
#include <string>

namespace headwise {

int64_t DefaultSessionBytes() {
  std::ifstream file("/proc/meminfo");
  std::string name;
  std::string unit;
  int64_t kib = 0;
  int64_t available = 0;
  while (file >> name >> kib >> unit) {
    if (name == "MemAvailable:") available = kib * 1024;
  }
  return std::max<int64_t>(available / 4, int64_t{64} << 20);
}

SessionNode::SessionNode(const SessionNodeOptions& options, const Clock& clock)
    : StoreNode(options.num_threads, [&](ThreadTeam& team) {
        return std::make_unique<SessionStore>(
            options.store, KernelsFor(options.isa), team, clock);
      }) {}

}  // namespace headwise
