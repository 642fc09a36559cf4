#include "model/files/bounded_json.h"

#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "model/files/quoted.h"

namespace headwise {

namespace {

using Json = nlohmann::json;

// Builds the document from the parser's events, which come without recursion;
// the first thing that is not allowed ends the parse.
class Builder final : public Json::json_sax_t {
 public:
  explicit Builder(const JsonLimits& limits) : limits_(limits) {}

  bool null() override { return Add(Json()) != nullptr; }
  bool boolean(bool value) override { return Add(Json(value)) != nullptr; }
  bool number_integer(number_integer_t value) override {
    return Add(Json(value)) != nullptr;
  }
  bool number_unsigned(number_unsigned_t value) override {
    return Add(Json(value)) != nullptr;
  }
  bool number_float(number_float_t value, const string_t&) override {
    return Add(Json(value)) != nullptr;
  }
  bool string(string_t& value) override {
    return Add(Json(std::move(value))) != nullptr;
  }
  bool binary(binary_t&) override { return Fail("binary data"); }
  bool start_object(std::size_t) override { return Open(Json::object()); }
  bool end_object() override { return Close(); }
  bool start_array(std::size_t) override { return Open(Json::array()); }
  bool end_array() override { return Close(); }
  bool key(string_t& name) override {
    const auto [it, is_new] = open_.back()->emplace(name, Json());
    if (!is_new)
      return Fail(absl::StrCat("key ", Quoted(name), " occurs twice"));
    member_ = &*it;
    return true;
  }
  bool parse_error(std::size_t position, const std::string&,
                   const Json::exception& error) override {
    return Fail(absl::StrCat("byte ", position, ": ", error.what()));
  }

  const std::string& error() const { return error_; }
  Json TakeDocument() { return std::move(document_); }

 private:
  bool Fail(std::string error) {
    error_ = std::move(error);
    return false;
  }
  bool Open(Json empty) {
    if (static_cast<int64_t>(open_.size()) >= limits_.max_depth) {
      return Fail(
          absl::StrCat("nesting exceeds the limit ", limits_.max_depth));
    }
    Json* added = Add(std::move(empty));
    if (added == nullptr) return false;
    open_.push_back(added);
    return true;
  }
  bool Close() {
    open_.pop_back();
    return true;
  }
  // Where the value lies now; it stays there while it is open, because only the
  // innermost open container grows.
  Json* Add(Json value) {
    if (++num_values_ > limits_.max_values) {
      Fail(absl::StrCat("more values than the limit ", limits_.max_values));
      return nullptr;
    }
    if (open_.empty()) {
      document_ = std::move(value);
      return &document_;
    }
    if (open_.back()->is_array()) {
      return &open_.back()->emplace_back(std::move(value));
    }
    *member_ = std::move(value);
    return member_;
  }

  const JsonLimits limits_;
  Json document_;
  std::vector<Json*> open_;  // outermost first
  Json* member_ = nullptr;   // of the innermost object, to be filled
  int64_t num_values_ = 0;
  std::string error_;
};

absl::Status WrongType(const char* key, const Json& value,
                       absl::string_view wanted) {
  return absl::InvalidArgumentError(
      absl::StrCat("JSON key ", Quoted(key), " is of type ", value.type_name(),
                   ", want ", wanted));
}

}  // namespace

absl::StatusOr<Json> ParseBoundedJson(absl::string_view what,
                                      absl::Span<const uint8_t> text,
                                      const JsonLimits& limits) {
  if (text.size() > limits.max_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        what, " has ", text.size(), " bytes; the limit is ", limits.max_bytes));
  }
  Builder builder(limits);
  bool is_valid = false;
  std::string error;
  try {
    is_valid = Json::sax_parse(text.begin(), text.end(), &builder);
    error = builder.error();
  } catch (const std::exception& exception) {
    error = exception.what();
  }
  if (!is_valid) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": ", error));
  }
  return builder.TakeDocument();
}

const Json* JsonMember(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

absl::StatusOr<std::optional<int64_t>> JsonInt(const Json& object,
                                               const char* key) {
  const Json* value = JsonMember(object, key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number_integer() ||
      (value->is_number_unsigned() &&
       value->get<uint64_t>() >
           uint64_t{std::numeric_limits<int64_t>::max()})) {
    return WrongType(key, *value, "an integer below 2^63");
  }
  return value->get<int64_t>();
}

absl::StatusOr<std::optional<double>> JsonReal(const Json& object,
                                               const char* key) {
  const Json* value = JsonMember(object, key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_number()) return WrongType(key, *value, "a number");
  return value->get<double>();
}

absl::StatusOr<std::optional<bool>> JsonBool(const Json& object,
                                             const char* key) {
  const Json* value = JsonMember(object, key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_boolean()) return WrongType(key, *value, "a boolean");
  return value->get<bool>();
}

absl::StatusOr<std::optional<std::string>> JsonText(const Json& object,
                                                    const char* key) {
  const Json* value = JsonMember(object, key);
  if (value == nullptr) return std::nullopt;
  if (!value->is_string()) return WrongType(key, *value, "a string");
  return value->get<std::string>();
}

}  // namespace headwise
