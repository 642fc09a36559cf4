#include "tests/support/child_process.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace headwise {
namespace {

// Between fork and exec only calls that are safe in a forked thread.
[[noreturn]] void BecomeProgram(char* const* argv, int log, pid_t parent) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(127);  // it died before prctl
  // A parent may have blocked signals, which exec would hand on.
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
  dup2(log, STDOUT_FILENO);
  dup2(log, STDERR_FILENO);
  execv(argv[0], argv);
  _exit(127);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChildProcess>> ChildProcess::Start(
    const std::vector<std::string>& argv, const std::string& log_path) {
  HEADWISE_CHECK(!argv.empty());
  std::vector<char*> pointers;
  for (const std::string& argument : argv) {
    pointers.push_back(const_cast<char*>(argument.c_str()));
  }
  pointers.push_back(nullptr);
  const int log =
      open(log_path.c_str(), O_CREAT | O_WRONLY | O_APPEND | O_CLOEXEC, 0600);
  if (log < 0) {
    return absl::UnavailableError(absl::StrCat("can't write ", log_path));
  }
  const pid_t parent = getpid();
  const pid_t pid = fork();
  if (pid == 0) BecomeProgram(pointers.data(), log, parent);
  close(log);
  if (pid < 0) return absl::ResourceExhaustedError("fork failed");
  return std::unique_ptr<ChildProcess>(new ChildProcess(pid, log_path));
}

ChildProcess::~ChildProcess() {
  if (!IsRunning()) return;
  kill(pid_, SIGKILL);  // ends a stopped process too
  Reap(/*block=*/true);
}

void ChildProcess::Reap(bool block) {
  if (exit_.has_value()) return;
  int status = 0;
  if (waitpid(pid_, &status, block ? 0 : WNOHANG) != pid_) return;
  exit_ = WIFSIGNALED(status) ? -WTERMSIG(status) : WEXITSTATUS(status);
}

void ChildProcess::Signal(int number) {
  // Until it is reaped, the id is its own.
  if (IsRunning()) kill(pid_, number);
}

bool ChildProcess::IsRunning() {
  Reap(/*block=*/false);
  return !exit_.has_value();
}

absl::StatusOr<int> ChildProcess::Wait(absl::Duration timeout) {
  if (WaitUntil([this] { return !IsRunning(); }, timeout)) return *exit_;
  return absl::DeadlineExceededError(
      absl::StrCat("process ", pid_, " still runs after ",
                   absl::FormatDuration(timeout), "; it wrote:\n", Log()));
}

std::string ChildProcess::Log() const {
  std::ifstream file(log_path_);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

TemporaryFolder::TemporaryFolder() {
  const char* base = getenv("TMPDIR");
  path_ = absl::StrCat(base != nullptr ? base : "/tmp", "/headwise-XXXXXX");
  HEADWISE_CHECK(mkdtemp(path_.data()) != nullptr);
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

absl::StatusOr<int> WaitForPortFile(const std::string& path,
                                    ChildProcess& process,
                                    absl::Duration timeout) {
  int port = 0;
  const bool done = WaitUntil(
      [&] {
        std::ifstream file(path);
        return (file >> port && port > 0) || !process.IsRunning();
      },
      timeout);
  if (port > 0) return port;
  const std::string log = process.Log();
  if (done) {
    return absl::UnavailableError(
        absl::StrCat("the process ended before it was ready:\n", log));
  }
  return absl::DeadlineExceededError(
      absl::StrCat("the process was not ready after ",
                   absl::FormatDuration(timeout), ":\n", log));
}

}  // namespace headwise
