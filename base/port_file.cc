#include "base/port_file.h"

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace headwise {

absl::Status WritePortFile(const std::string& path,
                           std::initializer_list<int> ports) {
  const std::string fresh = path + ".tmp";
  std::ofstream out(fresh);
  out << absl::StrJoin(ports, "\n") << "\n";
  out.close();
  if (!out.good() || std::rename(fresh.c_str(), path.c_str()) != 0) {
    const int error = errno;
    std::remove(fresh.c_str());
    return absl::UnavailableError(
        absl::StrCat("can't write port file ", path, ": ", strerror(error)));
  }
  return absl::OkStatus();
}

}  // namespace headwise
