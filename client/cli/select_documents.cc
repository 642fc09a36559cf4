#include "client/cli/select_documents.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <utility>

#include "server/selection/flag_names.h"
#include "server/selection/json_record.h"
#include "server/selection/valid_utf8.h"

namespace headwise {
namespace {

// A longer one makes no message (selection.proto).
constexpr size_t kMaxTextBytes = (16 << 20) - (64 << 10);

void AddFlag(DocumentFlag flag, SelectLine* line) {
  line->flags.push_back(std::string(FlagName(flag)));
  if ((flag & kNotScoredFlags) != 0) line->is_sent = false;
}

InputOptions OptionsOf(const SelectFieldFlags& fields) {
  InputOptions options;
  options.id_field = fields.id;
  options.text_field = fields.text;
  options.domain_field = fields.domain;
  return options;
}

// By rising bit, each once.
void SortFlags(google::protobuf::RepeatedPtrField<std::string>* flags) {
  const auto bit = [](const std::string& name) -> uint32_t {
    const std::optional<DocumentFlag> flag = FlagOfName(name);
    return flag.has_value() ? *flag : UINT32_MAX;
  };
  std::sort(flags->begin(), flags->end(),
            [&](const std::string& a, const std::string& b) {
              return bit(a) < bit(b);
            });
  flags->erase(std::unique(flags->begin(), flags->end()), flags->end());
}

}  // namespace

SelectLine ReadSelectLine(absl::string_view text, const std::string& place,
                          const SelectFieldFlags& fields) {
  using Type = JsonField::Type;
  SelectLine line;
  v1::SelectionDocument& document = line.document;
  // The name of a file may be any bytes, a message's may not.
  document.set_id(MendUtf8(place, "\xEF\xBF\xBD"));
  document.set_domain(fields.default_domain);
  std::optional<JsonRecord> record = ParseJsonRecord(text, OptionsOf(fields));
  if (!record.has_value()) {
    AddFlag(kBrokenRecord, &line);
    AddFlag(kMadeUpId, &line);
    return line;
  }
  if (record->id.is_invalid_utf8 || record->text.is_invalid_utf8 ||
      record->domain.is_invalid_utf8) {
    AddFlag(kInvalidUtf8, &line);
  }
  if (record->text.type != Type::kString) {
    AddFlag(kMissingText, &line);
  } else if (record->text.text.empty()) {
    AddFlag(kEmptyText, &line);
  } else if (record->text.text.size() > kMaxTextBytes ||
             record->id.text.size() > kMaxDocumentIdBytes ||
             record->domain.text.size() > kMaxDomainBytes) {
    AddFlag(kTooLarge, &line);
  }
  if (record->id.text.empty()) {
    AddFlag(record->id.type == Type::kOther ? kInvalidIdType : kMadeUpId,
            &line);
  } else {
    document.set_id(std::move(record->id.text));
  }
  if (!record->domain.text.empty()) {
    document.set_domain(std::move(record->domain.text));
  }
  if (line.is_sent) document.set_text(std::move(record->text.text));
  return line;
}

v1::SelectionRow UnsentRow(const SelectLine& line) {
  v1::SelectionRow row;
  row.set_doc_id(line.document.id());
  row.set_domain(line.document.domain());
  AddLineFlags(line, &row);
  return row;
}

void AddLineFlags(const SelectLine& line, v1::SelectionRow* row) {
  for (const std::string& flag : line.flags) row->add_flags(flag);
  SortFlags(row->mutable_flags());
}

}  // namespace headwise
