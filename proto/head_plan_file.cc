#include "proto/head_plan_file.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "model/head_plan/head_plan_check.h"
#include "model/head_plan/head_plan_text.h"
#include "proto/head_plan_codec.h"

namespace headwise {

absl::StatusOr<HeadPlan> ParseHeadPlan(absl::string_view bytes) {
  const bool is_text =
      absl::StartsWith(absl::StripLeadingAsciiWhitespace(bytes), "{");
  return is_text ? ParseHeadPlanText(bytes) : DecodeHeadPlan(bytes);
}

absl::StatusOr<HeadPlan> ReadHeadPlanFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  // One byte more than is allowed is refused like any number more.
  std::string bytes(kMaxHeadPlanBytes + 1, '\0');
  file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  if (!file.is_open() || file.bad()) {
    return absl::NotFoundError(absl::StrCat("cannot read ", path));
  }
  bytes.resize(static_cast<size_t>(file.gcount()));
  absl::StatusOr<HeadPlan> plan = ParseHeadPlan(bytes);
  if (plan.ok()) return plan;
  return absl::Status(plan.status().code(),
                      absl::StrCat(path, ": ", plan.status().message()));
}

absl::Status WriteHeadPlanFile(const HeadPlan& plan, const std::string& path) {
  const std::string bytes = absl::EndsWith(path, ".json")
                                ? HeadPlanToText(plan)
                                : EncodeHeadPlan(plan);
  // No reader would take it.
  if (bytes.size() > kMaxHeadPlanBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": the plan has ", bytes.size(),
                     " bytes in this form; the limit is ", kMaxHeadPlanBytes));
  }
  const std::string fresh = path + ".tmp";
  std::ofstream out(fresh, std::ios::binary);
  out << bytes;
  out.close();
  if (out.good() && std::rename(fresh.c_str(), path.c_str()) == 0) {
    return absl::OkStatus();
  }
  const int error = errno;
  std::remove(fresh.c_str());
  return absl::UnavailableError(
      absl::StrCat("cannot write ", path, ": ", strerror(error)));
}

}  // namespace headwise
