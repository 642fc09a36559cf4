#include "client/cli/snapshot_file.h"

#include <cstdint>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"

namespace headwise {
namespace {

constexpr uint32_t kMaxMessageBytes = 16 << 20;

std::string LengthBytes(uint32_t length) {
  std::string bytes;
  for (int i = 0; i < 4; ++i) {
    bytes += static_cast<char>(length >> (8 * i) & 0xff);
  }
  return bytes;
}

}  // namespace

absl::Status WriteSnapshotFile(
    const std::string& path, absl::string_view first_line,
    const std::function<absl::Status(const PutMessage&)>& write) {
  const std::string part_path = path + ".part";
  std::ofstream out(part_path, std::ios::binary);
  out << first_line << '\n';
  const absl::Status status =
      write([&out](const google::protobuf::Message& message) {
        const std::string bytes = message.SerializeAsString();
        out << LengthBytes(static_cast<uint32_t>(bytes.size())) << bytes;
        return out.good();
      });
  out.close();
  std::error_code error;
  if (status.ok() && out) {
    std::filesystem::rename(part_path, path, error);
    if (!error) return absl::OkStatus();
  }
  std::filesystem::remove(part_path, error);
  if (!out) {
    return absl::UnavailableError(absl::StrCat("cannot write ", part_path));
  }
  return status.ok()
             ? absl::UnavailableError(absl::StrCat("cannot write ", path))
             : status;
}

absl::StatusOr<SnapshotFileReader> SnapshotFileReader::Open(
    const std::string& path, absl::string_view first_line,
    absl::string_view what) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::NotFoundError(absl::StrCat("cannot read ", path));
  std::string line(first_line.size() + 1, '\0');
  if (!in.read(line.data(), static_cast<std::streamsize>(line.size())) ||
      line != absl::StrCat(first_line, "\n")) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " is not a snapshot of ", what));
  }
  return SnapshotFileReader(std::move(in));
}

bool SnapshotFileReader::Next(google::protobuf::Message* message) {
  std::string bytes(4, '\0');
  if (!in_.read(bytes.data(), 4)) return false;
  uint32_t length = 0;
  for (int i = 0; i < 4; ++i) {
    length |= uint32_t{static_cast<uint8_t>(bytes[i])} << (8 * i);
  }
  if (length > kMaxMessageBytes) return false;
  bytes.resize(length);
  return in_.read(bytes.data(), length) && message->ParseFromString(bytes);
}

}  // namespace headwise
