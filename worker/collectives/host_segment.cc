#include "worker/collectives/host_segment.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace headwise {
namespace {

constexpr uint64_t kMagic = 0x70756f7267647768;  // "hwdgroup"
// Of worker.v1's protocol 1. Another layout is of another protocol.
constexpr uint32_t kVersion = 2;
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

// Slots begin on a page of their own.
constexpr int64_t kPageBytes = 4096;

int64_t StateBytes(int world_size) {
  const int64_t bytes =
      sizeof(SegmentHeader) + int64_t{world_size} * sizeof(RankState);
  return (bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
}

absl::Status SystemError(absl::string_view what) {
  return absl::ErrnoToStatus(errno, what);
}

}  // namespace

int64_t SumSlotBytes(const GroupOptions& options) {
  if (options.started_sum_bytes > kMaxStartedSumBytes) return 0;
  return (options.started_sum_bytes + 63) / 64 * 64;
}

int64_t SegmentBytes(const SegmentSpec& spec) {
  return StateBytes(spec.world_size) +
         spec.world_size *
             (kNumSlots * kSlotBytes + kNumPairSlots * kPairSlotBytes +
              kNumSumSlots * spec.sum_slot_bytes);
}

absl::StatusOr<std::shared_ptr<HostSegment>> HostSegment::Map(
    const SegmentSpec& spec, int descriptor) {
  const int flags = descriptor < 0 ? MAP_SHARED | MAP_ANONYMOUS : MAP_SHARED;
  void* base = mmap(nullptr, SegmentBytes(spec), PROT_READ | PROT_WRITE, flags,
                    descriptor, 0);
  if (base == MAP_FAILED) {
    const absl::Status status = SystemError("mmap of a group's segment");
    if (descriptor >= 0) close(descriptor);
    return status;
  }
  return std::shared_ptr<HostSegment>(
      new HostSegment(spec, descriptor, static_cast<uint8_t*>(base)));
}

absl::StatusOr<std::shared_ptr<HostSegment>> HostSegment::CreateInProcess(
    const SegmentSpec& spec) {
  HEADWISE_ASSIGN_OR_RETURN(auto segment, Map(spec, -1));
  segment->WriteHeader();
  return segment;
}

absl::StatusOr<std::shared_ptr<HostSegment>> HostSegment::CreateShared(
    const SegmentSpec& spec) {
  const int descriptor =
      memfd_create("headwise-group", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (descriptor < 0) return SystemError("memfd_create");
  const int64_t bytes = SegmentBytes(spec);
  // Reserves the pages now: later, a full memory would be SIGBUS.
  if (ftruncate(descriptor, bytes) != 0 ||
      fallocate(descriptor, 0, 0, bytes) != 0 ||
      fcntl(descriptor, F_ADD_SEALS, kSeals) != 0) {
    const absl::Status status = SystemError(
        absl::StrCat("reserving a group's segment of ", bytes, " bytes"));
    close(descriptor);
    return status;
  }
  HEADWISE_ASSIGN_OR_RETURN(auto segment, Map(spec, descriptor));
  segment->WriteHeader();
  return segment;
}

absl::StatusOr<std::shared_ptr<HostSegment>> HostSegment::OpenShared(
    const ProcessIdentity& owner, int descriptor, const SegmentSpec& spec) {
  if (!IsRunning(owner)) {
    return absl::UnavailableError(absl::StrCat(
        "process ", owner.pid, " that made the group's segment has died"));
  }
  const std::string path =
      absl::StrCat("/proc/", owner.pid, "/fd/", descriptor);
  // The path may name anything that its owner has open: O_NONBLOCK so that a
  // pipe does not hold us up.
  const int opened =
      open(path.c_str(), O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (opened < 0) return SystemError(absl::StrCat("opening ", path));
  struct stat file;
  const int64_t bytes = SegmentBytes(spec);
  if (fstat(opened, &file) != 0 || !S_ISREG(file.st_mode) ||
      file.st_size != bytes || fcntl(opened, F_GET_SEALS) != kSeals) {
    close(opened);
    return absl::FailedPreconditionError(
        absl::StrCat(path, " is not a sealed group segment of ", bytes,
                     " bytes for ", spec.world_size, " ranks"));
  }
  HEADWISE_ASSIGN_OR_RETURN(auto segment, Map(spec, opened));
  segment->Hide();
  HEADWISE_RETURN_IF_ERROR(segment->CheckHeader());
  return segment;
}

HostSegment::~HostSegment() {
  Hide();
  munmap(base_, SegmentBytes(spec_));
}

void HostSegment::Hide() {
  if (descriptor_ >= 0) close(std::exchange(descriptor_, -1));
}

void HostSegment::WriteHeader() {
  // The memory is new, hence zero: a valid state of every other field.
  SegmentHeader& mine = header();
  mine.magic = kMagic;
  mine.version = kVersion;
  mine.world_size = static_cast<uint32_t>(spec_.world_size);
  mine.membership_epoch = spec_.membership_epoch;
  mine.nonce = spec_.nonce;
  mine.sum_slot_bytes = spec_.sum_slot_bytes;
}

absl::Status HostSegment::CheckHeader() const {
  const SegmentHeader& theirs = header();
  const auto check = [](absl::string_view what, uint64_t found,
                        uint64_t wanted) {
    if (found == wanted) return absl::OkStatus();
    return absl::FailedPreconditionError(absl::StrCat(
        "the group's segment has ", what, " ", found, ", not ", wanted));
  };
  HEADWISE_RETURN_IF_ERROR(check("magic", theirs.magic, kMagic));
  HEADWISE_RETURN_IF_ERROR(check("version", theirs.version, kVersion));
  HEADWISE_RETURN_IF_ERROR(
      check("world size", theirs.world_size, spec_.world_size));
  HEADWISE_RETURN_IF_ERROR(check("membership epoch", theirs.membership_epoch,
                                 spec_.membership_epoch));
  HEADWISE_RETURN_IF_ERROR(check("nonce", theirs.nonce, spec_.nonce));
  return check("bytes of a sum", theirs.sum_slot_bytes, spec_.sum_slot_bytes);
}

absl::Status HostSegment::Claim(int rank, const ProcessIdentity& self) {
  RankState& state = rank_state(rank);
  int64_t nobody = 0;
  if (!state.pid.compare_exchange_strong(nobody, self.pid)) {
    return absl::FailedPreconditionError(absl::StrCat(
        "rank ", rank, " was taken by process ", nobody, " before"));
  }
  state.start_time.store(self.start_time);
  state.presence.store(Presence::kJoined);
  return absl::OkStatus();
}

SegmentHeader& HostSegment::header() const {
  return *reinterpret_cast<SegmentHeader*>(base_);
}

RankState& HostSegment::rank_state(int rank) const {
  HEADWISE_CHECK(rank >= 0 && rank < spec_.world_size);
  return *reinterpret_cast<RankState*>(base_ + sizeof(SegmentHeader) +
                                       int64_t{rank} * sizeof(RankState));
}

uint8_t* HostSegment::slot(int rank, int slot) const {
  HEADWISE_CHECK(rank >= 0 && rank < spec_.world_size);
  HEADWISE_CHECK(slot >= 0 && slot < kNumSlots);
  return base_ + StateBytes(spec_.world_size) +
         (int64_t{rank} * kNumSlots + slot) * kSlotBytes;
}

uint8_t* HostSegment::pair_slot(int rank, int slot) const {
  HEADWISE_CHECK(rank >= 0 && rank < spec_.world_size);
  HEADWISE_CHECK(slot >= 0 && slot < kNumPairSlots);
  return base_ + StateBytes(spec_.world_size) +
         int64_t{spec_.world_size} * kNumSlots * kSlotBytes +
         (int64_t{rank} * kNumPairSlots + slot) * kPairSlotBytes;
}

uint8_t* HostSegment::sum_slot(int rank, int slot) const {
  HEADWISE_CHECK(rank >= 0 && rank < spec_.world_size);
  HEADWISE_CHECK(slot >= 0 && slot < kNumSumSlots);
  return base_ + StateBytes(spec_.world_size) +
         int64_t{spec_.world_size} *
             (kNumSlots * kSlotBytes + kNumPairSlots * kPairSlotBytes) +
         (int64_t{rank} * kNumSumSlots + slot) * spec_.sum_slot_bytes;
}

}  // namespace headwise
