// What a build says of itself to the other processes of its cluster, which may
// be of another one (docs/decisions/2026-11-28-let-builds-mix.md).

#ifndef HEADWISE_BASE_BUILD_INFO_H_
#define HEADWISE_BASE_BUILD_INFO_H_

#include <algorithm>
#include <cstdint>
#include <string>

namespace headwise {

// Both ends included; nothing if oldest > newest.
struct ProtocolRange {
  uint32_t oldest = 0;
  uint32_t newest = 0;

  bool empty() const { return oldest > newest; }
  bool Has(uint32_t protocol) const {
    return oldest <= protocol && protocol <= newest;
  }
};

// What both have.
inline ProtocolRange Common(const ProtocolRange& a, const ProtocolRange& b) {
  return {std::max(a.oldest, b.oldest), std::min(a.newest, b.newest)};
}

// "protocol 2", or "protocols 2 to 3".
std::string TextOf(const ProtocolRange& protocols);

struct BuildInfo {
  std::string version;  // for people; never compared
  // How coordinators and workers, and the workers of a group, talk. A group
  // speaks the highest that all of it have.
  ProtocolRange protocols;
  // Which bits its answers have. Equal for all that work together.
  uint32_t numerics = 0;
};

// "build 0.1.0, protocol 1, numerics 1".
std::string TextOf(const BuildInfo& build);

// Of this program.
const BuildInfo& OwnBuild();

}  // namespace headwise

#endif  // HEADWISE_BASE_BUILD_INFO_H_
