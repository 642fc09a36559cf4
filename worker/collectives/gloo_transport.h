// Gloo's TCP transport, made to fail softly. Only the files gloo_* and
// pending_gloo_group.cc know Gloo.
//
// Three things that Gloo (2022-05) leaves open are closed here. An error in its
// event thread ends the process: we turn it into a closed connection. A peer
// that dies in the middle of a message does not wake who waits for that
// message: we do. And nothing wakes a waiter from another thread: Interrupt
// does.

#ifndef HEADWISE_WORKER_COLLECTIVES_GLOO_TRANSPORT_H_
#define HEADWISE_WORKER_COLLECTIVES_GLOO_TRANSPORT_H_

#include <gloo/transport/tcp/context.h>
#include <gloo/transport/tcp/device.h>
#include <gloo/transport/tcp/pair.h>
#include <gloo/transport/unbound_buffer.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"

namespace headwise {

// The transfers that a call waits for, so that others can end the wait.
// Thread-safe. Gloo calls PeerClosed with a lock of its own held, so nothing
// here calls into a connection.
class GlooWaits {
 public:
  explicit GlooWaits(int world_size) : is_closed_(world_size, false) {}

  // From here to Remove, the end of `peer` or Interrupt ends a wait for
  // `buffer`, also if it happened before. Buffers are removed last in, first
  // out.
  void Add(int peer, gloo::transport::UnboundBuffer* buffer);
  void RemoveLast();
  void PeerClosed(int peer);
  void Interrupt();

 private:
  static void Wake(gloo::transport::UnboundBuffer* buffer);

  absl::Mutex mutex_;
  std::vector<std::pair<int, gloo::transport::UnboundBuffer*>> waits_
      ABSL_GUARDED_BY(mutex_);
  std::vector<bool> is_closed_ ABSL_GUARDED_BY(mutex_);
  bool is_interrupted_ ABSL_GUARDED_BY(mutex_) = false;
};

// All connections of one rank. Gloo's threading rules: thread-safe.
class GlooTransport final : public gloo::transport::tcp::Context {
 public:
  GlooTransport(std::shared_ptr<gloo::transport::tcp::Device> device, int rank,
                int world_size);
  ~GlooTransport() override;

  std::unique_ptr<gloo::transport::Pair>& createPair(int peer) override;
  GlooWaits& waits() { return waits_; }

  // Closes every connection, so that peers notice; later transfers fail.
  void CloseAll(const std::string& reason);

 private:
  GlooWaits waits_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_COLLECTIVES_GLOO_TRANSPORT_H_
