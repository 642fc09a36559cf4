// Tells whoever has started a program which ports it got.

#ifndef HEADWISE_BASE_PORT_FILE_H_
#define HEADWISE_BASE_PORT_FILE_H_

#include <initializer_list>
#include <string>

#include "absl/status/status.h"

namespace headwise {

// One port a line. The file appears whole: another process may read it at any
// time. Unavailable names the path and what the system said.
absl::Status WritePortFile(const std::string& path,
                           std::initializer_list<int> ports);

}  // namespace headwise

#endif  // HEADWISE_BASE_PORT_FILE_H_
