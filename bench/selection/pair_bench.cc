// Times what a selection costs the engine, beside its own prefill.
//
//   headwise_pair_bench MODEL [THREADS] [ROUNDS]
//
// Documents of 50 to 2,000 tokens (lengths drawn evenly by their logarithm, the
// same in each run) are scored in the background, as jobs do: under the model
// alone, and as pairs whose first masked layer is 0, a fifth of all, a half,
// the last. Prompts of 512 tokens that ask for one token, one after the other,
// are the engine's own prefill. Every round runs all sides in turn, so that a
// drift of the machine meets all; ratios are taken within a round, and their
// median and range are printed as JSON lines:
//
//   packing     tokens per second of scores without a masked pass / of prefill
//   masked_pass (seconds of pairs / of scores alone) - 1, beside its limit: the
//               share of layers at and above the first masked one
//
// Scores need the logits of every row, prefill those of the last one alone; the
// packing of a masked pass is in masked_pass.

#include <stdio.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "client/cli/embedded_cluster.h"
#include "model/head_plan/head_plan_check.h"

namespace headwise {
namespace {

constexpr uint64_t kSeed = 20261127;
constexpr int64_t kNumDocuments = 48;
constexpr int64_t kMinTokens = 50;
constexpr int64_t kMaxTokens = 2000;
constexpr int64_t kPrefillTokens = 512;
constexpr int64_t kNumPrefills = 16;
constexpr int64_t kAtOnce = 48;  // as EngineDocumentScorer

using Tokens = std::vector<int32_t>;

struct Side {
  std::string name;
  EngineRequest request;  // without its prompt
  std::vector<Tokens> prompts;
  int64_t at_once = 1;
  double masked_share = 0.0;    // of the layers
  std::vector<double> seconds;  // by round

  double num_tokens() const {
    double sum = 0;
    for (const Tokens& tokens : prompts) {
      sum += static_cast<double>(tokens.size());
    }
    return sum;
  }
};

// Requests under way, and the first error.
class Flights {
 public:
  void Begin(int64_t limit) {
    const auto has_room = [&]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      return count_ < limit;
    };
    absl::MutexLock lock(&mutex_, absl::Condition(&has_room));
    ++count_;
  }
  void End(const absl::Status& status) {
    absl::MutexLock lock(&mutex_);
    --count_;
    status_.Update(status);
  }
  absl::Status AwaitAll() {
    const auto is_empty = [this]() ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
      return count_ == 0;
    };
    absl::MutexLock lock(&mutex_, absl::Condition(&is_empty));
    return status_;
  }

 private:
  absl::Mutex mutex_;
  int64_t count_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

class FlightSink final : public RequestSink {
 public:
  explicit FlightSink(Flights& flights) : flights_(flights) {}
  void OnFinished(const absl::Status& status, const RequestUsage&) override {
    flights_.End(status);
  }

