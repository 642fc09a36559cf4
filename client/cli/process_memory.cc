#include "client/cli/process_memory.h"

#include <fstream>
#include <sstream>
#include <string>

namespace headwise {
namespace {

// Of "KEY: 123 kB" in a file of /proc.
int64_t ReadKilobytes(const char* path, const std::string& key) {
  std::ifstream file(path);
  std::string line;
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::string name;
    int64_t kilobytes = 0;
    if (words >> name >> kilobytes && name == key) return kilobytes * 1024;
  }
  return 0;
}

}  // namespace

int64_t AvailableMemoryBytes() {
  return ReadKilobytes("/proc/meminfo", "MemAvailable:");
}

int64_t ResidentBytes() { return ReadKilobytes("/proc/self/status", "VmRSS:"); }

int64_t PeakResidentBytes() {
  return ReadKilobytes("/proc/self/status", "VmHWM:");
}

void StartPeak() {
  // proc(5): 5 resets the high water mark.
  std::ofstream("/proc/self/clear_refs") << "5";
}

}  // namespace headwise
