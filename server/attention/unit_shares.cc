#include "server/attention/unit_shares.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "worker/sessions/session_geometry.h"

namespace headwise {
namespace {

constexpr int64_t kCutsOfUnit = 64;

// Positions that a unit reads for a query at the end of the context.
double WorkOf(const UnitPolicy& policy, int64_t max_positions) {
  int64_t read = max_positions;
  switch (policy.kind) {
    case PolicyKind::kStreaming:
    case PolicyKind::kRazor:
      read = policy.num_sinks + policy.window;
      break;
    case PolicyKind::kQuest:
      // A page's bounds are as much as the key and the value of one position.
      read = policy.num_chunks * policy.chunk_len +
             max_positions / policy.chunk_len;
      break;
    case PolicyKind::kLandmarkOracle:
      // Every block to choose from, then those chosen.
      return static_cast<double>(max_positions) +
             static_cast<double>(
                 std::min(max_positions, policy.num_chunks * policy.chunk_len));
    default:
      break;
  }
  return static_cast<double>(std::min(max_positions, read));
}

// A worker's part of one unit, in kCutsOfUnit-ths.
struct Holder {
  size_t worker;
  int64_t weight;
};

// Range by range to the holder that has least for its weight.
void DealRanges(int64_t kv_head, const std::vector<Holder>& holders,
                int64_t max_positions,
                std::vector<std::vector<UnitShare>>& shares) {
  std::vector<std::vector<int32_t>> ranges(holders.size());
  std::vector<int64_t> dealt(holders.size());
  for (int32_t r = 0; r < NumRanges(max_positions); ++r) {
    const int64_t size = RangeEnd(BeginOfRange(r)) - BeginOfRange(r);
    size_t best = 0;
    for (size_t i = 1; i < holders.size(); ++i) {
      // (dealt + size) / weight, compared without division.
      if ((dealt[i] + size) * holders[best].weight <
          (dealt[best] + size) * holders[i].weight) {
        best = i;
      }
    }
    dealt[best] += size;
    ranges[best].push_back(r);
  }
  for (size_t i = 0; i < holders.size(); ++i) {
    if (ranges[i].empty()) continue;
    shares[holders[i].worker].push_back(
        {.kv_head = kv_head, .ranges = std::move(ranges[i])});
  }
}

// Where each worker's stretch of the full units ends, in kCutsOfUnit-ths.
std::vector<int64_t> StretchEnds(const std::vector<double>& capacity,
                                 int64_t num_units) {
  const double sum = std::accumulate(capacity.begin(), capacity.end(), 0.0);
  std::vector<int64_t> ends;
  double before = 0.0;
  for (const double part : capacity) {
    before += part;
    ends.push_back(std::llround(static_cast<double>(kCutsOfUnit * num_units) *
                                before / sum));
  }
  ends.back() = kCutsOfUnit * num_units;
  return ends;
}

class Sharing {
 public:
  Sharing(const SessionShape& shape, const std::vector<UnitPolicy>& policies,
          const std::vector<double>& speeds)
      : shape_(shape),
        policies_(policies),
        speeds_(speeds),
        work_(speeds.size()),
        shares_(speeds.size()) {}

  std::vector<std::vector<UnitShare>> Run() {
    std::vector<int64_t> full;
    std::vector<int64_t> others;
    for (int64_t u = 0; u < shape_.num_kv_heads; ++u) {
      const bool is_full = policies_[u].kind == PolicyKind::kFull;
      (is_full ? full : others).push_back(u);
    }
    std::stable_sort(
        others.begin(), others.end(),
        [this](int64_t a, int64_t b) { return WorkOfUnit(a) > WorkOfUnit(b); });
    for (const int64_t unit : others) PlaceWhole(unit);
    if (!full.empty()) PlaceFull(full);
    for (std::vector<UnitShare>& units : shares_) {
      std::sort(units.begin(), units.end(),
                [](const UnitShare& a, const UnitShare& b) {
                  return a.kv_head < b.kv_head;
                });
    }
    return std::move(shares_);
  }

 private:
  double WorkOfUnit(int64_t unit) const {
    return WorkOf(policies_[unit], shape_.max_positions);
  }

  void PlaceWhole(int64_t unit) {
    size_t best = 0;
    for (size_t w = 1; w < speeds_.size(); ++w) {
      if ((work_[w] + WorkOfUnit(unit)) / speeds_[w] <
          (work_[best] + WorkOfUnit(unit)) / speeds_[best]) {
        best = w;
      }
    }
    work_[best] += WorkOfUnit(unit);
    shares_[best].push_back({.kv_head = unit, .policy = policies_[unit]});
  }

  void PlaceFull(const std::vector<int64_t>& units) {
    double all = 0.0;
    for (int64_t u = 0; u < shape_.num_kv_heads; ++u) all += WorkOfUnit(u);
    const double speed = std::accumulate(speeds_.begin(), speeds_.end(), 0.0);
    // What each should still take so that all are done at once. Not all are
    // negative: together they lack the full units' work.
    std::vector<double> capacity;
    for (size_t w = 0; w < speeds_.size(); ++w) {
      capacity.push_back(std::max(0.0, all * speeds_[w] / speed - work_[w]));
    }
    const std::vector<int64_t> ends =
        StretchEnds(capacity, static_cast<int64_t>(units.size()));
    for (size_t i = 0; i < units.size(); ++i) {
      const int64_t begin = kCutsOfUnit * static_cast<int64_t>(i);
      std::vector<Holder> holders;
      for (size_t w = 0; w < ends.size(); ++w) {
        const int64_t first = std::max(begin, w == 0 ? 0 : ends[w - 1]);
        const int64_t last = std::min(begin + kCutsOfUnit, ends[w]);
        if (first < last) holders.push_back({w, last - first});
      }
      if (holders.size() == 1) {
        shares_[holders[0].worker].push_back({.kv_head = units[i]});
      } else {
        DealRanges(units[i], holders, shape_.max_positions, shares_);
      }
    }
  }

  const SessionShape& shape_;
  const std::vector<UnitPolicy>& policies_;
  const std::vector<double>& speeds_;
  std::vector<double> work_;  // positions of whole units, by worker
  std::vector<std::vector<UnitShare>> shares_;
};

}  // namespace

std::vector<std::vector<UnitShare>> ShareUnits(
    const SessionShape& shape, const std::vector<UnitPolicy>& policies,
    const std::vector<double>& speeds) {
  return Sharing(shape, policies, speeds).Run();
}

std::vector<int32_t> ExpectedParts(const UnitShare& share,
                                   int64_t visible_end) {
  if (visible_end == 0) return {};
  if (share.is_whole()) return {0};
  std::vector<int32_t> parts;
  int32_t leading = 0;
  for (const int32_t range : share.ranges) {
    if (BeginOfRange(range) >= visible_end) break;
    if (range == leading) {
      // One partial for all that begin the context.
      if (leading++ == 0) parts.push_back(0);
    } else {
      leading = -1;
      parts.push_back(range);
    }
  }
  return parts;
}

}  // namespace headwise
