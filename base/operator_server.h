// The HTTP port that an operator's machines ask: /metrics and /healthz/*.

#ifndef HEADWISE_BASE_OPERATOR_SERVER_H_
#define HEADWISE_BASE_OPERATOR_SERVER_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "prometheus/collectable.h"

namespace headwise {

// What a probe answers: OK is 200, anything else 503 with its message.
struct ProbeAnswer {
  absl::Status status;
  std::string detail;  // lines for people, after the first one; may be empty
};

struct OperatorServerOptions {
  std::string address;  // host:port; port 0: any free one
  std::vector<std::shared_ptr<prometheus::Collectable>> collectables;
  // /healthz/startup, /healthz/live and /healthz/ready, and the series
  // headwise_probe_ok by these names. Called by threads of
  // the server, several at once; must not block.
  std::function<ProbeAnswer()> startup;
  std::function<ProbeAnswer()> live;
  std::function<ProbeAnswer()> ready;
};

// Serves until it is destroyed. GET and HEAD alone; other paths are 404.
// kMaxScrapes pages of metrics are made at one time, one more is 503: so
// scrapes that hang leave threads to answer probes.
class OperatorServer {
 public:
  static constexpr int kMaxScrapes = 2;

  // Unavailable if the address can't be bound.
  static absl::StatusOr<std::unique_ptr<OperatorServer>> Start(
      const OperatorServerOptions& options);
  virtual ~OperatorServer() = default;

  virtual int port() const = 0;
};

}  // namespace headwise

#endif  // HEADWISE_BASE_OPERATOR_SERVER_H_
