// The file that a calibration or a bench can be taken up again from.

#ifndef HEADWISE_CLIENT_CLI_FINISHED_TESTS_FILE_H_
#define HEADWISE_CLIENT_CLI_FINISHED_TESTS_FILE_H_

#include <cstdio>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "headwise/v1/calibration.pb.h"

namespace headwise {

// JSON lines: first the manifest of the run and its SHA-256, then each finished
// test. Written as tests finish, so a run that is killed loses the one under
// way; a last line that was cut short is dropped. Not thread-safe.
class FinishedTestsFile {
 public:
  // Reads `path`, if there is such a file. InvalidArgument names the line that
  // is not what we write.
  static absl::StatusOr<FinishedTestsFile> Open(const std::string& path);

  const std::string& path() const { return path_; }
  // Of the runs before; its manifest is empty if there was none.
  const v1::FinishedTests& finished() const { return finished_; }

  // Before Add: the manifest of this run, which was found equal to the file's
  // if there was one.
  absl::Status Begin(const std::string& manifest);
  absl::Status Add(const v1::FinishedTest& test);

 private:
  struct CloseFile {
    void operator()(std::FILE* file) const { std::fclose(file); }
  };
  explicit FinishedTestsFile(std::string path) : path_(std::move(path)) {}
  // Takes what it has of the file; `good_bytes_` are whole lines.
  absl::Status Read(const std::string& text);
  absl::Status WriteLine(const std::string& line);

  std::string path_;
  v1::FinishedTests finished_;
  int64_t good_bytes_ = 0;
  std::unique_ptr<std::FILE, CloseFile> file_;
};

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_FINISHED_TESTS_FILE_H_
