// The part of the manager that finds out whose fault it was.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/dispatch/cluster_manager.h"

namespace headwise {

// Of the group that was lost.
void ClusterManager::BlameFor(const FormedGroup& group, const GroupLoss& loss) {
  const std::vector<size_t> silent = former_.FindSilent(group.links);
  const auto is_silent = [&silent](size_t rank) {
    return std::count(silent.begin(), silent.end(), rank) > 0;
  };
  if (loss.rank.has_value()) {
    const Member& member = group.members.at(*loss.rank);
    if (loss.is_wrong) {
      Blame(member, "answered wrongly");
    } else if (!is_silent(*loss.rank)) {
      Suspect(member, "failed");
    }
  }
  // Alive, and too slow for its peers: the first time is free, as for all that
  // may be another's fault.
  for (const size_t rank : loss.late) {
    if (!is_silent(rank))
      Suspect(group.members.at(rank), "kept others waiting");
  }
  for (const size_t rank : silent) {
    Exclude(group.members[rank], "does not answer");
  }
}

// Workers that are alive but can't reach each other tell nobody whose fault it
// is. When the same ones fail twice, the one that came last goes: so step by
// step what remains is what works.
void ClusterManager::BlameNewest(const std::vector<Member>& members,
                                 const FormationFailure& failure) {
  std::vector<uint64_t> nameless;
  if (failure.in_join && failure.silent.empty() && members.size() > 1) {
    nameless = RegistrationsOf(members);
  }
  const bool again = !nameless.empty() && nameless == nameless_failure_;
  nameless_failure_ = std::move(nameless);
  if (!again) return;
  const Member& newest = *std::max_element(
      members.begin(), members.end(), [](const Member& a, const Member& b) {
        return a.registration_id < b.registration_id;
      });
  Blame(newest, "came last of those that can't join");
}

void ClusterManager::Blame(const Member& member, const std::string& why) {
  SayLeftOut(member, why, quarantine_.Blame(member.info.name));
}

void ClusterManager::Suspect(const Member& member, const std::string& why) {
  SayLeftOut(member, why, quarantine_.Suspect(member.info.name));
}

void ClusterManager::Exclude(const Member& member, const std::string& why) {
  Suspect(member, why);
  links_.erase(member.registration_id);
  deps_.membership.Remove(member.registration_id);
}

void ClusterManager::SayLeftOut(const Member& member, const std::string& why,
                                absl::Duration left_out) const {
  std::string line = absl::StrCat("worker ", member.info.name, " ", why);
  if (left_out > absl::ZeroDuration()) {
    absl::StrAppend(&line, ": left out for ", absl::FormatDuration(left_out));
  }
  Log(line);
}

}  // namespace headwise
