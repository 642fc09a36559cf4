#include "server/leases/lease_id.h"

#include <sys/random.h>

#include <array>

#include "absl/strings/escaping.h"
#include "absl/strings/string_view.h"
#include "base/check.h"

namespace headwise {

std::string NewLeaseId() {
  std::array<char, 16> bytes;
  HEADWISE_CHECK(getrandom(bytes.data(), bytes.size(), 0) ==
                 static_cast<ssize_t>(bytes.size()));
  return absl::BytesToHexString(absl::string_view(bytes.data(), bytes.size()));
}

}  // namespace headwise
