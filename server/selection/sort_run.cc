#include "server/selection/sort_run.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/status_macros.h"

namespace headwise {
namespace {

template <typename Number>
absl::string_view BytesOf(const Number& number) {
  return {reinterpret_cast<const char*>(&number), sizeof(number)};
}

template <typename Number>
Number Load(const char* bytes) {
  Number number;
  std::memcpy(&number, bytes, sizeof(number));
  return number;
}

}  // namespace

RunWriter::RunWriter(SpillFile& file, int64_t buffer_bytes)
    : file_(file),
      buffer_bytes_(static_cast<size_t>(buffer_bytes)),
      begin_(file.num_bytes()) {
  buffer_.reserve(buffer_bytes_);
}

absl::Status RunWriter::Flush() {
  HEADWISE_RETURN_IF_ERROR(file_.Append(buffer_));
  buffer_.clear();
  return absl::OkStatus();
}

absl::Status RunWriter::Append(absl::string_view bytes) {
  if (buffer_.size() + bytes.size() > buffer_bytes_) {
    HEADWISE_RETURN_IF_ERROR(Flush());
    if (bytes.size() > buffer_bytes_) return file_.Append(bytes);
  }
  buffer_.append(bytes.data(), bytes.size());
  return absl::OkStatus();
}

absl::Status RunWriter::BeginGroup(const SortGroup& group) {
  HEADWISE_RETURN_IF_ERROR(
      Append(BytesOf(static_cast<uint32_t>(group.name.size()))));
  HEADWISE_RETURN_IF_ERROR(Append(BytesOf(group.num_records)));
  HEADWISE_RETURN_IF_ERROR(Append(BytesOf(group.num_bytes)));
  return Append(group.name);
}

absl::Status RunWriter::Add(const SortRecord& record) {
  HEADWISE_RETURN_IF_ERROR(Append(BytesOf(record.key)));
  HEADWISE_RETURN_IF_ERROR(
      Append(BytesOf(static_cast<uint32_t>(record.tail.size()))));
  return Append(record.tail);
}

absl::StatusOr<SortRun> RunWriter::Finish() {
  HEADWISE_RETURN_IF_ERROR(Flush());
  return SortRun{.begin = begin_, .end = file_.num_bytes()};
}

RunReader::RunReader(const SpillFile& file, SortRun run, int64_t buffer_bytes)
    : file_(file), end_(run.end), offset_(run.begin) {
  buffer_.resize(
      static_cast<size_t>(std::min(buffer_bytes, run.end - run.begin)));
}

absl::Status RunReader::Need(int64_t num_bytes) {
  const int64_t kept = filled_ - next_;
  if (kept >= num_bytes) return absl::OkStatus();
  std::memmove(buffer_.data(), buffer_.data() + next_,
               static_cast<size_t>(kept));
  const auto size = static_cast<int64_t>(buffer_.size());
  const int64_t fresh = std::min(size - kept, end_ - offset_);
  HEADWISE_CHECK(kept + fresh >= num_bytes);  // we wrote the run
  HEADWISE_RETURN_IF_ERROR(file_.Read(
      offset_,
      absl::MakeSpan(buffer_.data() + kept, static_cast<size_t>(fresh))));
  offset_ += fresh;
  next_ = 0;
  filled_ = kept + fresh;
  return absl::OkStatus();
}

void RunReader::Consume(int64_t num_bytes) {
  const int64_t buffered = std::min(num_bytes, filled_ - next_);
  next_ += buffered;
  offset_ += num_bytes - buffered;  // not 0 only if nothing is buffered now
}

absl::Status RunReader::NextGroup() {
  Consume(bytes_left_);
  bytes_left_ = num_left_ = 0;
  at_end_ = offset_ - (filled_ - next_) == end_;
  if (at_end_) return absl::OkStatus();
  HEADWISE_RETURN_IF_ERROR(Need(kSortGroupBytes));
  const auto name_bytes = int64_t{Load<uint32_t>(data())};
  group_.num_records = num_left_ = Load<int64_t>(data() + 4);
  group_.num_bytes = bytes_left_ = Load<int64_t>(data() + 12);
  Consume(kSortGroupBytes);
  HEADWISE_RETURN_IF_ERROR(Need(name_bytes));
  group_.name.assign(data(), static_cast<size_t>(name_bytes));
  Consume(name_bytes);
  return absl::OkStatus();
}

absl::Status RunReader::NextRecord() {
  HEADWISE_CHECK(num_left_ > 0);
  HEADWISE_RETURN_IF_ERROR(Need(kSortRecordBytes));
  const auto tail_bytes = int64_t{Load<uint32_t>(data() + 8)};
  const int64_t num_bytes = kSortRecordBytes + tail_bytes;
  HEADWISE_RETURN_IF_ERROR(Need(num_bytes));
  record_.key = Load<uint64_t>(data());
  record_.tail = absl::string_view(data() + kSortRecordBytes,
                                   static_cast<size_t>(tail_bytes));
  Consume(num_bytes);
  bytes_left_ -= num_bytes;
  --num_left_;
  return absl::OkStatus();
}

}  // namespace headwise
