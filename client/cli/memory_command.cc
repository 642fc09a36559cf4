#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "client/cli/json_output.h"
#include "client/cli/memory_commands.h"
#include "client/cpp/client_call.h"

namespace headwise {
namespace {

using Json = nlohmann::ordered_json;
using Run = absl::Status (*)(const MemoryFlags& flags, MemoryClient& client);

Json ToJson(const v1::Memory& memory) {
  const v1::MemorySpec& spec = memory.config().spec();
  Json workers = Json::array();
  for (const v1::Memory::Worker& worker : memory.workers()) {
    workers.push_back({{"name", worker.name()},
                       {"first_head", worker.first_head()},
                       {"num_heads", worker.num_heads()},
                       {"reserved_bytes", worker.reserved_bytes()}});
  }
  return {{"memory_id", memory.memory_id()},
          {"num_tokens", memory.num_tokens()},
          {"num_heads", spec.num_heads()},
          {"head_dim", spec.head_dim()},
          {"num_layers", spec.num_layers()},
          {"hidden_dim", spec.hidden_dim()},
          {"chunk_len", spec.chunk_len()},
          {"state_bytes", memory.state_bytes()},
          {"reserved_bytes", memory.reserved_bytes()},
          {"frozen", memory.frozen()},
          {"of_session", memory.of_session()},
          {"workers", workers},
          {"lost", memory.lost()}};
}

void PrintHeadline() {
  absl::PrintF("%-32s  %5s  %4s  %11s  %11s  %s\n", "memory", "heads", "dim",
               "tokens", "state bytes", "");
}

void PrintRow(const v1::Memory& memory) {
  const v1::MemorySpec& spec = memory.config().spec();
  absl::PrintF("%-32s  %5d  %4d  %11d  %11d  %s\n", memory.memory_id(),
               spec.num_heads(), spec.head_dim(), memory.num_tokens(),
               memory.state_bytes(),
               !memory.lost().empty() ? "lost: " + memory.lost()
               : memory.frozen()      ? "frozen"
                                      : "");
}

absl::Status RunList(const MemoryFlags& flags, MemoryClient& client) {
  HEADWISE_ASSIGN_OR_RETURN(const v1::ListMemoriesResponse list, client.List());
  if (flags.json) {
    Json memories = Json::array();
    for (const v1::Memory& memory : list.memories()) {
      memories.push_back(ToJson(memory));
    }
    PrintJsonLine({{"memories", memories}});
    return absl::OkStatus();
  }
  PrintHeadline();
  for (const v1::Memory& memory : list.memories()) PrintRow(memory);
  return absl::OkStatus();
}

absl::Status RunShow(const MemoryFlags& flags, MemoryClient& client) {
  return PrintMemory(flags, client.Get(flags.memory_id));
}

absl::Status RunDropOpen(const MemoryFlags& flags, MemoryClient& client) {
  HEADWISE_ASSIGN_OR_RETURN(const v1::DropOpenTokensResponse dropped,
                            client.DropOpenTokens(flags.memory_id));
  if (flags.json) {
    PrintJsonLine({{"num_dropped", dropped.num_dropped()},
                   {"num_tokens", dropped.num_tokens()}});
  } else {
    absl::PrintF("%d tokens dropped, %d left\n", dropped.num_dropped(),
                 dropped.num_tokens());
  }
  return absl::OkStatus();
}

absl::Status RunFreeze(const MemoryFlags& flags, MemoryClient& client) {
  return PrintMemory(flags, client.Freeze(flags.memory_id));
}

absl::Status RunUnfreeze(const MemoryFlags& flags, MemoryClient& client) {
  return PrintMemory(flags, client.Unfreeze(flags.memory_id));
}

absl::Status RunFork(const MemoryFlags& flags, MemoryClient& client) {
  v1::ForkMemoryRequest request;
  request.set_memory_id(flags.memory_id);
  return PrintMemory(flags, client.Fork(request));
}

absl::Status RunDelete(const MemoryFlags& flags, MemoryClient& client) {
  return client.Delete(flags.memory_id);
}

void Add(CLI::App& memory, const std::string& name,
         const std::string& description, Run what, CommandRun* run) {
  CLI::App* command = memory.add_subcommand(name, description);
  auto flags = std::make_shared<MemoryFlags>();
  AddMemoryFlags(*command, *flags);
  if (what != RunList) AddMemoryId(*command, *flags);
  command->final_callback([run, what, flags] {
    *run = [what, flags]() -> absl::Status {
      HEADWISE_ASSIGN_OR_RETURN(const auto client, ConnectToMemories(*flags));
      return what(*flags, *client);
    };
  });
  command->footer(absl::StrCat("Example:\n  headwise memory ", name,
                               what == RunList ? "" : " ID",
                               " --server 127.0.0.1:7600"));
}

}  // namespace

void AddMemoryFlags(CLI::App& command, MemoryFlags& flags) {
  AddServerFlags(command, flags.cluster);
  command.add_option("--tenant", flags.cluster.tenant,
                     "Whose memories, at most 128 bytes; default: nobody's");
  command.add_flag("--json", flags.json, "The answer as one JSON object");
}

void AddMemoryId(CLI::App& command, MemoryFlags& flags) {
  command.add_option("memory", flags.memory_id, "Its memory_id")->required();
}

absl::StatusOr<std::unique_ptr<MemoryClient>> ConnectToMemories(
    const MemoryFlags& flags) {
  ClientOptions options;
  options.timeout = absl::Seconds(flags.cluster.timeout_seconds);
  options.tenant = flags.cluster.tenant;
  HEADWISE_ASSIGN_OR_RETURN(options.security,
                            TransportSecurity::ForClient(flags.cluster.tls));
  return std::make_unique<MemoryClient>(
      MakeClientChannel(flags.cluster.server, options.security),
      OptionsFor(flags.cluster.server, options));
}

absl::Status PrintMemory(const MemoryFlags& flags,
                         const absl::StatusOr<v1::Memory>& memory) {
  if (!memory.ok()) return memory.status();
  if (flags.json) {
    PrintJsonLine(ToJson(*memory));
  } else {
    PrintHeadline();
    PrintRow(*memory);
  }
  return absl::OkStatus();
}

void AddMemoryCommand(CLI::App& app, CommandRun* run) {
  CLI::App* memory = app.add_subcommand(
      "memory", "Neural memories that learn keys and values as they come");
  memory->require_subcommand(1);
  AddMemoryCreateCommand(*memory, run);
  AddMemoryWriteCommand(*memory, run);
  AddMemoryReadCommand(*memory, run);
  Add(*memory, "list", "The memories that a server holds", RunList, run);
  Add(*memory, "show", "What a memory is", RunShow, run);
  Add(*memory, "drop-open", "Forget the tokens since the last whole chunk",
      RunDropOpen, run);
  Add(*memory, "freeze", "Refuse writes to a memory", RunFreeze, run);
  Add(*memory, "unfreeze", "Take writes again", RunUnfreeze, run);
  Add(*memory, "fork", "A second memory that begins as this one is", RunFork,
      run);
  AddMemorySnapshotCommands(*memory, run);
  Add(*memory, "delete", "Let a memory go", RunDelete, run);
  memory->footer(
      "Examples:\n"
      "  headwise memory create --server 127.0.0.1:7600 --heads 4 --head-dim "
      "64 --theta 0.05\n"
      "  headwise memory write ID --server 127.0.0.1:7600 --keys k.npy "
      "--values v.npy\n"
      "  headwise memory read ID --server 127.0.0.1:7600 --queries q.npy "
      "--output o.npy\n"
      "Tensors are .npy files of [tokens, heads, head_dim], or plain bytes.");
}

}  // namespace headwise
