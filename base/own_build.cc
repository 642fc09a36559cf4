// Alone in its file: tests/support/pretended_build.cc takes its place.

#include "base/build_info.h"

namespace headwise {

const BuildInfo& OwnBuild() {
  static const BuildInfo build = {
      .version = HEADWISE_VERSION,
      // `newest` is raised by who first sends what an older build would
      // misread; a field that it may ignore needs no new protocol. `oldest`
      // follows when no release that is in use speaks it any more.
      .protocols = {.oldest = 1, .newest = 1},
      // Raised by who changes any bit of the logits of any model, with
      // tests/golden/logits_sha256.json and a bold line in docs/CHANGELOG.md.
      .numerics = 1};
  return build;
}

}  // namespace headwise
