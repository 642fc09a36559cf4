#include "base/program_log.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "spdlog/details/log_msg.h"
#include "spdlog/spdlog.h"

namespace headwise {
namespace {

std::string Line(const std::string& message) {
  const spdlog::details::log_msg logged("name", spdlog::level::warn, message);
  spdlog::memory_buf_t out;
  MakeJsonFormatter()->format(logged, out);
  return std::string(out.data(), out.size());
}

TEST(ProgramLogTest, EveryMessageMakesOneLineOfJson) {
  for (const std::string message :
       {"plain", "a\"b\\n\n\x01", "model: \"other\" is not served here",
        "caf\xC3\xA9", ""}) {
    const std::string line = Line(message);
    EXPECT_EQ(line.find('\n'), line.size() - 1) << line;
    const nlohmann::json json = nlohmann::json::parse(line);
    EXPECT_EQ(json["message"], message);
    EXPECT_EQ(json["level"], "warning");
    EXPECT_TRUE(json["time"].is_string());
  }
}

TEST(ProgramLogTest, BytesThatAreNotUtf8AreReplaced) {
  EXPECT_EQ(nlohmann::json::parse(Line("a\xFFz"))["message"], "a\xEF\xBF\xBDz");
}

TEST(ProgramLogTest, GoesToStandardErrorFromItsLevelOn) {
  testing::internal::CaptureStderr();
  testing::internal::CaptureStdout();
  LogToStderr({.level = "warn", .json = true});
  spdlog::info("not shown");
  spdlog::warn("shown");
  const std::string err = testing::internal::GetCapturedStderr();
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
  EXPECT_EQ(nlohmann::json::parse(err)["message"], "shown") << err;
}

}  // namespace
}  // namespace headwise
