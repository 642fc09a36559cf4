#include "server/selection/row_codec.h"

#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <optional>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "server/selection/flag_names.h"
#include "server/selection/valid_utf8.h"

namespace headwise {
namespace {

constexpr absl::string_view kReplacement = "\xef\xbf\xbd";  // U+FFFD
constexpr absl::string_view kHexDigits = "0123456789abcdef";
constexpr size_t kMaxNumberBytes = 32;   // "-2.2250738585072014e-308" has 24
constexpr size_t kMaxExcerptBytes = 24;  // of a line, in an error

// Characters that have an escape of two, and the letters of those.
constexpr absl::string_view kEscaped = "\"\\\b\f\n\r\t";
constexpr absl::string_view kEscapeLetters = "\"\\bfnrt";

// True for the bytes that stand for themselves within a string.
constexpr std::array<bool, 256> MakePlain() {
  std::array<bool, 256> plain{};
  for (int byte = 0x20; byte < 256; ++byte) plain[byte] = true;
  plain['"'] = plain['\\'] = false;
  return plain;
}
constexpr std::array<bool, 256> kPlain = MakePlain();

// The number of plain bytes at the begin of `text`.
size_t PlainPrefix(absl::string_view text) {
  size_t at = 0;
  while (at < text.size() && kPlain[static_cast<uint8_t>(text[at])]) ++at;
  return at;
}

void AppendView(absl::string_view text, std::string& out) {
  out.append(text.data(), text.size());
}

void AppendString(absl::string_view text, std::string& out) {
  if (!IsValidUtf8(text)) {
    const std::string mended = MendUtf8(text, kReplacement);
    return AppendString(mended, out);
  }
  out += '"';
  while (true) {
    const size_t plain = PlainPrefix(text);
    AppendView(text.substr(0, plain), out);
    text.remove_prefix(plain);
    if (text.empty()) break;
    out += '\\';
    const size_t escape = kEscaped.find(text[0]);
    if (escape != absl::string_view::npos) {
      out += kEscapeLetters[escape];
    } else {
      AppendView("u00", out);
      out += kHexDigits[text[0] >> 4];  // below 0x20, so not negative
      out += kHexDigits[text[0] & 0xf];
    }
    text.remove_prefix(1);
  }
  out += '"';
}

template <typename Number>
void AppendNumber(Number value, std::string& out) {
  char text[kMaxNumberBytes];
  const std::to_chars_result end = std::to_chars(text, std::end(text), value);
  out.append(text, end.ptr);
}

void AppendFlags(uint32_t flags, std::string& out) {
  out += '[';
  bool is_first = true;
  for (const DocumentFlag flag : AllDocumentFlags()) {
    if ((flags & flag) == 0) continue;
    flags &= ~flag;
    if (!is_first) out += ',';
    is_first = false;
    out += '"';
    AppendView(FlagName(flag), out);
    out += '"';
  }
  out += ']';
  HEADWISE_CHECK(flags == 0);
}

// Reads a line from its begin to its end. Each function reads one thing, or
// returns false after error() was set.
class RowScanner {
 public:
  explicit RowScanner(absl::string_view line) : line_(line) {}

  const absl::Status& error() const { return error_; }
  size_t at() const { return at_; }
  bool is_at_end() const { return at_ == line_.size(); }

  bool Fail(absl::string_view expected) { return FailAt(at_, expected); }
  bool FailAt(size_t at, absl::string_view expected) {
    const absl::string_view rest = line_.substr(at, kMaxExcerptBytes);
    error_ = absl::InvalidArgumentError(absl::StrCat(
        "byte ", at, ": expected ", expected, ", found ",
        rest.empty() ? "the end of the line" : absl::CHexEscape(rest)));
    return false;
  }

  bool Literal(absl::string_view text) {
    if (!absl::StartsWith(line_.substr(at_), text)) return Fail(text);
    at_ += text.size();
    return true;
  }
  bool TryLiteral(absl::string_view text) {
    const bool is_there = absl::StartsWith(line_.substr(at_), text);
    if (is_there) at_ += text.size();
    return is_there;
  }

  bool String(std::string& value);
  bool Count(int64_t& value);
  bool NumberOrNull(std::optional<double>& value);
  bool Flags(uint32_t& flags);

