// The whole program in a test, with files in a folder of its own.

#ifndef HEADWISE_CLIENT_CLI_COMMAND_TEST_FOLDER_H_
#define HEADWISE_CLIENT_CLI_COMMAND_TEST_FOLDER_H_

#include <unistd.h>

#include <filesystem>
#include <string>

#include "CLI/Config.hpp"
#include "CLI/Formatter.hpp"
#include "absl/strings/str_cat.h"
#include "client/cli/commands.h"
#include "gtest/gtest.h"

namespace headwise {

class CommandTestFolder : public testing::Test {
 protected:
  CommandTestFolder()
      : folder_(absl::StrCat(
            testing::TempDir(), "/commands_", getpid(), "_",
            testing::UnitTest::GetInstance()->current_test_info()->name())) {
    std::filesystem::create_directories(folder_);
  }
  ~CommandTestFolder() override { std::filesystem::remove_all(folder_); }

  std::string Path(const std::string& name) const {
    return folder_ + "/" + name;
  }

  // What the command line prints, or its error: "usage: ..." if it is refused.
  std::string Run(const std::string& line) {
    CLI::App app;
    CommandRun run;
    AddAllCommands(app, &run);
    try {
      app.parse(line);
    } catch (const CLI::ParseError& error) {
      return std::string("usage: ") + error.what();
    }
    testing::internal::CaptureStdout();
    const absl::Status status = run();
    const std::string out = testing::internal::GetCapturedStdout();
    return status.ok() ? out : "error: " + std::string(status.message());
  }

 private:
  const std::string folder_;
};

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_COMMAND_TEST_FOLDER_H_
