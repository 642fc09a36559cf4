#include "worker/memory_parts/memory_node.h"

#include <memory>

namespace headwise {

MemoryNode::MemoryNode(const MemoryNodeOptions& options, const Clock& clock)
    : StoreNode(options.num_threads, [&](ThreadTeam& team) {
        return std::make_unique<MemoryStore>(
            options.store, MemoryKernelsFor(options.isa), team, clock);
      }) {}

}  // namespace headwise
