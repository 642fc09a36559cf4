// A good request of every method that clients call.

#ifndef HEADWISE_TESTS_CLUSTER_CLIENT_SEEDS_H_
#define HEADWISE_TESTS_CLUSTER_CLIENT_SEEDS_H_

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "grpcpp/channel.h"
#include "tests/cluster/rpc_seeds.h"

namespace headwise {

// Opens an attention session and a neural memory at the server for requests to
// name. It should have an input root "corpus" with a file a.jsonl. An error
// says what the server refused, or that a method has no seed.
absl::StatusOr<std::vector<RpcSeed>> ClientSeeds(
    const std::shared_ptr<grpc::Channel>& channel);

}  // namespace headwise

#endif  // HEADWISE_TESTS_CLUSTER_CLIENT_SEEDS_H_
