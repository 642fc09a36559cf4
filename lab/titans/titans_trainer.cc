#include "lab/titans/titans_trainer.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_macros.h"

namespace headwise {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kMaxGradientNorm = 1.0;
constexpr double kLeastRate = 0.05;
constexpr double kLearnedAccuracy = 0.8;
constexpr double kFreeGrowth = 2.0;  // of a memory's squared norm

template <typename T>
absl::Status CheckRange(const char* name, T value, T min, T max) {
  // Written so that a NaN is outside.
  if (value >= min && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": ", value, " is outside [", min, ", ", max, "]"));
}

absl::Status CheckMultiple(const char* name, int64_t value, int64_t of) {
  if (value % of == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": ", value, " is not a multiple of ", of));
}

std::string TextHash(const std::string& text) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  return Sha256Hex(Sha256Of(absl::MakeConstSpan(bytes, text.size())));
}

// OK if `text` is the manifest `ours`.
absl::Status CheckManifest(const std::string& path, const std::string& text,
                           const Json& ours) {
  const Json theirs = Json::parse(text, nullptr, /*allow_exceptions=*/false);
  for (const auto& [key, value] : ours.items()) {
    const bool is_there = theirs.is_object() && theirs.contains(key);
    if (is_there && theirs[key] == value) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        path, ": of another run: ", key, " is ",
        is_there ? theirs[key].dump() : "not there", ", not ", value.dump()));
  }
  return absl::OkStatus();
}

// Seeds what draws the weights.
GateStart SeededStart(const TitansTraining& training) {
  torch::manual_seed(training.seed);
  return {.theta = training.theta_bias, .alpha = training.alpha_bias};
}

// The part of gates of a kind, [B, T, H].
torch::Tensor OfKind(const torch::Tensor& gates, int64_t kind) {
  return gates.chunk(3, -1)[static_cast<size_t>(kind)];
}

struct LabelledLoss {
  torch::Tensor loss;  // mean nats
  double accuracy = 0.0;
  TitansState state;  // at the sequences' end
};

LabelledLoss LossOf(const TitansWeights& weights, const TitansBatch& batch,
                    int64_t detach_chunks, TitansGates* gates) {
  TitansState state = BeginTitans(weights, batch.tokens.size(0));
  const torch::Tensor rows =
      RunTitans(weights, batch.tokens, detach_chunks, state, gates);
  const int64_t last = batch.tokens.size(1) - 1;
  const torch::Tensor mask = batch.labelled.slice(1, 0, last);
  const torch::Tensor targets = batch.tokens.slice(1, 1).index({mask});
  const torch::Tensor logits =
      TitansLogits(weights, rows.slice(1, 0, last).index({mask}));
  const double accuracy =
      logits.argmax(-1).eq(targets).to(torch::kFloat64).mean().item<double>();
  return {.loss = torch::nn::functional::cross_entropy(logits, targets),
          .accuracy = accuracy,
          .state = std::move(state)};
}

torch::Tensor SquaredNorms(const MemoryParts& parts) {
  torch::Tensor sum;
  for (const torch::Tensor& part : parts) {
    const torch::Tensor squares = part.square().flatten(1).sum(1);
    sum = sum.defined() ? sum + squares : squares;
  }
  return sum;
}

torch::Tensor PenaltyOf(const TitansTraining& training,
                        const TitansGates& gates) {
  torch::Tensor sum = torch::zeros({});
  for (const torch::Tensor& sigmoid : gates.sigmoids) {
    sum = sum +
          training.gate_penalty *
              (OfKind(sigmoid, 0).mean() + OfKind(sigmoid, 2).mean()) +
          training.eta_penalty * OfKind(sigmoid, 1).mean();
  }
  return sum;
}

void AddShares(const TitansGates& gates, TitansStep& report) {
  for (const torch::Tensor& values : gates.values) {
    const auto share = [&](int64_t kind) {
      return OfKind(values, kind)
                 .gt(0)
                 .to(torch::kFloat64)
                 .mean()
                 .item<double>() /
             static_cast<double>(gates.values.size());
    };
    report.theta_share += share(0);
    report.alpha_share += share(2);
    report.mean_eta += OfKind(values, 1).mean().item<double>() /
                       static_cast<double>(gates.values.size());
  }
}

