// Where a program's log goes, and what its lines look like.

#ifndef HEADWISE_BASE_PROGRAM_LOG_H_
#define HEADWISE_BASE_PROGRAM_LOG_H_

#include <memory>
#include <string>
#include <vector>

#include "spdlog/formatter.h"

namespace headwise {

struct ProgramLogOptions {
  std::string level = "info";  // one of LogLevels()
  bool json = false;           // one object a line: time, level, message
};

// What a flag for the level may say.
std::vector<std::string> LogLevels();

// Sends spdlog's default logger to standard error: standard output is for
// results. To be called before any thread logs.
void LogToStderr(const ProgramLogOptions& options);

// Each line is valid JSON whatever the message holds; bytes that are not UTF-8
// become U+FFFD.
std::unique_ptr<spdlog::formatter> MakeJsonFormatter();

}  // namespace headwise

#endif  // HEADWISE_BASE_PROGRAM_LOG_H_
