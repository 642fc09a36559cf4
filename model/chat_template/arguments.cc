#include "model/chat_template/arguments.h"

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace headwise::jinja {

absl::Status SpendStrings(const CallArguments& arguments, Budget& budget) {
  const auto spend = [&budget](const Value& value) {
    if (!value.Is(Value::Kind::kString)) return absl::OkStatus();
    return budget.SpendBytes(static_cast<int64_t>(value.string().size()));
  };
  for (const Value& value : arguments.positional) {
    HEADWISE_RETURN_IF_ERROR(spend(value));
  }
  for (const auto& [unused, value] : arguments.named) {
    HEADWISE_RETURN_IF_ERROR(spend(value));
  }
  return absl::OkStatus();
}

absl::StatusOr<BoundArguments> BoundArguments::Bind(
    const Signature& signature, const CallArguments& arguments) {
  BoundArguments bound(signature);
  size_t num_parameters = 0;
  while (num_parameters < kMaxParameters &&
         !signature.parameters[num_parameters].empty()) {
    ++num_parameters;
  }
  if (arguments.positional.size() > num_parameters) {
    return absl::InvalidArgumentError(
        absl::StrCat(signature.name, " takes at most ", num_parameters,
                     " arguments, got ", arguments.positional.size()));
  }
  for (size_t i = 0; i < arguments.positional.size(); ++i) {
    bound.slots_[i] = arguments.positional[i];
  }
  for (const auto& [name, value] : arguments.named) {
    size_t i = 0;
    while (i < num_parameters && signature.parameters[i] != name) ++i;
    if (i == num_parameters) {
      return absl::InvalidArgumentError(
          absl::StrCat(signature.name, " has no parameter '", name, "'"));
    }
    if (bound.slots_[i].has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat(signature.name, " got two values for '", name, "'"));
    }
    bound.slots_[i] = value;
  }
  for (size_t i = 0; i < signature.num_required; ++i) {
    if (!bound.slots_[i].has_value()) {
      return absl::InvalidArgumentError(
          absl::StrCat(signature.name, " needs the argument '",
                       signature.parameters[i], "'"));
    }
  }
  return bound;
}

const Value* BoundArguments::FindGiven(size_t i) const {
  const Value* value = Find(i);
  return value == nullptr || value->Is(Value::Kind::kNone) ? nullptr : value;
}

bool BoundArguments::IsTrueOr(size_t i, bool otherwise) const {
  const Value* value = Find(i);
  return value == nullptr ? otherwise : IsTrue(*value);
}

absl::StatusOr<int64_t> BoundArguments::IntegerOr(size_t i,
                                                  int64_t otherwise) const {
  const Value* value = FindGiven(i);
  if (value == nullptr) return otherwise;
  if (!value->IsInteger()) return WrongType(i, "an integer");
  return value->integer();
}

absl::StatusOr<const std::string*> BoundArguments::FindString(size_t i) const {
  const Value* value = FindGiven(i);
  if (value == nullptr) return nullptr;
  if (!value->Is(Value::Kind::kString)) return WrongType(i, "a string");
  return &value->string();
}

absl::StatusOr<absl::string_view> BoundArguments::GetString(size_t i) const {
  HEADWISE_ASSIGN_OR_RETURN(const std::string* text, FindString(i));
  if (text == nullptr) return WrongType(i, "a string");
  return *text;
}

absl::Status BoundArguments::WrongType(size_t i,
                                       absl::string_view wanted) const {
  const Value* value = Find(i);
  return absl::InvalidArgumentError(absl::StrCat(
      signature_.name, ": '", signature_.parameters[i], "' must be ", wanted,
      ", not ", value == nullptr ? "missing" : TypeName(*value)));
}

}  // namespace headwise::jinja