bool HaveFiniteGradients(const std::vector<torch::Tensor>& tensors) {
  for (const torch::Tensor& tensor : tensors) {
    if (tensor.grad().defined() &&
        !tensor.grad().isfinite().all().item<bool>()) {
      return false;
    }
  }
  return true;
}

}  // namespace

absl::Status CheckTitansTraining(const TitansTraining& training,
                                 const Hyperparameters& hyper) {
  HEADWISE_RETURN_IF_ERROR(
      CheckRange<int64_t>("steps", training.num_steps, 1, 1000000));
  HEADWISE_RETURN_IF_ERROR(
      CheckRange<int64_t>("sequences", training.num_sequences, 1, 1024));
  HEADWISE_RETURN_IF_ERROR(
      CheckRange<int64_t>("min-length", training.min_length, 16, 16384));
  HEADWISE_RETURN_IF_ERROR(CheckRange<int64_t>("length", training.length,
                                               training.min_length, 16384));
  // More places of pairs than keys, or nothing would be asked for.
  const int64_t max_pairs =
      std::min(kNumTitansKeys, (training.min_length - 1) / 4 - 1);
  HEADWISE_RETURN_IF_ERROR(
      CheckRange<int64_t>("pairs", training.num_pairs, 1, max_pairs));
  HEADWISE_RETURN_IF_ERROR(
      CheckRange("learning-rate", training.learning_rate, 1e-9, 1.0));
  HEADWISE_RETURN_IF_ERROR(
      CheckRange("gate-penalty", training.gate_penalty, 0.0, 1000.0));
  HEADWISE_RETURN_IF_ERROR(
      CheckRange("eta-penalty", training.eta_penalty, 0.0, 1000.0));
  HEADWISE_RETURN_IF_ERROR(
      CheckRange("growth-penalty", training.growth_penalty, 0.0, 1000.0));
  HEADWISE_RETURN_IF_ERROR(
      CheckRange("theta-bias", training.theta_bias, -100.0, 100.0));
  HEADWISE_RETURN_IF_ERROR(
      CheckRange("alpha-bias", training.alpha_bias, -100.0, 100.0));
  HEADWISE_RETURN_IF_ERROR(
      CheckRange<int64_t>("detach-chunks", training.detach_chunks, 0, 16384));
  HEADWISE_RETURN_IF_ERROR(
      CheckMultiple("length", training.length, training.min_length));
  if (!hyper.titans->has_memory()) return absl::OkStatus();
  if ((training.no_momentum || training.no_forgetting) &&
      hyper.titans->gate_stretch <= 0) {
    return absl::InvalidArgumentError(
        "gate_stretch: 0, but only a stretched gate is ever 0");
  }
  return CheckMultiple("min-length", training.min_length,
                       hyper.titans->memory.chunk_len);
}

Json TitansManifest(const Hyperparameters& hyper,
                    const TitansTraining& training, const TitansText& text) {
  return {{"config", TitansConfigJson(hyper)},
          {"task", training.is_recall ? "recall" : "text"},
          {"steps", training.num_steps},
          {"sequences", training.num_sequences},
          {"min_length", training.min_length},
          {"length", training.length},
          {"pairs", training.num_pairs},
          {"learning_rate", training.learning_rate},
          {"gate_penalty", training.gate_penalty},
          {"eta_penalty", training.eta_penalty},
          {"growth_penalty", training.growth_penalty},
          {"theta_bias", training.theta_bias},
          {"alpha_bias", training.alpha_bias},
          {"detach_chunks", training.detach_chunks},
          {"no_momentum", training.no_momentum},
          {"no_forgetting", training.no_forgetting},
          {"seed", training.seed},
          {"text_sha256", TextHash(text.train)}};
}

