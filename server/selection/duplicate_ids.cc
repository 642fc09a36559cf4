#include "server/selection/duplicate_ids.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "server/selection/sort_key.h"

namespace headwise {
namespace {

constexpr size_t kTailBytes = 8;  // of an id's hash, after the key's 8

absl::StatusOr<std::unique_ptr<ExternalSort>> HalfSort(
    const DuplicateIds::Options& options) {
  return ExternalSort::Create({.max_memory_bytes = options.max_memory_bytes / 2,
                               .temp_dir = options.temp_dir});
}

}  // namespace

absl::StatusOr<std::unique_ptr<DuplicateIds>> DuplicateIds::Create(
    const Options& options) {
  if (options.max_memory_bytes < 2 * kMinSortBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("max_memory_bytes is ", options.max_memory_bytes,
                     ", must be at least ", 2 * kMinSortBytes));
  }
  HEADWISE_ASSIGN_OR_RETURN(auto by_id, HalfSort(options));
  return std::unique_ptr<DuplicateIds>(
      new DuplicateIds(options, std::move(by_id)));
}

DuplicateIds::DuplicateIds(const Options& options,
                           std::unique_ptr<ExternalSort> by_id)
    : options_(options), by_id_(std::move(by_id)) {}

absl::Status DuplicateIds::Add(absl::string_view id, int64_t position) {
  HEADWISE_CHECK(position >= 0 && by_id_ != nullptr);
  const Sha256Digest digest =
      Sha256Of({reinterpret_cast<const uint8_t*>(id.data()), id.size()});
  const absl::string_view hash(reinterpret_cast<const char*>(digest.data()),
                               digest.size());
  std::string tail(hash.substr(8, kTailBytes));
  AppendBigEndian(static_cast<uint64_t>(position), tail);
  return by_id_->Add("", LoadBigEndian(hash), tail);
}

absl::StatusOr<int64_t> DuplicateIds::Find(
    const std::function<absl::Status(int64_t position)>& found) {
  HEADWISE_CHECK(by_id_ != nullptr);
  const std::unique_ptr<ExternalSort> by_id = std::move(by_id_);
  HEADWISE_RETURN_IF_ERROR(by_id->Sort());
  HEADWISE_ASSIGN_OR_RETURN(const auto by_position, HalfSort(options_));
  HEADWISE_ASSIGN_OR_RETURN(const auto all, by_id->NextGroup());
  std::optional<uint64_t> last_key;
  std::string last_tail;
  while (all.has_value()) {
    HEADWISE_ASSIGN_OR_RETURN(const auto record, by_id->NextRecord());
    if (!record.has_value()) break;
    const absl::string_view tail = record->tail.substr(0, kTailBytes);
    if (record->key == last_key && tail == last_tail) {
      HEADWISE_RETURN_IF_ERROR(by_position->Add(
          "", LoadBigEndian(record->tail.substr(kTailBytes)), ""));
    } else {
      last_key = record->key;
      last_tail.assign(tail.data(), tail.size());
    }
  }

  HEADWISE_RETURN_IF_ERROR(by_position->Sort());
  HEADWISE_ASSIGN_OR_RETURN(const auto duplicates, by_position->NextGroup());
  if (!duplicates.has_value()) return 0;
  while (true) {
    HEADWISE_ASSIGN_OR_RETURN(const auto record, by_position->NextRecord());
    if (!record.has_value()) return duplicates->num_records;
    HEADWISE_RETURN_IF_ERROR(found(static_cast<int64_t>(record->key)));
  }
}

}  // namespace headwise
