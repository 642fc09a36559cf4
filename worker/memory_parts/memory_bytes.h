// Bytes of a neural memory, known from its spec alone.

#ifndef HEADWISE_WORKER_MEMORY_PARTS_MEMORY_BYTES_H_
#define HEADWISE_WORKER_MEMORY_PARTS_MEMORY_BYTES_H_

#include <cstdint>

#include "model/memory_spec.h"

namespace headwise {

// Weights and momentum of one head.
int64_t MemoryStateBytes(const MemorySpec& spec);

// The most that a worker needs for one head: the state, the rows of an open
// chunk with what is worked out for them, and both once more, since what a
// write began with is kept until the next one.
int64_t MemoryReservedBytes(const MemorySpec& spec);

// The most that SaveMemoryHead makes of one head.
int64_t MaxSavedMemoryBytes(const MemorySpec& spec);

}  // namespace headwise

#endif  // HEADWISE_WORKER_MEMORY_PARTS_MEMORY_BYTES_H_
