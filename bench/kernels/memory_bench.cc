// Times neural memories of the CPU backend, without a model around them.
//
//   headwise_memory_bench [--work=write|token|snapshot] [--threads=2]
//       [--tokens=4096] [--heads=9] [--head-dim=64] [--layers=2]
//       [--hidden=128] [--chunk=64] [--rule=chunk|token]
//       [--activation=gelu|silu] [--norm=layer|rms|none] [--reads=1]
//       [--repeat=5] [--isa=best]
//
// write: all tokens in one call, each read as it is written (--reads=0: not
// read). token: one token a call, as a decode step has it. snapshot: one head
// saved and loaded. Prints one JSON object a line; seconds are medians.

#include <stdio.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/thread_team.h"
#include "worker/neural_memory/memory_team.h"

namespace headwise {
namespace {

struct Options {
  std::string work = "write";
  int threads = 2;
  int64_t tokens = 4096;
  int64_t heads = 9;
  MemorySpec spec;
  bool reads = true;
  int repeat = 5;
  Isa isa = Isa::kAvx2;
};

double SecondsOf(const std::function<void()>& function) {
  const absl::Time start = Clock::Monotonic().Now();
  function();
  return absl::ToDoubleSeconds(Clock::Monotonic().Now() - start);
}

double Quantile(std::vector<double> values, double share) {
  std::sort(values.begin(), values.end());
  const auto last = static_cast<double>(values.size() - 1);
  return values[static_cast<size_t>(std::lround(share * last))];
}

// Heads side by side in rows, as projections leave them; tokens of a fixed seed
// come again every kPeriod, for a stream longer than memory need be.
class Stream {
 public:
  static constexpr int64_t kPeriod = 4096;

  explicit Stream(const Options& options)
      : options_(options),
        width_(options.heads * options.spec.head_dim),
        kernels_(MemoryKernelsFor(options.isa)),
        team_(options.threads, {}),
        scratches_(static_cast<size_t>(options.threads)),
        statuses_(static_cast<size_t>(options.heads)) {
    std::mt19937 random(1);
    keys_ = Numbers(random, 1.0f);
    values_ = Numbers(random, 1.0f);
    queries_ = Numbers(random, 1.0f);
    out_.resize(keys_.size());
    NormalizeHeads(keys_);
    NormalizeHeads(queries_);
    std::uniform_real_distribution<float> uniform(0.0f, 1.0f);
    for (int64_t i = 0; i < kPeriod * options.heads; ++i) {
      theta_.push_back(0.01f * uniform(random));
      eta_.push_back(0.5f * uniform(random));
      alpha_.push_back(0.01f * uniform(random));
    }
    std::vector<float> initial(static_cast<size_t>(options.spec.num_weights()));
    std::normal_distribution<float> normal(0.0f, 0.1f);
    for (float& w : initial) w = normal(random);
    for (int64_t h = 0; h < options.heads; ++h) {
      heads_.push_back(std::make_unique<MemoryHead>(options.spec, initial));
      pointers_.push_back(heads_.back().get());
    }
  }

  // The next `count` tokens, at most kPeriod and not past a period's end.
  void Write(int64_t count) {
    const int64_t at = num_tokens_ % kPeriod;
    HEADWISE_CHECK(at + count <= kPeriod);
    std::vector<MemoryRows> rows;
    for (int64_t h = 0; h < options_.heads; ++h) {
      MemoryRows head;
      const int64_t begin = at * width_ + h * options_.spec.head_dim;
      head.num_rows = count;
      head.keys = keys_.data() + begin;
      head.values = values_.data() + begin;
      head.queries = options_.reads ? queries_.data() + begin : nullptr;
      head.out = out_.data() + begin;
      head.row_stride = width_;
      const int64_t gate = at * options_.heads + h;
      head.theta = theta_.data() + gate;
      head.eta = eta_.data() + gate;
      head.alpha = alpha_.data() + gate;
      head.gate_stride = options_.heads;
      rows.push_back(head);
    }
    WriteHeads({pointers_, rows, absl::MakeSpan(statuses_)}, kernels_, team_,
               absl::MakeSpan(scratches_));
    for (const absl::Status& status : statuses_) HEADWISE_CHECK(status.ok());
    num_tokens_ += count;
  }

