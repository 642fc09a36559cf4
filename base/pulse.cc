#include "base/pulse.h"

#include <pthread.h>

#include <algorithm>
#include <map>
#include <set>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "base/check.h"
#include "base/clock.h"

namespace headwise {
namespace {

// The kernel's limit is 16 with the zero at the end.
constexpr size_t kMaxNameBytes = 15;

struct Table {
  absl::Mutex mutex;
  std::set<const Pulse*> pulses ABSL_GUARDED_BY(mutex);
};

// Never destroyed: threads may outlive main's objects.
Table& ProcessTable() {
  static Table* const table = new Table;
  return *table;
}

thread_local Pulse* thread_pulse = nullptr;

int64_t NowNs() { return absl::ToUnixNanos(Clock::Monotonic().Now()); }

}  // namespace

Pulse::Pulse(const char* name) : name_(name) {
  const absl::string_view text(name);
  HEADWISE_CHECK(!text.empty() && text.size() <= kMaxNameBytes);
  Beat();
  Table& table = ProcessTable();
  absl::MutexLock lock(&table.mutex);
  table.pulses.insert(this);
}

Pulse::~Pulse() {
  Table& table = ProcessTable();
  absl::MutexLock lock(&table.mutex);
  table.pulses.erase(this);
}

void Pulse::Beat(absl::Duration allowance) {
  const int64_t now = NowNs();
  // First, so that who reads in between takes nobody in time for late.
  due_ns_.store(now + absl::ToInt64Nanoseconds(allowance));
  beaten_ns_.store(now);
}

PulseReading Pulse::Read() const {
  const int64_t beaten = beaten_ns_.load();
  const int64_t due = due_ns_.load();
  const int64_t now = NowNs();
  return {.name = name_,
          .age = absl::Nanoseconds(std::max<int64_t>(now - beaten, 0)),
          .allowance = absl::Nanoseconds(std::max<int64_t>(due - beaten, 0)),
          .is_late = now > due};
}

ThreadPulse::ThreadPulse(const char* name) : Pulse(name) {
  HEADWISE_CHECK(thread_pulse == nullptr);
  thread_pulse = this;
  pthread_setname_np(pthread_self(), name);
}

ThreadPulse::~ThreadPulse() { thread_pulse = nullptr; }

void BeatThreadPulse(absl::Duration allowance) {
  if (thread_pulse != nullptr) thread_pulse->Beat(allowance);
}

std::vector<PulseReading> ReadPulses() {
  std::map<std::string, PulseReading> by_name;
  Table& table = ProcessTable();
  absl::MutexLock lock(&table.mutex);
  for (const Pulse* pulse : table.pulses) {
    const PulseReading reading = pulse->Read();
    PulseReading& worst = by_name.emplace(reading.name, reading).first->second;
    if (reading.allowance - reading.age < worst.allowance - worst.age) {
      worst = reading;
    }
  }
  std::vector<PulseReading> readings;
  for (auto& [name, reading] : by_name) {
    readings.push_back(std::move(reading));
  }
  return readings;
}

absl::Status CheckPulses(absl::string_view only) {
  std::string late;
  for (const PulseReading& reading : ReadPulses()) {
    if (!reading.is_late || (!only.empty() && reading.name != only)) continue;
    absl::StrAppend(
        &late, late.empty() ? "" : "; ", "thread ", reading.name,
        " has not turned for ",
        absl::FormatDuration(absl::Trunc(reading.age, absl::Milliseconds(1))),
        ", allowed are ", absl::FormatDuration(reading.allowance));
  }
  if (late.empty()) return absl::OkStatus();
  return absl::UnavailableError(late);
}

}  // namespace headwise
