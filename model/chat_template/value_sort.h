// How values compare: ==, <, in, and the orders built on them.

#ifndef HEADWISE_MODEL_CHAT_TEMPLATE_VALUE_SORT_H_
#define HEADWISE_MODEL_CHAT_TEMPLATE_VALUE_SORT_H_

#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "model/chat_template/budget.h"
#include "model/chat_template/value.h"

namespace headwise::jinja {

// Python's ==. Charges what it visits: shared containers can make a small value
// large to walk.
absl::StatusOr<bool> Equals(const Value& a, const Value& b, Budget& budget);

// Python's <. InvalidArgument for types that have no order between them.
absl::StatusOr<bool> Less(const Value& a, const Value& b, Budget& budget);

// Python's `item in container`.
absl::StatusOr<bool> Contains(const Value& container, const Value& item,
                              Budget& budget);

// A stable order of `keys` by Less: indices into it, each once.
absl::StatusOr<std::vector<size_t>> SortedOrder(const std::vector<Value>& keys,
                                                Budget& budget);

// Entries of a dict by key, as json.dumps(sort_keys=True) takes them.
absl::Status SortEntriesByKey(std::vector<std::pair<Value, Value>>* entries,
                              Budget& budget);

}  // namespace headwise::jinja

#endif  // HEADWISE_MODEL_CHAT_TEMPLATE_VALUE_SORT_H_
