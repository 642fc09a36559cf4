// Parts of a value: attributes, items, slices.

#ifndef HEADWISE_MODEL_CHAT_TEMPLATE_ATTRIBUTES_H_
#define HEADWISE_MODEL_CHAT_TEMPLATE_ATTRIBUTES_H_

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/chat_template/budget.h"
#include "model/chat_template/value.h"

namespace headwise::jinja {

// value.name: a method, else an item. Undefined if there is neither;
// InvalidArgument if `value` itself is undefined.
absl::StatusOr<Value> GetAttribute(const Value& value, absl::string_view name,
                                   Budget& budget);

// value[key]: an item, else (for a string key) a method.
absl::StatusOr<Value> GetItem(const Value& value, const Value& key,
                              Budget& budget);

// value[start:stop:step]; none stands for what is left out.
struct SliceBounds {
  Value start = Value::None();
  Value stop = Value::None();
  Value step = Value::None();
};
absl::StatusOr<Value> GetSlice(const Value& value, const SliceBounds& bounds,
                               Budget& budget);

// The `attribute` argument of filters: a key, an index, or several joined by
// dots ("function.name", "0.text"). `otherwise`, if it is given, stands for
// each part that is undefined.
absl::StatusOr<Value> GetPath(const Value& value, const Value& path,
                              Budget& budget, const Value* otherwise = nullptr);

}  // namespace headwise::jinja

#endif  // HEADWISE_MODEL_CHAT_TEMPLATE_ATTRIBUTES_H_
