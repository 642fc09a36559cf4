#include "base/thread_team.h"

#include <pthread.h>
#include <sched.h>

#include <utility>

#include "base/check.h"

namespace headwise {
namespace {

// About 100 us and 2 us: longer than a phase of a step takes to balance out,
// and shorter than a scheduler's slice.
constexpr int kPinnedSpins = 4000;
constexpr int kSharedSpins = 64;
// Yields before sleeping in the kernel.
constexpr int kYields = 64;

void PinCaller(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  // A CPU that is not ours to use is not an error: the thread stays unpinned.
  pthread_setaffinity_np(pthread_self(), sizeof(set), &set);
}

}  // namespace

ThreadTeam::ThreadTeam(int num_threads, std::vector<int> pin_to_cpus)
    : num_threads_(num_threads), pin_to_cpus_(std::move(pin_to_cpus)) {
  HEADWISE_CHECK(num_threads >= 1);
  HEADWISE_CHECK(pin_to_cpus_.empty() ||
                 static_cast<int>(pin_to_cpus_.size()) == num_threads);
  for (int member = 1; member < num_threads; ++member) {
    threads_.emplace_back([this, member] { MemberLoop(member); });
  }
}

ThreadTeam::~ThreadTeam() {
  stop_.store(true);
  run_epoch_.fetch_add(1);
  run_epoch_.notify_all();
  for (std::thread& thread : threads_) thread.join();
}

void ThreadTeam::Run(const std::function<void(int)>& function) {
  if (!caller_pinned_ && !pin_to_cpus_.empty()) PinCaller(pin_to_cpus_[0]);
  caller_pinned_ = true;
  if (num_threads_ == 1) return function(0);
  function_ = &function;
  run_epoch_.fetch_add(1);
  run_epoch_.notify_all();
  function(0);
  Barrier();  // nobody is inside `function` afterwards
}

void ThreadTeam::MemberLoop(int member) {
  pthread_setname_np(pthread_self(), "hw-compute");
  if (!pin_to_cpus_.empty()) PinCaller(pin_to_cpus_[member]);
  uint32_t seen = 0;
  while (true) {
    WaitWhile(run_epoch_, seen);
    ++seen;
    if (stop_.load()) return;
    (*function_)(member);
    Barrier();
  }
}

void ThreadTeam::Barrier() {
  if (num_threads_ == 1) return;
  const uint32_t epoch = barrier_epoch_.load();
  if (barrier_count_.fetch_add(1) + 1 == num_threads_) {
    barrier_count_.store(0);
    barrier_epoch_.fetch_add(1);
    barrier_epoch_.notify_all();
    return;
  }
  WaitWhile(barrier_epoch_, epoch);
}

void ThreadTeam::WaitWhile(const std::atomic<uint32_t>& value,
                           uint32_t old) const {
  const int spins = pin_to_cpus_.empty() ? kSharedSpins : kPinnedSpins;
  for (int i = 0; i < spins; ++i) {
    if (value.load() != old) return;
    __builtin_ia32_pause();
  }
  for (int i = 0; i < kYields; ++i) {
    if (value.load() != old) return;
    sched_yield();
  }
  while (value.load() == old) value.wait(old);
}

}  // namespace headwise
