#include "model/chat_template/value.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "model/chat_template/unicode.h"

namespace headwise::jinja {
namespace {

absl::Status CheckDepth(int depth) {
  if (depth <= kMaxValueDepth) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("a value is nested deeper than ", kMaxValueDepth));
}

// The longest encoded tuple. Tuples share their items, so that a small one of
// depth d may spell out 2^d of them.
constexpr size_t kMaxTupleKeyBytes = 65536;

absl::Status Unhashable(const Value& key) {
  return absl::InvalidArgumentError(
      absl::StrCat("unhashable type: '", TypeName(key), "'"));
}

std::string EncodeFloat(double d) {
  // Below 2^63, which is exact in double, a whole number is an int's equal.
  if (d == std::trunc(d) && std::fabs(d) < 0x1p63) {
    return absl::StrCat("i", static_cast<int64_t>(d));
  }
  std::string encoded = "f";
  encoded.append(reinterpret_cast<const char*>(&d), sizeof(d));
  return encoded;
}

// Appends a string that is equal for equal keys and only for those. Each kind
// begins with a letter of its own; inside of tuples a part ends by its length,
// its size or a delimiter, so that none can be taken for another.
absl::Status AppendKey(const Value& key, bool in_tuple, std::string* out) {
  switch (key.kind()) {
    case Value::Kind::kNone:
      out->push_back('N');
      return absl::OkStatus();
    case Value::Kind::kBool:
    case Value::Kind::kInt:
      absl::StrAppend(out, "i", key.integer(), in_tuple ? "," : "");
      return absl::OkStatus();
    case Value::Kind::kFloat:
      absl::StrAppend(out, EncodeFloat(key.number()), in_tuple ? "," : "");
      return absl::OkStatus();
    case Value::Kind::kString:
      out->push_back('s');
      if (in_tuple) absl::StrAppend(out, key.string().size(), ":");
      absl::StrAppend(out, key.string());
      return absl::OkStatus();
    case Value::Kind::kSequence:
      if (key.sequence().type != SequenceType::kTuple) return Unhashable(key);
      out->push_back('(');
      for (const Value& item : key.sequence().items) {
        HEADWISE_RETURN_IF_ERROR(AppendKey(item, /*in_tuple=*/true, out));
        if (out->size() > kMaxTupleKeyBytes) {
          return absl::ResourceExhaustedError(absl::StrCat(
              "a tuple of more than ", kMaxTupleKeyBytes, " bytes as a key"));
        }
      }
      out->push_back(')');
      return absl::OkStatus();
    default:
      return Unhashable(key);
  }
}

absl::StatusOr<std::string> EncodeKey(const Value& key, Budget& budget) {
  std::string encoded;
  HEADWISE_RETURN_IF_ERROR(AppendKey(key, /*in_tuple=*/false, &encoded));
  HEADWISE_RETURN_IF_ERROR(
      budget.SpendBytes(static_cast<int64_t>(encoded.size())));
  return encoded;
}

const char* SequenceTypeName(SequenceType type) {
  switch (type) {
    case SequenceType::kList:
      return "list";
    case SequenceType::kTuple:
      return "tuple";
    case SequenceType::kRange:
      return "range";
    case SequenceType::kView:
      return "dict view";
    case SequenceType::kGenerator:
      return "generator";
  }
  HEADWISE_CHECK(false);
}

}  // namespace

Value Value::Undefined(std::string hint) {
  return Value(Data(std::make_shared<const std::string>(std::move(hint))));
}

Value Value::String(std::string bytes, bool safe) {
  return Value(
      Data(std::make_shared<const Text>(Text{std::move(bytes), safe})));
}

Value Value::Method(Value self, absl::string_view name) {
  return Value(Data(std::make_shared<const BoundMethod>(
      BoundMethod{std::move(self), std::string(name)})));
}

