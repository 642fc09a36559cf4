// Filters on sequences and dicts as a whole.

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "model/chat_template/arithmetic.h"
#include "model/chat_template/attributes.h"
#include "model/chat_template/filters.h"
#include "model/chat_template/unicode.h"
#include "model/chat_template/value_sort.h"
#include "model/chat_template/value_text.h"

namespace headwise::jinja {
namespace {

using Kind = Value::Kind;

absl::StatusOr<Value> LengthFilter(const FilterCall& call) {
  HEADWISE_ASSIGN_OR_RETURN(const int64_t length,
                            Length(call.input, call.budget));
  return Value::Int(length);
}

absl::StatusOr<Value> First(const FilterCall& call) {
  HEADWISE_ASSIGN_OR_RETURN(const std::vector<Value> items,
                            Elements(call.input, call.budget));
  if (items.empty()) {
    return Value::Undefined("No first item, sequence was empty.");
  }
  return items.front();
}

absl::StatusOr<Value> Last(const FilterCall& call) {
  HEADWISE_ASSIGN_OR_RETURN(const std::vector<Value> items,
                            Elements(call.input, call.budget));
  if (items.empty()) {
    return Value::Undefined("No last item, sequence was empty.");
  }
  return items.back();
}

absl::StatusOr<Value> List(const FilterCall& call) {
  HEADWISE_ASSIGN_OR_RETURN(std::vector<Value> items,
                            Elements(call.input, call.budget));
  return MakeSequence(SequenceType::kList, std::move(items), call.budget);
}

absl::StatusOr<Value> Reverse(const FilterCall& call) {
  if (call.input.Is(Kind::kString)) {
    return GetSlice(call.input, {.step = Value::Int(-1)}, call.budget);
  }
  HEADWISE_ASSIGN_OR_RETURN(std::vector<Value> items,
                            Elements(call.input, call.budget));
  std::reverse(items.begin(), items.end());
  return MakeSequence(SequenceType::kGenerator, std::move(items), call.budget);
}

absl::StatusOr<Value> Join(const FilterCall& call) {
  HEADWISE_ASSIGN_OR_RETURN(const std::vector<Value> items,
                            Elements(call.input, call.budget));
  std::string separator;
  if (const Value* given = call.arguments.Find(0)) {
    HEADWISE_ASSIGN_OR_RETURN(separator, Str(*given, call.budget));
  }
  const Value* attribute = call.arguments.FindGiven(1);
  BoundedText joined;
  for (size_t i = 0; i < items.size() && !joined.full(); ++i) {
    if (i > 0) joined.Append(separator);
    Value item = items[i];
    if (attribute != nullptr) {
      HEADWISE_ASSIGN_OR_RETURN(item, GetPath(item, *attribute, call.budget));
    }
    HEADWISE_RETURN_IF_ERROR(AppendStr(item, &joined));
  }
  return MakeString(std::move(joined), call.budget);
}

absl::StatusOr<Value> IgnoreCase(const Value& value, bool case_sensitive,
                                 Budget& budget) {
  if (case_sensitive || !value.Is(Kind::kString)) return value;
  return MakeString(ToLower(value.string()), budget);
}

// What an item is compared by: itself, or its attribute, or a list of those
// that commas join.
absl::StatusOr<Value> KeyOf(const Value& item, const Value* attribute,
                            bool case_sensitive, Budget& budget) {
  if (attribute == nullptr) return IgnoreCase(item, case_sensitive, budget);
  if (!attribute->Is(Kind::kString)) {
    HEADWISE_ASSIGN_OR_RETURN(const Value part,
                              GetPath(item, *attribute, budget));
    return IgnoreCase(part, case_sensitive, budget);
  }
  std::vector<Value> keys;
  for (const absl::string_view path :
       absl::StrSplit(attribute->string(), ',')) {
    HEADWISE_ASSIGN_OR_RETURN(
        const Value part,
        GetPath(item, Value::String(std::string(path)), budget));
    HEADWISE_ASSIGN_OR_RETURN(Value key,
                              IgnoreCase(part, case_sensitive, budget));
    keys.push_back(std::move(key));
  }
  if (keys.size() == 1) return keys[0];
  return MakeSequence(SequenceType::kTuple, std::move(keys), budget);
}

absl::StatusOr<std::vector<Value>> KeysOf(const std::vector<Value>& items,
                                          const Value* attribute,
                                          bool case_sensitive, Budget& budget) {
  std::vector<Value> keys;
  keys.reserve(items.size());
  for (const Value& item : items) {
    HEADWISE_ASSIGN_OR_RETURN(Value key,
                              KeyOf(item, attribute, case_sensitive, budget));
    keys.push_back(std::move(key));
  }
  return keys;
}

// `items` in the order of their keys; equal ones keep theirs in both
// directions.
absl::StatusOr<Value> SortBy(std::vector<Value> items, std::vector<Value> keys,
                             bool reverse, Budget& budget) {
  if (reverse) {
    std::reverse(items.begin(), items.end());
    std::reverse(keys.begin(), keys.end());
  }
  HEADWISE_ASSIGN_OR_RETURN(const std::vector<size_t> order,
                            SortedOrder(keys, budget));
  std::vector<Value> sorted;
  sorted.reserve(items.size());
  for (const size_t i : order) sorted.push_back(items[i]);
  if (reverse) std::reverse(sorted.begin(), sorted.end());
  return MakeSequence(SequenceType::kList, std::move(sorted), budget);
}

absl::StatusOr<Value> Sort(const FilterCall& call) {
  HEADWISE_ASSIGN_OR_RETURN(std::vector<Value> items,
                            Elements(call.input, call.budget));
  HEADWISE_ASSIGN_OR_RETURN(
      std::vector<Value> keys,
      KeysOf(items, call.arguments.FindGiven(2),
             call.arguments.IsTrueOr(1, false), call.budget));
  return SortBy(std::move(items), std::move(keys),
                call.arguments.IsTrueOr(0, false), call.budget);
}

absl::StatusOr<std::vector<Value>> DictItems(const Value& value,
                                             Budget& budget) {
  if (!value.Is(Kind::kDict)) {
    return absl::InvalidArgumentError(
        absl::StrCat("a mapping is needed, not ", TypeName(value)));
  }
  std::vector<Value> items;
  for (const auto& [key, element] : value.dict().entries()) {
    HEADWISE_ASSIGN_OR_RETURN(
        Value pair, MakeSequence(SequenceType::kTuple, {key, element}, budget));
    items.push_back(std::move(pair));
  }
  return items;
}

absl::StatusOr<Value> DictSort(const FilterCall& call) {
  HEADWISE_ASSIGN_OR_RETURN(std::vector<Value> items,
                            DictItems(call.input, call.budget));
  HEADWISE_ASSIGN_OR_RETURN(const std::string* by,
                            call.arguments.FindString(1));
  if (by != nullptr && *by != "key" && *by != "value") {
    return absl::InvalidArgumentError(
        absl::StrCat("dictsort: by must be 'key' or 'value', not '", *by, "'"));
  }
  const Value position = Value::Int(by != nullptr && *by == "value" ? 1 : 0);
  HEADWISE_ASSIGN_OR_RETURN(
      std::vector<Value> keys,
      KeysOf(items, &position, call.arguments.IsTrueOr(0, false), call.budget));
  return SortBy(std::move(items), std::move(keys),
                call.arguments.IsTrueOr(2, false), call.budget);
}

absl::StatusOr<Value> Items(const FilterCall& call) {
  std::vector<Value> items;
  if (!call.input.Is(Kind::kUndefined)) {
    HEADWISE_ASSIGN_OR_RETURN(items, DictItems(call.input, call.budget));
  }
  return MakeSequence(SequenceType::kGenerator, std::move(items), call.budget);
}

absl::StatusOr<Value> Unique(const FilterCall& call) {
  HEADWISE_ASSIGN_OR_RETURN(const std::vector<Value> items,
                            Elements(call.input, call.budget));
  HEADWISE_ASSIGN_OR_RETURN(
      const std::vector<Value> keys,
      KeysOf(items, call.arguments.FindGiven(1),
             call.arguments.IsTrueOr(0, false), call.budget));
  Dict seen;
  std::vector<Value> unique;
  for (size_t i = 0; i < items.size(); ++i) {
    HEADWISE_ASSIGN_OR_RETURN(const Value* found,
                              seen.Find(keys[i], call.budget));
    if (found != nullptr) continue;
    HEADWISE_RETURN_IF_ERROR(seen.Set(keys[i], Value::None(), call.budget));
    unique.push_back(items[i]);
  }
  return MakeSequence(SequenceType::kGenerator, std::move(unique), call.budget);
}

absl::StatusOr<Value> Extreme(const FilterCall& call, bool want_max) {
  HEADWISE_ASSIGN_OR_RETURN(const std::vector<Value> items,
                            Elements(call.input, call.budget));
  if (items.empty()) {
    return Value::Undefined("No aggregated item, sequence was empty.");
  }
  HEADWISE_ASSIGN_OR_RETURN(
      const std::vector<Value> keys,
      KeysOf(items, call.arguments.FindGiven(1),
             call.arguments.IsTrueOr(0, false), call.budget));
  size_t best = 0;
  for (size_t i = 1; i < items.size(); ++i) {
    HEADWISE_ASSIGN_OR_RETURN(const bool is_better,
                              want_max
                                  ? Less(keys[best], keys[i], call.budget)
                                  : Less(keys[i], keys[best], call.budget));
    if (is_better) best = i;
  }
  return items[best];
}

absl::StatusOr<Value> Min(const FilterCall& call) {
  return Extreme(call, false);
}
absl::StatusOr<Value> Max(const FilterCall& call) {
  return Extreme(call, true);
}

absl::StatusOr<Value> Sum(const FilterCall& call) {
  HEADWISE_ASSIGN_OR_RETURN(const std::vector<Value> items,
                            Elements(call.input, call.budget));
  const Value* attribute = call.arguments.FindGiven(0);
  const Value* start = call.arguments.Find(1);
  Value sum = start == nullptr ? Value::Int(0) : *start;
  for (const Value& item : items) {
    Value part = item;
    if (attribute != nullptr) {
      HEADWISE_ASSIGN_OR_RETURN(part, GetPath(item, *attribute, call.budget));
    }
    HEADWISE_ASSIGN_OR_RETURN(
        sum, Arithmetic(Operator::kAdd, sum, part, call.budget));
  }
  return sum;
}

absl::StatusOr<Value> Batch(const FilterCall& call) {
  HEADWISE_ASSIGN_OR_RETURN(const std::vector<Value> items,
                            Elements(call.input, call.budget));
  HEADWISE_ASSIGN_OR_RETURN(const int64_t size, call.arguments.IntegerOr(0, 0));
  if (size < 1 || size > kMaxRange) {
    return absl::InvalidArgumentError(
        absl::StrCat("batch of ", size, " items; 1 to ", kMaxRange));
  }
  const Value* filler = call.arguments.FindGiven(1);
  std::vector<Value> batches;
  for (size_t begin = 0; begin < items.size(); begin += size) {
    const size_t end =
        std::min(items.size(), begin + static_cast<size_t>(size));
    std::vector<Value> batch(items.begin() + begin, items.begin() + end);
    if (filler != nullptr) batch.resize(static_cast<size_t>(size), *filler);
    HEADWISE_ASSIGN_OR_RETURN(
        Value list,
        MakeSequence(SequenceType::kList, std::move(batch), call.budget));
    batches.push_back(std::move(list));
  }
  return MakeSequence(SequenceType::kGenerator, std::move(batches),
                      call.budget);
}

constexpr Filter kFilters[] = {
    {{.name = "length"}, LengthFilter},
    {{.name = "count"}, LengthFilter},
    {{.name = "first"}, First},
    {{.name = "last"}, Last},
    {{.name = "list"}, List},
    {{.name = "reverse"}, Reverse},
    {{.name = "join", .parameters = {"d", "attribute"}}, Join},
    {{.name = "sort", .parameters = {"reverse", "case_sensitive", "attribute"}},
     Sort},
    {{.name = "dictsort", .parameters = {"case_sensitive", "by", "reverse"}},
     DictSort},
    {{.name = "items"}, Items},
    {{.name = "unique", .parameters = {"case_sensitive", "attribute"}}, Unique},
    {{.name = "min", .parameters = {"case_sensitive", "attribute"}}, Min},
    {{.name = "max", .parameters = {"case_sensitive", "attribute"}}, Max},
    {{.name = "sum", .parameters = {"attribute", "start"}}, Sum},
    {{.name = "batch",
      .num_required = 1,
      .parameters = {"linecount", "fill_with"}},
     Batch},
};

}  // namespace

const Filter* FindSequenceFilter(absl::string_view name) {
  for (const Filter& filter : kFilters) {
    if (filter.signature.name == name) return &filter;
  }
  return nullptr;
}

}  // namespace headwise::jinja
