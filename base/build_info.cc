#include "base/build_info.h"

#include "absl/strings/str_cat.h"

namespace headwise {

std::string TextOf(const ProtocolRange& protocols) {
  if (protocols.oldest == protocols.newest) {
    return absl::StrCat("protocol ", protocols.newest);
  }
  return absl::StrCat("protocols ", protocols.oldest, " to ", protocols.newest);
}

std::string TextOf(const BuildInfo& build) {
  return absl::StrCat("build ", build.version, ", ", TextOf(build.protocols),
                      ", numerics ", build.numerics);
}

}  // namespace headwise
