// Programs as another build would be.

#ifndef HEADWISE_TESTS_SUPPORT_PRETENDED_BUILD_H_
#define HEADWISE_TESTS_SUPPORT_PRETENDED_BUILD_H_

#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/build_info.h"

namespace headwise {

// The command that runs "headwise-worker" or "headwise-coordinator" of the
// folder `binaries`; as one that is this build in all but what it says of
// itself, if `build` is given. For targets with headwise_pretended_builds.
inline std::vector<std::string> CommandOf(
    const std::string& binaries, const std::string& program,
    const std::optional<BuildInfo>& build) {
  if (!build.has_value()) return {absl::StrCat(binaries, "/", program)};
  return {"/usr/bin/env",
          absl::StrCat("HEADWISE_PRETENDED_BUILD=", build->version, " ",
                       build->protocols.oldest, " ", build->protocols.newest,
                       " ", build->numerics),
          absl::StrCat(binaries, "/../tests/", program, "-pretended")};
}

// What the next release may be: more protocols, the same bits.
inline BuildInfo NextBuild() {
  BuildInfo next = OwnBuild();
  next.version += "-next";
  ++next.protocols.newest;
  return next;
}

}  // namespace headwise

#endif  // HEADWISE_TESTS_SUPPORT_PRETENDED_BUILD_H_
