// Causal multi-head attention of tensors in files, timed.
//
//   headwise_distributed_mha --side=vanilla|sessions --folder=DIR --tokens=N
//       --out=FILE [--heads=8] [--head-dim=64] [--workers=1]
//
// DIR/q, DIR/k and DIR/v are raw fp32, [heads or more][tokens][head_dim]; FILE
// becomes the output, [heads][tokens][head_dim]. vanilla: the whole score
// matrix of a head in memory, plain loops, one thread. sessions: attention
// sessions on so many workers of one thread in this process. Runs once to warm
// up (vanilla: one head), then for half a second, and at least once; prints a
// line of JSON: seconds of the median run, cpu_seconds of the sessions' busiest
// worker.

#include <stdio.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "bench/distributed_mha/session_workers.h"
#include "bench/kernels/vanilla_attention.h"

namespace headwise {
namespace {

struct Options {
  std::string side;
  std::string folder;
  std::string out;
  int64_t tokens = 0;
  int64_t heads = 8;
  int64_t head_dim = 64;
  int workers = 1;
};

bool ParseOption(const std::string& name, const std::string& value,
                 Options* options) {
  if (name == "--side") options->side = value;
  if (name == "--folder") options->folder = value;
  if (name == "--out") options->out = value;
  if (name == "--tokens") return absl::SimpleAtoi(value, &options->tokens);
  if (name == "--heads") return absl::SimpleAtoi(value, &options->heads);
  if (name == "--head-dim") return absl::SimpleAtoi(value, &options->head_dim);
  if (name == "--workers") return absl::SimpleAtoi(value, &options->workers);
  return name == "--side" || name == "--folder" || name == "--out";
}

bool AreUsable(const Options& options) {
  return (options.side == "vanilla" || options.side == "sessions") &&
         options.tokens >= 1 && options.tokens <= kMaxSessionPositions &&
         options.heads >= 1 && options.heads <= kMaxSessionKvHeads &&
         options.head_dim >= 16 && options.head_dim % 16 == 0 &&
         options.head_dim <= kMaxSessionHeadDim && options.workers >= 1 &&
         options.workers <= options.heads;
}

// False if the file is too short or not there.
bool ReadFloats(const std::string& path, std::vector<float>* out) {
  FILE* file = fopen(path.c_str(), "rb");
  if (file == nullptr) return false;
  const size_t count = fread(out->data(), sizeof(float), out->size(), file);
  fclose(file);
  return count == out->size();
}

bool WriteFloats(const std::string& path, const std::vector<float>& values) {
  FILE* file = fopen(path.c_str(), "wb");
  if (file == nullptr) return false;
  const size_t count =
      fwrite(values.data(), sizeof(float), values.size(), file);
  return fclose(file) == 0 && count == values.size();
}

MhaSeconds RunVanilla(const MhaInput& input, int64_t num_heads,
                      std::vector<float>* scores, float* out) {
  const absl::Time start = Clock::Monotonic().Now();
  for (int64_t h = 0; h < num_heads; ++h) {
    const int64_t at = h * input.num_tokens * input.head_dim;
    VanillaAttention({input.queries + at, input.keys + at, input.values + at,
                      out + at, input.num_tokens, input.head_dim},
                     scores);
  }
  MhaSeconds seconds;
  seconds.wall = absl::ToDoubleSeconds(Clock::Monotonic().Now() - start);
  seconds.attend = seconds.wall;
  return seconds;
}

// A warm-up, then runs for kRunSeconds, at least one: the median run.
MhaSeconds MedianRun(const std::function<void()>& warm_up,
                     const std::function<MhaSeconds()>& run) {
  constexpr double kRunSeconds = 0.5;
  warm_up();
  std::vector<MhaSeconds> runs;
  double total = 0.0;
  while (total < kRunSeconds) {
    runs.push_back(run());
    total += runs.back().wall;
  }
  std::sort(
      runs.begin(), runs.end(),
      [](const MhaSeconds& a, const MhaSeconds& b) { return a.wall < b.wall; });
  return runs[runs.size() / 2];
}

MhaSeconds RunSide(const Options& options, const MhaInput& input, float* out) {
  if (options.side == "vanilla") {
    std::vector<float> scores;  // kept: its pages are touched once
    return MedianRun(
        [&] { RunVanilla(input, 1, &scores, out); },
        [&] { return RunVanilla(input, input.num_heads, &scores, out); });
  }
  SessionWorkers workers(options.workers);
  const auto run = [&] { return workers.Run(input, out); };
  return MedianRun(run, run);
}

int Main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::pair<std::string, std::string> word =
        absl::StrSplit(argv[i], absl::MaxSplits('=', 1));
    if (ParseOption(word.first, word.second, &options)) continue;
    fprintf(stderr, "%s is no option; the source names them\n", argv[i]);
    return 2;
  }
  if (!AreUsable(options)) {
    fprintf(stderr, "an option is out of range; the source names them\n");
    return 2;
  }
  const auto size =
      static_cast<size_t>(options.heads * options.tokens * options.head_dim);
  std::vector<float> queries(size), keys(size), values(size), out(size);
  if (!ReadFloats(options.folder + "/q", &queries) ||
      !ReadFloats(options.folder + "/k", &keys) ||
      !ReadFloats(options.folder + "/v", &values)) {
    fprintf(stderr, "%s: q, k or v has not %zu floats\n",
            options.folder.c_str(), size);
    return 1;
  }
  const float scale = 1.0f / std::sqrt(static_cast<float>(options.head_dim));
  for (float& x : queries) x *= scale;
  const MhaSeconds seconds =
      RunSide(options,
              {queries.data(), keys.data(), values.data(), options.tokens,
               options.heads, options.head_dim},
              out.data());
  if (!WriteFloats(options.out, out)) {
    fprintf(stderr, "%s: can't be written\n", options.out.c_str());
    return 1;
  }
  printf(
      "{\"seconds\": %.9f, \"append_seconds\": %.9f, "
      "\"attend_seconds\": %.9f, \"cpu_seconds\": %.9f}\n",
      seconds.wall, seconds.append, seconds.attend, seconds.cpu);
  return 0;
}

}  // namespace
}  // namespace headwise

int main(int argc, char** argv) { return headwise::Main(argc, argv); }
