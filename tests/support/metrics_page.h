// What a process's page of metrics says, for tests.

#ifndef HEADWISE_TESTS_SUPPORT_METRICS_PAGE_H_
#define HEADWISE_TESTS_SUPPORT_METRICS_PAGE_H_

#include <optional>
#include <string>

namespace headwise {

// The page of the process whose port file has the metrics' port as its second
// line; empty if none is answered.
std::string MetricsPageOf(const std::string& port_file);

// The sum of a series over those of its labels that contain `labels`; none: the
// page has no such series.
std::optional<double> SumOfSeries(const std::string& page,
                                  const std::string& name,
                                  const std::string& labels = "");

}  // namespace headwise

#endif  // HEADWISE_TESTS_SUPPORT_METRICS_PAGE_H_
