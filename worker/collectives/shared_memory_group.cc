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

// Names this one attempt, so that a segment of an earlier one is refused.
uint64_t NewNonce() {
  std::random_device random;
  return uint64_t{random()} << 32 | random();
}

// "host" or, for rank 0, "host:pid:start_time:descriptor:nonce".
struct Location {
  std::string host;
  ProcessIdentity owner;
  int descriptor = -1;
  uint64_t nonce = 0;
};

std::string FormatLocation(const Location& location) {
  if (location.descriptor < 0) return location.host;
  return absl::StrCat(location.host, ":", location.owner.pid, ":",
                      location.owner.start_time, ":", location.descriptor, ":",
                      location.nonce);
}

absl::StatusOr<Location> ParseLocation(absl::string_view text, int rank) {
  const std::vector<absl::string_view> parts = absl::StrSplit(text, ':');
  Location location;
  location.host = std::string(parts[0]);
  const bool is_valid =
      rank > 0 ? parts.size() == 1
               : parts.size() == 5 &&
                     absl::SimpleAtoi(parts[1], &location.owner.pid) &&
                     absl::SimpleAtoi(parts[2], &location.owner.start_time) &&
                     absl::SimpleAtoi(parts[3], &location.descriptor) &&
                     absl::SimpleAtoi(parts[4], &location.nonce) &&
                     location.owner.pid > 0 && location.descriptor >= 0;
  if (is_valid) return location;
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
    for (int rank = 0; rank < spec_.world_size; ++rank) {
      HEADWISE_ASSIGN_OR_RETURN(Location theirs,
                                ParseLocation(locations[rank], rank));
      if (theirs.host != mine_.host) {
        return absl::FailedPreconditionError(absl::StrCat(
            "ranks ", spec_.rank, " and ", rank, " cannot share memory: host ",
            mine_.host, " and host ", theirs.host));
      }
      if (rank == 0) first = std::move(theirs);
    }
    if (spec_.rank > 0) HEADWISE_RETURN_IF_ERROR(OpenSegmentOf(first));
    HEADWISE_RETURN_IF_ERROR(segment_->Claim(spec_.rank, mine_.owner));
    HEADWISE_RETURN_IF_ERROR(AwaitAll());
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

  absl::Status AwaitAll() const {
    const Clock& clock = Clock::Monotonic();
    const absl::Time deadline = clock.Now() + spec_.join_timeout;
    for (;;) {
      std::vector<int> absent;
      for (int rank = 0; rank < spec_.world_size; ++rank) {
        if (segment_->rank_state(rank).presence.load() == Presence::kAbsent) {
          absent.push_back(rank);
        }
      }
      if (absent.empty()) return absl::OkStatus();
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
