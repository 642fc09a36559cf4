#include "server/selection/json_record.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "server/selection/valid_utf8.h"

namespace headwise {
namespace {

using nlohmann::json;

constexpr absl::string_view kReplacement = "\xEF\xBF\xBD";  // U+FFFD

// The names are those that nlohmann::json_sax prescribes; each returns whether
// to go on.
class RecordHandler {
 public:
  RecordHandler(const InputOptions& names, JsonRecord* record)
      : roles_{{{names.id_field, &record->id},
                {names.text_field, &record->text},
                {names.domain_field, &record->domain}}} {}

  bool null() { return Put(JsonField::Type::kMissing, ""); }
  bool boolean(bool) { return Put(JsonField::Type::kOther, ""); }
  bool number_integer(json::number_integer_t value) {
    return Put(JsonField::Type::kInteger, absl::StrCat(value));
  }
  bool number_unsigned(json::number_unsigned_t value) {
    return Put(JsonField::Type::kInteger, absl::StrCat(value));
  }
  // Also integers beyond 64 bits.
  bool number_float(json::number_float_t, const std::string& token) {
    const bool is_integer =
        token.find_first_not_of("-0123456789") == token.npos;
    if (!is_integer) return Put(JsonField::Type::kOther, "");
    return Put(JsonField::Type::kInteger, token);
  }
  bool string(std::string& value) {
    return Put(JsonField::Type::kString, value);
  }
  bool binary(json::binary_t&) { return false; }

  bool start_object(size_t) {
    if (depth_ > 0 && !Put(JsonField::Type::kOther, "")) return false;
    ++depth_;
    return true;
  }
  bool key(std::string& name) {
    if (depth_ != 1) return true;
    for (Role& role : roles_) role.is_current = name == role.name;
    return true;
  }
  bool end_object() {
    --depth_;
    return true;
  }
  bool start_array(size_t) {
    if (!Put(JsonField::Type::kOther, "")) return false;
    ++depth_;
    return true;
  }
  bool end_array() {
    --depth_;
    return true;
  }
  bool parse_error(size_t, const std::string&, const json::exception&) {
    return false;
  }

 private:
  struct Role {
    absl::string_view name;
    JsonField* field;
    bool is_current = false;  // the key that was read last has that name
  };

  // False for what stands where the record should.
  bool Put(JsonField::Type type, absl::string_view text) {
    if (depth_ == 0) return false;
    if (depth_ > 1) return true;
    for (Role& role : roles_) {
      if (!role.is_current) continue;
      role.field->type = type;
      role.field->text.assign(text.data(), text.size());
    }
    return true;
  }

  std::array<Role, 3> roles_;
  int64_t depth_ = 0;
};

std::optional<JsonRecord> ParseStrictly(absl::string_view line,
                                        const InputOptions& names) {
  JsonRecord record;
  RecordHandler handler(names, &record);
  if (!json::sax_parse(line.begin(), line.end(), &handler)) return std::nullopt;
  return record;
}

// The code unit of a "\uXXXX" at the begin of `text`.
std::optional<uint32_t> UnitOfEscape(absl::string_view text) {
  uint32_t unit = 0;
  if (text.size() < 6 || text[0] != '\\' || text[1] != 'u') return {};
  for (const char digit : text.substr(2, 4)) {
    if (!absl::ascii_isxdigit(static_cast<unsigned char>(digit))) return {};
  }
  if (!absl::SimpleHexAtoi(text.substr(2, 4), &unit)) return {};
  return unit;
}

// Replaces escapes of surrogates that are no pair. A backslash has no place
// outside of strings, so what a line is made of need not be known.
std::string MendEscapes(absl::string_view line, absl::string_view replacement) {
  std::string mended;
  mended.reserve(line.size());
  while (!line.empty()) {
    const size_t plain = std::min(line.find('\\'), line.size());
    mended.append(line.data(), plain);
    line.remove_prefix(plain);
    const std::optional<uint32_t> unit = UnitOfEscape(line);
    if (!unit.has_value() || *unit >> 11 != 0xD800 >> 11) {
      const size_t kept = std::min(line.size(), size_t{2});
      mended.append(line.data(), kept);
      line.remove_prefix(kept);
      continue;
    }
    const std::optional<uint32_t> next = UnitOfEscape(line.substr(6));
    if (*unit < 0xDC00 && next.has_value() && *next >> 10 == 0xDC00 >> 10) {
      mended.append(line.data(), 12);
      line.remove_prefix(12);
      continue;
    }
    mended.append(replacement.data(), replacement.size());
    line.remove_prefix(6);
  }
  return mended;
}

std::string Mend(absl::string_view line, absl::string_view replacement) {
  return MendEscapes(MendUtf8(line, replacement), replacement);
}

}  // namespace

std::optional<JsonRecord> ParseJsonRecord(absl::string_view line,
                                          const InputOptions& names) {
  // The parser would take a NUL for the end of its input.
  if (line.find('\0') != line.npos) return std::nullopt;
  std::optional<JsonRecord> record = ParseStrictly(line, names);
  if (record.has_value()) return record;

  // It refuses a line for bad characters in any string. Those of interest are
  // the ones that look otherwise once something else stands for them.
  const std::string mended = Mend(line, kReplacement);
  if (mended == line) return std::nullopt;
  record = ParseStrictly(mended, names);
  if (!record.has_value()) return std::nullopt;
  const std::optional<JsonRecord> other = ParseStrictly(Mend(line, "?"), names);
  if (!other.has_value()) return std::nullopt;
  const auto compare = [](const JsonField& other_field, JsonField* field) {
    field->is_invalid_utf8 = field->text != other_field.text;
  };
  compare(other->id, &record->id);
  compare(other->text, &record->text);
  compare(other->domain, &record->domain);
  return record;
}

Document ToDocument(JsonRecord record, std::string made_up_id,
                    const std::string& domain) {
  using Type = JsonField::Type;
  Document document;
  if (record.id.text.empty()) {
    document.id = std::move(made_up_id);
    document.flags |=
        record.id.type == Type::kOther ? kInvalidIdType : kMadeUpId;
  } else {
    document.id = std::move(record.id.text);
  }
  document.domain =
      record.domain.text.empty() ? domain : std::move(record.domain.text);
  if (record.text.type != Type::kString) {
    document.flags |= kMissingText;
  } else if (record.text.text.empty()) {
    document.flags |= kEmptyText;
  }
  if (record.id.is_invalid_utf8 || record.text.is_invalid_utf8 ||
      record.domain.is_invalid_utf8) {
    document.flags |= kInvalidUtf8;
  }
  if ((document.flags & kNotScoredFlags) == 0) {
    document.text = std::move(record.text.text);
  }
  return document;
}

}  // namespace headwise
