// `headwise memory snapshot` and `restore`: a file with a first line, then
// messages with their lengths, as client/python/headwise/snapshot_file.py has
// it.

#include <filesystem>
#include <fstream>
#include <memory>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "client/cli/memory_commands.h"

namespace headwise {
namespace {

constexpr absl::string_view kFirstLine = "headwise memory snapshot 1\n";
constexpr uint32_t kMaxMessageBytes = 16 << 20;

struct SnapshotFlags {
  MemoryFlags memory;
  std::string file;
  std::string session_id;  // restore
};

std::string LengthBytes(uint32_t length) {
  std::string bytes;
  for (int i = 0; i < 4; ++i) {
    bytes += static_cast<char>(length >> (8 * i) & 0xff);
  }
  return bytes;
}

// The file appears once it is whole.
absl::Status RunSnapshot(const SnapshotFlags& flags) {
  const std::string part_path = flags.file + ".part";
  std::ofstream out(part_path, std::ios::binary);
  out << kFirstLine;
  MemoryClient client = ConnectToMemories(flags.memory);
  absl::Status status = client.Snapshot(
      flags.memory.memory_id, [&](const v1::MemorySnapshotPart& part) {
        const std::string bytes = part.SerializeAsString();
        out << LengthBytes(static_cast<uint32_t>(bytes.size())) << bytes;
        return out.good();
      });
  out.close();
  std::error_code error;
  if (status.ok() && out) {
    std::filesystem::rename(part_path, flags.file, error);
    if (!error) return absl::OkStatus();
  }
  std::filesystem::remove(part_path, error);
  if (!out) {
    return absl::UnavailableError(absl::StrCat("cannot write ", part_path));
  }
  return status.ok()
             ? absl::UnavailableError(absl::StrCat("cannot write ", flags.file))
             : status;
}

// The next message; false after the last one. The server refuses what is cut or
// changed, so what can't be read ends the parts.
bool ReadPart(std::istream& in, v1::MemorySnapshotPart* part) {
  std::string bytes(4, '\0');
  if (!in.read(bytes.data(), 4)) return false;
  uint32_t length = 0;
  for (int i = 0; i < 4; ++i) {
    length |= uint32_t{static_cast<uint8_t>(bytes[i])} << (8 * i);
  }
  if (length > kMaxMessageBytes) return false;
  bytes.resize(length);
  return in.read(bytes.data(), length) && part->ParseFromString(bytes);
}

absl::Status RunRestore(const SnapshotFlags& flags) {
  std::ifstream in(flags.file, std::ios::binary);
  std::string line(kFirstLine.size(), '\0');
  if (!in) return absl::NotFoundError(absl::StrCat("cannot read ", flags.file));
  if (!in.read(line.data(), static_cast<std::streamsize>(line.size())) ||
      line != kFirstLine) {
    return absl::InvalidArgumentError(
        absl::StrCat(flags.file, " is not a snapshot of a neural memory"));
  }
  MemoryClient client = ConnectToMemories(flags.memory);
  return PrintMemory(
      flags.memory, client.Restore([&](v1::MemorySnapshotPart* part) {
        const bool has_part = ReadPart(in, part);
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
