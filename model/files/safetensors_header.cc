#include "model/files/safetensors_header.h"

#include <limits>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "model/files/quoted.h"
#include "nlohmann/json.hpp"

namespace headwise {

namespace {

using Json = nlohmann::json;

constexpr size_t kMaxDimensions = 8;
constexpr absl::string_view kMetadataKey = "__metadata__";

// A state machine over the parser's events. Each state allows the few events of
// the documented structure; everything else is an error, deep nesting included.
class HeaderEvents final : public Json::json_sax_t {
 public:
  bool null() override { return Unexpected("null"); }
  bool boolean(bool) override { return Unexpected("a boolean"); }
  bool number_integer(number_integer_t value) override {
    return Fail(absl::StrCat(Where(), ": negative number ", value));
  }
  bool number_unsigned(number_unsigned_t value) override;
  bool number_float(number_float_t, const string_t& text) override {
    return Fail(absl::StrCat(Where(), ": ", text, " is not a whole number"));
  }
  bool string(string_t& value) override;
  bool binary(binary_t&) override { return Unexpected("binary data"); }
  bool start_object(std::size_t) override;
  bool end_object() override;
  bool start_array(std::size_t) override;
  bool end_array() override;
  bool key(string_t& name) override;
  bool parse_error(std::size_t position, const std::string&,
                   const Json::exception& error) override {
    return Fail(
        absl::StrCat("byte ", position, " of the header: ", error.what()));
  }

  const std::string& error() const { return error_; }
  SafetensorsHeader TakeHeader() { return std::move(header_); }

 private:
  enum class State {
    kStart,
    kTop,           // expects a tensor's name or __metadata__
    kTopValue,      // expects that object
    kMetadata,      // expects a key
    kMetadataText,  // expects its text
    kTensor,        // expects dtype, shape or data_offsets
    kDType,
    kShape,  // expects the array
    kInShape,
    kOffsets,  // expects the array
    kInOffsets,
  };

  bool Fail(std::string error) {
    error_ = std::move(error);
    return false;
  }
  std::string Where() const {
    return top_key_.empty() ? "the header"
                            : absl::StrCat("tensor ", Quoted(top_key_));
  }
  bool Unexpected(absl::string_view what) {
    return Fail(absl::StrCat(Where(), ": unexpected ", what));
  }
  bool TensorKey(const std::string& name);
  bool FinishTensor();

  SafetensorsHeader header_;
  State state_ = State::kStart;
  std::string top_key_;
  std::string metadata_key_;
  SafetensorsEntry entry_;
  bool has_shape_ = false;
  int num_offsets_ = -1;  // -1: no data_offsets yet
  absl::flat_hash_set<std::string> names_;
  bool has_metadata_ = false;
  std::string error_;
};

bool HeaderEvents::number_unsigned(number_unsigned_t value) {
  if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return Fail(absl::StrCat(Where(), ": number ", value,
                             " exceeds the limit 2^63 - 1"));
  }
  if (state_ == State::kInShape) {
    if (entry_.shape.size() == kMaxDimensions) {
      return Fail(absl::StrCat(Where(), ": more dimensions than the limit ",
                               kMaxDimensions));
    }
    entry_.shape.push_back(static_cast<int64_t>(value));
    return true;
  }
  if (state_ != State::kInOffsets || num_offsets_ == 2) {
    return Unexpected("number");
  }
  (num_offsets_ == 0 ? entry_.begin : entry_.end) = static_cast<int64_t>(value);
  ++num_offsets_;
  return true;
}

bool HeaderEvents::string(string_t& value) {
  if (state_ == State::kDType) {
    if (value.empty()) return Unexpected("empty dtype");
    entry_.dtype = std::move(value);
    state_ = State::kTensor;
    return true;
  }
  if (state_ != State::kMetadataText) return Unexpected("string");
  header_.metadata.emplace(std::move(metadata_key_), std::move(value));
  state_ = State::kMetadata;
  return true;
}

bool HeaderEvents::start_object(std::size_t) {
  if (state_ == State::kStart) {
    state_ = State::kTop;
    return true;
  }
  if (state_ != State::kTopValue) return Unexpected("object");
  if (top_key_ == kMetadataKey) {
    state_ = State::kMetadata;
    return true;
  }
  state_ = State::kTensor;
  entry_ = SafetensorsEntry();
  entry_.name = top_key_;
  has_shape_ = false;
  num_offsets_ = -1;
  return true;
}

bool HeaderEvents::end_object() {
  const bool is_tensor = state_ == State::kTensor;
  state_ = State::kTop;
  return is_tensor ? FinishTensor() : true;
}

bool HeaderEvents::FinishTensor() {
  if (entry_.dtype.empty() || !has_shape_ || num_offsets_ != 2) {
    return Fail(
        absl::StrCat(Where(), ": dtype, shape or two data_offsets missing"));
  }
  header_.entries.push_back(std::move(entry_));
  return true;
}

bool HeaderEvents::start_array(std::size_t) {
  if (state_ == State::kShape) {
    state_ = State::kInShape;
    has_shape_ = true;
    return true;
  }
  if (state_ != State::kOffsets) return Unexpected("array");
  state_ = State::kInOffsets;
  num_offsets_ = 0;
  return true;
}

bool HeaderEvents::end_array() {
  state_ = State::kTensor;
  return true;
}

bool HeaderEvents::TensorKey(const std::string& name) {
  if (name == "dtype" && entry_.dtype.empty()) {
    state_ = State::kDType;
  } else if (name == "shape" && !has_shape_) {
    state_ = State::kShape;
  } else if (name == "data_offsets" && num_offsets_ < 0) {
    state_ = State::kOffsets;
  } else {
    return Fail(absl::StrCat(Where(), ": key ", Quoted(name),
                             " is unknown or occurs twice"));
  }
  return true;
}

bool HeaderEvents::key(string_t& name) {
  if (state_ == State::kTensor) return TensorKey(name);
  if (state_ == State::kMetadata) {
    if (header_.metadata.count(name) > 0) {
      return Fail(absl::StrCat("metadata key ", Quoted(name), " occurs twice"));
    }
    metadata_key_ = std::move(name);
    state_ = State::kMetadataText;
    return true;
  }
  top_key_ = std::move(name);
  state_ = State::kTopValue;
  const bool is_new = top_key_ == kMetadataKey
                          ? !std::exchange(has_metadata_, true)
                          : names_.insert(top_key_).second;
  return is_new ? true : Fail(absl::StrCat(Where(), " occurs twice"));
}

}  // namespace

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(
    absl::Span<const uint8_t> json) {
  HeaderEvents events;
  bool is_valid = false;
  std::string error;
  try {
    is_valid = Json::sax_parse(json.begin(), json.end(), &events);
    error = events.error();
  } catch (const std::exception& exception) {
    error = exception.what();
  }
  if (!is_valid) {
    return absl::InvalidArgumentError(absl::StrCat("safetensors: ", error));
  }
  return events.TakeHeader();
}

}  // namespace headwise
