// What a memory's weights begin with. Pure.

#ifndef HEADWISE_SERVER_NEURAL_MEMORY_INITIAL_WEIGHTS_H_
#define HEADWISE_SERVER_NEURAL_MEMORY_INITIAL_WEIGHTS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "model/memory_spec.h"
#include "server/neural_memory/memory_types.h"

namespace headwise {

// [spec.num_weights()] of one head: each matrix [in][out] uniform in (-a, a), a
// = sqrt(6 / (in + out)) (Glorot and Bengio, AISTATS 2010, equation 16); gamma
// 0. The weights of a head depend on its number, the seed and the spec alone.
std::vector<float> DrawMemoryWeights(const MemorySpec& spec, uint64_t seed,
                                     int64_t head);

// InvalidArgument unless the start has no weights, or fp32 [num_heads]
// [num_weights] that are finite and each head's within max_norm: names the
// first head and weight that are not.
absl::Status CheckMemoryStart(const MemoryConfig& config,
                              const MemoryStart& start);
// Of one head of a start that was checked.
std::vector<float> InitialMemoryWeights(const MemoryConfig& config,
                                        const MemoryStart& start, int64_t head);

}  // namespace headwise

#endif  // HEADWISE_SERVER_NEURAL_MEMORY_INITIAL_WEIGHTS_H_
