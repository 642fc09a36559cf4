// What `headwise plan calibrate` does, for commands that are a case of it.

#ifndef HEADWISE_CLIENT_CLI_CALIBRATE_COMMAND_H_
#define HEADWISE_CLIENT_CLI_CALIBRATE_COMMAND_H_

#include <string>
#include <vector>

#include "CLI/App.hpp"
#include "absl/status/status.h"
#include "client/cli/calibrate_request.h"
#include "client/cli/flags.h"

namespace headwise {

struct CalibrateCommandFlags {
  ClusterFlags cluster;
  CalibrateFlags calibrate;
  std::vector<std::string> from_scores;
  std::string out;
  std::string scores;
  std::string svg;
  std::string state;
  bool json = false;
};

// --out, --scores, --svg, --state, --from-scores, --json.
void AddCalibrateFileFlags(CLI::App& command, CalibrateCommandFlags& flags);

absl::Status RunCalibrate(const CalibrateCommandFlags& flags);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_CALIBRATE_COMMAND_H_