torch::Tensor MemoryGrowth(const TitansWeights& weights,
                           const TitansState& state) {
  torch::Tensor sum = torch::zeros({}, weights.tensor_options());
  for (size_t i = 0; i < state.layers.size(); ++i) {
    const torch::Tensor squares = SquaredNorms(state.layers[i].memory.weights);
    const torch::Tensor initial = weights.layers()[i].mem_init.square().sum(1);
    // Not of 0 where a memory has forgotten all: the gradient would be NaN.
    const torch::Tensor growth =
        (squares.view({-1, initial.size(0)}) / initial).clamp_min(kFreeGrowth);
    sum = sum + (growth.log() - std::log(kFreeGrowth)).mean();
  }
  return sum / static_cast<double>(state.layers.size());
}

double TitansRateFactor(int64_t step, int64_t num_steps) {
  const double ramp = std::max(1.0, static_cast<double>(num_steps) / 20.0);
  const double rise = static_cast<double>(step + 1) / ramp;
  if (rise < 1.0) return rise;
  const double part =
      static_cast<double>(step) / static_cast<double>(num_steps);
  return kLeastRate + (1 - kLeastRate) * 0.5 * (1 + std::cos(M_PI * part));
}

double PenaltyFactor(int64_t num_learned, int64_t num_steps) {
  return std::min(1.0, 4 * static_cast<double>(num_learned) /
                           static_cast<double>(num_steps));
}

int64_t LengthOfStep(const TitansTraining& training, int64_t step,
                     Draws& draws) {
  const int64_t most = training.length / training.min_length;
  const int64_t limit =
      std::min(most, 1 + 2 * most * step / training.num_steps);
  return training.min_length * (1 + draws.Below(limit));
}

TitansTrainer::TitansTrainer(const Hyperparameters& hyper,
                             const TitansTraining& training,
                             const TitansText& text)
    : training_(training),
      text_(text),
      manifest_(TitansManifest(hyper, training, text).dump()),
      weights_(hyper, SeededStart(training)),
      optimizer_(weights_.list(),
                 torch::optim::AdamWOptions(training.learning_rate)
                     .weight_decay(0.0)) {
  if (training.no_momentum) weights_.ForbidMomentum();
  if (training.no_forgetting) weights_.ForbidForgetting();
}

TitansBatch TitansTrainer::BatchOfStep(int64_t step) const {
  Draws draws(training_.seed, static_cast<uint64_t>(step));
  const int64_t length = LengthOfStep(training_, step, draws);
  // As many tokens in a step of short sequences as in one of long ones.
  const int64_t num_sequences =
      training_.num_sequences *
      std::max<int64_t>(1, training_.length / 2 / length);
  return training_.is_recall
             ? DrawRecallBatch(text_.train, num_sequences, length,
                               training_.num_pairs, draws)
             : DrawTextBatch(text_.train, num_sequences, length, draws);
}

absl::StatusOr<TitansStep> TitansTrainer::Step() {
  const TitansBatch batch = BatchOfStep(step_);
  TitansStep report;
  report.step = step_;
  report.num_tokens = batch.tokens.numel();
  report.learning_rate =
      training_.learning_rate * TitansRateFactor(step_, training_.num_steps);
  optimizer_.zero_grad();
  TitansGates gates;
  const LabelledLoss labelled =
      LossOf(weights_, batch, training_.detach_chunks, &gates);
  report.loss = labelled.loss.item<double>();
  report.accuracy = labelled.accuracy;
  const double factor = PenaltyFactor(num_learned_, training_.num_steps);
  torch::Tensor loss = labelled.loss + factor * PenaltyOf(training_, gates);
  if (weights_.titans().has_memory() && training_.growth_penalty > 0) {
    loss = loss +
           training_.growth_penalty * MemoryGrowth(weights_, labelled.state);
  }
  loss.backward();
  const std::vector<torch::Tensor> tensors = weights_.list();
  report.is_skipped =
      !std::isfinite(report.loss) || !HaveFiniteGradients(tensors);
  ++step_;
  if (report.is_skipped) {
    ++num_skipped_;
    if (num_skipped_ <= 1 + training_.num_steps / 20) return report;
    return absl::InternalError(
        absl::StrCat("step ", report.step, ": loss ", report.loss, "; in ",
                     num_skipped_, " steps it, or a gradient, was not finite"));
  }
  torch::nn::utils::clip_grad_norm_(tensors, kMaxGradientNorm);
  auto& group = optimizer_.param_groups()[0];
  static_cast<torch::optim::AdamWOptions&>(group.options())
      .lr(report.learning_rate);
  optimizer_.step();
  AddShares(gates, report);
  mean_accuracy_ += 0.1 * (report.accuracy - mean_accuracy_);
  num_learned_ += mean_accuracy_ >= kLearnedAccuracy;
  return report;
}

