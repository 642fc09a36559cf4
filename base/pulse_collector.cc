#include "base/pulse_collector.h"

#include "absl/time/time.h"
#include "base/gauge_family.h"
#include "base/pulse.h"

namespace headwise {

std::vector<prometheus::MetricFamily> PulseCollector::Collect() const {
  auto age = MakeGauge("headwise_thread_heartbeat_age_seconds",
                       "Since the loop of a thread has turned.");
  auto allowance = MakeGauge("headwise_thread_heartbeat_allowance_seconds",
                             "Age above which the thread is taken for frozen.");
  for (const PulseReading& reading : ReadPulses()) {
    AddValue({{"thread", reading.name}}, absl::ToDoubleSeconds(reading.age),
             &age);
    AddValue({{"thread", reading.name}},
             absl::ToDoubleSeconds(reading.allowance), &allowance);
  }
  return {age, allowance};
}

}  // namespace headwise