const std::string& Value::hint() const {
  static const std::string* const kNoHint =
      new std::string("value is undefined");
  const Hint& hint = Get<Hint>();
  return hint == nullptr ? *kNoHint : *hint;
}

int64_t Value::integer() const {
  return Is(Kind::kBool) ? int64_t{boolean()} : Get<int64_t>();
}

double Value::number() const {
  return Is(Kind::kFloat) ? Get<double>() : static_cast<double>(integer());
}

absl::Status Dict::Set(const Value& key, Value value, Budget& budget) {
  HEADWISE_ASSIGN_OR_RETURN(std::string encoded, EncodeKey(key, budget));
  SetEncoded(std::move(encoded), key, std::move(value));
  return absl::OkStatus();
}

void Dict::SetString(std::string key, Value value) {
  std::string encoded = absl::StrCat("s", key);
  SetEncoded(std::move(encoded), Value::String(std::move(key)),
             std::move(value));
}

void Dict::SetEncoded(std::string encoded, const Value& key, Value value) {
  depth_ = std::max({depth_, 1 + DepthOf(key), 1 + DepthOf(value)});
  const auto num_bytes = static_cast<int64_t>(encoded.size());
  const auto [found, is_new] =
      index_.emplace(std::move(encoded), entries_.size());
  if (is_new) {
    num_index_bytes_ += num_bytes;
    entries_.emplace_back(key, std::move(value));
  } else {
    entries_[found->second].second = std::move(value);
  }
}

absl::StatusOr<const Value*> Dict::Find(const Value& key,
                                        Budget& budget) const {
  HEADWISE_ASSIGN_OR_RETURN(const std::string encoded, EncodeKey(key, budget));
  const auto found = index_.find(encoded);
  if (found == index_.end()) return nullptr;
  return &entries_[found->second].second;
}

absl::Status Dict::SpendCopy(Budget& budget) const {
  HEADWISE_RETURN_IF_ERROR(budget.Spend(static_cast<int64_t>(entries_.size())));
  return budget.SpendBytes(num_index_bytes_);
}

const Value* Dict::FindString(absl::string_view key) const {
  const auto found = index_.find(absl::StrCat("s", key));
  return found == index_.end() ? nullptr : &entries_[found->second].second;
}

int DepthOf(const Value& value) {
  switch (value.kind()) {
    case Value::Kind::kSequence:
      return value.sequence().depth;
    case Value::Kind::kDict:
      return value.dict().depth();
    case Value::Kind::kMethod:
      return 1 + DepthOf(value.method().self);
    default:
      return 0;
  }
}

absl::StatusOr<Value> MakeSequence(SequenceType type, std::vector<Value> items,
                                   Budget& budget) {
  HEADWISE_RETURN_IF_ERROR(
      budget.Spend(kStepsPerObject + static_cast<int64_t>(items.size())));
  auto made = std::make_shared<Sequence>();
  made->type = type;
  for (const Value& item : items) {
    made->depth = std::max(made->depth, 1 + DepthOf(item));
  }
  HEADWISE_RETURN_IF_ERROR(CheckDepth(made->depth));
  made->items = std::move(items);
  return Value::Of(std::shared_ptr<const Sequence>(std::move(made)));
}

absl::StatusOr<Value> MakeDict(Dict dict, Budget& budget) {
  HEADWISE_RETURN_IF_ERROR(budget.Spend(
      kStepsPerObject + static_cast<int64_t>(dict.entries().size())));
  HEADWISE_RETURN_IF_ERROR(CheckDepth(dict.depth()));
  return Value::Of(std::make_shared<const Dict>(std::move(dict)));
}

absl::StatusOr<Value> MakeString(std::string bytes, Budget& budget, bool safe) {
  const auto num_bytes = static_cast<int64_t>(bytes.size());
  HEADWISE_RETURN_IF_ERROR(budget.SpendBytes(num_bytes));
  if (num_bytes > kMaxTextBytes) {
    return absl::ResourceExhaustedError(absl::StrCat(
        "a text of ", num_bytes, " bytes is longer than ", kMaxTextBytes));
  }
  return Value::String(std::move(bytes), safe);
}

