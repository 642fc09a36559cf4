// A worker's neural memories with a thread of their own.

#ifndef HEADWISE_WORKER_MEMORY_PARTS_MEMORY_NODE_H_
#define HEADWISE_WORKER_MEMORY_PARTS_MEMORY_NODE_H_

#include "base/clock.h"
#include "worker/backends/cpu/isa.h"
#include "worker/leases/store_node.h"
#include "worker/memory_parts/memory_store.h"

namespace headwise {

struct MemoryNodeOptions {
  int num_threads = 1;
  Isa isa = Isa::kAvx2;
  MemoryStoreOptions store;
};

// Thread-safe.
class MemoryNode final : public StoreNode<MemoryStore> {
 public:
  explicit MemoryNode(const MemoryNodeOptions& options,
                      const Clock& clock = Clock::Monotonic());
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_MEMORY_PARTS_MEMORY_NODE_H_
