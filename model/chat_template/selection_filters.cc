// Filters that apply another filter, a test or an attribute to each element.

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/chat_template/attributes.h"
#include "model/chat_template/filters.h"
#include "model/chat_template/predicates.h"

namespace headwise::jinja {
namespace {

using Kind = Value::Kind;

// The name of a filter or test at `arguments[i]`, and what comes after it.
absl::StatusOr<std::string> NameAt(const CallArguments& arguments, size_t i,
                                   CallArguments* rest) {
  const Value& name = arguments.positional[i];
  if (!name.Is(Kind::kString)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "the name of a filter or test must be a string, not ", TypeName(name)));
  }
  rest->positional.assign(arguments.positional.begin() + i + 1,
                          arguments.positional.end());
  rest->named = arguments.named;
  return name.string();
}

absl::StatusOr<Value> MapAttribute(const FilterCall& call) {
  const Value* attribute = nullptr;
  const Value* otherwise = nullptr;
  for (const auto& [name, value] : call.unbound.named) {
    if (name == "attribute") {
      attribute = &value;
    } else if (name == "default") {
      otherwise = &value;
    } else {
      return absl::InvalidArgumentError(
          absl::StrCat("map has no parameter '", name, "'"));
    }
  }
  if (attribute == nullptr) {
    return absl::InvalidArgumentError("map needs a filter or an attribute");
  }
  HEADWISE_ASSIGN_OR_RETURN(std::vector<Value> items,
                            Elements(call.input, call.budget));
  for (Value& item : items) {
    HEADWISE_ASSIGN_OR_RETURN(
        item, GetPath(item, *attribute, call.budget, otherwise));
  }
  return MakeSequence(SequenceType::kGenerator, std::move(items), call.budget);
}

absl::StatusOr<Value> Map(const FilterCall& call) {
  if (call.unbound.positional.empty()) return MapAttribute(call);
  CallArguments rest;
  HEADWISE_ASSIGN_OR_RETURN(const std::string name,
                            NameAt(call.unbound, 0, &rest));
  // Filters of this file in one another would recurse as deep as the template
  // has arguments.
  if (FindSelectionFilter(name) != nullptr) {
    return absl::UnimplementedError(
        absl::StrCat("filter '", name, "' inside of map"));
  }
  HEADWISE_ASSIGN_OR_RETURN(std::vector<Value> items,
                            Elements(call.input, call.budget));
  for (Value& item : items) {
    HEADWISE_ASSIGN_OR_RETURN(item, ApplyFilter(name, item, rest, call.budget));
  }
  return MakeSequence(SequenceType::kGenerator, std::move(items), call.budget);
}

// Keeps the elements for which the test gives `wanted`. With `by_attribute` the
// first argument names what of an element is tested. Without a test: its truth.
absl::StatusOr<Value> SelectItems(const FilterCall& call, bool by_attribute,
                                  bool wanted) {
  const size_t test_index = by_attribute ? 1 : 0;
  const CallArguments& arguments = call.unbound;
  if (arguments.positional.size() < test_index) {
    return absl::InvalidArgumentError("an attribute's name is missing");
  }
  const bool has_test = arguments.positional.size() > test_index;
  CallArguments rest;
  std::string test;
  if (has_test) {
    HEADWISE_ASSIGN_OR_RETURN(test, NameAt(arguments, test_index, &rest));
  }
  HEADWISE_ASSIGN_OR_RETURN(const std::vector<Value> items,
                            Elements(call.input, call.budget));
  std::vector<Value> selected;
  for (const Value& item : items) {
    Value tested = item;
    if (by_attribute) {
      HEADWISE_ASSIGN_OR_RETURN(
          tested, GetPath(item, arguments.positional[0], call.budget));
    }
    bool holds = IsTrue(tested);
    if (has_test) {
      HEADWISE_ASSIGN_OR_RETURN(
          holds, ApplyPredicate(test, tested, rest, call.budget));
    }
    if (holds == wanted) selected.push_back(item);
  }
  return MakeSequence(SequenceType::kGenerator, std::move(selected),
                      call.budget);
}

absl::StatusOr<Value> Select(const FilterCall& call) {
  return SelectItems(call, false, true);
}
absl::StatusOr<Value> Reject(const FilterCall& call) {
  return SelectItems(call, false, false);
}
absl::StatusOr<Value> SelectAttribute(const FilterCall& call) {
  return SelectItems(call, true, true);
}
absl::StatusOr<Value> RejectAttribute(const FilterCall& call) {
  return SelectItems(call, true, false);
}

constexpr Filter kFilters[] = {
    {{.name = "map"}, Map, /*is_variadic=*/true},
    {{.name = "select"}, Select, /*is_variadic=*/true},
    {{.name = "reject"}, Reject, /*is_variadic=*/true},
    {{.name = "selectattr"}, SelectAttribute, /*is_variadic=*/true},
    {{.name = "rejectattr"}, RejectAttribute, /*is_variadic=*/true},
};

}  // namespace

const Filter* FindSelectionFilter(absl::string_view name) {
  for (const Filter& filter : kFilters) {
    if (filter.signature.name == name) return &filter;
  }
  return nullptr;
}

}  // namespace headwise::jinja
