// What a worker holds for coordinators, by name, for as long as they name it.

#ifndef HEADWISE_WORKER_LEASES_LEASE_TABLE_H_
#define HEADWISE_WORKER_LEASES_LEASE_TABLE_H_

#include <cstdint>
#include <iterator>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/clock.h"

namespace headwise {

struct LeaseTableOptions {
  const char* noun = "";    // in messages: "session"; a literal
  const char* plural = "";  // "sessions"
  // What no coordinator has named for so long is dropped: its coordinator is
  // gone.
  absl::Duration lease = absl::Seconds(60);
  int64_t max_parts = 4096;
};

// Not thread-safe. Naming a part renews its lease.
template <typename Part>
class LeaseTable {
 public:
  // `clock` must outlive the table.
  LeaseTable(const LeaseTableOptions& options, const Clock& clock)
      : options_(options), clock_(clock) {}

  // NotFound if it is not here.
  absl::StatusOr<Part*> Find(const std::string& id) {
    const auto found = entries_.find(id);
    if (found == entries_.end()) {
      return absl::NotFoundError(
          absl::StrCat("this worker has no such ", options_.noun));
    }
    found->second.lease_end = clock_.Now() + options_.lease;
    return found->second.part.get();
  }

  // InvalidArgument, AlreadyExists or ResourceExhausted: no part of that name
  // may be added.
  absl::Status CheckNew(const std::string& id) const {
    if (id.empty() || id.size() > kMaxIdBytes) {
      return absl::InvalidArgumentError(
          absl::StrCat(options_.noun, "_id has ", id.size(),
                       " bytes, allowed 1 to ", kMaxIdBytes));
    }
    if (entries_.count(id) > 0) {
      return absl::AlreadyExistsError(
          absl::StrCat("this worker has the ", options_.noun, " already"));
    }
    if (size() >= options_.max_parts) {
      return absl::ResourceExhaustedError(
          absl::StrCat(size(), " ", options_.plural, " are open, at most ",
                       options_.max_parts));
    }
    return absl::OkStatus();
  }
  // Requires CheckNew.
  void Add(const std::string& id, std::unique_ptr<Part> part) {
    entries_[id] = {std::move(part), clock_.Now() + options_.lease};
  }
  absl::Status Delete(const std::string& id) {
    const absl::Status found = Find(id).status();
    if (found.ok()) entries_.erase(id);
    return found;
  }

  // Renews the leases of these; returns those that are not here. Parts whose
  // lease has ended are dropped.
  std::vector<std::string> Renew(const std::vector<std::string>& ids) {
    std::vector<std::string> missing;
    for (const std::string& id : ids) {
      if (!Find(id).ok()) missing.push_back(id);
    }
    const absl::Time now = clock_.Now();
    for (auto entry = entries_.begin(); entry != entries_.end();) {
      entry = entry->second.lease_end < now ? entries_.erase(entry)
                                            : std::next(entry);
    }
    return missing;
  }

  int64_t size() const { return static_cast<int64_t>(entries_.size()); }
  // The sum of `of` over all parts.
  template <typename Of>
  int64_t Sum(Of of) const {
    int64_t sum = 0;
    for (const auto& [id, entry] : entries_) sum += of(*entry.part);
    return sum;
  }

 private:
  static constexpr size_t kMaxIdBytes = 64;

  struct Entry {
    std::unique_ptr<Part> part;
    absl::Time lease_end;
  };
  const LeaseTableOptions options_;
  const Clock& clock_;
  std::map<std::string, Entry> entries_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_LEASES_LEASE_TABLE_H_
