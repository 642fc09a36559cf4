// For tests: runs the ranks of a group, as threads or as processes.

#ifndef HEADWISE_WORKER_COLLECTIVES_RANK_RUNNER_H_
#define HEADWISE_WORKER_COLLECTIVES_RANK_RUNNER_H_

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "worker/collectives/group.h"
#include "worker/collectives/group_factory.h"

namespace headwise {

enum class TestKind { kInProcess, kSharedMemory, kGloo };

struct TestGroup {
  TestKind kind = TestKind::kInProcess;
  int world_size = 2;
  GroupOptions options = {};
};

// What a rank has to say in the end; "" where all was well.
using RankBody = std::function<std::string(Group&)>;

// Returns from a RankBody with the status if it is not OK.
#define HEADWISE_RANK_OK(expr)                                                \
  do {                                                                        \
    if (absl::Status rank_status = (expr); !rank_status.ok()) {               \
      return std::string(#expr " -> ") + std::string(rank_status.ToString()); \
    }                                                                         \
  } while (false)

// Runs `body` on every rank and returns what each said.
std::vector<std::string> RunRanks(const TestGroup& group, const RankBody& body);

// Ranks as child processes (not for kInProcess), to be killed and frozen. No
// child survives this object. The calling process must have one thread.
class RankProcesses {
 public:
  RankProcesses(const TestGroup& group, const RankBody& body);
  ~RankProcesses();

  // Waits until all ranks run their body; "" or what went wrong.
  std::string Form();
  void Signal(int rank, int signal) const;
  // What the rank said; "killed" if it died before, "silent" after 120 s.
  std::string Answer(int rank) const;

 private:
  struct Child {
    pid_t pid = -1;
    int socket = -1;
  };
  std::vector<Child> children_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_COLLECTIVES_RANK_RUNNER_H_
