#include "worker/collectives/rank_runner.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdint>
#include <thread>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "worker/collectives/in_process_group.h"

namespace headwise {
namespace {

constexpr uint64_t kEpoch = 7;
// For a machine that does much else; the tests need seconds at most.
constexpr int kMaxSilenceMs = 120000;

void Write(int socket, const std::string& text) {
  const uint64_t size = text.size();
  const std::string message =
      std::string(reinterpret_cast<const char*>(&size), sizeof(size)) + text;
  size_t done = 0;
  while (done < message.size()) {
    const ssize_t n = send(socket, message.data() + done, message.size() - done,
                           MSG_NOSIGNAL);
    if (n <= 0) return;  // the reader will find out
    done += n;
  }
}

// OK, or why there is nothing to read.
std::string ReadBytes(int socket, void* data, size_t size) {
  size_t done = 0;
  while (done < size) {
    pollfd wait = {.fd = socket, .events = POLLIN, .revents = 0};
    if (poll(&wait, 1, kMaxSilenceMs) <= 0) return "silent";
    const ssize_t n =
        recv(socket, static_cast<char*>(data) + done, size - done, 0);
    if (n <= 0) return "killed";
    done += n;
  }
  return "";
}

std::string Read(int socket, std::string& text) {
  uint64_t size = 0;
  if (std::string error = ReadBytes(socket, &size, sizeof(size));
      !error.empty()) {
    return error;
  }
  text.resize(size);
  return ReadBytes(socket, text.data(), size);
}

std::string RunChild(const GroupSpec& spec, int socket, const RankBody& body) {
  auto pending = PendingGroup::Prepare(spec);
  if (!pending.ok()) return pending.status().ToString();
  Write(socket, (*pending)->endpoint());
  std::vector<std::string> endpoints(spec.world_size);
  for (std::string& endpoint : endpoints) {
    if (!Read(socket, endpoint).empty()) return "no endpoints";
  }
  auto group = (*pending)->Join(endpoints);
  if (!group.ok()) return group.status().ToString();
  Write(socket, "joined");
  return body(**group);
}

std::vector<std::string> RunThreads(const TestGroup& group,
                                    const RankBody& body) {
  auto groups = CreateInProcessGroups(group.world_size, kEpoch, group.options);
  HEADWISE_CHECK(groups.ok());
  std::vector<std::string> said(group.world_size);
  std::vector<std::thread> threads;
  for (int rank = 0; rank < group.world_size; ++rank) {
    threads.emplace_back([&, rank] {
      // A rank leaves when it has finished, as a process would.
      const std::unique_ptr<Group> mine = std::move((*groups)[rank]);
      said[rank] = body(*mine);
    });
  }
  for (std::thread& thread : threads) thread.join();
  return said;
}

}  // namespace

std::vector<std::string> RunRanks(const TestGroup& group,
                                  const RankBody& body) {
  if (group.kind == TestKind::kInProcess) return RunThreads(group, body);
  RankProcesses processes(group, body);
  const std::string formed = processes.Form();
  std::vector<std::string> said(group.world_size, formed);
  if (!formed.empty()) return said;
  for (int rank = 0; rank < group.world_size; ++rank) {
    said[rank] = processes.Answer(rank);
  }
  return said;
}

RankProcesses::RankProcesses(const TestGroup& group, const RankBody& body) {
  for (int rank = 0; rank < group.world_size; ++rank) {
    int sockets[2];
    HEADWISE_CHECK(
        socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) == 0);
    const pid_t pid = fork();
    HEADWISE_CHECK(pid >= 0);
    if (pid == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      for (const Child& child : children_) close(child.socket);
      close(sockets[0]);
      const GroupSpec spec = {.kind = group.kind == TestKind::kGloo
                                          ? GroupKind::kGloo
                                          : GroupKind::kSharedMemory,
                              .rank = rank,
                              .world_size = group.world_size,
                              .membership_epoch = kEpoch,
                              .options = group.options};
      Write(sockets[1], RunChild(spec, sockets[1], body));
      _exit(0);
    }
    close(sockets[1]);
    children_.push_back({pid, sockets[0]});
  }
}

RankProcesses::~RankProcesses() {
  for (const Child& child : children_) {
    kill(child.pid, SIGKILL);
    waitpid(child.pid, nullptr, 0);
    close(child.socket);
  }
}

std::string RankProcesses::Form() {
  std::vector<std::string> endpoints(children_.size());
  for (size_t rank = 0; rank < children_.size(); ++rank) {
    const std::string error = Read(children_[rank].socket, endpoints[rank]);
    if (!error.empty()) return absl::StrCat("rank ", rank, " was ", error);
  }
  for (const Child& child : children_) {
    for (const std::string& endpoint : endpoints) {
      Write(child.socket, endpoint);
    }
  }
  for (size_t rank = 0; rank < children_.size(); ++rank) {
    std::string answer;
    const std::string error = Read(children_[rank].socket, answer);
    if (!error.empty() || answer != "joined") {
      return absl::StrCat("rank ", rank, " did not join: ", error, answer);
    }
  }
  return "";
}

void RankProcesses::Signal(int rank, int signal) const {
  HEADWISE_CHECK(kill(children_[rank].pid, signal) == 0);
}

std::string RankProcesses::Answer(int rank) const {
  std::string answer;
  const std::string error = Read(children_[rank].socket, answer);
  return error.empty() ? answer : error;
}

}  // namespace headwise
