// A limit of what a program may allocate, so that an allocation of a length
// that a stranger sent fails there and not at the machine's end.

#ifndef HEADWISE_TESTS_SUPPORT_ADDRESS_SPACE_H_
#define HEADWISE_TESTS_SUPPORT_ADDRESS_SPACE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"

namespace headwise {

// What comes before a program's path so that it may map so many GiB at most;
// nothing under sanitizers, which map terabytes and refuse absurd sizes
// themselves.
inline std::vector<std::string> WithAddressSpace(int64_t gib) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  static_cast<void>(gib);
  return {};
#else
  return {"/bin/sh", "-c",
          absl::StrCat("ulimit -v ", gib << 20, "; exec \"$0\" \"$@\"")};
#endif
}

}  // namespace headwise

#endif  // HEADWISE_TESTS_SUPPORT_ADDRESS_SPACE_H_
