#include "server/selection/external_sort.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace headwise {
namespace {

// Shares of max_memory_bytes: 7/8 for the block, 1/16 for the groups' table,
// 1/16 at most for the buffer of the run that is written.
constexpr int64_t kGroupsShare = 16;
constexpr int64_t kRecordShare = 16;  // of the largest record
constexpr int64_t kMaxWriteBufferBytes = int64_t{1} << 20;
// Of a run that is read. Less makes a seek of each read.
constexpr int64_t kMinReadBufferBytes = int64_t{64} << 10;
constexpr int64_t kMaxReadBufferBytes = int64_t{4} << 20;
constexpr int64_t kGroupOverheadBytes = 128;  // of a group, beside its name

int64_t WriteBufferBytes(int64_t max_memory_bytes) {
  return std::min(kMaxWriteBufferBytes, max_memory_bytes / 16);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ExternalSort>> ExternalSort::Create(
    const Options& options) {
  if (options.max_memory_bytes < kMinSortBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_memory_bytes is ", options.max_memory_bytes,
                     ", must be at least ", kMinSortBytes));
  }
  if (options.temp_dir.empty()) {
    return absl::InvalidArgumentError("temp_dir is empty");
  }
  HEADWISE_ASSIGN_OR_RETURN(auto file, SpillFile::Create(options.temp_dir));
  return std::unique_ptr<ExternalSort>(
      new ExternalSort(options, std::move(file)));
}

ExternalSort::ExternalSort(const Options& options,
                           std::unique_ptr<SpillFile> file)
    : options_(options),
      file_(std::move(file)),
      num_block_entries_(options.max_memory_bytes / 8 * 7 /
                         static_cast<int64_t>(sizeof(Entry))),
      block_(std::make_unique_for_overwrite<Entry[]>(
          static_cast<size_t>(num_block_entries_))) {}

int64_t ExternalSort::max_record_bytes() const {
  return options_.max_memory_bytes / kRecordShare;
}

bool ExternalSort::Fits(int64_t tail_bytes, int64_t group_bytes) const {
  const int64_t block_bytes =
      num_tail_bytes_ + tail_bytes +
      (num_entries_ + 1) * static_cast<int64_t>(sizeof(Entry));
  return block_bytes <=
             num_block_entries_ * static_cast<int64_t>(sizeof(Entry)) &&
         group_bytes_ + group_bytes <= options_.max_memory_bytes / kGroupsShare;
}

absl::Status ExternalSort::Add(absl::string_view group, uint64_t key,
                               absl::string_view tail) {
  HEADWISE_CHECK(merger_ == nullptr && block_ != nullptr);
  const auto tail_bytes = static_cast<int64_t>(tail.size());
  const auto group_bytes =
      static_cast<int64_t>(group.size()) + kGroupOverheadBytes;
  if (tail_bytes + group_bytes > max_record_bytes()) {
    return absl::ResourceExhaustedError(
        absl::StrCat("a record to sort has ", tail_bytes + group_bytes,
                     " bytes, max_memory_bytes ", options_.max_memory_bytes,
                     " allows ", max_record_bytes()));
  }
  const bool is_known = groups_.contains(group);
  if (!Fits(tail_bytes, is_known ? 0 : group_bytes)) {
    HEADWISE_RETURN_IF_ERROR(SpillRun());
  }
  largest_bytes_ =
      std::max({largest_bytes_, tail_bytes + kSortRecordBytes, group_bytes});
  if (tail_bytes > 0) {
    std::memcpy(reinterpret_cast<char*>(block_.get()) + num_tail_bytes_,
                tail.data(), tail.size());
  }
  ++num_entries_;
  EntriesEnd()[-num_entries_] = {
      .key = key,
      .offset = num_tail_bytes_,
      .tail_bytes = static_cast<uint32_t>(tail_bytes),
      .group = GroupNumber(group)};
  num_tail_bytes_ += tail_bytes;
  return absl::OkStatus();
}

uint32_t ExternalSort::GroupNumber(absl::string_view name) {
  const auto known = groups_.find(name);
  if (known != groups_.end()) return known->second;
  const auto number = static_cast<uint32_t>(groups_.size());
  groups_.emplace(std::string(name), number);
  group_bytes_ += static_cast<int64_t>(name.size()) + kGroupOverheadBytes;
  return number;
}

