#include "server/selection/run_merger.h"

#include <algorithm>
#include <utility>

#include "base/status_macros.h"

namespace headwise {

RunMerger::RunMerger(const SpillFile& file, absl::Span<const SortRun> runs,
                     int64_t buffer_bytes) {
  sources_.reserve(runs.size());
  for (size_t i = 0; i < runs.size(); ++i) {
    sources_.push_back({RunReader(file, runs[i], buffer_bytes), i});
  }
}

bool RunMerger::IsLaterGroup(const Source* a, const Source* b) {
  const int order = a->reader.group().name.compare(b->reader.group().name);
  return order != 0 ? order > 0 : a->run > b->run;
}

bool RunMerger::IsLaterRecord(const Source* a, const Source* b) {
  const SortRecord& left = a->reader.record();
  const SortRecord& right = b->reader.record();
  if (left.key != right.key) return left.key > right.key;
  const int order = left.tail.compare(right.tail);
  return order != 0 ? order > 0 : a->run > b->run;
}

absl::Status RunMerger::AdvanceGroup(Source& source) {
  HEADWISE_RETURN_IF_ERROR(source.reader.NextGroup());
  if (source.reader.at_end()) return absl::OkStatus();
  later_.push_back(&source);
  std::push_heap(later_.begin(), later_.end(), IsLaterGroup);
  return absl::OkStatus();
}

absl::Status RunMerger::AdvanceRecord(Source& source) {
  if (source.reader.num_left() == 0) return absl::OkStatus();
  HEADWISE_RETURN_IF_ERROR(source.reader.NextRecord());
  records_.push_back(&source);
  std::push_heap(records_.begin(), records_.end(), IsLaterRecord);
  return absl::OkStatus();
}

absl::StatusOr<std::optional<SortGroup>> RunMerger::NextGroup() {
  if (!has_begun_) {
    has_begun_ = true;
    for (Source& source : sources_) in_group_.push_back(&source);
  }
  for (Source* source : std::exchange(in_group_, {})) {
    HEADWISE_RETURN_IF_ERROR(AdvanceGroup(*source));
  }
  records_.clear();
  current_ = nullptr;
  if (later_.empty()) return std::nullopt;

  SortGroup group;
  group.name = later_.front()->reader.group().name;
  while (!later_.empty() && later_.front()->reader.group().name == group.name) {
    std::pop_heap(later_.begin(), later_.end(), IsLaterGroup);
    Source* source = later_.back();
    later_.pop_back();
    group.num_records += source->reader.group().num_records;
    group.num_bytes += source->reader.group().num_bytes;
    in_group_.push_back(source);
    HEADWISE_RETURN_IF_ERROR(AdvanceRecord(*source));
  }
  return group;
}

absl::StatusOr<std::optional<SortRecord>> RunMerger::NextRecord() {
  if (current_ != nullptr) {
    HEADWISE_RETURN_IF_ERROR(AdvanceRecord(*std::exchange(current_, nullptr)));
  }
  if (records_.empty()) return std::nullopt;
  std::pop_heap(records_.begin(), records_.end(), IsLaterRecord);
  current_ = records_.back();
  records_.pop_back();
  return current_->reader.record();
}

}  // namespace headwise
