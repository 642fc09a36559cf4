// `headwise memory snapshot` and `restore`.

#include <memory>
#include <string>

#include "base/status_macros.h"
#include "client/cli/memory_commands.h"
#include "client/cli/snapshot_file.h"

namespace headwise {
namespace {

constexpr absl::string_view kFirstLine = "headwise memory snapshot 1";

struct SnapshotFlags {
  MemoryFlags memory;
  std::string file;
  std::string session_id;  // restore
};

absl::Status RunSnapshot(const SnapshotFlags& flags) {
  HEADWISE_ASSIGN_OR_RETURN(const auto client, ConnectToMemories(flags.memory));
  return WriteSnapshotFile(flags.file, kFirstLine, [&](const PutMessage& put) {
    return client->Snapshot(flags.memory.memory_id, put);
  });
}

absl::Status RunRestore(const SnapshotFlags& flags) {
  HEADWISE_ASSIGN_OR_RETURN(
      SnapshotFileReader file,
      SnapshotFileReader::Open(flags.file, kFirstLine, "a neural memory"));
  HEADWISE_ASSIGN_OR_RETURN(const auto client, ConnectToMemories(flags.memory));
  return PrintMemory(
      flags.memory, client->Restore([&](v1::MemorySnapshotPart* part) {
        const bool has_part = file.Next(part);
        if (has_part && part->has_header()) {
          part->mutable_header()->set_session_id(flags.session_id);
        }
        return absl::StatusOr<bool>(has_part);
      }));
}

}  // namespace

void AddMemorySnapshotCommands(CLI::App& memory, CommandRun* run) {
  CLI::App* snapshot =
      memory.add_subcommand("snapshot", "Write a memory to a file");
  auto flags = std::make_shared<SnapshotFlags>();
  AddMemoryFlags(*snapshot, flags->memory);
  AddMemoryId(*snapshot, flags->memory);
  snapshot->add_option("--file", flags->file, "Where to")->required();
  snapshot->final_callback(
      [run, flags] { *run = [flags] { return RunSnapshot(*flags); }; });
  snapshot->footer(
      "Example:\n  headwise memory snapshot ID --server 127.0.0.1:7600 --file "
      "m.snap");

  CLI::App* restore = memory.add_subcommand(
      "restore", "A new memory from a file, on a cluster of any size");
  auto restore_flags = std::make_shared<SnapshotFlags>();
  AddMemoryFlags(*restore, restore_flags->memory);
  restore->add_option("--file", restore_flags->file, "Where from")->required();
  restore->add_option("--session-id", restore_flags->session_id,
                      "The attention session that it shall belong to");
  restore->final_callback([run, restore_flags] {
    *run = [restore_flags] { return RunRestore(*restore_flags); };
  });
  restore->footer(
      "Example:\n  headwise memory restore --server 127.0.0.1:7600 --file "
      "m.snap");
}

}  // namespace headwise
