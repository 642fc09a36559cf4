// A bar on the terminal for what takes long.

#ifndef HEADWISE_CLIENT_CLI_PROGRESS_BAR_H_
#define HEADWISE_CLIENT_CLI_PROGRESS_BAR_H_

#include <string>

namespace headwise {

// One line of at most 60 columns: "prefill [#####.....]  50 %". `fraction` is
// taken into [0, 1].
std::string RenderProgress(const std::string& label, double fraction);

// Writes to stderr, and only if that is a terminal. Not thread-safe.
class ProgressBar {
 public:
  explicit ProgressBar(std::string label);
  // Clears the line.
  ~ProgressBar();
  ProgressBar(const ProgressBar&) = delete;
  ProgressBar& operator=(const ProgressBar&) = delete;

  void Show(double fraction);
  void Clear();

 private:
  const std::string label_;
  const bool is_terminal_;
  std::string shown_;
};

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_PROGRESS_BAR_H_