absl::Status TitansTrainer::Save(const std::string& path) const {
  const std::string part = path + ".part";
  try {
    torch::serialize::OutputArchive archive, optimizer;
    archive.write("manifest", c10::IValue(manifest_));
    archive.write("step", c10::IValue(step_));
    archive.write("learned", c10::IValue(num_learned_));
    archive.write("skipped", c10::IValue(num_skipped_));
    archive.write("accuracy", c10::IValue(mean_accuracy_));
    const std::vector<torch::Tensor> tensors = weights_.list();
    for (size_t i = 0; i < tensors.size(); ++i) {
      archive.write(absl::StrCat("weight", i), tensors[i].detach());
    }
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

absl::Status TitansTrainer::LoadChecked(const std::string& path) {
  torch::serialize::InputArchive archive, optimizer;
  archive.load_from(path);
  c10::IValue manifest, step, learned, skipped, accuracy;
  archive.read("manifest", manifest);
  HEADWISE_RETURN_IF_ERROR(
      CheckManifest(path, manifest.toStringRef(), Json::parse(manifest_)));
  archive.read("step", step);
  archive.read("learned", learned);
  archive.read("skipped", skipped);
  archive.read("accuracy", accuracy);
  if (step.toInt() < 0 || step.toInt() > training_.num_steps) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": step ", step.toInt(), " of ", training_.num_steps));
  }
  archive.read("optimizer", optimizer);
  optimizer_.load(optimizer);
  const torch::NoGradGuard no_gradient;
  std::vector<torch::Tensor> tensors = weights_.list();
  for (size_t i = 0; i < tensors.size(); ++i) {
    torch::Tensor read;
    archive.read(absl::StrCat("weight", i), read);
    if (read.sizes() != tensors[i].sizes()) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": weight ", i, " has another shape"));
    }
    tensors[i].copy_(read);
  }
  step_ = step.toInt();
  num_learned_ = learned.toInt();
  num_skipped_ = skipped.toInt();
  mean_accuracy_ = accuracy.toDouble();
  return absl::OkStatus();
}

absl::Status TitansTrainer::Load(const std::string& path) {
  try {
    return LoadChecked(path);
  } catch (const c10::Error& error) {
    return absl::InvalidArgumentError(absl::StrCat(
        path,
        ": not a state of a Titans model: ", error.what_without_backtrace()));
  }
}

double TextLoss(const TitansWeights& weights, const std::string& text,
                int64_t length, int64_t num_windows) {
  const torch::NoGradGuard no_gradient;
  double sum = 0.0;
  int64_t count = 0;
  const auto size = static_cast<int64_t>(text.size());
  for (int64_t at = 0; at + length <= size && count < num_windows;
       at += length, ++count) {
    std::vector<int64_t> tokens;
    for (int64_t i = at; i < at + length; ++i) {
      tokens.push_back(static_cast<uint8_t>(text[static_cast<size_t>(i)]));
    }
    TitansBatch batch = {
        .tokens = torch::tensor(tokens, torch::kInt64).unsqueeze(0),
        .labelled = torch::ones({1, length}, torch::kBool)};
    sum += LossOf(weights, batch, 0, nullptr).loss.item<double>();
  }
  return count == 0 ? 0.0 : sum / static_cast<double>(count);
}

}  // namespace headwise
