#include "server/frontends/numerics_check.h"

#include "absl/strings/str_cat.h"
#include "base/build_info.h"
#include "base/error_facts.h"

namespace headwise {

absl::Status CheckNumerics(absl::string_view what, uint32_t numerics) {
  const BuildInfo& own = OwnBuild();
  if (numerics == own.numerics) return absl::OkStatus();
  return WithFacts(
      absl::FailedPreconditionError(absl::StrCat(
          what, " is of numerics ", numerics, ", this server of build ",
          own.version, " has ", own.numerics, ": the bits would differ")),
      {.reason = "OTHER_NUMERICS",
       .numbers = {{"numerics", numerics}, {"server_numerics", own.numerics}}});
}

}  // namespace headwise
