#include "worker/collectives/gloo_transport.h"

#include <exception>

namespace headwise {
namespace {

class SoftPair final : public gloo::transport::tcp::Pair {
 public:
  SoftPair(gloo::transport::tcp::Context* context,
           gloo::transport::tcp::Device* device, int peer,
           std::chrono::milliseconds timeout, GlooWaits& waits)
      : Pair(context, device, peer, timeout), waits_(waits) {}

  void handleEvents(int events) override {
    try {
      Pair::handleEvents(events);
    } catch (const std::exception& error) {
      Close(error.what());
    }
  }

 protected:
  void changeState(state next) noexcept override {
    Pair::changeState(next);
    if (next == CLOSED) waits_.PeerClosed(rank_);
  }

 private:
  void Close(const std::string& reason) noexcept {
    try {
      signalExceptionExternal(reason);
    } catch (const std::exception&) {
      // Closed already: there is nobody left to tell.
    }
  }

  GlooWaits& waits_;
};

}  // namespace

void GlooWaits::Wake(gloo::transport::UnboundBuffer* buffer) {
  buffer->abortWaitRecv();
  buffer->abortWaitSend();
}

void GlooWaits::Add(int peer, gloo::transport::UnboundBuffer* buffer) {
  absl::MutexLock lock(&mutex_);
  waits_.emplace_back(peer, buffer);
  if (is_interrupted_ || is_closed_[peer]) Wake(buffer);
}

void GlooWaits::RemoveLast() {
  absl::MutexLock lock(&mutex_);
  waits_.pop_back();
}

void GlooWaits::PeerClosed(int peer) {
  absl::MutexLock lock(&mutex_);
  is_closed_[peer] = true;
  for (const auto& [waited_for, buffer] : waits_) {
    if (waited_for == peer) Wake(buffer);
  }
}

void GlooWaits::Interrupt() {
  absl::MutexLock lock(&mutex_);
  is_interrupted_ = true;
  for (const auto& [peer, buffer] : waits_) Wake(buffer);
}

GlooTransport::GlooTransport(
    std::shared_ptr<gloo::transport::tcp::Device> device, int rank,
    int world_size)
    : Context(std::move(device), rank, world_size), waits_(world_size) {}

// Connections refer to waits_, which would die before the base class's pairs.
GlooTransport::~GlooTransport() { pairs_.clear(); }

std::unique_ptr<gloo::transport::Pair>& GlooTransport::createPair(int peer) {
  pairs_[peer] = std::make_unique<SoftPair>(this, device_.get(), peer,
                                            getTimeout(), waits_);
  return pairs_[peer];
}

void GlooTransport::CloseAll(const std::string& reason) {
  signalException(reason);
}

}  // namespace headwise
