// The series of attention sessions that are read at each scrape.

#ifndef HEADWISE_SERVER_FRONTENDS_ATTENTION_COLLECTOR_H_
#define HEADWISE_SERVER_FRONTENDS_ATTENTION_COLLECTOR_H_

#include <vector>

#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"
#include "server/attention/attention_sessions.h"

namespace headwise {

// headwise_attention_sessions, headwise_attention_bytes. Thread-safe;
// `sessions` must outlive it.
class AttentionCollector final : public prometheus::Collectable {
 public:
  explicit AttentionCollector(const AttentionSessions& sessions)
      : sessions_(sessions) {}
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  const AttentionSessions& sessions_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_ATTENTION_COLLECTOR_H_
