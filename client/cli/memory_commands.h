// The commands under `headwise memory`, and what they share.

#ifndef HEADWISE_CLIENT_CLI_MEMORY_COMMANDS_H_
#define HEADWISE_CLIENT_CLI_MEMORY_COMMANDS_H_

#include <memory>
#include <string>

#include "CLI/App.hpp"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/cli/commands.h"
#include "client/cli/flags.h"
#include "client/cpp/memory_client.h"

namespace headwise {

// Each adds its commands to `memory`, as in commands.h.
void AddMemoryCreateCommand(CLI::App& memory, CommandRun* run);
void AddMemoryWriteCommand(CLI::App& memory, CommandRun* run);
void AddMemoryReadCommand(CLI::App& memory, CommandRun* run);
void AddMemorySnapshotCommands(CLI::App& memory, CommandRun* run);

// Of all: server, timeout, tenant.
struct MemoryFlags {
  ClusterFlags cluster;
  std::string memory_id;
  bool json = false;
};
// --server, --timeout, --tenant, --json.
void AddMemoryFlags(CLI::App& command, MemoryFlags& flags);
// The memory that the command is about.
void AddMemoryId(CLI::App& command, MemoryFlags& flags);

// Errors are those of --tls-cert and its like.
absl::StatusOr<std::unique_ptr<MemoryClient>> ConnectToMemories(
    const MemoryFlags& flags);
// As one JSON object, or as a table of one row.
absl::Status PrintMemory(const MemoryFlags& flags,
                         const absl::StatusOr<v1::Memory>& memory);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_MEMORY_COMMANDS_H_
