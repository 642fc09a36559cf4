// Times attention of the CPU backend, without a model around it.
//
//   headwise_attention_bench [--work=decode|prefill|vanilla] [--threads=2]
//       [--positions=1000000] [--kv-heads=8] [--heads-per-kv-head=1,4]
//       [--head-dim=64] [--type=bf16] [--repeat=5] [--isa=best]
//
// decode: one new token over a context, cut into the fixed ranges that a step
// cuts it into and merged; in turn with a sum over the same bytes, which is the
// bandwidth that the machine has just then. prefill: every token of a context,
// causal. vanilla: the textbook's attention, the whole score matrix written to
// memory, causal, one thread, plain loops; what an experiment on long sequences
// starts from. Prints one JSON object a line; seconds are medians.

#include <sched.h>
#include <stdio.h>

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/thread_team.h"
#include "bench/kernels/attention_runs.h"
#include "bench/kernels/vanilla_attention.h"
#include "worker/backends/cpu/kernels.h"

namespace headwise {
namespace {

struct Options {
  std::string work = "decode";
  AttentionShape shape;
  std::vector<int64_t> heads_per_kv_head = {1, 4};
  int repeat = 5;
  Isa isa = Isa::kAvx2;
};

double SecondsOf(const std::function<void()>& function) {
  const absl::Time start = Clock::Monotonic().Now();
  function();
  return absl::ToDoubleSeconds(Clock::Monotonic().Now() - start);
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

// Sums all bytes as 64-bit words, each thread its part; read ahead, which is
// some percent faster.
uint64_t ReadAll(const uint8_t* data, int64_t bytes, ThreadTeam& team) {
  std::atomic<uint64_t> total{0};
  team.Run([&](int member) {
    const PartRange part = PartOf(bytes / 64, member, team.num_threads());
    const auto* words = reinterpret_cast<const uint64_t*>(data);
    uint64_t sums[8] = {};
    for (int64_t i = part.begin; i < part.end; ++i) {
      __builtin_prefetch(words + 8 * (i + 64));
      for (int lane = 0; lane < 8; ++lane) sums[lane] += words[8 * i + lane];
    }
    for (uint64_t sum : sums) total += sum;
  });
  return total;
}

double Least(const std::vector<double>& values) {
  return *std::min_element(values.begin(), values.end());
}

struct DecodeTimes {
  std::vector<double> seconds;
  std::vector<double> bandwidth_share;  // read time / attention's
  std::vector<double> to_first;         // to the first heads_per_kv_head's
};

void PrintDecode(const Options& options, int64_t bytes, int64_t g,
                 const std::vector<double>& read, const DecodeTimes& times) {
  const AttentionShape& shape = options.shape;
  printf(
      "{\"work\": \"decode\", \"threads\": %d, \"positions\": %lld, "
      "\"kv_heads\": %lld, \"heads_per_kv_head\": %lld, \"head_dim\": %lld, "
      "\"isa\": \"%s\", \"seconds\": %.9f, \"least_seconds\": %.9f, "
      "\"read_seconds\": %.9f, \"least_read_seconds\": %.9f, "
      "\"read_gb_per_s\": %.1f, \"bandwidth_share\": %.3f, "
      "\"to_first\": %.3f}\n",
      shape.threads, static_cast<long long>(shape.positions),
      static_cast<long long>(shape.kv_heads), static_cast<long long>(g),
      static_cast<long long>(shape.head_dim), IsaName(options.isa),
      Median(times.seconds), Least(times.seconds), Median(read), Least(read),
      static_cast<double>(bytes) / Median(read) / 1e9,
      Median(times.bandwidth_share), Median(times.to_first));
  fflush(stdout);
}

void BenchDecode(const Options& options, const Kernels& kernels,
                 ThreadTeam& team) {
  const AttentionCache cache(options.shape, kernels, team);
  const int64_t bytes = options.shape.kv_heads * cache.head_bytes();
  std::vector<std::unique_ptr<DecodeRun>> runs;
  for (int64_t g : options.heads_per_kv_head) {
    runs.push_back(
        std::make_unique<DecodeRun>(options.shape, kernels, cache, g));
  }
  uint64_t sum = 0;
  std::vector<double> read;
  std::vector<DecodeTimes> times(runs.size());
  for (int i = -1; i < options.repeat; ++i) {
    const double r =
        SecondsOf([&] { sum += ReadAll(cache.data(), bytes, team); });
    if (i >= 0) read.push_back(r);
    double first = 0.0;
    for (size_t k = 0; k < runs.size(); ++k) {
      const double s = SecondsOf([&] { runs[k]->Run(team); });
      if (k == 0) first = s;
      if (i < 0) continue;  // the first round touches all memory
      times[k].seconds.push_back(s);
      times[k].bandwidth_share.push_back(r / s);
      times[k].to_first.push_back(s / first);
    }
  }
  for (size_t k = 0; k < runs.size(); ++k) {
    PrintDecode(options, bytes, options.heads_per_kv_head[k], read, times[k]);
  }
  // Printed so that no compiler may leave the reading out.
  fprintf(stderr, "checksum %016llx\n", static_cast<unsigned long long>(sum));
}

// A product and a sum for each pair that is seen, of keys and of values.
double CausalFlops(const AttentionShape& shape, int64_t heads) {
  const auto n = static_cast<double>(shape.positions);
  return 2 * n * (n + 1) * static_cast<double>(heads * shape.head_dim);
}

void PrintPrefill(const AttentionShape& shape, const std::string& name,
                  int64_t g, double seconds) {
  printf(
      "{\"work\": \"%s\", \"threads\": %d, \"positions\": %lld, "
      "\"kv_heads\": %lld, \"heads_per_kv_head\": %lld, \"head_dim\": %lld, "
      "\"seconds\": %.9f, \"gflops\": %.1f}\n",
      name.c_str(), shape.threads, static_cast<long long>(shape.positions),
      static_cast<long long>(shape.kv_heads), static_cast<long long>(g),
      static_cast<long long>(shape.head_dim), seconds,
      CausalFlops(shape, shape.kv_heads * g) / seconds / 1e9);
  fflush(stdout);
}

void BenchPrefill(const Options& options, const Kernels& kernels,
                  ThreadTeam& team) {
  const AttentionCache cache(options.shape, kernels, team);
  for (int64_t g : options.heads_per_kv_head) {
    PrefillRun prefill(options.shape, kernels, cache, g);
    std::vector<double> seconds;
    for (int i = -1; i < options.repeat; ++i) {
      const double s = SecondsOf([&] { prefill.Run(team); });
      if (i >= 0) seconds.push_back(s);
    }
    PrintPrefill(options.shape, "prefill", g, Median(seconds));
  }
}

// All heads one after the other; KV heads count as heads.
void BenchVanilla(const Options& options) {
  AttentionShape shape = options.shape;
  shape.threads = 1;
  const int64_t size = shape.positions * shape.head_dim;
  std::vector<float> inputs[3], scores;
  std::vector<float> out(static_cast<size_t>(size));
  for (int i = 0; i < 3; ++i) {
    const Noise noise(i == 0 ? 0.1f : 1.0f);
    for (int64_t p = 0; p < shape.positions; ++p) {
      const float* row = noise.Row(3 * p + i);
      inputs[i].insert(inputs[i].end(), row, row + shape.head_dim);
    }
  }
  std::vector<double> seconds;
  for (int i = -1; i < options.repeat; ++i) {
    const double s = SecondsOf([&] {
      for (int64_t h = 0; h < shape.kv_heads; ++h) {
        VanillaAttention({inputs[0].data(), inputs[1].data(), inputs[2].data(),
                          out.data(), shape.positions, shape.head_dim},
                         &scores);
      }
    });
    if (i >= 0) seconds.push_back(s);
  }
  PrintPrefill(shape, "vanilla", 1, Median(seconds));
}

bool ParseType(const std::string& text, KvElement* type) {
  const std::vector<std::string> names = {"fp32", "fp16", "bf16", "int8"};
  const auto found = std::find(names.begin(), names.end(), text);
  *type = static_cast<KvElement>(found - names.begin());
  return found != names.end();
}

bool ParseOption(const std::string& name, const std::string& value,
                 Options* options) {
  if (name == "--work") options->work = value;
  if (name == "--work") return value != "";
  if (name == "--type") return ParseType(value, &options->shape.type);
  if (name == "--threads")
    return absl::SimpleAtoi(value, &options->shape.threads);
  if (name == "--repeat") return absl::SimpleAtoi(value, &options->repeat);
  if (name == "--positions")
    return absl::SimpleAtoi(value, &options->shape.positions);
  if (name == "--kv-heads")
    return absl::SimpleAtoi(value, &options->shape.kv_heads);
  if (name == "--head-dim")
    return absl::SimpleAtoi(value, &options->shape.head_dim);
  if (name == "--isa") {
    const absl::StatusOr<Isa> isa = ParseIsa(value);
    if (isa.ok()) options->isa = *isa;
    return isa.ok();
  }
  if (name != "--heads-per-kv-head") return false;
  options->heads_per_kv_head.clear();
  for (const absl::string_view word : absl::StrSplit(value, ',')) {
    options->heads_per_kv_head.push_back(0);
    if (!absl::SimpleAtoi(word, &options->heads_per_kv_head.back()))
      return false;
  }
  return true;
}

bool AreUsable(const Options& options) {
  bool usable = options.shape.threads >= 1 && options.shape.threads <= 256 &&
                options.repeat >= 1 && options.shape.positions >= 1 &&
                options.shape.kv_heads >= 1 && options.shape.head_dim >= 16 &&
                options.shape.head_dim % 16 == 0 &&
                options.shape.head_dim <= 1024;
  for (int64_t g : options.heads_per_kv_head) usable = usable && g >= 1;
  return usable;
}

std::vector<int> CpusOf(int threads) {
  cpu_set_t allowed;
  HEADWISE_CHECK(sched_getaffinity(0, sizeof(allowed), &allowed) == 0);
  std::vector<int> cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &allowed)) cpus.push_back(cpu);
  }
  if (static_cast<int>(cpus.size()) < threads) return {};  // not pinned
  cpus.resize(static_cast<size_t>(threads));
  return cpus;
}

int Main(int argc, char** argv) {
  Options options;
  options.isa = IsasOfThisMachine().back();
  for (int i = 1; i < argc; ++i) {
    const std::pair<std::string, std::string> word =
        absl::StrSplit(argv[i], absl::MaxSplits('=', 1));
    if (ParseOption(word.first, word.second, &options)) continue;
    fprintf(stderr, "%s is no option; the source names them\n", argv[i]);
    return 2;
  }
  const bool known = options.work == "decode" || options.work == "prefill" ||
                     options.work == "vanilla";
  if (!known || !AreUsable(options)) {
    fprintf(stderr, "an option is out of range; the source names them\n");
    return 2;
  }
  const Kernels& kernels = KernelsFor(options.isa);
  ThreadTeam team(options.shape.threads, CpusOf(options.shape.threads));
  if (options.work == "decode") BenchDecode(options, kernels, team);
  if (options.work == "prefill") BenchPrefill(options, kernels, team);
  if (options.work == "vanilla") BenchVanilla(options);
  return 0;
}

}  // namespace
}  // namespace headwise

int main(int argc, char** argv) { return headwise::Main(argc, argv); }