  MemoryHead& head(int64_t h) { return *heads_[h]; }

 private:
  std::vector<float> Numbers(std::mt19937& random, float size) const {
    std::normal_distribution<float> normal(0.0f, size);
    std::vector<float> x(static_cast<size_t>(kPeriod * width_));
    for (float& v : x) v = normal(random);
    return x;
  }
  void NormalizeHeads(std::vector<float>& x) const {
    const int64_t d = options_.spec.head_dim;
    for (size_t i = 0; i < x.size(); i += d) {
      float squares = 0.0f;
      for (int64_t j = 0; j < d; ++j) squares += x[i + j] * x[i + j];
      for (int64_t j = 0; j < d; ++j) x[i + j] /= std::sqrt(squares);
    }
  }

  const Options options_;
  const int64_t width_;
  const MemoryKernels& kernels_;
  ThreadTeam team_;
  std::vector<MemoryScratch> scratches_;
  std::vector<absl::Status> statuses_;
  std::vector<float> keys_, values_, queries_, out_;  // [kPeriod][width]
  std::vector<float> theta_, eta_, alpha_;            // [kPeriod][heads]
  std::vector<std::unique_ptr<MemoryHead>> heads_;
  std::vector<MemoryHead*> pointers_;
  int64_t num_tokens_ = 0;
};

void BenchWrite(const Options& options) {
  Stream stream(options);
  std::vector<double> seconds;
  for (int i = -1; i < options.repeat; ++i) {
    const double s = SecondsOf([&] {
      for (int64_t t = 0; t < options.tokens; t += Stream::kPeriod) {
        stream.Write(std::min(options.tokens - t, Stream::kPeriod));
      }
    });
    if (i >= 0 || options.repeat == 0) seconds.push_back(s);
  }
  const double median = Quantile(seconds, 0.5);
  printf("\"seconds\": %.6f, \"tokens_per_s\": %.1f, \"state_bytes\": %lld",
         median, static_cast<double>(options.tokens) / median,
         static_cast<long long>(options.heads * stream.head(0).state_bytes()));
}

void BenchToken(const Options& options) {
  Stream stream(options);
  std::vector<double> seconds, closing;
  for (int64_t t = 0; t < options.tokens; ++t) {
    const double s = SecondsOf([&] { stream.Write(1); });
    const bool closes = (t + 1) % options.spec.chunk_len == 0;
    if (t < options.spec.chunk_len) continue;  // touches memory first
    (closes ? closing : seconds).push_back(s);
  }
  std::vector<double> all = seconds;
  all.insert(all.end(), closing.begin(), closing.end());
  printf(
      "\"median_ms\": %.5f, \"p99_ms\": %.5f, \"worst_ms\": %.5f, "
      "\"closing_median_ms\": %.5f, \"mean_ms\": %.5f",
      1e3 * Quantile(all, 0.5), 1e3 * Quantile(all, 0.99),
      1e3 * Quantile(all, 1.0), 1e3 * Quantile(closing, 0.5), 1e3 * [&] {
        double sum = 0.0;
        for (double s : all) sum += s;
        return sum / static_cast<double>(all.size());
      }());
}

void BenchSnapshot(const Options& options) {
  Stream stream(options);
  stream.Write(options.spec.chunk_len);
  constexpr int kCopies = 64;
  std::vector<double> save, load;
  size_t bytes = 0;
  for (int i = -1; i < options.repeat; ++i) {
    std::string snapshot;
    const double s = SecondsOf([&] {
      for (int c = 0; c < kCopies; ++c) {
        snapshot = SaveMemoryHead(stream.head(c % options.heads));
      }
    });
    const double l = SecondsOf([&] {
      for (int c = 0; c < kCopies; ++c) {
        HEADWISE_CHECK(LoadMemoryHead(options.spec, snapshot).ok());
      }
    });
    bytes = snapshot.size();
    if (i < 0) continue;
    save.push_back(s / kCopies);
    load.push_back(l / kCopies);
  }
  const auto size = static_cast<double>(bytes);
  printf("\"bytes\": %zu, \"save_gb_per_s\": %.3f, \"load_gb_per_s\": %.3f",
         bytes, size / Quantile(save, 0.5) / 1e9,
         size / Quantile(load, 0.5) / 1e9);
}

template <class T>
T OneOf(const std::string& value,
        const std::vector<std::pair<std::string, T>>& names) {
  for (const auto& [name, meaning] : names) {
    if (value == name) return meaning;
  }
  fprintf(stderr, "unknown value '%s'\n", value.c_str());
  exit(2);
}

int64_t Integer(const std::string& text) {
  int64_t number = 0;
  if (!absl::SimpleAtoi(text, &number)) {
    fprintf(stderr, "'%s' is no integer\n", text.c_str());
    exit(2);
  }
  return number;
}

bool Set(const std::string& name, const std::string& value, Options* options) {
  MemorySpec& spec = options->spec;
  if (name == "--work")
    options->work = value;
  else if (name == "--threads")
    options->threads = static_cast<int>(Integer(value));
  else if (name == "--tokens")
    options->tokens = Integer(value);
  else if (name == "--heads")
    options->heads = Integer(value);
  else if (name == "--head-dim")
    spec.head_dim = Integer(value);
  else if (name == "--layers")
    spec.num_layers = Integer(value);
  else if (name == "--hidden")
    spec.hidden_dim = Integer(value);
  else if (name == "--chunk")
    spec.chunk_len = Integer(value);
  else if (name == "--reads")
    options->reads = Integer(value) != 0;
  else if (name == "--repeat")
    options->repeat = static_cast<int>(Integer(value));
  else if (name == "--rule")
    spec.rule = OneOf<MemoryRule>(
        value, {{"chunk", MemoryRule::kChunk}, {"token", MemoryRule::kToken}});
  else if (name == "--activation")
    spec.activation = OneOf<MemoryActivation>(
        value,
        {{"gelu", MemoryActivation::kGelu}, {"silu", MemoryActivation::kSilu}});
  else if (name == "--norm")
    spec.norm = OneOf<MemoryNorm>(value, {{"layer", MemoryNorm::kLayer},
                                          {"rms", MemoryNorm::kRms},
                                          {"none", MemoryNorm::kNone}});
  else if (name == "--isa")
    options->isa = *ParseIsa(value);
  else
    return false;
  return true;
}

Options ParseOptions(int argc, char** argv) {
  Options options;
  options.isa = *ParseIsa("best");
  options.spec.rule = MemoryRule::kChunk;
  options.spec.activation = MemoryActivation::kGelu;
  options.spec.norm = MemoryNorm::kLayer;
  options.spec.loss_scale = 2.0f / 64.0f;
  for (int i = 1; i < argc; ++i) {
    const std::pair<std::string, std::string> option =
        absl::StrSplit(argv[i], absl::MaxSplits('=', 1));
    if (!Set(option.first, option.second, &options)) {
      fprintf(stderr, "unknown option %s\n", argv[i]);
      exit(2);
    }
  }
  const absl::Status status = CheckMemorySpec(options.spec);
  if (!status.ok()) {
    fprintf(stderr, "%s\n", status.ToString().c_str());
    exit(2);
  }
  return options;
}

}  // namespace
}  // namespace headwise

int main(int argc, char** argv) {
  const headwise::Options options = headwise::ParseOptions(argc, argv);
  printf(
      "{\"work\": \"%s\", \"threads\": %d, \"tokens\": %lld, \"isa\": "
      "\"%s\", ",
      options.work.c_str(), options.threads,
      static_cast<long long>(options.tokens), headwise::IsaName(options.isa));
  if (options.work == "write") {
    headwise::BenchWrite(options);
  } else if (options.work == "token") {
    headwise::BenchToken(options);
  } else {
    headwise::BenchSnapshot(options);
  }
  printf("}\n");
  return 0;
}
