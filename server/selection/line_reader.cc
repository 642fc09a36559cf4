#include "server/selection/line_reader.h"

#include "absl/types/span.h"
#include "base/status_macros.h"

namespace headwise {
namespace {

constexpr size_t kBufferBytes = 256 * 1024;

}  // namespace

LineReader::LineReader(ByteReader* source, int64_t max_line_bytes)
    : source_(source), max_line_bytes_(max_line_bytes), buffer_(kBufferBytes) {}

absl::StatusOr<std::optional<LineReader::Line>> LineReader::Next() {
  Line line = {.offset = offset_};
  line_.clear();
  int64_t length = 0;
  while (true) {
    if (unread_.empty()) {
      HEADWISE_ASSIGN_OR_RETURN(const size_t size,
                                source_->Read(absl::MakeSpan(buffer_)));
      unread_ = absl::string_view(buffer_.data(), size);
      line.is_last = size == 0;
      if (line.is_last && length == 0) return std::nullopt;
    }
    const size_t end = unread_.find('\n');
    const absl::string_view part = unread_.substr(0, end);
    length += static_cast<int64_t>(part.size());
    line.is_too_long = length > max_line_bytes_;
    const bool is_whole = end != unread_.npos || line.is_last;
    if (line.is_too_long) {
      line_.clear();
    } else if (is_whole && line_.empty()) {
      line.text = part;
    } else {
      line_.append(part.data(), part.size());
      line.text = line_;
    }
    unread_.remove_prefix(part.size() + (end != unread_.npos ? 1 : 0));
    if (!is_whole) continue;
    offset_ += length + (line.is_last ? 0 : 1);
    if (line.is_too_long) line.text = {};
    return line;
  }
}

}  // namespace headwise
