// Announces a worker to its coordinator and keeps it announced.

#ifndef HEADWISE_WORKER_SERVICE_REGISTRAR_H_
#define HEADWISE_WORKER_SERVICE_REGISTRAR_H_

#include <functional>
#include <memory>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "grpcpp/client_context.h"
#include "headwise/worker/v1/worker.grpc.pb.h"
#include "proto/transport_security.h"

namespace headwise {

struct RegistrarOptions {
  // host:port; several where one of them leads, which is found by trying.
  std::vector<std::string> coordinators;
  TransportSecurity security;  // of calls to them
  worker::v1::WorkerInfo info;
  // Below a third of the coordinator's limit of 3 s.
  absl::Duration heartbeat_interval = absl::Milliseconds(800);
  // Until the coordinator says whether it takes us; then the call is given up.
  absl::Duration answer_timeout = absl::Seconds(5);
  absl::Duration min_backoff = absl::Milliseconds(100);
  absl::Duration max_backoff = absl::Seconds(5);         // with one coordinator
  absl::Duration max_search_backoff = absl::Seconds(1);  // with several
  // Asked before each heartbeat and each attempt to register; empty: always OK.
  // While it is not, the worker keeps silent, so that no group counts on it.
  std::function<absl::Status()> is_well;
  // Hears of each change, from the registrar's thread: OK is "registered", with
  // the coordinator that it is of.
  std::function<void(const std::string&, const absl::Status&)> on_change;
};

// Owns one thread; a lost or refused registration is tried again after a
// back-off that doubles up to max_backoff, of which up to a half is left out by
// chance: workers that lost their coordinator together come one by one. Of
// several coordinators the next one is tried each time, at once until all have
// been. Aborted
// (a newer worker has our name) is final: two workers of one name would replace
// each other forever.
class Registrar {
 public:
  // Of its thread: a coordinator that is frozen is left after 9 s.
  static constexpr absl::Duration kAllowance = absl::Seconds(15);

  explicit Registrar(RegistrarOptions options);
  // Ends the stream, by which the coordinator learns that we leave.
  ~Registrar();

 private:
  using Stream = grpc::ClientReaderWriter<worker::v1::RegisterRequest,
                                          worker::v1::RegisterResponse>;

  void Loop();
  // One registration, from its first message to its end.
  absl::Status Attempt(const std::string& coordinator,
                       worker::v1::Registry::Stub& stub, bool* accepted);
  absl::Status Beat(Stream& stream);
  // Whether the coordinator takes us. DeadlineExceeded: it does not say.
  absl::StatusOr<bool> Introduce(const std::string& coordinator, Stream& stream,
                                 grpc::ClientContext& context);
  bool IsWell() const { return !options_.is_well || options_.is_well().ok(); }
  // False if the registrar stops meanwhile. Beats its pulse.
  bool Wait(absl::Duration duration);

  const RegistrarOptions options_;
  std::mt19937 random_{std::random_device{}()};  // of thread_
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  grpc::ClientContext* context_ ABSL_GUARDED_BY(mutex_) = nullptr;
  std::thread thread_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_SERVICE_REGISTRAR_H_
