// Times an all-reduce of int64 for each kind of group.
//
// Prints one JSON object per line: kind, world_size, values, and the median,
// least and 99th percentile of microseconds per call over batches of calls.
// Every rank works at once, as in a model's layers without the layers.

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "base/check.h"
#include "base/clock.h"
#include "worker/collectives/group_factory.h"
#include "worker/collectives/in_process_group.h"

namespace headwise {
namespace {

struct Case {
  std::string kind;
  int world_size = 2;
  int64_t num_values = 576;
  int num_batches = 200;
  int calls_per_batch = 100;
};

// As a worker's threads are. A scheduler that puts two spinning ranks on one
// CPU, because something else runs on the other, would be what is measured.
void Pin(int rank) {
  cpu_set_t allowed;
  HEADWISE_CHECK(sched_getaffinity(0, sizeof(allowed), &allowed) == 0);
  int skipped = rank % CPU_COUNT(&allowed);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (!CPU_ISSET(cpu, &allowed) || skipped-- > 0) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    HEADWISE_CHECK(sched_setaffinity(0, sizeof(one), &one) == 0);
    return;
  }
}

void RunRank(const Case& c, Group& group) {
  Pin(group.rank());
  std::vector<int64_t> values(c.num_values, group.rank() + 1);
  std::vector<double> micros;
  for (int batch = -c.num_batches / 10; batch < c.num_batches; ++batch) {
    const absl::Time start = Clock::Monotonic().Now();
    for (int call = 0; call < c.calls_per_batch; ++call) {
      const absl::Status status = group.AllReduceSum(absl::MakeSpan(values));
      if (status.ok()) continue;
      fprintf(stderr, "%s\n", std::string(status.ToString()).c_str());
      exit(1);
    }
    const absl::Duration took = Clock::Monotonic().Now() - start;
    if (batch >= 0) {
      micros.push_back(absl::ToDoubleMicroseconds(took) / c.calls_per_batch);
    }
  }
  if (group.rank() != 0) return;
  std::sort(micros.begin(), micros.end());
  printf(
      "{\"kind\": \"%s\", \"world_size\": %d, \"values\": %lld, "
      "\"median_us\": %.2f, \"least_us\": %.2f, \"p99_us\": %.2f}\n",
      group.kind(), c.world_size, static_cast<long long>(c.num_values),
      micros[micros.size() / 2], micros.front(),
      micros[micros.size() * 99 / 100]);
  fflush(stdout);
}

void RunThreads(const Case& c) {
  auto groups = CreateInProcessGroups(c.world_size, /*membership_epoch=*/1);
  HEADWISE_CHECK(groups.ok());
  std::vector<std::thread> threads;
  for (int rank = 0; rank < c.world_size; ++rank) {
    threads.emplace_back([&, rank] { RunRank(c, *(*groups)[rank]); });
  }
  for (std::thread& thread : threads) thread.join();
}

void WriteAll(int pipe, const std::string& text) {
  HEADWISE_CHECK(write(pipe, text.data(), text.size()) ==
                 static_cast<ssize_t>(text.size()));
}

std::string ReadLine(int pipe) {
  std::string line;
  for (char c; read(pipe, &c, 1) == 1 && c != '\n';) line.push_back(c);
  return line;
}

// Endpoints have no line breaks and fit a pipe.
void RunChild(const Case& c, int rank, int to_parent, int from_parent) {
  const GroupSpec spec = {
      .kind = c.kind == "gloo" ? GroupKind::kGloo : GroupKind::kSharedMemory,
      .rank = rank,
      .world_size = c.world_size,
      .membership_epoch = 1};
  auto pending = PendingGroup::Prepare(spec);
  HEADWISE_CHECK(pending.ok());
  WriteAll(to_parent, (*pending)->endpoint() + "\n");
  std::vector<std::string> endpoints(c.world_size);
  for (std::string& endpoint : endpoints) endpoint = ReadLine(from_parent);
  auto group = (*pending)->Join(endpoints);
  HEADWISE_CHECK(group.ok());
  RunRank(c, **group);
}

void RunProcesses(const Case& c) {
  std::vector<int> readers;
  std::vector<int> writers;
  for (int rank = 0; rank < c.world_size; ++rank) {
    int up[2];
    int down[2];
    HEADWISE_CHECK(pipe(up) == 0 && pipe(down) == 0);
    const pid_t pid = fork();
    HEADWISE_CHECK(pid >= 0);
    if (pid == 0) {
      RunChild(c, rank, up[1], down[0]);
      _exit(0);
    }
    readers.push_back(up[0]);
    writers.push_back(down[1]);
  }
  std::string all;
  for (const int reader : readers)
    absl::StrAppend(&all, ReadLine(reader), "\n");
  for (const int writer : writers) WriteAll(writer, all);
  for (int rank = 0; rank < c.world_size; ++rank) {
    int exit_status = 0;
    HEADWISE_CHECK(wait(&exit_status) > 0 && exit_status == 0);
  }
}

int Main(int argc, char** argv) {
  int world_size = 2;
  if (argc > 2 || (argc == 2 && !absl::SimpleAtoi(argv[1], &world_size))) {
    fprintf(stderr, "usage: %s [world_size]\n", argv[0]);
    return 2;
  }
  for (const char* kind : {"in-process", "shared-memory", "gloo"}) {
    for (const int64_t num_values :
         {int64_t{576}, int64_t{4096}, int64_t{73728}}) {
      Case c = {
          .kind = kind, .world_size = world_size, .num_values = num_values};
      if (num_values > 10000 || c.kind == "gloo") c.calls_per_batch = 10;
      if (c.kind == "in-process") {
        RunThreads(c);
      } else {
        RunProcesses(c);
      }
    }
  }
  return 0;
}

}  // namespace
}  // namespace headwise

int main(int argc, char** argv) { return headwise::Main(argc, argv); }
