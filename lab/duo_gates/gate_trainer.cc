#include "lab/duo_gates/gate_trainer.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "lab/duo_gates/gate_loss.h"

namespace headwise {
namespace {

torch::Tensor FirstGates(const Hyperparameters& hyper) {
  return torch::ones({hyper.num_layers, hyper.num_kv_heads}).requires_grad_();
}

torch::optim::AdamWOptions OptimizerOptions(double learning_rate) {
  return torch::optim::AdamWOptions(learning_rate).weight_decay(0.0);
}

// OK if `text` is the manifest `ours`.
absl::Status CheckManifest(const std::string& path, const std::string& text,
                           const nlohmann::ordered_json& ours) {
  const auto theirs =
      nlohmann::ordered_json::parse(text, nullptr, /*allow_exceptions=*/false);
  for (const auto& [key, value] : ours.items()) {
    if (theirs.is_object() && theirs.contains(key) && theirs[key] == value) {
      continue;
    }
    const std::string found = theirs.is_object() && theirs.contains(key)
                                  ? theirs[key].dump()
                                  : "not there";
    return absl::FailedPreconditionError(
        absl::StrCat(path, ": of another run: ", key, " is ", found, ", not ",
                     value.dump()));
  }
  return absl::OkStatus();
}

}  // namespace

double LearningRateFactor(int64_t step, int64_t num_steps) {
  const double ramp = std::max(1.0, static_cast<double>(num_steps) / 5.0);
  const double rise = static_cast<double>(step + 1) / ramp;
  const double fall = static_cast<double>(num_steps - step) / ramp;
  return std::clamp(std::min(rise, fall), 0.1, 1.0);
}

GateTrainer::GateTrainer(const TorchModel& model, std::string model_sha256,
                         const GateOptions& options, Samples samples)
    : model_(model),
      model_sha256_(std::move(model_sha256)),
      options_(options),
      samples_(std::move(samples)),
      gates_(FirstGates(model.hyperparameters())),
      optimizer_({gates_}, OptimizerOptions(options.learning_rate)) {}

absl::StatusOr<GateStep> GateTrainer::Step() {
  HEADWISE_ASSIGN_OR_RETURN(const GateSample sample, samples_(step_));
  GateStep report;
  report.step = step_;
  report.num_tokens = static_cast<int64_t>(sample.tokens.size());
  report.num_labelled = sample.num_labelled();
  report.learning_rate =
      options_.learning_rate * LearningRateFactor(step_, options_.num_steps);
  optimizer_.zero_grad();
  report.distill_loss =
      DistillBackward(model_, sample,
                      {.num_sinks = options_.num_sinks,
                       .window = options_.window,
                       .segment_layers = options_.segment_layers},
                      gates_);
  const torch::Tensor mean_gate = gates_.abs().mean();
  (mean_gate * options_.l1_weight).backward();
  report.mean_gate = mean_gate.item<double>();
  report.loss = report.distill_loss + options_.l1_weight * report.mean_gate;
  if (!std::isfinite(report.loss) ||
      !gates_.grad().isfinite().all().item<bool>()) {
    return absl::InternalError(absl::StrCat("step ", step_, ": loss ",
                                            report.loss,
                                            " or its gradient is not "
                                            "finite"));
  }
  auto& group = optimizer_.param_groups()[0];
  static_cast<torch::optim::AdamWOptions&>(group.options())
      .lr(report.learning_rate);
  optimizer_.step();
  const torch::NoGradGuard no_gradient;
  gates_.clamp_(0.0, 1.0);
  ++step_;
  return report;
}

HeadScores GateTrainer::Scores() const {
  const Hyperparameters& hyper = model_.hyperparameters();
  HeadScores scores;
  scores.model_sha256 = model_sha256_;
  scores.method = "duo-gates";
  scores.num_layers = hyper.num_layers;
  scores.num_heads = hyper.num_heads;
  scores.num_kv_heads = hyper.num_kv_heads;
  const torch::Tensor flat = gates_.detach().to(torch::kFloat64).flatten();
  scores.units.assign(flat.data_ptr<double>(),
                      flat.data_ptr<double>() + flat.numel());
  return scores;
}

absl::Status GateTrainer::Save(const std::string& path) const {
  const std::string part = path + ".part";
  try {
    torch::serialize::OutputArchive archive, optimizer;
    archive.write("manifest",
                  c10::IValue(GateManifest(options_, model_sha256_).dump()));
    archive.write("step", c10::IValue(step_));
    archive.write("gates", gates_.detach());
    optimizer_.save(optimizer);
    archive.write("optimizer", optimizer);
    archive.save_to(part);
  } catch (const c10::Error& error) {
    return absl::InternalError(absl::StrCat(
        part, ": can't be written: ", error.what_without_backtrace()));
  }
  // A state is replaced whole, or an interrupted run could not go on.
  if (std::rename(part.c_str(), path.c_str()) != 0) {
    return absl::InternalError(
        absl::StrCat(path, ": can't be written: rename failed"));
  }
  return absl::OkStatus();
}

absl::Status GateTrainer::LoadChecked(const std::string& path) {
  torch::serialize::InputArchive archive, optimizer;
  archive.load_from(path);
  c10::IValue manifest, step;
  archive.read("manifest", manifest);
  HEADWISE_RETURN_IF_ERROR(CheckManifest(
      path, manifest.toStringRef(), GateManifest(options_, model_sha256_)));
  archive.read("step", step);
  torch::Tensor gates;
  archive.read("gates", gates);
  if (step.toInt() < 0 || step.toInt() > options_.num_steps ||
      gates.sizes() != gates_.sizes()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": step ", step.toInt(), " of ", options_.num_steps,
                     ", ", gates.numel(), " gates of ", gates_.numel()));
  }
  archive.read("optimizer", optimizer);
  optimizer_.load(optimizer);
  const torch::NoGradGuard no_gradient;
  gates_.copy_(gates);
  step_ = step.toInt();
  return absl::OkStatus();
}

absl::Status GateTrainer::Load(const std::string& path) {
  try {
    return LoadChecked(path);
  } catch (const c10::Error& error) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": not a state of gates: ", error.what_without_backtrace()));
  }
}

}  // namespace headwise
