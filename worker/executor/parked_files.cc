#include "worker/executor/parked_files.h"

#include <unistd.h>

#include <random>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace headwise {
namespace {

std::string RandomTag() {
  std::random_device random;
  const uint64_t high = random();
  return absl::StrCat(absl::Hex(high << 32 | random(), absl::kZeroPad16));
}

}  // namespace

ParkedFiles::ParkedFiles(std::string dir)
    : dir_(std::move(dir)), tag_(RandomTag()) {}

ParkedFiles::~ParkedFiles() {
  for (const uint64_t id : files_) unlink(PathOf(id).c_str());
}

std::string ParkedFiles::PathOf(uint64_t sequence_id) const {
  return absl::StrCat(dir_, "/headwise-", tag_, "-", sequence_id, ".kv");
}

void ParkedFiles::Erase(uint64_t sequence_id) {
  if (files_.erase(sequence_id) == 0) return;
  unlink(PathOf(sequence_id).c_str());
}

ParkOutcome ParkedFiles::Apply(const ParkRequest& request,
                               Sequences* sequences) {
  const uint64_t id = request.sequence_id;
  switch (request.action) {
    case ParkAction::kWrite:
      return Write(id, *sequences);
    case ParkAction::kUnload:
      sequences->Free(id);
      return {};
    case ParkAction::kErase:
      Erase(id);
      return {};
    case ParkAction::kRead:
      if (!files_.contains(id)) {
        return {absl::InvalidArgumentError(
            absl::StrCat("sequence ", id, " is not parked here"))};
      }
      return {sequences->ReadFile(id, request.plan_id, PathOf(id))};
  }
  return {absl::InvalidArgumentError("no such park action")};
}

ParkOutcome ParkedFiles::Write(uint64_t sequence_id,
                               const Sequences& sequences) {
  if (dir_.empty()) {
    return {absl::FailedPreconditionError(
        "this worker has no folder for parked sequences: --park-dir")};
  }
  if (files_.contains(sequence_id)) {
    return {absl::InvalidArgumentError(
        absl::StrCat("sequence ", sequence_id, " is parked already"))};
  }
  const absl::StatusOr<int64_t> bytes =
      sequences.WriteFile(sequence_id, PathOf(sequence_id));
  if (!bytes.ok()) {
    return {absl::Status(
        bytes.status().code(),
        absl::StrCat(bytes.status().message(),
                     "; it stays in memory and is on no disk, so it is not "
                     "durable"))};
  }
  files_.insert(sequence_id);
  return {absl::OkStatus(), *bytes};
}

}  // namespace headwise
