#include "model/head_plan/index_ranges.h"

#include <algorithm>
#include <numeric>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "model/files/quoted.h"

namespace headwise {
namespace {

constexpr size_t kMaxDigits = 6;

// Digits alone: no sign, no space, no needless zero.
std::optional<int64_t> ParseIndex(absl::string_view text) {
  if (text.empty() || text.size() > kMaxDigits) return std::nullopt;
  if (!std::all_of(text.begin(), text.end(), absl::ascii_isdigit) ||
      (text[0] == '0' && text.size() > 1)) {
    return std::nullopt;
  }
  int64_t index = 0;
  if (!absl::SimpleAtoi(text, &index)) return std::nullopt;
  return index;
}

// [first, last] of "3" or "3-5".
std::optional<std::pair<int64_t, int64_t>> ParseRange(absl::string_view text) {
  const std::pair<absl::string_view, absl::string_view> ends =
      absl::StrSplit(text, absl::MaxSplits('-', 1));
  const std::optional<int64_t> first = ParseIndex(ends.first);
  if (text.find('-') == absl::string_view::npos) {
    if (!first) return std::nullopt;
    return std::pair(*first, *first);
  }
  const std::optional<int64_t> last = ParseIndex(ends.second);
  if (!first || !last) return std::nullopt;
  return std::pair(*first, *last);
}

absl::Status Bad(absl::string_view text, absl::string_view what) {
  return absl::InvalidArgumentError(absl::StrCat(Quoted(text), what));
}

}  // namespace

absl::StatusOr<std::vector<int64_t>> ParseIndexRanges(absl::string_view text,
                                                      int64_t count) {
  std::vector<int64_t> indices;
  if (text == "all") {
    indices.resize(static_cast<size_t>(count));
    std::iota(indices.begin(), indices.end(), int64_t{0});
    return indices;
  }
  for (const absl::string_view part : absl::StrSplit(text, ',')) {
    const auto range = ParseRange(part);
    if (!range) {
      return Bad(text, " is not like \"0-3,7\" or \"all\"");
    }
    const auto [first, last] = *range;
    if (last >= count) {
      return Bad(text,
                 absl::StrCat(": ", last, " is outside [0, ", count - 1, "]"));
    }
    if (first > last || (!indices.empty() && first <= indices.back())) {
      return Bad(text, absl::StrCat(": ", part,
                                    " is out of order or names one twice"));
    }
    for (int64_t index = first; index <= last; ++index) {
      indices.push_back(index);
    }
  }
  return indices;
}

std::string FormatIndexRanges(absl::Span<const int64_t> indices,
                              int64_t count) {
  if (static_cast<int64_t>(indices.size()) == count) return "all";
  std::string text;
  for (size_t begin = 0; begin < indices.size();) {
    size_t end = begin + 1;
    while (end < indices.size() && indices[end] == indices[end - 1] + 1) ++end;
    absl::StrAppend(&text, text.empty() ? "" : ",", indices[begin]);
    // "3,4" rather than "3-4".
    if (end - begin > 1) {
      absl::StrAppend(&text, end - begin == 2 ? "," : "-", indices[end - 1]);
    }
    begin = end;
  }
  return text;
}

}  // namespace headwise
