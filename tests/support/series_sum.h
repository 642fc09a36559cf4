// What a coordinator's page of metrics says, for tests.

#ifndef HEADWISE_TESTS_SUPPORT_SERIES_SUM_H_
#define HEADWISE_TESTS_SUPPORT_SERIES_SUM_H_

#include <fstream>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "httplib.h"

namespace headwise {

// The sum of a series over its labels, from the coordinator whose port file has
// the metrics' port as its second line; -1 if the series is missing.
inline double SeriesSum(const std::string& port_file, const std::string& name) {
  std::ifstream ports(port_file);
  int port = 0;
  ports >> port >> port;
  const auto page = httplib::Client("127.0.0.1", port).Get("/metrics");
  if (!page) return -1;
  double sum = 0.0;
  bool found = false;
  for (const absl::string_view line : absl::StrSplit(page->body, '\n')) {
    if (!absl::StartsWith(line, name + "{")) continue;
    double value = 0.0;
    if (!absl::SimpleAtod(line.substr(line.rfind(' ') + 1), &value)) return -1;
    sum += value;
    found = true;
  }
  return found ? sum : -1;
}

}  // namespace headwise

#endif  // HEADWISE_TESTS_SUPPORT_SERIES_SUM_H_
