// JSON both ways: Python's json.dumps, and the variables of a rendering.

#include <cmath>
#include <limits>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/status_macros.h"
#include "model/chat_template/unicode.h"
#include "model/chat_template/value_sort.h"
#include "model/chat_template/value_text.h"
#include "nlohmann/json.hpp"

namespace headwise::jinja {
namespace {

void AppendUtf16Escape(int32_t code_point, BoundedText* out) {
  if (code_point <= 0xffff) {
    out->Append(absl::StrFormat("\\u%04x", code_point));
    return;
  }
  const int32_t offset = code_point - 0x10000;
  out->Append(absl::StrFormat("\\u%04x\\u%04x", 0xd800 + (offset >> 10),
                              0xdc00 + (offset & 0x3ff)));
}

void AppendJsonString(absl::string_view text, bool ascii_only,
                      BoundedText* out) {
  out->Append("\"");
  for (size_t i = 0; i < text.size() && !out->full();) {
    const Decoded decoded = DecodeAt(text, i);
    const absl::string_view bytes = text.substr(i, decoded.num_bytes);
    i += decoded.num_bytes;
    const int32_t c = decoded.code_point;
    if (c == '"' || c == '\\') {
      out->Append("\\");
      out->Append(bytes);
    } else if (c == '\n') {
      out->Append("\\n");
    } else if (c == '\r') {
      out->Append("\\r");
    } else if (c == '\t') {
      out->Append("\\t");
    } else if (c == '\b') {
      out->Append("\\b");
    } else if (c == '\f') {
      out->Append("\\f");
    } else if ((c >= 0 && c < 0x20) || (ascii_only && c >= 0x7f)) {
      AppendUtf16Escape(c, out);
    } else {
      out->Append(bytes);
    }
  }
  out->Append("\"");
}

std::string JsonFloat(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value < 0 ? "-Infinity" : "Infinity";
  return FloatText(value);
}

// Writes one value; walks containers at most kMaxValueDepth deep.
class JsonWriter {
 public:
  JsonWriter(const JsonStyle& style, Budget& budget, BoundedText* out)
      : style_(style), budget_(budget), out_(out) {
    key_separator_ = style.key_separator.value_or(": ");
    item_separator_ =
        style.item_separator.value_or(style.indent.has_value() ? "," : ", ");
  }

  absl::Status Write(const Value& value) {
    switch (value.kind()) {
      case Value::Kind::kNone:
        out_->Append("null");
        return absl::OkStatus();
      case Value::Kind::kBool:
        out_->Append(value.boolean() ? "true" : "false");
        return absl::OkStatus();
      case Value::Kind::kInt:
        out_->Append(absl::StrCat(value.integer()));
        return absl::OkStatus();
      case Value::Kind::kFloat:
        out_->Append(JsonFloat(value.number()));
        return absl::OkStatus();
      case Value::Kind::kString:
        AppendJsonString(value.string(), style_.ascii_only, out_);
        return absl::OkStatus();
      case Value::Kind::kSequence:
        if (value.sequence().type == SequenceType::kList ||
            value.sequence().type == SequenceType::kTuple) {
          return WriteArray(value.sequence());
        }
        break;
      case Value::Kind::kDict:
        return WriteObject(value.dict());
      default:
        break;
    }
    return absl::InvalidArgumentError(absl::StrCat(
        "Object of type ", TypeName(value), " is not JSON serializable"));
  }

 private:
  void NewLine() {
    if (!style_.indent.has_value()) return;
    out_->Append("\n");
    out_->AppendRepeated(*style_.indent, depth_);
  }

  absl::Status WriteArray(const Sequence& sequence) {
    if (sequence.items.empty()) {
      out_->Append("[]");
      return absl::OkStatus();
    }
    out_->Append("[");
    ++depth_;
    for (size_t i = 0; i < sequence.items.size() && !out_->full(); ++i) {
      if (i > 0) out_->Append(item_separator_);
      NewLine();
      HEADWISE_RETURN_IF_ERROR(Write(sequence.items[i]));
    }
    --depth_;
    NewLine();
    out_->Append("]");
    return absl::OkStatus();
  }

