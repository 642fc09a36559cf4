// A fixed team of threads that runs one function together, many times.

#ifndef HEADWISE_BASE_THREAD_TEAM_H_
#define HEADWISE_BASE_THREAD_TEAM_H_

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>
#include <vector>

namespace headwise {

// Run is called by one thread at a time, which becomes member 0. Members wait
// by spinning briefly, then sleep, so that a team is quick while steps follow
// each other and costs nothing when idle.
class ThreadTeam {
 public:
  // `pin_to_cpus` is empty, or names a CPU for each member; member 0 pins its
  // caller on the first Run. Pinned members own their CPUs and spin longer;
  // others give way quickly, since they may share a CPU with whom they wait
  // for.
  ThreadTeam(int num_threads, std::vector<int> pin_to_cpus);
  ~ThreadTeam();
  ThreadTeam(const ThreadTeam&) = delete;
  ThreadTeam& operator=(const ThreadTeam&) = delete;

  int num_threads() const { return num_threads_; }

  // Calls function(member) on every member; returns when all have returned.
  void Run(const std::function<void(int)>& function);

  // Waits until all members have called it; only within Run.
  void Barrier();

 private:
  void MemberLoop(int member);
  // Waits until `value` is no longer `old`.
  void WaitWhile(const std::atomic<uint32_t>& value, uint32_t old) const;

  const int num_threads_;
  const std::vector<int> pin_to_cpus_;
  bool caller_pinned_ = false;
  const std::function<void(int)>* function_ = nullptr;
  std::atomic<bool> stop_{false};
  // Both wrap.
  alignas(64) std::atomic<uint32_t> run_epoch_{0};
  alignas(64) std::atomic<uint32_t> barrier_epoch_{0};
  alignas(64) std::atomic<int> barrier_count_{0};
  std::vector<std::thread> threads_;
};

// Half-open part `index` of `count` near-equal parts of [0, total).
struct PartRange {
  int64_t begin = 0;
  int64_t end = 0;
};
inline PartRange PartOf(int64_t total, int index, int count) {
  return {total * index / count, total * (index + 1) / count};
}

}  // namespace headwise

#endif  // HEADWISE_BASE_THREAD_TEAM_H_
