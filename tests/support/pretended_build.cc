// OwnBuild of programs that say what a test tells them to say: the objects of
// the program itself, and this one in the place of base/own_build.cc.

#include <cstdio>
#include <cstdlib>

#include "base/build_info.h"

namespace headwise {

const BuildInfo& OwnBuild() {
  static const BuildInfo build = [] {
    const char* const words = std::getenv("HEADWISE_PRETENDED_BUILD");
    char version[64] = "";
    BuildInfo told;
    if (words == nullptr ||
        std::sscanf(words, "%63s %u %u %u", version, &told.protocols.oldest,
                    &told.protocols.newest, &told.numerics) != 4) {
      std::fputs(
          "HEADWISE_PRETENDED_BUILD must be version, oldest and newest "
          "protocol, numerics\n",
          stderr);
      std::abort();
    }
    told.version = version;
    return told;
  }();
  return build;
}

}  // namespace headwise