  absl::Status WriteKey(const Value& key) {
    switch (key.kind()) {
      case Value::Kind::kString:
        return Write(key);
      case Value::Kind::kNone:
      case Value::Kind::kBool:
      case Value::Kind::kInt:
      case Value::Kind::kFloat:
        out_->Append("\"");
        HEADWISE_RETURN_IF_ERROR(Write(key));
        out_->Append("\"");
        return absl::OkStatus();
      default:
        return absl::InvalidArgumentError(absl::StrCat(
            "keys must be str, int, float, bool or None, not ", TypeName(key)));
    }
  }

  absl::Status WriteObject(const Dict& dict) {
    if (dict.entries().empty()) {
      out_->Append("{}");
      return absl::OkStatus();
    }
    std::vector<std::pair<Value, Value>> entries = dict.entries();
    if (style_.sort_keys) {
      HEADWISE_RETURN_IF_ERROR(SortEntriesByKey(&entries, budget_));
    }
    out_->Append("{");
    ++depth_;
    for (size_t i = 0; i < entries.size() && !out_->full(); ++i) {
      if (i > 0) out_->Append(item_separator_);
      NewLine();
      HEADWISE_RETURN_IF_ERROR(WriteKey(entries[i].first));
      out_->Append(key_separator_);
      HEADWISE_RETURN_IF_ERROR(Write(entries[i].second));
    }
    --depth_;
    NewLine();
    out_->Append("}");
    return absl::OkStatus();
  }

  const JsonStyle& style_;
  Budget& budget_;
  BoundedText* out_;
  std::string item_separator_;
  std::string key_separator_;
  int64_t depth_ = 0;
};

absl::StatusOr<Value> Convert(const nlohmann::ordered_json& json, int depth,
                              Budget& budget);

absl::StatusOr<Value> ConvertString(const std::string& text, Budget& budget) {
  const std::optional<size_t> invalid = FindInvalidUtf8(text);
  if (invalid.has_value()) {
    return absl::InvalidArgumentError(
        absl::StrCat("a variable's text is not UTF-8 at byte ", *invalid));
  }
  return MakeString(text, budget);
}

absl::StatusOr<Value> ConvertObject(const nlohmann::ordered_json& json,
                                    int depth, Budget& budget) {
  Dict dict;
  for (const auto& [name, element] : json.items()) {
    HEADWISE_ASSIGN_OR_RETURN(const Value key, ConvertString(name, budget));
    HEADWISE_ASSIGN_OR_RETURN(Value value, Convert(element, depth + 1, budget));
    HEADWISE_RETURN_IF_ERROR(dict.Set(key, std::move(value), budget));
  }
  return MakeDict(std::move(dict), budget);
}

absl::StatusOr<Value> Convert(const nlohmann::ordered_json& json, int depth,
                              Budget& budget) {
  using Type = nlohmann::ordered_json::value_t;
  if (depth > kMaxValueDepth) {
    return absl::ResourceExhaustedError(
        absl::StrCat("the variables are nested deeper than ", kMaxValueDepth));
  }
  switch (json.type()) {
    case Type::null:
      return Value::None();
    case Type::boolean:
      return Value::Bool(json.get<bool>());
    case Type::number_integer:
      return Value::Int(json.get<int64_t>());
    case Type::number_unsigned: {
      const auto number = json.get<uint64_t>();
      if (number > uint64_t{std::numeric_limits<int64_t>::max()}) {
        return absl::UnimplementedError(
            absl::StrCat("integer ", number,
                         " of the variables is beyond 64 "
                         "bits with a sign"));
      }
      return Value::Int(static_cast<int64_t>(number));
    }
    case Type::number_float:
      return Value::Float(json.get<double>());
    case Type::string:
      return ConvertString(json.get_ref<const std::string&>(), budget);
    case Type::array: {
      std::vector<Value> items;
      for (const nlohmann::ordered_json& element : json) {
        HEADWISE_ASSIGN_OR_RETURN(Value item,
                                  Convert(element, depth + 1, budget));
        items.push_back(std::move(item));
      }
      return MakeSequence(SequenceType::kList, std::move(items), budget);
    }
    case Type::object:
      return ConvertObject(json, depth, budget);
    default:
      return absl::InvalidArgumentError("a variable is no JSON value");
  }
}

}  // namespace

absl::Status AppendJson(const Value& value, const JsonStyle& style,
                        Budget& budget, BoundedText* out) {
  return JsonWriter(style, budget, out).Write(value);
}

absl::StatusOr<Value> ValueFromJson(const nlohmann::ordered_json& json,
                                    Budget& budget) {
  return Convert(json, 1, budget);
}

}  // namespace headwise::jinja
