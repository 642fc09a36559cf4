// Filters: value | name(arguments).

#ifndef HEADWISE_MODEL_CHAT_TEMPLATE_FILTERS_H_
#define HEADWISE_MODEL_CHAT_TEMPLATE_FILTERS_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/chat_template/arguments.h"
#include "model/chat_template/budget.h"
#include "model/chat_template/value.h"

namespace headwise::jinja {

bool IsFilter(absl::string_view name);

// Unimplemented if there is no such filter; InvalidArgument for arguments or an
// input that it has no use for.
absl::StatusOr<Value> ApplyFilter(absl::string_view name, const Value& input,
                                  const CallArguments& arguments,
                                  Budget& budget);

// One implementation, and what it is called with.
struct FilterCall {
  const Value& input;
  const BoundArguments& arguments;
  const CallArguments& unbound;
  Budget& budget;
};
struct Filter {
  Signature signature;
  absl::StatusOr<Value> (*function)(const FilterCall& call);
  bool is_variadic = false;  // reads `unbound`; `arguments` is empty
};

// Each nullptr if there is no such filter: string_filters.cc,
// value_filters.cc, sequence_filters.cc, selection_filters.cc.
const Filter* FindStringFilter(absl::string_view name);
const Filter* FindValueFilter(absl::string_view name);
const Filter* FindSequenceFilter(absl::string_view name);
const Filter* FindSelectionFilter(absl::string_view name);

}  // namespace headwise::jinja

#endif  // HEADWISE_MODEL_CHAT_TEMPLATE_FILTERS_H_
