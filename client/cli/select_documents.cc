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
  // The name of a file may be any bytes, a message's may not.
  Document read = {.id = MendUtf8(place, "\xEF\xBF\xBD"),
                   .domain = fields.default_domain,
                   .flags = kBrokenRecord | kMadeUpId};
  std::optional<JsonRecord> record = ParseJsonRecord(text, OptionsOf(fields));
  if (record.has_value()) {
    const bool is_large = record->text.text.size() > kMaxTextBytes ||
                          record->id.text.size() > kMaxDocumentIdBytes ||
                          record->domain.text.size() > kMaxDomainBytes;
    read = ToDocument(*std::move(record), std::move(read.id),
                      fields.default_domain);
    if (is_large && (read.flags & (kMissingText | kEmptyText)) == 0) {
      read.flags |= kTooLarge;
    }
  }
  SelectLine line;
  line.is_sent = (read.flags & kNotScoredFlags) == 0;
  for (const DocumentFlag flag : AllDocumentFlags()) {
    if ((read.flags & flag) != 0) line.flags.emplace_back(FlagName(flag));
  }
  line.document.set_id(std::move(read.id));
  line.document.set_domain(std::move(read.domain));
  if (line.is_sent) line.document.set_text(std::move(read.text));
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