absl::StatusOr<Value> MakeString(BoundedText text, Budget& budget, bool safe) {
  HEADWISE_RETURN_IF_ERROR(text.Check());
  return MakeString(text.Take(), budget, safe);
}

std::string TypeName(const Value& value) {
  switch (value.kind()) {
    case Value::Kind::kUndefined:
      return "Undefined";
    case Value::Kind::kNone:
      return "NoneType";
    case Value::Kind::kBool:
      return "bool";
    case Value::Kind::kInt:
      return "int";
    case Value::Kind::kFloat:
      return "float";
    case Value::Kind::kString:
      return "str";
    case Value::Kind::kSequence:
      return SequenceTypeName(value.sequence().type);
    case Value::Kind::kDict:
      return "dict";
    case Value::Kind::kMethod:
      return "method";
    case Value::Kind::kFunction:
      return "function";
    case Value::Kind::kNamespace:
      return "Namespace";
    case Value::Kind::kLoop:
      return "LoopContext";
    case Value::Kind::kMacro:
      return "Macro";
  }
  HEADWISE_CHECK(false);
}

bool IsTrue(const Value& value) {
  switch (value.kind()) {
    case Value::Kind::kUndefined:
    case Value::Kind::kNone:
      return false;
    case Value::Kind::kBool:
    case Value::Kind::kInt:
      return value.integer() != 0;
    case Value::Kind::kFloat:
      return value.number() != 0.0;
    case Value::Kind::kString:
      return !value.string().empty();
    case Value::Kind::kSequence:
      return value.sequence().type == SequenceType::kGenerator ||
             !value.sequence().items.empty();
    case Value::Kind::kDict:
      return !value.dict().entries().empty();
    default:
      return true;
  }
}

absl::StatusOr<std::vector<Value>> Elements(const Value& value,
                                            Budget& budget) {
  std::vector<Value> elements;
  switch (value.kind()) {
    case Value::Kind::kUndefined:
      break;
    case Value::Kind::kSequence:
      elements = value.sequence().items;
      break;
    case Value::Kind::kDict:
      for (const auto& [key, unused] : value.dict().entries()) {
        elements.push_back(key);
      }
      break;
    case Value::Kind::kString: {
      const std::string& text = value.string();
      // Every element is a string of its own: charged before it is made.
      HEADWISE_RETURN_IF_ERROR(
          budget.Spend(kStepsPerObject * CountCodePoints(text)));
      for (size_t i = 0; i < text.size();) {
        const int num_bytes = DecodeAt(text, i).num_bytes;
        elements.push_back(Value::String(text.substr(i, num_bytes)));
        i += num_bytes;
      }
      return elements;
    }
    default:
      return absl::InvalidArgumentError(
          absl::StrCat("'", TypeName(value), "' object is not iterable"));
  }
  HEADWISE_RETURN_IF_ERROR(budget.Spend(static_cast<int64_t>(elements.size())));
  return elements;
}

absl::StatusOr<int64_t> Length(const Value& value, Budget& budget) {
  switch (value.kind()) {
    case Value::Kind::kUndefined:
      return 0;
    case Value::Kind::kString:
      HEADWISE_RETURN_IF_ERROR(
          budget.SpendBytes(static_cast<int64_t>(value.string().size())));
      return CountCodePoints(value.string());
    case Value::Kind::kDict:
      return static_cast<int64_t>(value.dict().entries().size());
    case Value::Kind::kSequence:
      if (value.sequence().type == SequenceType::kGenerator) break;
      return static_cast<int64_t>(value.sequence().items.size());
    default:
      break;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("object of type '", TypeName(value), "' has no len()"));
}

absl::Status UndefinedError(const Value& value) {
  return absl::InvalidArgumentError(value.hint());
}

}  // namespace headwise::jinja
