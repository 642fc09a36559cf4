#include <memory>

#include "CLI/App.hpp"
#include "client/cli/calibrate_command.h"
#include "client/cli/flags.h"
#include "client/cli/select_commands.h"

namespace headwise {
namespace {

// AttentionInfluence masks the best 5 %.
constexpr double kMaskedFraction = 0.05;

// Flags of other methods and other plans; --method is added again.
constexpr const char* kForeignFlags[] = {
    "--method",         "--keep",   "--kept",      "--rest",
    "--sinks",          "--window", "--chunk-len", "--chunks",
    "--slot-positions", "--block",  "--copies",    "--per-query-head",
    "--words",          "--items",  "--tests",     "--sink-beta",
    "--sink-threshold"};

}  // namespace

void AddSelectDetectCommand(CLI::App& select, CommandRun* run) {
  CLI::App* command = select.add_subcommand(
      "detect", "Find the retrieval heads of a model, and mask the best");
  auto flags = std::make_shared<CalibrateCommandFlags>();
  AddSessionFlags(*command, flags->cluster);
  AddCalibrateFlags(*command, flags->calibrate);
  for (const char* name : kForeignFlags) {
    command->remove_option(command->get_option(name));
  }
  AddCalibrateFileFlags(*command, *flags);
  flags->calibrate.method = "retrieval";
  command
      ->add_option("--method", flags->calibrate.method,
                   "Needles in a text, or AttentionInfluence's proxy task")
      ->check(CLI::IsMember({"retrieval", "key-value"}))
      ->capture_default_str();
  flags->calibrate.mask_top = kMaskedFraction;
  command->parse_complete_callback([command] {
    if (command->count("--from-scores") > 0) return;
    if (command->count("--model") + command->count("--server") == 0) {
      throw CLI::RequiredError("--model or --server");
    }
  });
  command->footer(
      "As `plan calibrate --mask-top 0.05`. The plan is of one model: its "
      "SHA-256 is in it.\n\n"
      "Examples:\n"
      "  headwise select detect -m M -o masked.json --state detect.jsonl\n"
      "  headwise select detect -m M -o masked.json --scores heads.json "
      "--lengths 512,1024\n"
      "  headwise select detect -m M --method key-value -o masked.json\n"
      "  headwise select detect --from-scores heads.json --mask-top 0.03 -o "
      "few.json");
  command->final_callback(
      [run, flags] { *run = [flags] { return RunCalibrate(*flags); }; });
}

}  // namespace headwise
