#include "tests/cluster/rpc_seeds.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "google/protobuf/text_format.h"

namespace headwise {
namespace {

namespace pb = google::protobuf;

std::unique_ptr<pb::Message> NewInput(const pb::MethodDescriptor& method) {
  const pb::Message* prototype =
      pb::MessageFactory::generated_factory()->GetPrototype(
          method.input_type());
  return std::unique_ptr<pb::Message>(prototype->New());
}

absl::Status CheckAllMethods(
    const std::vector<RpcSeed>& seeds,
    const std::vector<const pb::FileDescriptor*>& files) {
  std::set<std::string> known;
  for (const RpcSeed& seed : seeds) known.insert(seed.method->full_name());
  for (const pb::FileDescriptor* file : files) {
    for (int i = 0; i < file->service_count(); ++i) {
      const pb::ServiceDescriptor& service = *file->service(i);
      for (int j = 0; j < service.method_count(); ++j) {
        const std::string& name = service.method(j)->full_name();
        if (known.count(name) == 0) {
          return absl::InvalidArgumentError("no seed of " + name);
        }
      }
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::string RpcSeed::path() const {
  return absl::StrCat("/", method->service()->full_name(), "/", method->name());
}

std::unique_ptr<pb::Message> CopyOf(const pb::Message& message) {
  std::unique_ptr<pb::Message> copy(message.New());
  copy->CopyFrom(message);
  return copy;
}

absl::StatusOr<std::vector<RpcSeed>> ReadRpcSeeds(
    absl::string_view text, const SeedNames& names,
    const std::vector<const pb::FileDescriptor*>& files) {
  std::vector<RpcSeed> seeds;
  std::string message_text;
  const auto end_message = [&]() -> absl::Status {
    if (seeds.empty()) return absl::OkStatus();
    RpcSeed& seed = seeds.back();
    if (message_text.empty() && !seed.messages.empty()) return absl::OkStatus();
    seed.messages.push_back(NewInput(*seed.method));
    if (!pb::TextFormat::ParseFromString(message_text,
                                         seed.messages.back().get())) {
      return absl::InvalidArgumentError(
          absl::StrCat(seed.path(), ": ", message_text));
    }
    message_text.clear();
    return absl::OkStatus();
  };
  const pb::DescriptorPool& pool = *pb::DescriptorPool::generated_pool();
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    const std::string words(absl::StripAsciiWhitespace(line));
    if (const auto* method = pool.FindMethodByName(words)) {
      HEADWISE_RETURN_IF_ERROR(end_message());
      seeds.push_back({.method = method, .messages = {}});
    } else if (!words.empty()) {
      absl::StrAppend(&message_text, absl::StrReplaceAll(words, names), "\n");
    } else if (!message_text.empty()) {
      HEADWISE_RETURN_IF_ERROR(end_message());
    }
  }
  HEADWISE_RETURN_IF_ERROR(end_message());
  HEADWISE_RETURN_IF_ERROR(CheckAllMethods(seeds, files));
  return seeds;
}

}  // namespace headwise
