#include "server/frontends/answer_book.h"

#include <algorithm>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "server/frontends/rich_status.h"

namespace headwise {
namespace {

constexpr size_t kMaxKeyBytes = 64;

}  // namespace

absl::StatusOr<std::string> IdempotencyKeyOf(
    const grpc::CallbackServerContext& context) {
  const auto& metadata = context.client_metadata();
  const size_t count = metadata.count(kIdempotencyKey);
  if (count == 0) return std::string();
  if (count > 1)
    return InvalidField(kIdempotencyKey, "is there more than once");
  const auto found = metadata.find(kIdempotencyKey);
  const absl::string_view key(found->second.data(), found->second.size());
  const bool is_valid =
      !key.empty() && key.size() <= kMaxKeyBytes &&
      std::all_of(key.begin(), key.end(), [](unsigned char c) {
        return absl::ascii_isalnum(c) || c == '-' || c == '_' || c == '.';
      });
  if (is_valid) return std::string(key);
  return InvalidField(
      kIdempotencyKey,
      absl::StrCat("has ", key.size(), " bytes; must be 1 to ", kMaxKeyBytes,
                   " letters, digits, '-', '_' and '.'"));
}

bool AnswerBook::MakeRoomLocked() {
  const absl::Time oldest = clock_.Now() - kKeyedAnswerTtl;
  int64_t bytes = 0;
  std::vector<std::pair<absl::Time, Id>> ended;
  for (auto it = answers_.begin(); it != answers_.end();) {
    const Entry& entry = it->second;
    const bool has_ended = entry.answer->has_ended();
    if (entry.answer->has_failed() || (has_ended && entry.last_use < oldest)) {
      it = answers_.erase(it);
      continue;
    }
    bytes += entry.answer->kept_bytes();
    if (has_ended) ended.emplace_back(entry.last_use, it->first);
    ++it;
  }
  std::sort(ended.begin(), ended.end());
  for (const auto& [last_use, id] : ended) {
    if (answers_.size() < kMaxKeyedAnswers && bytes < kMaxAnswerBookBytes)
      break;
    bytes -= answers_.at(id).answer->kept_bytes();
    answers_.erase(id);
  }
  return answers_.size() < kMaxKeyedAnswers && bytes < kMaxAnswerBookBytes;
}

absl::StatusOr<AnswerBook::Begun> AnswerBook::Begin(
    const AnswerKey& key, const std::vector<int32_t>& received) {
  absl::MutexLock lock(&mutex_);
  const bool has_room = MakeRoomLocked();
  const Id id(key.tenant, key.key);
  const auto found = answers_.find(id);
  if (found != answers_.end()) {
    Entry& entry = found->second;
    if (entry.answer->fingerprint() != key.fingerprint) {
      return InvalidField(
          kIdempotencyKey,
          absl::StrCat("\"", key.key,
                       "\" was that of another request; a new request needs "
                       "a new key"));
    }
    entry.last_use = clock_.Now();
    return Begun{.answer = entry.answer};
  }
  if (!has_room || stop_lingering_) return Begun{};
  const auto answer = std::make_shared<KeyedAnswer>(key.fingerprint, received);
  answers_[id] = {answer, clock_.Now()};
  return Begun{.answer = answer, .is_first = true};
}

void AnswerBook::StopLingering() {
  std::vector<std::shared_ptr<KeyedAnswer>> answers;
  {
    absl::MutexLock lock(&mutex_);
    stop_lingering_ = true;
    for (const auto& [id, entry] : answers_) answers.push_back(entry.answer);
  }
  for (const auto& answer : answers) answer->StopLingering();
}

}  // namespace headwise
