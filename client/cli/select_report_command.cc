#include <filesystem>
#include <memory>
#include <string>

#include "CLI/App.hpp"
#include "CLI/Validators.hpp"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "client/cli/calibrate_output.h"
#include "client/cli/select_commands.h"
#include "client/cli/select_folder.h"
#include "client/cli/select_folder_report.h"
#include "client/cli/select_report.h"

namespace headwise {
namespace {

namespace fs = std::filesystem;

// AttentionInfluence keeps the best 20 %.
constexpr double kSelectedFraction = 0.2;

struct ReportFlags {
  std::string out;
  std::string html;
  SelectionReportOptions options;
};

absl::Status RunReport(const ReportFlags& flags) {
  SelectionReportOptions options = flags.options;
  SelectRuleFlags& rule = options.rule;
  if (!rule.fraction && !rule.count && !rule.tokens) {
    rule.fraction = kSelectedFraction;
  }
  HEADWISE_ASSIGN_OR_RETURN(const SelectionFolder folder,
                            ReadSelectionFolder(flags.out));
  std::error_code error;
  if (options.title.empty()) {
    options.title = fs::weakly_canonical(flags.out, error).filename().string();
  }
  if (!options.input.empty()) {
    // A job over one file has its folder as root.
    fs::path input = fs::canonical(options.input, error);
    if (fs::is_regular_file(input, error)) input = input.parent_path();
    options.input = input.string();
  }
  HEADWISE_ASSIGN_OR_RETURN(const SelectionReport report,
                            MakeSelectionReport(folder, options));
  return WriteTextFile(RenderSelectionReport(report), flags.html);
}

}  // namespace

void AddSelectReportCommand(CLI::App& select, CommandRun* run) {
  CLI::App* command = select.add_subcommand(
      "report", "One page of HTML about a job that is DONE");
  auto flags = std::make_shared<ReportFlags>();
  SelectionReportOptions& options = flags->options;
  options.temp_dir = fs::temp_directory_path().string();
  command->add_option("--out", flags->out, "The job's folder")
      ->required()
      ->check(CLI::ExistingDirectory);
  command->add_option("--html", flags->html, "The file to write")->required();
  command
      ->add_option("--input", options.input,
                   "The job's input, for the texts of examples")
      ->check(CLI::ExistingPath);
  command->add_option("--title", options.title,
                      "Of the page; default: the folder's name");
  command->add_option("--model-name", options.model,
                      "What the page calls the model; default: its SHA-256");
  command
      ->add_option("--examples", options.num_examples,
                   "Documents of each domain at its top, middle and bottom")
      ->check(CLI::Range(0, 100))
      ->capture_default_str();
  command->add_option("--temp-dir", options.temp_dir, "For sorting")
      ->check(CLI::ExistingDirectory)
      ->capture_default_str();
  AddSelectRuleFlags(*command, /*required=*/false, options.rule);
  command->footer(
      "Without a rule: --fraction 0.2. The page needs no network and no "
      "script.\n\n"
      "Example:\n"
      "  headwise select report --out scores --input corpus --html "
      "report.html");
  command->final_callback(
      [run, flags] { *run = [flags] { return RunReport(*flags); }; });
}

}  // namespace headwise
