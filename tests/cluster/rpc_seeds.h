// A good request of every method, from which hostile ones are made.

#ifndef HEADWISE_TESTS_CLUSTER_RPC_SEEDS_H_
#define HEADWISE_TESTS_CLUSTER_RPC_SEEDS_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"

namespace headwise {

struct RpcSeed {
  const google::protobuf::MethodDescriptor* method;
  std::vector<std::unique_ptr<google::protobuf::Message>> messages;

  std::string path() const;  // "/headwise.v1.Inference/Generate"
};

// Names that texts of seeds may use, such as "$SESSION", and what they stand
// for. Bytes go in by absl::CEscape.
using SeedNames = std::vector<std::pair<std::string, std::string>>;

std::unique_ptr<google::protobuf::Message> CopyOf(
    const google::protobuf::Message& message);

// From the text of each method's messages:
//
//   headwise.v1.Inference.Generate
//   text: "The capital" options { max_tokens: 4 }
//
// A line that is a method's full name begins a seed; an empty line ends a
// message, of which a stream may have several. InvalidArgument names what can't
// be read, or a method of the services of these files that has none.
absl::StatusOr<std::vector<RpcSeed>> ReadRpcSeeds(
    absl::string_view text, const SeedNames& names,
    const std::vector<const google::protobuf::FileDescriptor*>& files);

}  // namespace headwise

#endif  // HEADWISE_TESTS_CLUSTER_RPC_SEEDS_H_
