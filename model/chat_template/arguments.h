// Arguments of a call, and how they meet a signature.

#ifndef HEADWISE_MODEL_CHAT_TEMPLATE_ARGUMENTS_H_
#define HEADWISE_MODEL_CHAT_TEMPLATE_ARGUMENTS_H_

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/chat_template/budget.h"
#include "model/chat_template/value.h"

namespace headwise::jinja {

struct CallArguments {
  std::vector<Value> positional = {};
  std::vector<std::pair<std::string, Value>> named = {};
};

// Charges the bytes of all strings among the arguments: whoever is called may
// walk through them.
absl::Status SpendStrings(const CallArguments& arguments, Budget& budget);

inline constexpr size_t kMaxParameters = 5;

struct Signature {
  absl::string_view name;
  size_t num_required = 0;
  // In order; the first empty name ends them.
  std::array<absl::string_view, kMaxParameters> parameters = {};
};

// One slot per parameter of a signature; a slot may be empty.
class BoundArguments {
 public:
  // InvalidArgument for a missing, a superfluous or an unknown argument.
  static absl::StatusOr<BoundArguments> Bind(const Signature& signature,
                                             const CallArguments& arguments);

  // nullptr if absent.
  const Value* Find(size_t i) const {
    return slots_[i].has_value() ? &*slots_[i] : nullptr;
  }
  // nullptr also for none, which in Python stands for "not given" here.
  const Value* FindGiven(size_t i) const;
  // Requires that the parameter is required.
  const Value& Get(size_t i) const { return *slots_[i]; }
  bool IsTrueOr(size_t i, bool otherwise) const;
  // InvalidArgument, naming the parameter, if what is given is of another type.
  absl::StatusOr<int64_t> IntegerOr(size_t i, int64_t otherwise) const;
  // A string lives as long as this; nullptr if absent.
  absl::StatusOr<const std::string*> FindString(size_t i) const;
  absl::StatusOr<absl::string_view> GetString(size_t i) const;

 private:
  explicit BoundArguments(const Signature& signature) : signature_(signature) {}
  absl::Status WrongType(size_t i, absl::string_view wanted) const;

  Signature signature_;
  std::array<std::optional<Value>, kMaxParameters> slots_;
};

}  // namespace headwise::jinja

#endif  // HEADWISE_MODEL_CHAT_TEMPLATE_ARGUMENTS_H_