 private:
  bool Escape(std::string& value);

  const absl::string_view line_;
  size_t at_ = 0;
  absl::Status error_;
};

bool RowScanner::String(std::string& value) {
  const size_t begin = at_;
  if (!Literal("\"")) return false;
  value.clear();
  while (true) {
    const size_t plain = PlainPrefix(line_.substr(at_));
    AppendView(line_.substr(at_, plain), value);
    at_ += plain;
    if (TryLiteral("\"")) break;
    if (!Escape(value)) return false;
  }
  return IsValidUtf8(value) || FailAt(begin, "a string of UTF-8");
}

bool RowScanner::Escape(std::string& value) {
  const size_t begin = at_;
  if (!TryLiteral("\\")) return Fail("the rest of a string");
  const absl::string_view rest = line_.substr(at_);
  const size_t letter =
      rest.empty() ? absl::string_view::npos : kEscapeLetters.find(rest[0]);
  if (letter != absl::string_view::npos) {
    value += kEscaped[letter];
    ++at_;
    return true;
  }
  // \u00 and two digits, of a control character without a letter.
  if (rest.size() >= 5 && absl::StartsWith(rest, "u00")) {
    const size_t high = kHexDigits.find(rest[3]);
    const size_t low = kHexDigits.find(rest[4]);
    if (high <= 1 && low <= 15) {
      const char control = static_cast<char>(high << 4 | low);
      if (kEscaped.find(control) == absl::string_view::npos) {
        value += control;
        at_ += 5;
        return true;
      }
    }
  }
  return FailAt(begin, "an escape as they are written");
}

bool RowScanner::Count(int64_t& value) {
  const char* end = line_.data() + line_.size();
  const std::from_chars_result read =
      std::from_chars(line_.data() + at_, end, value);
  if (read.ec != std::errc() || value < 0 || line_[at_] == '-') {
    return Fail("an integer from 0 to 2^63 - 1");
  }
  at_ = static_cast<size_t>(read.ptr - line_.data());
  return true;
}

bool RowScanner::NumberOrNull(std::optional<double>& value) {
  value.reset();
  if (TryLiteral("null")) return true;
  double number = 0.0;
  const std::from_chars_result read =
      std::from_chars(line_.data() + at_, line_.data() + line_.size(), number);
  // It takes "inf" and "nan" too.
  if (read.ec != std::errc() || !std::isfinite(number)) {
    return Fail("a finite number or null");
  }
  value = number;
  at_ = static_cast<size_t>(read.ptr - line_.data());
  return true;
}

bool RowScanner::Flags(uint32_t& flags) {
  flags = 0;
  if (!Literal("[")) return false;
  if (TryLiteral("]")) return true;
  std::string name;
  do {
    const size_t begin = at_;
    if (!String(name)) return false;
    const std::optional<DocumentFlag> flag = FlagOfName(name);
    // A bit above all others is greater than their sum.
    if (!flag.has_value() || *flag <= flags) {
      return FailAt(begin, "the name of a flag, by rising bit");
    }
    flags |= *flag;
  } while (TryLiteral(","));
  return Literal("]");
}

// The columns that are told twice, and where they stand.
struct Derived {
  std::optional<double> loss_base;
  std::optional<double> loss_masked;
  std::optional<double> score;
  size_t begin = 0;
};

bool ScanRow(RowScanner& scan, ScoreRow& row, Derived& derived) {
  if (!scan.Literal("{\"doc_id\":") || !scan.String(row.doc_id) ||
      !scan.Literal(",\"domain\":") || !scan.String(row.domain) ||
      !scan.Literal(",\"n_tokens\":") || !scan.Count(row.loss.num_tokens)) {
    return false;
  }
  derived.begin = scan.at();
  if (!scan.Literal(",\"loss_base\":") ||
      !scan.NumberOrNull(derived.loss_base) ||
      !scan.Literal(",\"loss_masked\":") ||
      !scan.NumberOrNull(derived.loss_masked) || !scan.Literal(",\"score\":") ||
      !scan.NumberOrNull(derived.score) || !scan.Literal(",\"flags\":") ||
      !scan.Flags(row.flags)) {
    return false;
  }
  std::optional<double> base, masked, repetition;
  const size_t sums = scan.at();
  if (!scan.Literal(",\"nll_base\":") || !scan.NumberOrNull(base) ||
      !scan.Literal(",\"nll_masked\":") || !scan.NumberOrNull(masked) ||
      !scan.Literal(",\"repetition\":") || !scan.NumberOrNull(repetition) ||
      !scan.Literal("}")) {
    return false;
  }
  if (base.has_value() != row.is_scored() ||
      masked.has_value() != row.is_scored()) {
    return scan.FailAt(sums,
                       "nll_base and nll_masked: null if n_tokens is 0, "
                       "else numbers");
  }
  if (repetition.value_or(0.0) < 0.0 || repetition.value_or(0.0) > 1.0 ||
      repetition.has_value() != row.is_scored()) {
    return scan.FailAt(sums, "repetition: null if n_tokens is 0, else 0 to 1");
  }
  row.loss.base = base.value_or(0.0);
  row.loss.masked = masked.value_or(0.0);
  row.loss.repetition = repetition.value_or(0.0);
  return scan.is_at_end() || scan.Fail("the end of the line");
}

// The score as it is written.
std::optional<double> WrittenScore(const ScoreRow& row) {
  if (!row.is_scored() || !std::isfinite(row.score())) return std::nullopt;
  return row.score();
}

bool Agrees(const ScoreRow& row, const Derived& derived) {
  if (derived.score != WrittenScore(row)) return false;
  if (!row.is_scored()) {
    return !derived.loss_base.has_value() && !derived.loss_masked.has_value();
  }
  return derived.loss_base == row.loss_base() &&
         derived.loss_masked == row.loss_masked();
}

void AppendNumberOrNull(std::optional<double> value, std::string& out) {
  if (value.has_value()) {
    AppendNumber(*value, out);
  } else {
    AppendView("null", out);
  }
}

}  // namespace

void AppendRowJson(const ScoreRow& row, std::string& out) {
  HEADWISE_CHECK(row.loss.num_tokens >= 0);
  std::optional<double> loss_base, loss_masked, nll_base, nll_masked;
  std::optional<double> repetition;
  if (row.is_scored()) {
    HEADWISE_CHECK(std::isfinite(row.loss.base));
    HEADWISE_CHECK(std::isfinite(row.loss.masked));
    loss_base = row.loss_base();
    loss_masked = row.loss_masked();
    nll_base = row.loss.base;
    nll_masked = row.loss.masked;
    repetition = row.loss.repetition;
  }
  AppendView("{\"doc_id\":", out);
  AppendString(row.doc_id, out);
  AppendView(",\"domain\":", out);
  AppendString(row.domain, out);
  AppendView(",\"n_tokens\":", out);
  AppendNumber(row.loss.num_tokens, out);
  AppendView(",\"loss_base\":", out);
  AppendNumberOrNull(loss_base, out);
  AppendView(",\"loss_masked\":", out);
  AppendNumberOrNull(loss_masked, out);
  AppendView(",\"score\":", out);
  AppendNumberOrNull(WrittenScore(row), out);
  AppendView(",\"flags\":", out);
  AppendFlags(row.flags, out);
  AppendView(",\"nll_base\":", out);
  AppendNumberOrNull(nll_base, out);
  AppendView(",\"nll_masked\":", out);
  AppendNumberOrNull(nll_masked, out);
  AppendView(",\"repetition\":", out);
  AppendNumberOrNull(repetition, out);
  out += '}';
}

std::string RowToJson(const ScoreRow& row) {
  std::string line;
  AppendRowJson(row, line);
  return line;
}

absl::Status ParseRowInto(absl::string_view line, ScoreRow& row) {
  RowScanner scan(line);
  Derived derived;
  if (!ScanRow(scan, row, derived)) return scan.error();
  if (!Agrees(row, derived)) {
    scan.FailAt(derived.begin,
                "loss_base, loss_masked and score of nll_base, nll_masked and "
                "n_tokens");
    return scan.error();
  }
  row.loss.is_truncated = (row.flags & kTruncated) != 0;
  return absl::OkStatus();
}

absl::StatusOr<ScoreRow> ParseRow(absl::string_view line) {
  ScoreRow row;
  if (absl::Status status = ParseRowInto(line, row); !status.ok()) {
    return status;
  }
  return row;
}

}  // namespace headwise
