// A TCP connection that goes wrong on demand: a proxy between two real ends.
// It needs no privileges, where network namespaces do.

#ifndef HEADWISE_TESTS_SUPPORT_FAULT_PROXY_H_
#define HEADWISE_TESTS_SUPPORT_FAULT_PROXY_H_

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "tests/support/fault_pipe.h"

namespace headwise {

// Who connected to the proxy, and whom the proxy connected to.
enum class ProxyEnd { kClient = 0, kTarget = 1 };

// Thread-safe. One thread polls. Faults hold for all connections from the
// moment that they are set.
class FaultProxy {
 public:
  static constexpr size_t kMaxConnections = 256;  // more are closed at once

  // Listens on a free port of 127.0.0.1 for connections to `target`, an IPv4
  // address and a port. `seed` is of jitter and flips.
  static absl::StatusOr<std::unique_ptr<FaultProxy>> Start(
      const std::string& target, uint64_t seed = 1);
  ~FaultProxy();
  FaultProxy(const FaultProxy&) = delete;
  FaultProxy& operator=(const FaultProxy&) = delete;

  std::string address() const;  // 127.0.0.1:port

  void SetFaults(ProxyEnd to, const LinkFaults& faults);
  // Both directions.
  void SetFaults(const LinkFaults& faults);
  // The next `num_bytes` to this end pass, then its connections end as if the
  // sender had gone in the middle of a message.
  void TruncateAfter(ProxyEnd to, int64_t num_bytes);
  // Resets every connection, at both ends.
  void Cut();
  // Closes what there is with this end and leaves the other one in the belief
  // that all is well: a half-open connection. Bytes from there are swallowed.
  void Vanish(ProxyEnd end);
  // New connections are closed at once.
  void Refuse(bool refuse);

  int64_t num_bytes(ProxyEnd to) const;  // that were passed on
  int num_connections() const;           // both ends of which are there

 private:
  struct Connection;
  // What other threads ask of the loop.
  struct Orders {
    std::array<LinkFaults, 2> faults;  // by end they go to
    std::array<std::optional<int64_t>, 2> bytes_left;
    std::array<bool, 2> vanish = {false, false};
    bool cut = false;
    bool refuse = false;
    bool stop = false;
  };

  FaultProxy(int listener, int port, const std::string& host, int target_port,
             uint64_t seed);
  // Returns when the loop has taken what `change` changes.
  void Order(absl::FunctionRef<void(Orders&)> change);
  void Loop();
  Orders TakeOrders();
  void Obey(const Orders& orders);
  void Poll(const Orders& orders);
  absl::Duration NextWait(const Orders& orders) const;
  void Accept(bool refuse);
  void Serve(Connection& connection, const Orders& orders);
  // Counts what passes; false if the connection is to end now.
  bool Pass(FaultPipe& pipe, size_t to, const LinkFaults& faults);
  void DropEnded();

  const int listener_;
  const int port_;
  const std::string target_host_;
  const int target_port_;
  int wake_ = -1;  // an eventfd
  // Of the loop's thread.
  std::mt19937_64 random_;
  std::vector<std::unique_ptr<Connection>> connections_;

  mutable absl::Mutex mutex_;
  Orders orders_ ABSL_GUARDED_BY(mutex_);
  int64_t num_orders_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t num_taken_ ABSL_GUARDED_BY(mutex_) = 0;  // by the loop
  std::array<int64_t, 2> num_bytes_ ABSL_GUARDED_BY(mutex_) = {0, 0};
  int num_connections_ ABSL_GUARDED_BY(mutex_) = 0;
  std::thread thread_;
};

}  // namespace headwise

#endif  // HEADWISE_TESTS_SUPPORT_FAULT_PROXY_H_
