#include "server/selection/input_format.h"

#include <array>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "server/selection/input_root.h"

namespace headwise {
namespace {

constexpr std::array<absl::string_view, 3> kLineEndings = {".jsonl", ".ndjson",
                                                           ".json"};

// Of files that hold text, but not as their bytes. A corpus that is handed over
// in one of them would else become one row of invalid UTF-8 for each file.
constexpr std::array<absl::string_view, 16> kUnreadEndings = {
    ".parquet", ".arrow", ".feather", ".avro", ".orc",  ".tar", ".tgz", ".zip",
    ".7z",      ".rar",   ".bz2",     ".xz",   ".lzma", ".lz4", ".br",  ".pdf"};

}  // namespace

absl::StatusOr<InputFormat> FormatOfName(absl::string_view name) {
  const std::string lower = absl::AsciiStrToLower(name);
  absl::string_view rest = lower;
  InputFormat format;
  if (absl::ConsumeSuffix(&rest, ".gz")) {
    format.compression = Compression::kGzip;
  } else if (absl::ConsumeSuffix(&rest, ".zst")) {
    format.compression = Compression::kZstd;
  }
  for (absl::string_view ending : kUnreadEndings) {
    if (!absl::EndsWith(rest, ending)) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "input ", QuotedInputName(name), ": ", ending, " files are not read"));
  }
  for (absl::string_view ending : kLineEndings) {
    format.is_lines |= absl::EndsWith(rest, ending);
  }
  return format;
}

}  // namespace headwise
