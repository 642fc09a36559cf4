#include "base/process_collector.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <optional>
#include <sstream>
#include <string>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"

namespace headwise {
namespace {

void AddSeries(const char* name, const char* help, prometheus::MetricType type,
               double value, std::vector<prometheus::MetricFamily>* families) {
  prometheus::MetricFamily family;
  family.name = name;
  family.help = help;
  family.type = type;
  prometheus::ClientMetric metric;
  if (type == prometheus::MetricType::Counter) {
    metric.counter.value = value;
  } else {
    metric.gauge.value = value;
  }
  family.metric.push_back(metric);
  families->push_back(std::move(family));
}

std::string ReadFile(const char* path) {
  std::ifstream file(path);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// Field `index` of /proc/self/stat, counted from 3 as in proc(5): the second,
// the program's name, may hold spaces.
std::optional<double> StatField(const std::string& stat, size_t index) {
  const size_t name_end = stat.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  const std::vector<absl::string_view> fields =
      absl::StrSplit(absl::string_view(stat).substr(name_end + 1), ' ',
                     absl::SkipWhitespace());
  double value = 0;
  if (index < 3 || index - 3 >= fields.size() ||
      !absl::SimpleAtod(fields[index - 3], &value)) {
    return std::nullopt;
  }
  return value;
}

// Seconds since 1970 at which the machine started.
std::optional<double> BootTime() {
  const std::string stat = ReadFile("/proc/stat");
  for (absl::string_view line : absl::StrSplit(stat, '\n')) {
    double value = 0;
    if (absl::ConsumePrefix(&line, "btime ") &&
        absl::SimpleAtod(line, &value)) {
      return value;
    }
  }
  return std::nullopt;
}

std::optional<double> CountOpenFiles() {
  DIR* directory = opendir("/proc/self/fd");
  if (directory == nullptr) return std::nullopt;
  double count = 0;
  while (const dirent* entry = readdir(directory)) {
    if (entry->d_name[0] != '.') ++count;
  }
  closedir(directory);
  return count - 1;  // without the directory's own
}

// The one number in a file. A cgroup that has no limit says "max", or a number
// above any machine's memory.
std::optional<double> NumberIn(const std::string& path) {
  double value = 0;
  if (!absl::SimpleAtod(ReadFile(path.c_str()), &value)) return std::nullopt;
  return value;
}

// Bytes that the kernel gives this process before it kills somebody: the
// machine's memory, or a limit of its cgroup, of version 1 or 2.
std::optional<double> MemoryLimit() {
  std::optional<double> limit;
  const auto take = [&limit](std::optional<double> value) {
    if (value.has_value()) limit = std::min(limit.value_or(*value), *value);
  };
  const int64_t pages = sysconf(_SC_PHYS_PAGES);
  if (pages > 0) {
    take(static_cast<double>(pages) *
         static_cast<double>(sysconf(_SC_PAGESIZE)));
  }
  const std::string cgroups = ReadFile("/proc/self/cgroup");
  for (const absl::string_view line : absl::StrSplit(cgroups, '\n')) {
    const std::vector<std::string> fields =
        absl::StrSplit(line, absl::MaxSplits(':', 2));
    if (fields.size() < 3) continue;
    // In a container the path may be the host's, and the root is our own.
    if (fields[1].empty()) {
      take(NumberIn("/sys/fs/cgroup" + fields[2] + "/memory.max"));
      take(NumberIn("/sys/fs/cgroup/memory.max"));
    } else if (fields[1] == "memory") {
      const std::string root = "/sys/fs/cgroup/memory";
      take(NumberIn(root + fields[2] + "/memory.limit_in_bytes"));
      take(NumberIn(root + "/memory.limit_in_bytes"));
    }
  }
  return limit;
}

}  // namespace

std::vector<prometheus::MetricFamily> ProcessCollector::Collect() const {
  using prometheus::MetricType;
  std::vector<prometheus::MetricFamily> families;
  const std::string stat = ReadFile("/proc/self/stat");
  const double ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  const double page_bytes = static_cast<double>(sysconf(_SC_PAGESIZE));

  const auto user = StatField(stat, 14);
  const auto system = StatField(stat, 15);
  if (user && system) {
    AddSeries("process_cpu_seconds_total", "User and system CPU time.",
              MetricType::Counter, (*user + *system) / ticks, &families);
  }
  const auto start = StatField(stat, 22);
  const auto boot = BootTime();
  if (start && boot) {
    AddSeries("process_start_time_seconds", "Start, since 1970.",
              MetricType::Gauge, *boot + *start / ticks, &families);
  }
  if (const auto bytes = StatField(stat, 23)) {
    AddSeries("process_virtual_memory_bytes", "Virtual memory.",
              MetricType::Gauge, *bytes, &families);
  }
  if (const auto pages = StatField(stat, 24)) {
    AddSeries("process_resident_memory_bytes", "Resident memory.",
              MetricType::Gauge, *pages * page_bytes, &families);
  }
  if (const auto limit = MemoryLimit()) {
    AddSeries("headwise_memory_limit_bytes",
              "Memory that the process may have: the machine's or its "
              "cgroup's.",
              MetricType::Gauge, *limit, &families);
  }
  if (const auto threads = StatField(stat, 20)) {
    AddSeries("process_threads", "Threads.", MetricType::Gauge, *threads,
              &families);
  }
  if (const auto open_files = CountOpenFiles()) {
    AddSeries("process_open_fds", "Open file descriptors.", MetricType::Gauge,
              *open_files, &families);
  }
  rlimit limit;
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
    AddSeries("process_max_fds", "Limit of open file descriptors.",
              MetricType::Gauge, static_cast<double>(limit.rlim_cur),
              &families);
  }
  return families;
}

}  // namespace headwise
