#include "client/cli/select_watch.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/cli/html_text.h"
#include "client/cli/select_output.h"

namespace headwise {
namespace {

constexpr double kIntervalSeconds = 0.5;
constexpr absl::Duration kPatience = absl::Minutes(5);
constexpr absl::Duration kPause = absl::Seconds(1);

// One line of stderr that is written again and again.
class ProgressLine {
 public:
  ~ProgressLine() { Write(""); }
  void Write(const std::string& whole) {
    if (!is_terminal_) return;
    const std::string text = FirstCharacters(whole, Columns() - 2);
    if (text == shown_) return;
    const size_t blanks = std::max(shown_.size(), text.size()) - text.size();
    std::fprintf(stderr, "\r%s%s", text.c_str(),
                 std::string(blanks, ' ').c_str());
    if (text.empty()) std::fputc('\r', stderr);
    std::fflush(stderr);
    shown_ = text;
  }

 private:
  // A longer line would wrap, and not be written over.
  static int64_t Columns() {
    winsize size = {};
    const bool is_known =
        ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 1;
    return is_known ? size.ws_col : 80;
  }

  const bool is_terminal_ = isatty(STDERR_FILENO) == 1;
  std::string shown_;
};

bool HasStopped(const v1::SelectionJob& job) {
  switch (job.state()) {
    case v1::SELECTION_JOB_STATE_PAUSED:
    case v1::SELECTION_JOB_STATE_DONE:
    case v1::SELECTION_JOB_STATE_CANCELLED:
      return true;
    default:
      return false;
  }
}

}  // namespace

absl::StatusOr<v1::SelectionJob> WatchSelectionJob(SelectionClient& client,
                                                   const std::string& job_id) {
  v1::WatchJobRequest request;
  request.set_job_id(job_id);
  request.set_interval_seconds(kIntervalSeconds);
  ProgressLine line;
  v1::SelectionJob last;
  absl::Time give_up = absl::Now() + kPatience;
  while (true) {
    const absl::Status status =
        client.WatchJob(request, [&](const v1::SelectionJob& job) {
          last = job;
          line.Write(RenderSelectionProgress(job));
          give_up = absl::Now() + kPatience;
          return !HasStopped(job);
        });
    if (HasStopped(last)) return last;
    if (!status.ok() && !absl::IsUnavailable(status)) return status;
    if (absl::Now() > give_up) {
      return absl::UnavailableError(
          "the server has gone; the job goes on when "
          "it comes back");
    }
    absl::SleepFor(kPause);
  }
}

}  // namespace headwise
