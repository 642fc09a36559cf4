#include "model/chat_template/globals.h"

#include <iterator>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/civil_time.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "model/chat_template/position.h"
#include "model/chat_template/value_text.h"

namespace headwise::jinja {
namespace {

constexpr struct {
  absl::string_view name;
  GlobalFunction function;
} kGlobals[] = {
    {"raise_exception", GlobalFunction::kRaiseException},
    {"namespace", GlobalFunction::kNamespace},
    {"range", GlobalFunction::kRange},
    {"strftime_now", GlobalFunction::kStrftimeNow},
    {"dict", GlobalFunction::kDict},
    {"joiner", GlobalFunction::kJoiner},
    {"cycler", GlobalFunction::kCycler},
    {"lipsum", GlobalFunction::kLipsum},
};

constexpr const char* kMonths[] = {
    "January", "February", "March",     "April",   "May",      "June",
    "July",    "August",   "September", "October", "November", "December"};
// In the order of absl::Weekday.
constexpr const char* kWeekdays[] = {"Monday",   "Tuesday", "Wednesday",
                                     "Thursday", "Friday",  "Saturday",
                                     "Sunday"};

// One conversion; `trimmed` (%-d) leaves a leading zero out.
absl::StatusOr<std::string> TimePart(char conversion, bool trimmed,
                                     const absl::CivilSecond& t) {
  const auto two = [trimmed](int number) {
    return trimmed ? absl::StrCat(number) : absl::StrFormat("%02d", number);
  };
  const absl::string_view month = kMonths[t.month() - 1];
  const absl::string_view weekday =
      kWeekdays[static_cast<int>(absl::GetWeekday(t))];
  constexpr size_t kShortName = 3;
  switch (conversion) {
    case 'd':
      return two(t.day());
    case 'm':
      return two(t.month());
    case 'y':
      return two(static_cast<int>(t.year() % 100));
    case 'Y':
      return absl::StrCat(t.year());
    case 'H':
      return two(t.hour());
    case 'I':
      return two(t.hour() % 12 == 0 ? 12 : t.hour() % 12);
    case 'M':
      return two(t.minute());
    case 'S':
      return two(t.second());
    case 'j':
      return trimmed ? absl::StrCat(absl::GetYearDay(t))
                     : absl::StrFormat("%03d", absl::GetYearDay(t));
    case 'p':
      return std::string(t.hour() < 12 ? "AM" : "PM");
    case 'b':
      return std::string(month.substr(0, kShortName));
    case 'B':
      return std::string(month);
    case 'a':
      return std::string(weekday.substr(0, kShortName));
    case 'A':
      return std::string(weekday);
    case 'F':
      return absl::StrFormat("%d-%02d-%02d", t.year(), t.month(), t.day());
    case 'T':
      return absl::StrFormat("%02d:%02d:%02d", t.hour(), t.minute(),
                             t.second());
    case '%':
      return std::string("%");
    default:
      return absl::UnimplementedError(absl::StrCat(
          "strftime_now conversion '%", std::string(1, conversion), "'"));
  }
}

// Elements of a range, or kMaxRange + 1 for any larger count.
int64_t RangeCount(int64_t start, int64_t stop, int64_t step) {
  if (step > 0 ? start >= stop : start <= stop) return 0;
  // The distance fits 64 bits without a sign, whatever the bounds.
  const uint64_t distance =
      step > 0 ? static_cast<uint64_t>(stop) - static_cast<uint64_t>(start)
               : static_cast<uint64_t>(start) - static_cast<uint64_t>(stop);
  const uint64_t size = step > 0 ? static_cast<uint64_t>(step)
                                 : uint64_t{0} - static_cast<uint64_t>(step);
  const uint64_t count = (distance - 1) / size + 1;
  return count > kMaxRange ? kMaxRange + 1 : static_cast<int64_t>(count);
}

}  // namespace

std::optional<Value> FindGlobal(absl::string_view name) {
  for (const auto& global : kGlobals) {
    if (global.name == name) return Value::Function(global.function);
  }
  return std::nullopt;
}

absl::string_view GlobalName(GlobalFunction function) {
  for (const auto& global : kGlobals) {
    if (global.function == function) return global.name;
  }
  HEADWISE_CHECK(false);
}

absl::StatusOr<Value> Range(const CallArguments& arguments, Budget& budget) {
  constexpr Signature kSignature = {
      .name = "range", .num_required = 1, .parameters = {"1", "2", "3"}};
  HEADWISE_ASSIGN_OR_RETURN(const BoundArguments bound,
                            BoundArguments::Bind(kSignature, arguments));
  if (bound.Get(0).Is(Value::Kind::kUndefined)) {
    return UndefinedError(bound.Get(0));
  }
  HEADWISE_ASSIGN_OR_RETURN(const int64_t first, bound.IntegerOr(0, 0));
  HEADWISE_ASSIGN_OR_RETURN(const int64_t second, bound.IntegerOr(1, 0));
  HEADWISE_ASSIGN_OR_RETURN(const int64_t step, bound.IntegerOr(2, 1));
  if (step == 0) return absl::InvalidArgumentError("range step is zero");
  const bool has_start = bound.Find(1) != nullptr;
  const int64_t start = has_start ? first : 0;
  const int64_t count = RangeCount(start, has_start ? second : first, step);
  if (count > kMaxRange) {
    return absl::ResourceExhaustedError(
        absl::StrCat("a range has more than ", kMaxRange, " elements"));
  }
  std::vector<Value> items;
  items.reserve(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    // Without signs: i * step alone may pass 64 bits where the sum does not.
    items.push_back(Value::Int(static_cast<int64_t>(
        static_cast<uint64_t>(start) +
        static_cast<uint64_t>(i) * static_cast<uint64_t>(step))));
  }
  return MakeSequence(SequenceType::kRange, std::move(items), budget);
}

absl::Status RaiseException(const CallArguments& arguments, Budget& budget) {
  constexpr Signature kSignature = {
      .name = "raise_exception", .num_required = 1, .parameters = {"message"}};
  HEADWISE_ASSIGN_OR_RETURN(const BoundArguments bound,
                            BoundArguments::Bind(kSignature, arguments));
  HEADWISE_ASSIGN_OR_RETURN(const std::string message,
                            Str(bound.Get(0), budget));
  return WithoutPlace(
      absl::InvalidArgumentError(CutText(message, kMaxRaisedBytes)));
}

absl::StatusOr<Value> StrftimeNow(const CallArguments& arguments,
                                  absl::Time now, Budget& budget) {
  constexpr Signature kSignature = {
      .name = "strftime_now", .num_required = 1, .parameters = {"format"}};
  HEADWISE_ASSIGN_OR_RETURN(const BoundArguments bound,
                            BoundArguments::Bind(kSignature, arguments));
  HEADWISE_ASSIGN_OR_RETURN(const absl::string_view format, bound.GetString(0));
  HEADWISE_RETURN_IF_ERROR(
      budget.SpendBytes(static_cast<int64_t>(format.size())));
  const absl::CivilSecond civil = absl::ToCivilSecond(now, absl::UTCTimeZone());
  BoundedText text;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%' || i + 1 == format.size()) {
      text.Append(absl::string_view(&format[i], 1));
      continue;
    }
    ++i;
    const bool trimmed = format[i] == '-' && i + 1 < format.size();
    if (trimmed) ++i;
    HEADWISE_ASSIGN_OR_RETURN(const std::string part,
                              TimePart(format[i], trimmed, civil));
    text.Append(part);
  }
  return MakeString(std::move(text), budget);
}

}  // namespace headwise::jinja
