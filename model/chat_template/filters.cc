#include "model/chat_template/filters.h"

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace headwise::jinja {
namespace {

const Filter* Find(absl::string_view name) {
  for (const auto find : {FindStringFilter, FindValueFilter, FindSequenceFilter,
                          FindSelectionFilter}) {
    const Filter* filter = find(name);
    if (filter != nullptr) return filter;
  }
  return nullptr;
}

}  // namespace

bool IsFilter(absl::string_view name) { return Find(name) != nullptr; }

absl::StatusOr<Value> ApplyFilter(absl::string_view name, const Value& input,
                                  const CallArguments& arguments,
                                  Budget& budget) {
  const Filter* filter = Find(name);
  if (filter == nullptr) {
    return absl::UnimplementedError(absl::StrCat("filter '", name, "'"));
  }
  if (input.Is(Value::Kind::kString)) {
    HEADWISE_RETURN_IF_ERROR(
        budget.SpendBytes(static_cast<int64_t>(input.string().size())));
  }
  HEADWISE_RETURN_IF_ERROR(SpendStrings(arguments, budget));
  HEADWISE_ASSIGN_OR_RETURN(
      const BoundArguments bound,
      BoundArguments::Bind(filter->signature,
                           filter->is_variadic ? CallArguments() : arguments));
  return filter->function({input, bound, arguments, budget});
}

}  // namespace headwise::jinja
