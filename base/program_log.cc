#include "base/program_log.h"

#include <ctime>

#include "nlohmann/json.hpp"
#include "spdlog/pattern_formatter.h"
#include "spdlog/sinks/stdout_sinks.h"
#include "spdlog/spdlog.h"

namespace headwise {
namespace {

// "%*" in a pattern: the message as a JSON string, quotes included.
class JsonMessage final : public spdlog::custom_flag_formatter {
 public:
  void format(const spdlog::details::log_msg& message, const std::tm&,
              spdlog::memory_buf_t& out) override {
    const nlohmann::json text(
        std::string(message.payload.data(), message.payload.size()));
    const std::string quoted =
        text.dump(/*indent=*/-1, ' ', /*ensure_ascii=*/false,
                  nlohmann::json::error_handler_t::replace);
    out.append(quoted.data(), quoted.data() + quoted.size());
  }
  std::unique_ptr<custom_flag_formatter> clone() const override {
    return std::make_unique<JsonMessage>();
  }
};

}  // namespace

std::vector<std::string> LogLevels() {
  return {"debug", "info", "warn", "err", "off"};
}

std::unique_ptr<spdlog::formatter> MakeJsonFormatter() {
  auto formatter = std::make_unique<spdlog::pattern_formatter>();
  formatter->add_flag<JsonMessage>('*').set_pattern(
      R"({"time":"%Y-%m-%dT%H:%M:%S.%e%z","level":"%l","message":%*})");
  return formatter;
}

void LogToStderr(const ProgramLogOptions& options) {
  // Without a name, which each line would repeat.
  spdlog::set_default_logger(std::make_shared<spdlog::logger>(
      "", std::make_shared<spdlog::sinks::stderr_sink_mt>()));
  spdlog::set_level(spdlog::level::from_str(options.level));
  if (options.json) spdlog::set_formatter(MakeJsonFormatter());
}

}  // namespace headwise
