#include <cstdio>
#include <memory>
#include <string>

#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "client/cli/commands.h"
#include "client/cli/head_map_picture.h"
#include "client/cli/json_output.h"
#include "model/model.h"

namespace headwise {
namespace {

struct InspectFlags {
  std::string path;
  bool sha256 = false;
  bool json = false;
};

nlohmann::ordered_json InspectionToJson(const InspectFlags& flags,
                                        const Model& model) {
  nlohmann::ordered_json json = {{"path", flags.path},
                                 {"file_bytes", model.file_bytes()}};
  if (flags.sha256) json["sha256"] = model.Sha256();
  json["metadata"] = nlohmann::ordered_json::object();
  for (const auto& [key, value] : model.Metadata()) {
    json["metadata"][key] = value;
  }
  json["tensors"] = nlohmann::ordered_json::array();
  for (const TensorView& tensor : model.tensors()) {
    json["tensors"].push_back({{"name", tensor.name},
                               {"dtype", InfoOf(tensor.dtype).name},
                               {"shape", tensor.shape},
                               {"bytes", tensor.bytes.size()}});
  }
  return json;
}

void PrintInspection(const InspectFlags& flags, const Model& model) {
  absl::PrintF("%s: %s in %d tensors\n", flags.path,
               FormatBytes(model.file_bytes()), model.tensors().size());
  if (flags.sha256) absl::PrintF("sha256 %s\n", model.Sha256());
  absl::PrintF("\nMetadata\n");
  for (const auto& [key, value] : model.Metadata()) {
    absl::PrintF("  %s = %s\n", key, value);
  }
  absl::PrintF("\nTensors: name, dtype, [shape], bytes\n");
  for (const TensorView& tensor : model.tensors()) {
    absl::PrintF("  %-28s %-5s %-16s %s\n", tensor.name,
                 InfoOf(tensor.dtype).name,
                 absl::StrFormat("[%s]", absl::StrJoin(tensor.shape, ", ")),
                 FormatBytes(static_cast<int64_t>(tensor.bytes.size())));
  }
}

absl::Status RunInspect(const InspectFlags& flags) {
  HEADWISE_ASSIGN_OR_RETURN(const std::unique_ptr<Model> model,
                            Model::Open(flags.path));
  if (flags.json) {
    PrintJsonLine(InspectionToJson(flags, *model));
  } else {
    PrintInspection(flags, *model);
  }
  return absl::OkStatus();
}

}  // namespace

void AddInspectCommand(CLI::App& app, CommandRun* run) {
  CLI::App* command = app.add_subcommand(
      "inspect", "What a model file holds: metadata and tensors");
  auto flags = std::make_shared<InspectFlags>();
  command->add_option("file", flags->path, "A model file or folder")
      ->required()
      ->check(CLI::ExistingPath);
  command->add_flag("--sha256", flags->sha256, "Also its SHA-256");
  command->add_flag("--json", flags->json,
                    "path, file_bytes, metadata, tensors");
  command->footer("Example:\n  headwise inspect models/model.gguf --json");
  command->final_callback(
      [run, flags] { *run = [flags] { return RunInspect(*flags); }; });
}

}  // namespace headwise
