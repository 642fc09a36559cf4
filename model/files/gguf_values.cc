#include "model/files/gguf_values.h"

#include <cstring>
#include <limits>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/files/byte_reader.h"
#include "model/files/quoted.h"

namespace headwise {

namespace {

constexpr uint64_t kMaxShownElements = 4;
constexpr size_t kMaxShownBytes = 4096;

template <typename T>
T Load(const uint8_t* bytes) {
  T value;
  std::memcpy(&value, bytes, sizeof(T));
  return value;
}

absl::string_view TextOf(absl::Span<const uint8_t> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

absl::Status WrongType(absl::string_view key, const GgufValue& value,
                       absl::string_view wanted) {
  return absl::InvalidArgumentError(absl::StrCat(
      "GGUF key ", Quoted(key), " has type ", GgufTypeName(value.type),
      value.type == GgufType::kArray
          ? absl::StrCat(" of ", GgufTypeName(value.element_type))
          : "",
      ", want ", wanted));
}

absl::Status Absent(absl::string_view key) {
  return absl::InvalidArgumentError(
      absl::StrCat("GGUF key ", Quoted(key), " is missing"));
}

// nullopt for what is no integer or needs more than 63 bits.
std::optional<int64_t> IntOf(GgufType type, const uint8_t* bytes) {
  switch (type) {
    case GgufType::kUint8:
      return Load<uint8_t>(bytes);
    case GgufType::kInt8:
      return Load<int8_t>(bytes);
    case GgufType::kUint16:
      return Load<uint16_t>(bytes);
    case GgufType::kInt16:
      return Load<int16_t>(bytes);
    case GgufType::kUint32:
      return Load<uint32_t>(bytes);
    case GgufType::kInt32:
      return Load<int32_t>(bytes);
    case GgufType::kInt64:
      return Load<int64_t>(bytes);
    case GgufType::kUint64: {
      const auto value = Load<uint64_t>(bytes);
      if (value > uint64_t{std::numeric_limits<int64_t>::max()}) return {};
      return static_cast<int64_t>(value);
    }
    default:
      return std::nullopt;
  }
}

// The array of `key` if it has elements of `type` and at most `limit` of them;
// nullptr if it is absent.
absl::StatusOr<const GgufValue*> FindArray(const GgufContainer& gguf,
                                           absl::string_view key, GgufType type,
                                           uint64_t limit) {
  const GgufValue* value = gguf.Find(key);
  if (value == nullptr) return nullptr;
  if (value->type != GgufType::kArray || value->element_type != type) {
    return WrongType(key, *value,
                     absl::StrCat("array of ", GgufTypeName(type)));
  }
  if (value->count > limit) {
    return absl::InvalidArgumentError(
        absl::StrCat("GGUF key ", Quoted(key), " has ", value->count,
                     " elements; the limit is ", limit));
  }
  return value;
}

template <typename T>
absl::StatusOr<std::vector<T>> NumberArray(const GgufContainer& gguf,
                                           absl::string_view key, GgufType type,
                                           uint64_t limit) {
  HEADWISE_ASSIGN_OR_RETURN(const GgufValue* value,
                            FindArray(gguf, key, type, limit));
  std::vector<T> numbers;
  if (value == nullptr || value->count == 0) return numbers;
  numbers.resize(value->count);
  std::memcpy(numbers.data(), value->payload.data(), value->count * sizeof(T));
  return numbers;
}

std::string ShownText(absl::string_view text) {
  return absl::StrCat(absl::Utf8SafeCEscape(text.substr(0, kMaxShownBytes)),
                      text.size() > kMaxShownBytes ? "..." : "");
}

std::string ScalarText(GgufType type, const uint8_t* bytes) {
  switch (type) {
    case GgufType::kFloat32:
      return absl::StrCat(Load<float>(bytes));
    case GgufType::kFloat64:
      return absl::StrCat(Load<double>(bytes));
    case GgufType::kBool:
      return bytes[0] ? "true" : "false";
    case GgufType::kUint64:
      return absl::StrCat(Load<uint64_t>(bytes));
    default:
      return absl::StrCat(IntOf(type, bytes).value_or(0));
  }
}

}  // namespace

absl::StatusOr<std::optional<int64_t>> FindInt(const GgufContainer& gguf,
                                               absl::string_view key) {
  const GgufValue* value = gguf.Find(key);
  if (value == nullptr) return std::nullopt;
  const std::optional<int64_t> number =
      IntOf(value->type, value->payload.data());
  if (!number) return WrongType(key, *value, "an integer below 2^63");
  return number;
}

absl::StatusOr<std::optional<double>> FindReal(const GgufContainer& gguf,
                                               absl::string_view key) {
  const GgufValue* value = gguf.Find(key);
  if (value == nullptr) return std::nullopt;
  const uint8_t* bytes = value->payload.data();
  if (value->type == GgufType::kFloat32) return Load<float>(bytes);
  if (value->type == GgufType::kFloat64) return Load<double>(bytes);
  return WrongType(key, *value, "float32 or float64");
}

absl::StatusOr<std::optional<bool>> FindBool(const GgufContainer& gguf,
                                             absl::string_view key) {
  const GgufValue* value = gguf.Find(key);
  if (value == nullptr) return std::nullopt;
  if (value->type != GgufType::kBool) return WrongType(key, *value, "bool");
  return value->payload[0] != 0;
}

absl::StatusOr<std::optional<absl::string_view>> FindText(
    const GgufContainer& gguf, absl::string_view key) {
  const GgufValue* value = gguf.Find(key);
  if (value == nullptr) return std::nullopt;
  if (value->type != GgufType::kString) {
    return WrongType(key, *value, "string");
  }
  return TextOf(value->payload);
}

absl::StatusOr<int64_t> RequireInt(const GgufContainer& gguf,
                                   absl::string_view key) {
  HEADWISE_ASSIGN_OR_RETURN(const std::optional<int64_t> value,
                            FindInt(gguf, key));
  if (!value) return Absent(key);
  return *value;
}

absl::StatusOr<double> RequireReal(const GgufContainer& gguf,
                                   absl::string_view key) {
  HEADWISE_ASSIGN_OR_RETURN(const std::optional<double> value,
                            FindReal(gguf, key));
  if (!value) return Absent(key);
  return *value;
}

absl::StatusOr<absl::string_view> RequireText(const GgufContainer& gguf,
                                              absl::string_view key) {
  HEADWISE_ASSIGN_OR_RETURN(const std::optional<absl::string_view> value,
                            FindText(gguf, key));
  if (!value) return Absent(key);
  return *value;
}

absl::StatusOr<std::vector<absl::string_view>> TextArray(
    const GgufContainer& gguf, absl::string_view key, uint64_t limit) {
  HEADWISE_ASSIGN_OR_RETURN(const GgufValue* value,
                            FindArray(gguf, key, GgufType::kString, limit));
  std::vector<absl::string_view> texts;
  if (value == nullptr) return texts;
  texts.resize(value->count);
  ByteReader reader(value->payload);
  for (absl::string_view& text : texts) {
    // The container has walked these bytes already.
    if (!reader.ReadString(&text)) return WrongType(key, *value, "whole text");
  }
  return texts;
}

absl::StatusOr<std::vector<int32_t>> Int32Array(const GgufContainer& gguf,
                                                absl::string_view key,
                                                uint64_t limit) {
  return NumberArray<int32_t>(gguf, key, GgufType::kInt32, limit);
}

absl::StatusOr<std::vector<float>> Float32Array(const GgufContainer& gguf,
                                                absl::string_view key,
                                                uint64_t limit) {
  return NumberArray<float>(gguf, key, GgufType::kFloat32, limit);
}

std::string GgufValueText(const GgufValue& value) {
  if (value.type == GgufType::kString) return ShownText(TextOf(value.payload));
  if (value.type != GgufType::kArray) {
    return ScalarText(value.type, value.payload.data());
  }
  std::string text =
      absl::StrCat(GgufTypeName(value.element_type), "[", value.count, "] ");
  const uint64_t shown = std::min(value.count, kMaxShownElements);
  ByteReader reader(value.payload);
  for (uint64_t i = 0; i < shown; ++i) {
    absl::string_view element;
    const bool is_text = value.element_type == GgufType::kString;
    if (is_text && !reader.ReadString(&element)) break;
    absl::StrAppend(
        &text, i == 0 ? "" : ", ",
        is_text ? ShownText(element)
                : ScalarText(value.element_type,
                             value.payload.data() +
                                 i * (value.payload.size() / value.count)));
  }
  if (shown < value.count) absl::StrAppend(&text, ", ...");
  return text;
}

}  // namespace headwise
