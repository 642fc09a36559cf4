#include "model/chat_template/value_sort.h"

#include <algorithm>
#include <cfloat>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/chat_template/text_search.h"

namespace headwise::jinja {
namespace {

// Holds any int64_t and any double, so that comparing the two is exact.
using ExactNumber = long double;
static_assert(LDBL_MANT_DIG >= 64);

ExactNumber Exact(const Value& number) {
  return number.Is(Value::Kind::kFloat)
             ? static_cast<ExactNumber>(number.number())
             : static_cast<ExactNumber>(number.integer());
}

bool IsListOrTuple(const Sequence& sequence) {
  return sequence.type == SequenceType::kList ||
         sequence.type == SequenceType::kTuple;
}

absl::StatusOr<bool> SequencesEqual(const Sequence& a, const Sequence& b,
                                    Budget& budget) {
  if (a.type != b.type || a.items.size() != b.items.size()) return false;
  for (size_t i = 0; i < a.items.size(); ++i) {
    HEADWISE_ASSIGN_OR_RETURN(const bool equal,
                              Equals(a.items[i], b.items[i], budget));
    if (!equal) return false;
  }
  return true;
}

absl::StatusOr<bool> DictsEqual(const Dict& a, const Dict& b, Budget& budget) {
  if (a.entries().size() != b.entries().size()) return false;
  for (const auto& [key, value] : a.entries()) {
    HEADWISE_ASSIGN_OR_RETURN(const Value* other, b.Find(key, budget));
    if (other == nullptr) return false;
    HEADWISE_ASSIGN_OR_RETURN(const bool equal, Equals(value, *other, budget));
    if (!equal) return false;
  }
  return true;
}

absl::StatusOr<bool> SequenceLess(const Sequence& a, const Sequence& b,
                                  Budget& budget) {
  const size_t num_common = std::min(a.items.size(), b.items.size());
  for (size_t i = 0; i < num_common; ++i) {
    HEADWISE_ASSIGN_OR_RETURN(const bool equal,
                              Equals(a.items[i], b.items[i], budget));
    if (!equal) return Less(a.items[i], b.items[i], budget);
  }
  return a.items.size() < b.items.size();
}

// Merges the sorted runs [begin, middle) and [middle, end) of `from` into `to`.
absl::Status MergeRuns(const std::vector<Value>& keys, const size_t bounds[3],
                       const std::vector<size_t>& from, Budget& budget,
                       std::vector<size_t>* to) {
  size_t left = bounds[0];
  size_t right = bounds[1];
  for (size_t i = bounds[0]; i < bounds[2]; ++i) {
    bool take_right = left == bounds[1];
    if (!take_right && right < bounds[2]) {
      // Only a smaller element goes first: equal ones keep their order.
      HEADWISE_ASSIGN_OR_RETURN(
          take_right, Less(keys[from[right]], keys[from[left]], budget));
    }
    (*to)[i] = take_right ? from[right++] : from[left++];
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<bool> Equals(const Value& a, const Value& b, Budget& budget) {
  HEADWISE_RETURN_IF_ERROR(budget.Spend(1));
  if (a.IsNumber() && b.IsNumber()) return Exact(a) == Exact(b);
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Value::Kind::kUndefined:  // whatever their hints say
    case Value::Kind::kNone:
      return true;
    case Value::Kind::kString:
      if (a.string().size() != b.string().size()) return false;
      HEADWISE_RETURN_IF_ERROR(
          budget.SpendBytes(static_cast<int64_t>(a.string().size())));
      return a.string() == b.string();
    case Value::Kind::kSequence:
      if (a.SameAs(b)) return true;
      if (a.sequence().type == SequenceType::kGenerator) return false;
      return SequencesEqual(a.sequence(), b.sequence(), budget);
    case Value::Kind::kDict:
      if (a.SameAs(b)) return true;
      return DictsEqual(a.dict(), b.dict(), budget);
    default:
      return a.SameAs(b);
  }
}

absl::StatusOr<bool> Less(const Value& a, const Value& b, Budget& budget) {
  HEADWISE_RETURN_IF_ERROR(budget.Spend(1));
  if (a.Is(Value::Kind::kUndefined)) return UndefinedError(a);
  if (b.Is(Value::Kind::kUndefined)) return UndefinedError(b);
  if (a.IsNumber() && b.IsNumber()) return Exact(a) < Exact(b);
  if (a.Is(Value::Kind::kString) && b.Is(Value::Kind::kString)) {
    HEADWISE_RETURN_IF_ERROR(budget.SpendBytes(
        static_cast<int64_t>(std::min(a.string().size(), b.string().size()))));
    // The order of UTF-8 bytes is the order of code points.
    return a.string() < b.string();
  }
  if (a.Is(Value::Kind::kSequence) && b.Is(Value::Kind::kSequence) &&
      a.sequence().type == b.sequence().type && IsListOrTuple(a.sequence())) {
    return SequenceLess(a.sequence(), b.sequence(), budget);
  }
  return absl::InvalidArgumentError(
      absl::StrCat("'<' not supported between instances of '", TypeName(a),
                   "' and '", TypeName(b), "'"));
}

absl::StatusOr<bool> Contains(const Value& container, const Value& item,
                              Budget& budget) {
  switch (container.kind()) {
    case Value::Kind::kUndefined:
      return false;
    case Value::Kind::kString:
      if (!item.Is(Value::Kind::kString)) {
        return absl::InvalidArgumentError(
            absl::StrCat("'in <string>' requires string as left operand, not ",
                         TypeName(item)));
      }
      HEADWISE_RETURN_IF_ERROR(
          budget.SpendBytes(static_cast<int64_t>(container.string().size())));
      return FindFirst(container.string(), item.string()) !=
             absl::string_view::npos;
    case Value::Kind::kDict: {
      HEADWISE_ASSIGN_OR_RETURN(const Value* found,
                                container.dict().Find(item, budget));
      return found != nullptr;
    }
    case Value::Kind::kSequence:
      for (const Value& element : container.sequence().items) {
        HEADWISE_ASSIGN_OR_RETURN(const bool equal,
                                  Equals(element, item, budget));
        if (equal) return true;
      }
      return false;
    default:
      return absl::InvalidArgumentError(absl::StrCat(
          "argument of type '", TypeName(container), "' is not iterable"));
  }
}

absl::StatusOr<std::vector<size_t>> SortedOrder(const std::vector<Value>& keys,
                                                Budget& budget) {
  std::vector<size_t> order(keys.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::vector<size_t> merged(keys.size());
  for (size_t run = 1; run < keys.size(); run *= 2) {
    for (size_t begin = 0; begin < keys.size(); begin += 2 * run) {
      const size_t bounds[3] = {begin, std::min(begin + run, keys.size()),
                                std::min(begin + 2 * run, keys.size())};
      HEADWISE_RETURN_IF_ERROR(MergeRuns(keys, bounds, order, budget, &merged));
    }
    order.swap(merged);
  }
  return order;
}

absl::Status SortEntriesByKey(std::vector<std::pair<Value, Value>>* entries,
                              Budget& budget) {
  std::vector<Value> keys;
  for (const auto& [key, unused] : *entries) keys.push_back(key);
  HEADWISE_ASSIGN_OR_RETURN(const std::vector<size_t> order,
                            SortedOrder(keys, budget));
  std::vector<std::pair<Value, Value>> sorted;
  for (const size_t i : order) sorted.push_back((*entries)[i]);
  *entries = std::move(sorted);
  return absl::OkStatus();
}

}  // namespace headwise::jinja