 private:
  Flights& flights_;
};

absl::Status RunSide(Engine& engine, Side& side) {
  Flights flights;
  const absl::Time begin = absl::Now();
  for (const Tokens& prompt : side.prompts) {
    flights.Begin(side.at_once);
    EngineRequest request = side.request;
    request.prompt = prompt;
    const auto id = engine.Submit(std::move(request),
                                  std::make_shared<FlightSink>(flights));
    if (!id.ok()) flights.End(id.status());
  }
  HEADWISE_RETURN_IF_ERROR(flights.AwaitAll());
  side.seconds.push_back(absl::ToDoubleSeconds(absl::Now() - begin));
  return absl::OkStatus();
}

std::vector<Tokens> DrawPrompts(int64_t count, int64_t min, int64_t max,
                                int64_t vocab_size, std::mt19937_64& random) {
  std::vector<Tokens> prompts(static_cast<size_t>(count));
  std::uniform_real_distribution<double> log_length(
      std::log(static_cast<double>(min)), std::log(static_cast<double>(max)));
  for (Tokens& prompt : prompts) {
    prompt.resize(static_cast<size_t>(std::exp(log_length(random))));
    for (int32_t& id : prompt) {
      id = static_cast<int32_t>(random() % static_cast<uint64_t>(vocab_size));
    }
  }
  return prompts;
}

std::vector<Side> MakeSides(const Model& model) {
  const Hyperparameters& hyper = model.hyperparameters();
  std::mt19937_64 random(kSeed);
  std::vector<Side> sides(2);
  sides[0].name = "prefill";
  sides[0].request.max_new_tokens = 1;
  sides[0].prompts = DrawPrompts(kNumPrefills, kPrefillTokens, kPrefillTokens,
                                 hyper.vocab_size, random);
  sides[1].name = "scores";
  sides[1].request.kind = WorkKind::kScore;
  sides[1].request.is_background = true;
  sides[1].at_once = kAtOnce;
  sides[1].prompts = DrawPrompts(kNumDocuments, kMinTokens, kMaxTokens,
                                 hyper.vocab_size, random);
  const int64_t layers = hyper.num_layers;
  for (const int64_t layer : {int64_t{0}, layers / 5, layers / 2, layers - 1}) {
    HeadPlan plan = DefaultHeadPlan(hyper, model.Sha256());
    plan.heads[static_cast<size_t>(layer * plan.num_heads)].mask =
        HeadMask::kUniform;
    Side side = sides[1];
    side.name = absl::StrCat("pairs from layer ", layer);
    side.request.contrast_plan = std::make_shared<const HeadPlan>(plan);
    side.masked_share =
        static_cast<double>(layers - layer) / static_cast<double>(layers);
    sides.push_back(std::move(side));
  }
  return sides;
}

// "median (least to most)" of a ratio by rounds.
std::string Spread(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return absl::StrCat("\"median\":", values[values.size() / 2],
                      ",\"least\":", values.front(),
                      ",\"most\":", values.back());
}

void Print(const std::vector<Side>& sides) {
  const Side& prefill = sides[0];
  const Side& scores = sides[1];
  const size_t rounds = prefill.seconds.size();
  for (const Side& side : sides) {
    std::vector<double> rates;
    for (const double s : side.seconds) rates.push_back(side.num_tokens() / s);
    printf("{\"side\":\"%s\",\"tokens_per_second\":{%s}}\n", side.name.c_str(),
           Spread(rates).c_str());
  }
  std::vector<double> packing;
  for (size_t i = 0; i < rounds; ++i) {
    packing.push_back(scores.num_tokens() / scores.seconds[i] /
                      (prefill.num_tokens() / prefill.seconds[i]));
  }
  printf("{\"packing\":{%s}}\n", Spread(packing).c_str());
  for (size_t k = 2; k < sides.size(); ++k) {
    std::vector<double> costs;
    for (size_t i = 0; i < rounds; ++i) {
      costs.push_back(sides[k].seconds[i] / scores.seconds[i] - 1);
    }
    printf("{\"masked_pass\":\"%s\",\"share\":%.3f,%s}\n",
           sides[k].name.c_str(), sides[k].masked_share, Spread(costs).c_str());
  }
}

absl::Status Run(const std::string& model, int threads, int rounds) {
  EmbeddedClusterOptions options;
  options.model_path = model;
  options.threads = threads;
  HEADWISE_ASSIGN_OR_RETURN(const auto cluster,
                            EmbeddedCluster::Create(options));
  std::vector<Side> sides = MakeSides(cluster->model());
  for (int round = 0; round <= rounds; ++round) {
    for (Side& side : sides) {
      HEADWISE_RETURN_IF_ERROR(RunSide(cluster->engine(), side));
      if (round == 0) side.seconds.clear();  // weights were packed
    }
  }
  Print(sides);
  return absl::OkStatus();
}

}  // namespace
}  // namespace headwise

int main(int argc, char** argv) {
  int threads = 0;
  int rounds = 3;
  if (argc < 2 || (argc > 2 && !absl::SimpleAtoi(argv[2], &threads)) ||
      (argc > 3 && !absl::SimpleAtoi(argv[3], &rounds)) || rounds < 1) {
    fprintf(stderr, "usage: headwise_pair_bench MODEL [THREADS] [ROUNDS]\n");
    return 2;
  }
  const absl::Status status = headwise::Run(argv[1], threads, rounds);
  if (status.ok()) return 0;
  fprintf(stderr, "%s\n", status.ToString().c_str());
  return 1;
}
