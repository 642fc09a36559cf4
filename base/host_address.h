// The host in host:port.

#ifndef HEADWISE_BASE_HOST_ADDRESS_H_
#define HEADWISE_BASE_HOST_ADDRESS_H_

#include "absl/strings/string_view.h"

namespace headwise {

// Of host:port, without the brackets of IPv6; all of it if it has no port.
absl::string_view HostOf(absl::string_view address);

// Whether `host`, without brackets, is this machine and no other may call it.
bool IsLoopbackHost(absl::string_view host);

}  // namespace headwise

#endif  // HEADWISE_BASE_HOST_ADDRESS_H_
