// Keeps a coordinator in the election: leads when it can, and says when it does
// not any more.

#ifndef HEADWISE_SERVER_ELECTION_ELECTOR_H_
#define HEADWISE_SERVER_ELECTION_ELECTOR_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/election/election_rules.h"
#include "server/election/etcd_election.h"

namespace headwise {

struct ElectorOptions {
  EtcdElectionOptions etcd;
  std::string address;  // of this coordinator, for clients and workers
  // Called by the elector's thread, in turn, on_follow first; both may take a
  // while, but not as long as a lease.
  std::function<void(uint64_t first_epoch)> on_lead;
  // `leader`: its address; empty: none is known.
  std::function<void(const std::string& leader)> on_follow;
  std::function<void(const std::string&)> log;  // a line for operators
};

// Thread-safe. Owns one thread, which alone waits for etcd.
class Elector {
 public:
  // Does not lead yet.
  explicit Elector(ElectorOptions options);
  ~Elector() { Stop(); }

  // Gives the lead up, so that a standby has it at once; on_follow is not
  // called. Returns when the thread has ended; further calls have no effect.
  void Stop();

  // An order may go out now: the lease is not over, by the monotonic clock. Two
  // loads, no lock.
  bool Leads() const;

 private:
  void Loop();
  // Asks etcd if it is time, and tells what came of it.
  void Turn();
  void Campaign(absl::Time now);
  void Renew(absl::Time now);
  void Tell();
  void SayOnce(const std::string& line);

  const ElectorOptions options_;
  // Of the thread.
  EtcdElection etcd_;
  ElectionRules rules_;
  bool told_lead_ = false;
  bool told_once_ = false;
  std::string told_leader_;
  std::string said_;
  // Nanoseconds of the monotonic clock.
  std::atomic<int64_t> leads_until_ns_ = 0;

  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_ELECTION_ELECTOR_H_
