#include "client/cli/finished_tests_file.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "client/cli/flags.h"
#include "model/files/bounded_json.h"

namespace headwise {
namespace {

using Json = nlohmann::ordered_json;

constexpr int64_t kVersion = 1;

std::string Sha256OfText(const std::string& text) {
  return Sha256Hex(Sha256Of(absl::MakeConstSpan(
      reinterpret_cast<const uint8_t*>(text.data()), text.size())));
}

absl::StatusOr<nlohmann::json> ParseLine(const std::string& what,
                                         absl::string_view line) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(line.data());
  HEADWISE_ASSIGN_OR_RETURN(
      nlohmann::json json,
      ParseBoundedJson(what, absl::MakeConstSpan(bytes, line.size()),
                       JsonLimits()));
  if (!json.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": not an object"));
  }
  return json;
}

absl::StatusOr<std::string> ParseHeader(const std::string& what,
                                        absl::string_view line) {
  HEADWISE_ASSIGN_OR_RETURN(const nlohmann::json json, ParseLine(what, line));
  HEADWISE_ASSIGN_OR_RETURN(const std::optional<int64_t> version,
                            JsonInt(json, "headwise_finished_tests"));
  HEADWISE_ASSIGN_OR_RETURN(std::optional<std::string> manifest,
                            JsonText(json, "manifest"));
  HEADWISE_ASSIGN_OR_RETURN(const std::optional<std::string> sha256,
                            JsonText(json, "manifest_sha256"));
  if (version != kVersion || !manifest || sha256 != Sha256OfText(*manifest)) {
    return absl::InvalidArgumentError(absl::StrCat(
        what, ": not the head of a file of finished tests of version ",
        kVersion));
  }
  return *std::move(manifest);
}

absl::StatusOr<v1::FinishedTest> ParseTest(const std::string& what,
                                           absl::string_view line) {
  HEADWISE_ASSIGN_OR_RETURN(const nlohmann::json json, ParseLine(what, line));
  HEADWISE_ASSIGN_OR_RETURN(const std::optional<std::string> id,
                            JsonText(json, "id"));
  HEADWISE_ASSIGN_OR_RETURN(const std::optional<int64_t> rows,
                            JsonInt(json, "rows"));
  HEADWISE_ASSIGN_OR_RETURN(const std::optional<int64_t> without_reuse,
                            JsonInt(json, "rows_without_reuse"));
  const nlohmann::json* values = JsonMember(json, "values");
  if (!id || !rows || !without_reuse || values == nullptr ||
      !values->is_array()) {
    return absl::InvalidArgumentError(absl::StrCat(
        what, ": must have id, values, rows and rows_without_reuse"));
  }
  v1::FinishedTest test;
  test.set_id(*id);
  test.set_rows(*rows);
  test.set_rows_without_reuse(*without_reuse);
  for (const nlohmann::json& value : *values) {
    if (!value.is_number()) {
      return absl::InvalidArgumentError(
          absl::StrCat(what, ": values must be numbers"));
    }
    test.add_values(value.get<double>());
  }
  return test;
}

}  // namespace

absl::StatusOr<FinishedTestsFile> FinishedTestsFile::Open(
    const std::string& path) {
  FinishedTestsFile state(path);
  std::error_code error;
  if (!std::filesystem::exists(path, error)) return state;
  HEADWISE_ASSIGN_OR_RETURN(const std::string text,
                            ReadText(TextFlags{.file = path}));
  HEADWISE_RETURN_IF_ERROR(state.Read(text));
  return state;
}

absl::Status FinishedTestsFile::Read(const std::string& text) {
  int64_t number = 0;
  for (size_t begin = 0;;) {
    const size_t end = text.find('\n', begin);
    if (end == std::string::npos) return absl::OkStatus();  // cut short
    const absl::string_view line =
        absl::string_view(text).substr(begin, end - begin);
    const std::string what = absl::StrCat(path_, " line ", ++number);
    if (number == 1) {
      HEADWISE_ASSIGN_OR_RETURN(*finished_.mutable_manifest(),
                                ParseHeader(what, line));
    } else {
      HEADWISE_ASSIGN_OR_RETURN(*finished_.add_tests(), ParseTest(what, line));
    }
    begin = end + 1;
    good_bytes_ = static_cast<int64_t>(begin);
  }
}

absl::Status FinishedTestsFile::Begin(const std::string& manifest) {
  if (truncate(path_.c_str(), good_bytes_) != 0 && errno != ENOENT) {
    return absl::UnavailableError(
        absl::StrCat(path_, ": ", std::strerror(errno)));
  }
  file_.reset(std::fopen(path_.c_str(), "a"));
  if (file_ == nullptr) {
    return absl::UnavailableError(
        absl::StrCat(path_, ": ", std::strerror(errno)));
  }
  if (good_bytes_ > 0) return absl::OkStatus();
  return WriteLine(Json{
      {"headwise_finished_tests", kVersion},
      {"manifest_sha256", Sha256OfText(manifest)},
      {"manifest",
       manifest}}.dump());
}

absl::Status FinishedTestsFile::Add(const v1::FinishedTest& test) {
  Json json = {{"id", test.id()},
               {"rows", test.rows()},
               {"rows_without_reuse", test.rows_without_reuse()},
               {"values", Json::array()}};
  for (const double value : test.values()) json["values"].push_back(value);
  return WriteLine(json.dump());
}

absl::Status FinishedTestsFile::WriteLine(const std::string& line) {
  const std::string whole = line + "\n";
  if (std::fwrite(whole.data(), 1, whole.size(), file_.get()) != whole.size() ||
      std::fflush(file_.get()) != 0) {
    return absl::UnavailableError(
        absl::StrCat(path_, ": ", std::strerror(errno)));
  }
  return absl::OkStatus();
}

}  // namespace headwise
