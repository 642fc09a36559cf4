// Shows the events of a generation as they come.

#ifndef HEADWISE_CLIENT_CLI_EVENT_PRINTER_H_
#define HEADWISE_CLIENT_CLI_EVENT_PRINTER_H_

#include <string>

#include "client/cli/progress_bar.h"
#include "headwise/v1/inference.pb.h"
#include "nlohmann/json.hpp"

namespace headwise {

// {"event": "prefill" | "text" | "finished", ...}: one line of --json.
nlohmann::ordered_json EventToJson(const v1::GenerateResponse& event);

// Times and rates of a generation, one line. The first new token belongs to the
// prefill, so decode_seconds are of the others.
std::string Summary(const v1::Usage& usage);

// Text to stdout, a bar for the prefill to stderr; or one JSON object a line.
// Not thread-safe.
class EventPrinter {
 public:
  explicit EventPrinter(bool json) : json_(json), bar_("prefill") {}
  // False if stdout is gone: cancel.
  bool Print(const v1::GenerateResponse& event);
  // Ends the line; a summary to stderr if `verbose`.
  void Finish(bool verbose);
  const std::string& text() const { return text_; }

 private:
  const bool json_;
  ProgressBar bar_;
  std::string text_;  // so far
  v1::Finished finished_;
};

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_EVENT_PRINTER_H_