// Sorts the entries, whose groups are numbered by name from then on.
std::vector<SortGroup> ExternalSort::SortEntries() {
  std::vector<std::pair<absl::string_view, uint32_t>> by_name(groups_.begin(),
                                                              groups_.end());
  std::sort(by_name.begin(), by_name.end());
  std::vector<uint32_t> place(by_name.size());
  std::vector<SortGroup> groups(by_name.size());
  for (uint32_t i = 0; i < by_name.size(); ++i) {
    place[by_name[i].second] = i;
    groups[i].name = std::string(by_name[i].first);
  }
  Entry* begin = EntriesEnd() - num_entries_;
  for (Entry* entry = begin; entry != EntriesEnd(); ++entry) {
    entry->group = place[entry->group];
    SortGroup& group = groups[entry->group];
    ++group.num_records;
    group.num_bytes += kSortRecordBytes + entry->tail_bytes;
  }
  const char* tails = reinterpret_cast<const char*>(block_.get());
  std::sort(begin, EntriesEnd(), [tails](const Entry& a, const Entry& b) {
    if (a.group != b.group) return a.group < b.group;
    if (a.key != b.key) return a.key < b.key;
    const int order = absl::string_view(tails + a.offset, a.tail_bytes)
                          .compare({tails + b.offset, b.tail_bytes});
    return order != 0 ? order < 0 : a.offset < b.offset;
  });
  return groups;
}

absl::Status ExternalSort::WriteRun(absl::Span<const SortGroup> groups) {
  RunWriter writer(*file_, WriteBufferBytes(options_.max_memory_bytes));
  const char* tails = reinterpret_cast<const char*>(block_.get());
  const Entry* entry = EntriesEnd() - num_entries_;
  for (const SortGroup& group : groups) {
    HEADWISE_RETURN_IF_ERROR(writer.BeginGroup(group));
    for (int64_t i = 0; i < group.num_records; ++i, ++entry) {
      HEADWISE_RETURN_IF_ERROR(
          writer.Add({.key = entry->key,
                      .tail = {tails + entry->offset, entry->tail_bytes}}));
    }
  }
  HEADWISE_ASSIGN_OR_RETURN(const SortRun run, writer.Finish());
  runs_.push_back(run);
  return absl::OkStatus();
}

absl::Status ExternalSort::SpillRun() {
  if (num_entries_ == 0) return absl::OkStatus();
  HEADWISE_RETURN_IF_ERROR(WriteRun(SortEntries()));
  num_entries_ = num_tail_bytes_ = group_bytes_ = 0;
  groups_.clear();
  return absl::OkStatus();
}

int64_t ExternalSort::MaxRunsAtOnce() const {
  const int64_t buffer_bytes = std::max(kMinReadBufferBytes, largest_bytes_);
  const int64_t memory =
      options_.max_memory_bytes - WriteBufferBytes(options_.max_memory_bytes);
  return memory / buffer_bytes;  // at least 15: kRecordShare, kMinSortBytes
}

int64_t ExternalSort::BufferBytes(int64_t num_runs) const {
  const int64_t memory =
      options_.max_memory_bytes - WriteBufferBytes(options_.max_memory_bytes);
  return std::max(largest_bytes_,
                  std::min(kMaxReadBufferBytes, memory / num_runs));
}

absl::StatusOr<SortRun> ExternalSort::MergeRuns(
    absl::Span<const SortRun> runs) {
  RunMerger merger(*file_, runs,
                   BufferBytes(static_cast<int64_t>(runs.size())));
  RunWriter writer(*file_, WriteBufferBytes(options_.max_memory_bytes));
  while (true) {
    HEADWISE_ASSIGN_OR_RETURN(const auto group, merger.NextGroup());
    if (!group.has_value()) return writer.Finish();
    HEADWISE_RETURN_IF_ERROR(writer.BeginGroup(*group));
    while (true) {
      HEADWISE_ASSIGN_OR_RETURN(const auto record, merger.NextRecord());
      if (!record.has_value()) break;
      HEADWISE_RETURN_IF_ERROR(writer.Add(*record));
    }
  }
}

absl::Status ExternalSort::Sort() {
  HEADWISE_CHECK(merger_ == nullptr && block_ != nullptr);
  HEADWISE_RETURN_IF_ERROR(SpillRun());
  block_ = nullptr;
  groups_ = {};
  const auto at_once = static_cast<size_t>(MaxRunsAtOnce());
  while (runs_.size() > at_once) {
    // Neighbours, so that equal records stay in order.
    std::vector<SortRun> merged;
    const absl::Span<const SortRun> runs = runs_;
    for (size_t i = 0; i < runs.size(); i += at_once) {
      HEADWISE_ASSIGN_OR_RETURN(const SortRun run,
                                MergeRuns(runs.subspan(i, at_once)));
      merged.push_back(run);
    }
    runs_ = std::move(merged);
  }
  const auto num_runs = std::max<int64_t>(1, this->num_runs());
  merger_ = std::make_unique<RunMerger>(*file_, runs_, BufferBytes(num_runs));
  return absl::OkStatus();
}

absl::StatusOr<std::optional<SortGroup>> ExternalSort::NextGroup() {
  HEADWISE_CHECK(merger_ != nullptr);
  return merger_->NextGroup();
}

absl::StatusOr<std::optional<SortRecord>> ExternalSort::NextRecord() {
  HEADWISE_CHECK(merger_ != nullptr);
  return merger_->NextRecord();
}

}  // namespace headwise
