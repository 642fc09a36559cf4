#include "base/operator_server.h"

#include <atomic>
#include <exception>
#include <iterator>
#include <utility>

#include "CivetServer.h"
#include "absl/strings/str_cat.h"
#include "base/gauge_family.h"
#include "prometheus/text_serializer.h"

namespace headwise {
namespace {

constexpr int kNumThreads = OperatorServer::kMaxScrapes + 2;
// Of a request's headers; also what a silent client costs a thread.
constexpr char kRequestTimeoutMs[] = "5000";

void Reply(mg_connection* connection, bool has_body, int code,
           const std::string& type, const std::string& body) {
  const std::string head = absl::StrCat(
      "HTTP/1.1 ", code, code == 200 ? " OK" : " Service Unavailable",
      "\r\nContent-Type: ", type, "\r\nContent-Length: ", body.size(),
      "\r\nConnection: close\r\n\r\n");
  mg_write(connection, head.data(), head.size());
  if (has_body) mg_write(connection, body.data(), body.size());
}

// Answers GET and HEAD alike.
class Page : public CivetHandler {
 public:
  bool handleGet(CivetServer*, mg_connection* connection) override {
    Answer(connection, /*has_body=*/true);
    return true;
  }
  bool handleHead(CivetServer*, mg_connection* connection) override {
    Answer(connection, /*has_body=*/false);
    return true;
  }

 private:
  virtual void Answer(mg_connection* connection, bool has_body) = 0;
};

class ProbePage final : public Page {
 public:
  explicit ProbePage(std::function<ProbeAnswer()> ask) : ask_(std::move(ask)) {}

 private:
  void Answer(mg_connection* connection, bool has_body) override {
    const ProbeAnswer answer = ask_();
    std::string body = answer.status.ok()
                           ? "ok\n"
                           : absl::StrCat(answer.status.message(), "\n");
    if (!answer.detail.empty()) absl::StrAppend(&body, answer.detail, "\n");
    Reply(connection, has_body, answer.status.ok() ? 200 : 503,
          "text/plain; charset=utf-8", body);
  }

  const std::function<ProbeAnswer()> ask_;
};

class MetricsPage final : public Page {
 public:
  explicit MetricsPage(const OperatorServerOptions& options)
      : options_(options) {}

 private:
  void Answer(mg_connection* connection, bool has_body) override {
    if (++num_scrapes_ > OperatorServer::kMaxScrapes) {
      Reply(connection, has_body, 503, "text/plain; charset=utf-8",
            "other scrapes are not done yet\n");
    } else {
      Reply(connection, has_body, 200,
            "text/plain; version=0.0.4; charset=utf-8", Collect());
    }
    --num_scrapes_;
  }

  std::string Collect() const {
    auto probes = MakeGauge("headwise_probe_ok", "1: the probe is green.");
    const auto add = [&probes](const char* name,
                               const std::function<ProbeAnswer()>& ask) {
      AddValue({{"probe", name}}, ask().status.ok() ? 1 : 0, &probes);
    };
    add("startup", options_.startup);
    add("live", options_.live);
    add("ready", options_.ready);
    std::vector<prometheus::MetricFamily> families = {std::move(probes)};
    for (const auto& collectable : options_.collectables) {
      std::vector<prometheus::MetricFamily> more = collectable->Collect();
      families.insert(families.end(), std::make_move_iterator(more.begin()),
                      std::make_move_iterator(more.end()));
    }
    return prometheus::TextSerializer().Serialize(families);
  }

  const OperatorServerOptions options_;
  std::atomic<int> num_scrapes_ = 0;
};

class OperatorServerImpl final : public OperatorServer {
 public:
  // Throws CivetException.
  explicit OperatorServerImpl(const OperatorServerOptions& options)
      : metrics_(options),
        startup_(options.startup),
        live_(options.live),
        ready_(options.ready),
        server_({"listening_ports", options.address, "num_threads",
                 std::to_string(kNumThreads), "request_timeout_ms",
                 kRequestTimeoutMs, "enable_keep_alive", "no"}) {
    // Civet matches prefixes; "$" ends a name.
    server_.addHandler("/metrics$", metrics_);
    server_.addHandler("/healthz/startup$", startup_);
    server_.addHandler("/healthz/live$", live_);
    server_.addHandler("/healthz/ready$", ready_);
  }

  int port() const override { return server_.getListeningPorts().at(0); }

 private:
  MetricsPage metrics_;
  ProbePage startup_;
  ProbePage live_;
  ProbePage ready_;
  // Last: its threads end before the pages do.
  mutable CivetServer server_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<OperatorServer>> OperatorServer::Start(
    const OperatorServerOptions& options) {
  try {
    return std::make_unique<OperatorServerImpl>(options);
  } catch (const std::exception& error) {
    return absl::UnavailableError(
        absl::StrCat("cannot serve metrics and probes on ", options.address,
                     ": ", error.what()));
  }
}

}  // namespace headwise
