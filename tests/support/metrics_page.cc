#include "tests/support/metrics_page.h"

#include <fstream>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "httplib.h"

namespace headwise {

std::string MetricsPageOf(const std::string& port_file) {
  std::ifstream ports(port_file);
  int port = 0;
  ports >> port >> port;
  httplib::Client client("127.0.0.1", port);
  client.set_read_timeout(/*sec=*/30);
  const auto page = client.Get("/metrics");
  return page && page->status == 200 ? page->body : "";
}

std::optional<double> SumOfSeries(const std::string& page,
                                  const std::string& name,
                                  const std::string& labels) {
  std::optional<double> sum;
  for (const absl::string_view line : absl::StrSplit(page, '\n')) {
    if (!absl::StartsWith(line, name + "{") &&
        !absl::StartsWith(line, name + " ")) {
      continue;
    }
    if (!labels.empty() && !absl::StrContains(line, labels)) continue;
    double value = 0.0;
    if (absl::SimpleAtod(line.substr(line.rfind(' ') + 1), &value)) {
      sum = sum.value_or(0.0) + value;
    }
  }
  return sum;
}

}  // namespace headwise
