#include "model/chat_template/attributes.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "model/chat_template/loop_state.h"
#include "model/chat_template/methods.h"
#include "model/chat_template/namespace.h"
#include "model/chat_template/position.h"
#include "model/chat_template/unicode.h"

namespace headwise::jinja {
namespace {

using Kind = Value::Kind;

Value NoSuch(const Value& value, absl::string_view name) {
  return Value::Undefined(absl::StrCat("'", TypeName(value),
                                       "' object has no attribute '",
                                       CutText(name, kMaxErrorBytes), "'"));
}

// Charges what was made to be returned: a bound method, or the hint of an
// undefined value.
absl::StatusOr<Value> Charged(Value value, Budget& budget) {
  if (value.Is(Kind::kMethod)) {
    HEADWISE_RETURN_IF_ERROR(budget.Spend(kStepsPerObject));
  } else if (value.Is(Kind::kUndefined)) {
    HEADWISE_RETURN_IF_ERROR(
        budget.SpendBytes(static_cast<int64_t>(value.hint().size())));
  }
  return value;
}

// What Python finds as an attribute, or nullopt if there is none.
absl::StatusOr<std::optional<Value>> FindAttribute(const Value& value,
                                                   absl::string_view name) {
  if (value.Is(Kind::kLoop)) return LoopAttribute(value.loop(), name);
  if (value.Is(Kind::kNamespace)) {
    const auto found = value.name_space().attributes.find(name);
    if (found == value.name_space().attributes.end()) return std::nullopt;
    return found->second;
  }
  switch (FindMethod(value, name)) {
    case MethodSupport::kNone:
      return std::nullopt;
    case MethodSupport::kImplemented:
      return Value::Method(value, name);
    case MethodSupport::kUnsafe:
      return Value::Undefined(
          absl::StrCat("access to attribute '", CutText(name, kMaxErrorBytes),
                       "' of '", TypeName(value), "' object is unsafe"));
    case MethodSupport::kMissing:
      break;
  }
  return absl::UnimplementedError(
      absl::StrCat("method '", name, "' of ", TypeName(value)));
}

// The item at `index` of a string or sequence, or nullopt out of range.
absl::StatusOr<std::optional<Value>> FindIndex(const Value& value,
                                               int64_t index, Budget& budget) {
  HEADWISE_ASSIGN_OR_RETURN(const int64_t length, Length(value, budget));
  if (index < 0) index += length;
  if (index < 0 || index >= length) return std::nullopt;
  if (value.Is(Kind::kSequence)) {
    return value.sequence().items[static_cast<size_t>(index)];
  }
  const std::string& text = value.string();
  size_t offset = 0;
  for (int64_t i = 0; i < index; ++i) {
    offset += DecodeAt(text, offset).num_bytes;
  }
  return Value::String(text.substr(offset, DecodeAt(text, offset).num_bytes),
                       value.text().safe);
}

bool IsIndexable(const Value& value) {
  if (value.Is(Kind::kString)) return true;
  return value.Is(Kind::kSequence) &&
         value.sequence().type != SequenceType::kView &&
         value.sequence().type != SequenceType::kGenerator;
}

// value[key] as Python finds it, or nullopt for its LookupError or TypeError.
absl::StatusOr<std::optional<Value>> FindItem(const Value& value,
                                              const Value& key,
                                              Budget& budget) {
  if (value.Is(Kind::kDict)) {
    const absl::StatusOr<const Value*> found = value.dict().Find(key, budget);
    if (absl::IsInvalidArgument(found.status())) return std::nullopt;
    if (!found.ok()) return found.status();
    if (*found == nullptr) return std::nullopt;
    return **found;
  }
  if (IsIndexable(value) && key.IsInteger()) {
    return FindIndex(value, key.integer(), budget);
  }
  return std::nullopt;
}

// One bound of a slice, or `otherwise` if it is none.
absl::StatusOr<int64_t> SliceInteger(const Value& bound, int64_t otherwise) {
  if (bound.Is(Kind::kNone)) return otherwise;
  if (bound.IsInteger()) return bound.integer();
  return absl::InvalidArgumentError(absl::StrCat(
      "slice indices must be integers or none, not ", TypeName(bound)));
}

// The elements start, start + step, ...: `count` of them, all in range.
struct SlicePart {
  int64_t start = 0;
  int64_t step = 1;
  int64_t count = 0;
};

// What start:stop:step names of `length` elements, as Python's slice.indices.
absl::StatusOr<SlicePart> FindSlice(const SliceBounds& bounds, int64_t length) {
  HEADWISE_ASSIGN_OR_RETURN(int64_t step, SliceInteger(bounds.step, 1));
  if (step == 0) return absl::InvalidArgumentError("slice step is zero");
  // A longer step takes one element either way; this one can't overflow.
  step = std::clamp(step, -length - 1, length + 1);
  const int64_t lowest = step > 0 ? 0 : -1;
  const int64_t highest = step > 0 ? length : length - 1;
  const auto clamped = [&](int64_t bound) {
    return std::clamp(bound < 0 ? bound + length : bound, lowest, highest);
  };
  int64_t start = step > 0 ? lowest : highest;
  int64_t stop = step > 0 ? highest : lowest;
  if (!bounds.start.Is(Kind::kNone)) {
    HEADWISE_ASSIGN_OR_RETURN(start, SliceInteger(bounds.start, 0));
    start = clamped(start);
  }
  if (!bounds.stop.Is(Kind::kNone)) {
    HEADWISE_ASSIGN_OR_RETURN(stop, SliceInteger(bounds.stop, 0));
    stop = clamped(stop);
  }
  const int64_t distance = step > 0 ? stop - start : start - stop;
  const int64_t count = distance <= 0 ? 0 : (distance - 1) / std::abs(step) + 1;
  return SlicePart{start, step, count};
}

std::string SliceText(const std::string& text, const SlicePart& part) {
  if (part.step == 1) {
    size_t begin = 0;
    for (int64_t i = 0; i < part.start; ++i) {
      begin += DecodeAt(text, begin).num_bytes;
    }
    size_t end = begin;
    for (int64_t i = 0; i < part.count; ++i) {
      end += DecodeAt(text, end).num_bytes;
    }
    return text.substr(begin, end - begin);
  }
  const std::vector<size_t> offsets = CodePointOffsets(text);
  std::string slice;
  for (int64_t i = 0; i < part.count; ++i) {
    const auto at = static_cast<size_t>(part.start + i * part.step);
    slice.append(text, offsets[at], offsets[at + 1] - offsets[at]);
  }
  return slice;
}

// One part of a path: digits are an index.
Value PathKey(absl::string_view name) {
  int64_t index = 0;
  const bool is_index =
      !name.empty() &&
      name.find_first_not_of("0123456789") == absl::string_view::npos &&
      absl::SimpleAtoi(name, &index);
  return is_index ? Value::Int(index) : Value::String(std::string(name));
}

}  // namespace

absl::StatusOr<Value> GetAttribute(const Value& value, absl::string_view name,
                                   Budget& budget) {
  if (value.Is(Kind::kUndefined)) return UndefinedError(value);
  HEADWISE_ASSIGN_OR_RETURN(std::optional<Value> attribute,
                            FindAttribute(value, name));
  if (attribute.has_value()) return Charged(*std::move(attribute), budget);
  if (value.Is(Kind::kDict)) {
    const Value* item = value.dict().FindString(name);
    if (item != nullptr) return *item;
  }
  return Charged(NoSuch(value, name), budget);
}

absl::StatusOr<Value> GetItem(const Value& value, const Value& key,
                              Budget& budget) {
  if (value.Is(Kind::kUndefined)) return UndefinedError(value);
  HEADWISE_ASSIGN_OR_RETURN(std::optional<Value> item,
                            FindItem(value, key, budget));
  if (item.has_value()) return *std::move(item);
  if (!key.Is(Kind::kString)) {
    return Charged(Value::Undefined(absl::StrCat(
                       "'", TypeName(value), "' object has no such element")),
                   budget);
  }
  HEADWISE_ASSIGN_OR_RETURN(std::optional<Value> attribute,
                            FindAttribute(value, key.string()));
  if (attribute.has_value()) return Charged(*std::move(attribute), budget);
  return Charged(NoSuch(value, key.string()), budget);
}

absl::StatusOr<Value> GetSlice(const Value& value, const SliceBounds& bounds,
                               Budget& budget) {
  if (value.Is(Kind::kUndefined)) return UndefinedError(value);
  if (!IsIndexable(value)) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", TypeName(value), "' object has no slices"));
  }
  HEADWISE_ASSIGN_OR_RETURN(const int64_t length, Length(value, budget));
  HEADWISE_ASSIGN_OR_RETURN(const SlicePart part, FindSlice(bounds, length));
  if (value.Is(Kind::kString)) {
    // With a step the offset of each code point is kept for a while.
    HEADWISE_RETURN_IF_ERROR(
        budget.Spend(part.step == 1 ? length / kBytesPerStep : length));
    return MakeString(SliceText(value.string(), part), budget,
                      value.text().safe);
  }
  std::vector<Value> items;
  items.reserve(static_cast<size_t>(part.count));
  for (int64_t i = 0; i < part.count; ++i) {
    items.push_back(
        value.sequence()
            .items[static_cast<size_t>(part.start + i * part.step)]);
  }
  return MakeSequence(value.sequence().type, std::move(items), budget);
}

absl::StatusOr<Value> GetPath(const Value& value, const Value& path,
                              Budget& budget, const Value* otherwise) {
  const bool replaces = otherwise != nullptr && !otherwise->Is(Kind::kNone);
  std::vector<Value> keys;
  if (path.IsInteger()) {
    keys.push_back(path);
  } else if (path.Is(Kind::kString)) {
    HEADWISE_RETURN_IF_ERROR(
        budget.SpendBytes(static_cast<int64_t>(path.string().size())));
    for (const absl::string_view name : absl::StrSplit(path.string(), '.')) {
      keys.push_back(PathKey(name));
    }
  } else {
    return absl::InvalidArgumentError(absl::StrCat(
        "an attribute must be a string or an integer, not ", TypeName(path)));
  }
  HEADWISE_RETURN_IF_ERROR(budget.Spend(static_cast<int64_t>(keys.size())));
  Value part = value;
  for (const Value& key : keys) {
    HEADWISE_ASSIGN_OR_RETURN(part, GetItem(part, key, budget));
    if (replaces && part.Is(Kind::kUndefined)) part = *otherwise;
  }
  return part;
}

}  // namespace headwise::jinja
