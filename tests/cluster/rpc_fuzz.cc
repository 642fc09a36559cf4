// Any messages to any method that clients call, of a coordinator and a worker
// in this process. What its sanitizers or its own checks find is a finding, as
// is an answer that says that the server is wrong.
//
// An input is a byte that chooses the method, then messages, each after two
// bytes of its length.

#include <sys/stat.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "base/check.h"
#include "client/cli/local_server.h"
#include "model/files/test_model_writer.h"
#include "spdlog/spdlog.h"
#include "tests/cluster/client_seeds.h"
#include "tests/cluster/message_mutator.h"
#include "tests/cluster/rpc_storm.h"
#include "tests/support/child_process.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace headwise {
namespace {

constexpr size_t kMaxMessageBytes = UINT16_MAX;
// After so many inputs what they may have deleted is made anew.
constexpr int kInputsOfSeeds = 1000;

struct Input {
  size_t method = 0;  // index of a seed
  std::vector<std::string> messages;
};

class Target {
 public:
  static Target& Get() {
    static auto* const target = new Target();
    return *target;
  }

  const std::vector<RpcSeed>& seeds() const { return seeds_; }

  void Send(const Input& input) {
    if (++num_inputs_ % kInputsOfSeeds == 0) RenewSeeds();
    storm_->Send({.method = seeds_[input.method].path(),
                  .messages = input.messages,
                  .timeout = absl::Seconds(2)});
    storm_->Finish();
  }

 private:
  Target() {
    spdlog::set_level(spdlog::level::off);
    for (const char* name : {"corpus", "jobs", "out", "park"}) {
      HEADWISE_CHECK(mkdir(folder_.Path(name).c_str(), 0700) == 0);
    }
    HEADWISE_CHECK(WriteFile(folder_.Path("corpus/a.jsonl"),
                             "{\"id\": \"1\", \"text\": \"Some words.\"}\n")
                       .ok());
    LocalServerOptions options;
    options.cluster.model = folder_.Path("tiny.gguf");
    HEADWISE_CHECK(WriteFile(options.cluster.model, WriteTinyGguf({})).ok());
    options.cluster.local_workers = 1;
    options.cluster.threads = 1;
    options.cluster.context_len = 4096;
    options.listen_address = "";
    options.metrics_address = "";
    options.attention = true;
    options.attention_bytes = 64 << 20;
    options.neural_memory_bytes = 64 << 20;
    options.park_dir = folder_.Path("park");
    options.selection.state = folder_.Path("jobs");
    options.selection.inputs = {{"corpus", folder_.Path("corpus")}};
    options.selection.output = folder_.Path("out");
    server_ = LocalServer::Create(options).value();
    channel_ = server_->frontends().InProcessChannel();
    storm_ = std::make_unique<RpcStorm>(
        channel_, 1,
        [](const RpcStorm::Call&, const grpc::Status& status,
           const std::string&) {
          // Bytes that are no message get INTERNAL of gRPC itself.
          HEADWISE_CHECK(status.error_code() != grpc::StatusCode::UNKNOWN);
        });
    RenewSeeds();
  }

  void RenewSeeds() { seeds_ = ClientSeeds(channel_).value(); }

  TemporaryFolder folder_;
  std::unique_ptr<LocalServer> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<RpcStorm> storm_;
  std::vector<RpcSeed> seeds_;
  int num_inputs_ = 0;
};

Input Decode(absl::string_view bytes) {
  Input input;
  if (bytes.empty()) return input;
  input.method = static_cast<uint8_t>(bytes[0]) % Target::Get().seeds().size();
  bytes.remove_prefix(1);
  while (bytes.size() >= sizeof(uint16_t)) {
    uint16_t length = 0;
    std::memcpy(&length, bytes.data(), sizeof(length));
    bytes.remove_prefix(sizeof(length));
    input.messages.emplace_back(bytes.substr(0, length));
    bytes.remove_prefix(input.messages.back().size());
  }
  if (input.messages.empty()) input.messages.emplace_back();
  return input;
}

// Messages that are too long are left out.
std::string Encode(const Input& input) {
  std::string bytes(1, static_cast<char>(input.method));
  for (const std::string& message : input.messages) {
    if (message.size() > kMaxMessageBytes) continue;
    const auto length = static_cast<uint16_t>(message.size());
    bytes.append(reinterpret_cast<const char*>(&length), sizeof(length));
    bytes.append(message);
  }
  return bytes;
}

Input SeedInput(size_t method) {
  Input input = {.method = method, .messages = {}};
  for (const auto& message : Target::Get().seeds()[method].messages) {
    input.messages.push_back(message->SerializeAsString());
  }
  return input;
}

void Mutate(Input& input, MessageMutator& mutator) {
  std::string& bytes = input.messages[mutator.Below(
      static_cast<uint32_t>(input.messages.size()))];
  const RpcSeed& seed = Target::Get().seeds()[input.method];
  const std::unique_ptr<google::protobuf::Message> message(
      seed.messages[0]->New());
  if (mutator.Below(4) != 0 && message->ParseFromString(bytes)) {
    mutator.Mutate(*message);
    bytes = message->SerializeAsString();
    return;
  }
  const size_t size = bytes.size();
  bytes.resize(size + 64);
  bytes.resize(LLVMFuzzerMutate(reinterpret_cast<uint8_t*>(bytes.data()), size,
                                bytes.size()));
}

}  // namespace
}  // namespace headwise

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size,
                                          size_t max_size, unsigned int seed) {
  headwise::MessageMutator mutator(seed);
  headwise::Input input =
      headwise::Decode({reinterpret_cast<const char*>(data), size});
  if (size < 2 || mutator.Below(16) == 0) {
    input = headwise::SeedInput(mutator.Below(
        static_cast<uint32_t>(headwise::Target::Get().seeds().size())));
  }
  headwise::Mutate(input, mutator);
  const std::string bytes = headwise::Encode(input);
  if (bytes.size() > max_size) return size;
  std::memcpy(data, bytes.data(), bytes.size());
  return bytes.size();
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  headwise::Target::Get().Send(
      headwise::Decode({reinterpret_cast<const char*>(data), size}));
  return 0;
}
