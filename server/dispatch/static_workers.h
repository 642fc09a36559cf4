// Workers whose addresses were given: asked again and again whether they live.

#ifndef HEADWISE_SERVER_DISPATCH_STATIC_WORKERS_H_
#define HEADWISE_SERVER_DISPATCH_STATIC_WORKERS_H_

#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "proto/transport_security.h"
#include "server/membership/membership.h"

namespace headwise {

struct StaticWorkersOptions {
  std::vector<std::string> addresses;  // host:port, 1 to 64
  TransportSecurity security;          // of calls to them
  absl::Duration interval = absl::Milliseconds(500);
  absl::Duration timeout = absl::Seconds(1);  // of one GetInfo
  // Hears who was found, and why a worker does not answer or can't be taken,
  // once per reason.
  std::function<void(const std::string&)> log;
};

// "a:1,b:2" to its parts. InvalidArgument names the one that is no host:port.
absl::StatusOr<std::vector<std::string>> ParseAddresses(
    const std::string& text);

// Owns one thread. Each address is asked by GetInfo: the first answer, and each
// answer of a new process, registers the worker unless it has done so by
// itself; the others are its heartbeats. A process is new if its pid is: one
// that was restarted in a container may be taken for the old one until its
// steps break.
class StaticWorkers {
 public:
  // `membership` must outlive it.
  StaticWorkers(const StaticWorkersOptions& options, Membership& membership);
  // Waits for the calls in progress, at most `timeout`.
  ~StaticWorkers();

 private:
  struct Worker;

  void Loop();
  void Ask(Worker& worker);
  void OnInfo(Worker& worker, const MemberInfo& info);
  bool IsTakenByAnother(const MemberInfo& info) const;
  void Say(Worker& worker, const absl::Status& status);

  const StaticWorkersOptions options_;
  Membership& membership_;
  std::vector<std::unique_ptr<Worker>> workers_;
  absl::Mutex mutex_;
  int num_asking_ ABSL_GUARDED_BY(mutex_) = 0;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_DISPATCH_STATIC_WORKERS_H_
