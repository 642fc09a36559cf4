#include "server/selection/input_shard.h"

#include <utility>

#include "absl/status/status.h"
#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "server/selection/input_root.h"
#include "server/selection/valid_utf8.h"

namespace headwise {
namespace {

constexpr int64_t kMaxShardBytes = int64_t{1} << 40;
// A reader holds a document a few times over while it parses it.
constexpr int64_t kMaxDocumentBytes = int64_t{1} << 30;

absl::Status CheckBytes(absl::string_view field, int64_t value, int64_t max) {
  if (value >= 1 && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " is ", value, ", allowed: 1 to ", max));
}

absl::Status CheckText(absl::string_view field, absl::string_view text,
                       bool may_be_empty) {
  if (!may_be_empty && text.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(field, " is empty"));
  }
  if (IsValidUtf8(text)) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      field, " is \"", absl::CHexEscape(text), "\", which is no UTF-8"));
}

absl::Span<const uint8_t> BytesOf(absl::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

}  // namespace

absl::Status CheckInputOptions(const InputOptions& options) {
  for (const std::string& path : options.paths) {
    const std::string name = WithoutLastSlash(path);
    if (name != ".") HEADWISE_RETURN_IF_ERROR(CheckInputName("path", name));
  }
  HEADWISE_RETURN_IF_ERROR(CheckText("id_field", options.id_field, false));
  HEADWISE_RETURN_IF_ERROR(CheckText("text_field", options.text_field, false));
  HEADWISE_RETURN_IF_ERROR(
      CheckText("domain_field", options.domain_field, false));
  HEADWISE_RETURN_IF_ERROR(CheckText("domain", options.domain, true));
  HEADWISE_RETURN_IF_ERROR(
      CheckBytes("shard_bytes", options.shard_bytes, kMaxShardBytes));
  return CheckBytes("max_document_bytes", options.max_document_bytes,
                    kMaxDocumentBytes);
}

int64_t InputShard::bytes() const {
  int64_t sum = 0;
  for (const ShardPiece& piece : pieces) sum += piece.end - piece.begin;
  return sum;
}

std::string InputShard::Digest() const {
  Sha256 hash;
  for (const ShardPiece& piece : pieces) {
    // No file has a newline in its name, so no other pieces give this text.
    const std::string line = absl::StrCat(piece.sha256, " ", piece.begin, " ",
                                          piece.end, " ", piece.file, "\n");
    hash.Update(BytesOf(line));
  }
  return Sha256Hex(hash.Finish());
}

}  // namespace headwise
