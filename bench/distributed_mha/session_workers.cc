#include "bench/distributed_mha/session_workers.h"

#include <time.h>

#include <algorithm>
#include <string>
#include <utility>

#include "absl/synchronization/blocking_counter.h"
#include "absl/time/time.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/thread_team.h"
#include "model/head_plan/context_ranges.h"

namespace headwise {
namespace {

constexpr char kSessionId[] = "mha";
// Rows of one call: few enough that those of a call see about the same keys,
// since a range is computed for all rows of a call.
constexpr int64_t kRows = 512;

std::string BytesOf(const float* x, int64_t count) {
  return std::string(reinterpret_cast<const char*>(x),
                     static_cast<size_t>(count) * sizeof(float));
}

double SecondsSince(absl::Time start) {
  return absl::ToDoubleSeconds(Clock::Monotonic().Now() - start);
}

// Of the calling thread; a team of one has no other.
double CpuSeconds() {
  timespec now;
  HEADWISE_CHECK(clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now) == 0);
  return static_cast<double>(now.tv_sec) + 1e-9 * now.tv_nsec;
}

}  // namespace

// What one worker does.
struct SessionWorkers::Part {
  const MhaInput& input;
  PartRange heads;
  float* out;
  double append_seconds = 0.0;
  double attend_seconds = 0.0;
  double cpu_seconds = 0.0;

  const float* Row(const float* tensor, int64_t head, int64_t token) const {
    return tensor + (head * input.num_tokens + token) * input.head_dim;
  }

  void Open(SessionStore& store) const {
    OpenPartRequest request;
    request.session_id = kSessionId;
    request.shape = {input.num_heads,  1,
                     input.head_dim,   KvElement::kFp32,
                     FloatType::kFp32, input.num_tokens};
    for (int64_t h = heads.begin; h < heads.end; ++h) {
      UnitShare share;
      share.kv_head = h;
      request.units.push_back(share);
    }
    HEADWISE_CHECK(store.Open(request).ok());
  }

  void Append(SessionStore& store) const {
    for (int64_t begin = 0; begin < input.num_tokens; begin = RangeEnd(begin)) {
      const int64_t count = std::min(RangeEnd(begin), input.num_tokens) - begin;
      StageRequest request = {kSessionId, begin, {}};
      for (int64_t h = heads.begin; h < heads.end; ++h) {
        const int64_t floats = count * input.head_dim;
        request.pieces.push_back(
            {h, begin, count, BytesOf(Row(input.keys, h, begin), floats),
             BytesOf(Row(input.values, h, begin), floats)});
      }
      HEADWISE_CHECK(store.Stage(request).ok());
    }
  }

  void Attend(SessionStore& store) const {
    for (int64_t begin = 0; begin < input.num_tokens; begin += kRows) {
      const int64_t count = std::min(kRows, input.num_tokens - begin);
      AttendPartRequest request;
      request.session_id = kSessionId;
      request.length = input.num_tokens;
      for (int64_t i = 0; i < count; ++i) {
        request.visible_end.push_back(begin + i + 1);
      }
      for (int64_t h = heads.begin; h < heads.end; ++h) {
        const float* rows = Row(input.queries, h, begin);
        request.units.push_back(
            {h, std::vector<float>(rows, rows + count * input.head_dim)});
      }
      const auto result = store.Attend(request);
      HEADWISE_CHECK(result.ok());
      for (const UnitPartials& unit : result->units) {
        const std::vector<float>& merged = unit.parts[0].out;
        const int64_t row = unit.kv_head * input.num_tokens + begin;
        std::copy(merged.begin(), merged.end(), out + row * input.head_dim);
      }
    }
  }

  void Run(SessionStore& store) {
    const absl::Time start = Clock::Monotonic().Now();
    const double cpu_start = CpuSeconds();
    Append(store);
    append_seconds = SecondsSince(start);
    Attend(store);
    attend_seconds = SecondsSince(start) - append_seconds;
    cpu_seconds = CpuSeconds() - cpu_start;
  }
};

SessionWorkers::SessionWorkers(int num_workers) {
  SessionNodeOptions options;
  options.num_threads = 1;
  options.isa = IsasOfThisMachine().back();
  options.store.capacity_bytes = DefaultSessionBytes();
  for (int w = 0; w < num_workers; ++w) {
    nodes_.push_back(std::make_unique<SessionNode>(options));
  }
}

MhaSeconds SessionWorkers::Run(const MhaInput& input, float* out) {
  const auto count = static_cast<int>(nodes_.size());
  std::vector<Part> parts;
  for (int w = 0; w < count; ++w) {
    parts.push_back({input, PartOf(input.num_heads, w, count), out});
  }
  const auto on_all = [&](void (*call)(Part&, SessionStore&)) {
    absl::BlockingCounter running(count);
    for (int w = 0; w < count; ++w) {
      HEADWISE_CHECK(nodes_[w]
                         ->Submit([&, w](SessionStore& store) {
                           call(parts[w], store);
                           running.DecrementCount();
                         })
                         .ok());
    }
    running.Wait();
  };
  on_all([](Part& part, SessionStore& store) { part.Open(store); });
  const absl::Time start = Clock::Monotonic().Now();
  on_all([](Part& part, SessionStore& store) { part.Run(store); });
  MhaSeconds seconds;
  seconds.wall = SecondsSince(start);
  on_all([](Part&, SessionStore& store) {
    HEADWISE_CHECK(store.Delete(kSessionId).ok());
  });
  for (const Part& part : parts) {
    seconds.append = std::max(seconds.append, part.append_seconds);
    seconds.attend = std::max(seconds.attend, part.attend_seconds);
    seconds.cpu = std::max(seconds.cpu, part.cpu_seconds);
  }
  return seconds;
}

}  // namespace headwise
