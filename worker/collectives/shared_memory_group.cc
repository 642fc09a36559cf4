#include "worker/collectives/shared_memory_group.h"

#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/time/clock.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "worker/collectives/endpoint.h"
#include "worker/collectives/host_segment.h"
#include "worker/collectives/process_identity.h"
#include "worker/collectives/segment_group.h"

namespace headwise {
namespace {

constexpr absl::Duration kJoinPollPeriod = absl::Milliseconds(1);
constexpr absl::Duration kLifePollPeriod = absl::Milliseconds(100);

// Names this one attempt, so that a segment of an earlier one is refused.
uint64_t NewNonce() {
  std::random_device random;
  return uint64_t{random()} << 32 | random();
}

// "host:pid:start_time" and, for rank 0, ":descriptor:nonce".
struct Location {
  std::string host;
  ProcessIdentity owner;
  int descriptor = -1;
  uint64_t nonce = 0;
};

std::string FormatLocation(const Location& location) {
  const std::string process = absl::StrCat(
      location.host, ":", location.owner.pid, ":", location.owner.start_time);
  if (location.descriptor < 0) return process;
  return absl::StrCat(process, ":", location.descriptor, ":", location.nonce);
}

absl::StatusOr<Location> ParseLocation(absl::string_view text, int rank) {
  const std::vector<absl::string_view> parts = absl::StrSplit(text, ':');
  Location location;
  location.host = std::string(parts[0]);
  const bool is_process =
      parts.size() == (rank > 0 ? 3 : 5) &&
      absl::SimpleAtoi(parts[1], &location.owner.pid) &&
      absl::SimpleAtoi(parts[2], &location.owner.start_time) &&
      location.owner.pid > 0;
  if (is_process && rank > 0) return location;
  if (is_process && absl::SimpleAtoi(parts[3], &location.descriptor) &&
      absl::SimpleAtoi(parts[4], &location.nonce) && location.descriptor >= 0) {
    return location;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("rank ", rank, " tells a malformed place of its segment: \"",
                   text.substr(0, 120), "\""));
}

class PendingSharedMemoryGroup final : public PendingGroup {
 public:
  PendingSharedMemoryGroup(const GroupSpec& spec, Location mine,
                           std::shared_ptr<HostSegment> segment)
      : spec_(spec),
        mine_(std::move(mine)),
        endpoint_(EncodeEndpoint(spec, FormatLocation(mine_))),
        segment_(std::move(segment)) {}

  const std::string& endpoint() const override { return endpoint_; }

  absl::StatusOr<std::unique_ptr<Group>> Join(
      absl::Span<const std::string> endpoints) override {
    if (was_joined_) {
      return absl::FailedPreconditionError("Join may be called once");
    }
    was_joined_ = true;
    HEADWISE_ASSIGN_OR_RETURN(const auto locations,
                              LocationsOf(endpoints, spec_));
    Location first;
    std::vector<ProcessIdentity> owners;
    for (int rank = 0; rank < spec_.world_size; ++rank) {
      HEADWISE_ASSIGN_OR_RETURN(Location theirs,
                                ParseLocation(locations[rank], rank));
      if (theirs.host != mine_.host) {
        return absl::FailedPreconditionError(absl::StrCat(
            "ranks ", spec_.rank, " and ", rank, " cannot share memory: host ",
            mine_.host, " and host ", theirs.host));
      }
      owners.push_back(theirs.owner);
      if (rank == 0) first = std::move(theirs);
    }
    if (spec_.rank > 0) HEADWISE_RETURN_IF_ERROR(OpenSegmentOf(first));
    HEADWISE_RETURN_IF_ERROR(segment_->Claim(spec_.rank, mine_.owner));
    HEADWISE_RETURN_IF_ERROR(AwaitAll(owners));
    segment_->Hide();
    return std::make_unique<SegmentGroup>(std::move(segment_), spec_.rank,
                                          GroupKindName(spec_.kind),
                                          spec_.options);
  }

 private:
  absl::Status OpenSegmentOf(const Location& first) {
    const SegmentSpec wanted = {.world_size = spec_.world_size,
                                .membership_epoch = spec_.membership_epoch,
                                .nonce = first.nonce,
                                .sum_slot_bytes = SumSlotBytes(spec_.options)};
    HEADWISE_ASSIGN_OR_RETURN(
        segment_,
        HostSegment::OpenShared(first.owner, first.descriptor, wanted));
    return absl::OkStatus();
  }

  // Whom nobody need wait for.
  absl::Status CheckAlive(const std::vector<int>& absent,
                          const std::vector<ProcessIdentity>& owners) const {
    for (const int rank : absent) {
      if (IsRunning(owners[rank])) continue;
      return absl::UnavailableError(
          absl::StrCat("rank ", rank, " has died before it joined: process ",
                       owners[rank].pid));
    }
    return absl::OkStatus();
  }

  absl::Status AwaitAll(const std::vector<ProcessIdentity>& owners) const {
    const Clock& clock = Clock::Monotonic();
    const absl::Time deadline = clock.Now() + spec_.join_timeout;
    absl::Time next_look = clock.Now();
    for (;;) {
      std::vector<int> absent;
      for (int rank = 0; rank < spec_.world_size; ++rank) {
        if (segment_->rank_state(rank).presence.load() == Presence::kAbsent) {
          absent.push_back(rank);
        }
      }
      if (absent.empty()) return absl::OkStatus();
      if (clock.Now() >= next_look) {
        HEADWISE_RETURN_IF_ERROR(CheckAlive(absent, owners));
        next_look = clock.Now() + kLifePollPeriod;
      }
      if (clock.Now() >= deadline) {
        return absl::DeadlineExceededError(absl::StrCat(
            "rank ", absl::StrJoin(absent, ", "), " did not join within ",
            absl::FormatDuration(spec_.join_timeout)));
      }
      absl::SleepFor(kJoinPollPeriod);
    }
  }

  const GroupSpec spec_;
  const Location mine_;
  const std::string endpoint_;
  std::shared_ptr<HostSegment> segment_;  // null for rank > 0 until Join
  bool was_joined_ = false;
};

}  // namespace

absl::StatusOr<std::unique_ptr<PendingGroup>> PrepareSharedMemoryGroup(
    const GroupSpec& spec) {
  Location mine;
  HEADWISE_ASSIGN_OR_RETURN(mine.host, HostId());
  HEADWISE_ASSIGN_OR_RETURN(mine.owner, OwnIdentity());
  std::shared_ptr<HostSegment> segment;
  if (spec.rank == 0) {
    mine.nonce = NewNonce();
    HEADWISE_ASSIGN_OR_RETURN(
        segment, HostSegment::CreateShared(
                     {.world_size = spec.world_size,
                      .membership_epoch = spec.membership_epoch,
                      .nonce = mine.nonce,
                      .sum_slot_bytes = SumSlotBytes(spec.options)}));
    mine.descriptor = segment->descriptor();
  }
  return std::make_unique<PendingSharedMemoryGroup>(spec, std::move(mine),
                                                    std::move(segment));
}

}  // namespace headwise
