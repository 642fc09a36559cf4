// The fields of one JSON line.

#ifndef HEADWISE_SERVER_SELECTION_JSON_RECORD_H_
#define HEADWISE_SERVER_SELECTION_JSON_RECORD_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/strings/string_view.h"
#include "server/selection/document.h"
#include "server/selection/input_shard.h"

namespace headwise {

struct JsonField {
  enum class Type : uint8_t {
    kMissing,  // not there, or null
    kString,
    kInteger,
    kOther,  // a number with a fraction or exponent, true, an array, ...
  };
  Type type = Type::kMissing;
  std::string text;  // of a string, or an integer's digits and sign
  // A string with bytes or \u escapes that are no character: `text` has U+FFFD
  // in their place.
  bool is_invalid_utf8 = false;
};

struct JsonRecord {
  JsonField id;
  JsonField text;
  JsonField domain;
};

// The fields that `names` has names for, of the outermost object; the last one
// of each name counts. nullopt: the line is not one JSON object. Nesting costs
// a bit of memory for each level, and no stack.
std::optional<JsonRecord> ParseJsonRecord(absl::string_view line,
                                          const InputOptions& names);

// The document of a record; `made_up_id` and `domain` stand for what it lacks.
// Without its text where a flag says that it is not scored.
Document ToDocument(JsonRecord record, std::string made_up_id,
                    const std::string& domain);

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_JSON_RECORD_H_
