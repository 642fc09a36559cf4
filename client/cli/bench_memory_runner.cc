#include "client/cli/bench_memory_runner.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <memory>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "base/thread_team.h"
#include "client/cli/bench_memory_contenders.h"
#include "client/cli/bench_memory_stream.h"
#include "client/cli/process_memory.h"

namespace headwise {
namespace {

// Rows that are made and then written: they stay in the second-level cache.
constexpr int64_t kBatchRows = 512;
constexpr double kMemoryShare = 0.9;  // of what is available

struct Contender {
  std::string name;
  MemorySpec spec;
  double filler_theta = 0;
  double eta = 0;
  double alpha = 0;
};

Contender ContenderOf(const std::string& name,
                      const MemoryBenchOptions& options) {
  Contender contender = {name, options.spec, options.filler_theta, options.eta,
                         options.alpha};
  if (name == "linear") {
    contender.spec.num_layers = 1;
    contender.spec.hidden_dim = 0;
  }
  if (name == "no-momentum") contender.eta = 0;
  if (name == "no-forgetting") contender.alpha = 0;
  if (name == "careless") contender.filler_theta = options.careless_theta;
  return contender;
}

// One contender's part for one head, in one run.
struct Lane {
  size_t contender = 0;
  int64_t head = 0;
  std::unique_ptr<MemoryContender> memory;
  std::vector<float> out;  // [needles][head_dim]
  absl::Status status;
  double write_seconds = 0;  // since the context before
  double read_seconds = 0;   // of the last read
};

// Of a row, all heads and runs together.
struct RowSums {
  double write_seconds = 0;
  double read_seconds = 0;
  Sha256 outputs;
};

double SecondsSince(absl::Time start) {
  return absl::ToDoubleSeconds(Clock::Monotonic().Now() - start);
}

class MemoryBenchRun {
 public:
  explicit MemoryBenchRun(const MemoryBenchOptions& options)
      : options_(options),
        row_floats_(options.num_heads * options.spec.head_dim),
        contexts_(options.context_lens),
        team_(options.threads, {}) {
    std::sort(contexts_.begin(), contexts_.end());
    contexts_.erase(std::unique(contexts_.begin(), contexts_.end()),
                    contexts_.end());
    contenders_.push_back(ContenderOf("memory", options));
    for (const std::string& name : options.baselines) {
      contenders_.push_back(ContenderOf(name, options));
    }
    for (const Contender& contender : contenders_) {
      for (const int64_t context : contexts_) {
        rows_.push_back({.contender = contender.name, .context = context});
      }
    }
    sums_ = std::vector<RowSums>(rows_.size());
    keys_.resize(static_cast<size_t>(kBatchRows * row_floats_));
    values_.resize(keys_.size());
  }

  absl::StatusOr<std::vector<MemoryBenchRow>> Run() {
    for (int64_t i = 0; i < options_.num_seeds; ++i) {
      HEADWISE_RETURN_IF_ERROR(RunSeed(i));
    }
    for (size_t i = 0; i < rows_.size(); ++i) {
      const size_t c = i % contexts_.size();
      const int64_t stretch = contexts_[c] - (c == 0 ? 0 : contexts_[c - 1]);
      rows_[i].tokens_per_second =
          static_cast<double>(stretch * options_.num_heads *
                              options_.num_seeds) /
          sums_[i].write_seconds;
      rows_[i].seconds_per_read =
          sums_[i].read_seconds / static_cast<double>(rows_[i].num_tests);
      rows_[i].outputs_sha256 = Sha256Hex(sums_[i].outputs.Finish());
    }
    return std::move(rows_);
  }

 private:
  absl::Status RunSeed(int64_t index);
  void OpenLanes(const MemoryStream& stream);
  // Makes `count` rows in keys_ and values_ and writes them to all lanes; theta
  // nullopt: each contender's own for filler.
  absl::Status Write(int64_t count, std::optional<double> theta,
                     const std::function<void(PartRange)>& make_rows);
  void WriteLane(Lane& lane, int64_t count, std::optional<double> theta);
  void ReadLanes(const MemoryStream& stream, size_t context);
  int64_t CountHits(const MemoryStream& stream, size_t contender) const;

  const MemoryBenchOptions& options_;
  const int64_t row_floats_;
  std::vector<int64_t> contexts_;
  std::vector<Contender> contenders_;
  ThreadTeam team_;
  std::vector<MemoryBenchRow> rows_;  // [contenders][contexts]
  std::vector<RowSums> sums_;         // of each row
  std::vector<float> keys_, values_;  // [kBatchRows][row_floats_]
  std::vector<Lane> lanes_;           // [contenders][heads]
};

void MemoryBenchRun::OpenLanes(const MemoryStream& stream) {
  lanes_.clear();
  for (size_t c = 0; c < contenders_.size(); ++c) {
    const Contender& contender = contenders_[c];
    const bool is_full = contender.name == "full";
    const KvLayout layout = {KvElement::kFp16, options_.spec.head_dim};
    for (int64_t head = 0; head < options_.num_heads; ++head) {
      Lane& lane = lanes_.emplace_back();
      lane.contender = c;
      lane.head = head;
      lane.out.resize(
          static_cast<size_t>(options_.num_needles * options_.spec.head_dim));
      if (is_full || contender.name == "window") {
        lane.memory = std::make_unique<AttentionContender>(
            layout, is_full ? 0 : options_.window, KernelsFor(options_.isa));
      } else {
        lane.memory = std::make_unique<HeadContender>(
            MemoryHead(contender.spec,
                       stream.InitialWeights(contender.spec, head)),
            MemoryKernelsFor(options_.isa));
      }
    }
  }
}

void MemoryBenchRun::WriteLane(Lane& lane, int64_t count,
                               std::optional<double> theta) {
  const Contender& contender = contenders_[lane.contender];
  const auto gates = [count](double gate) {
    return std::vector<float>(static_cast<size_t>(count),
                              static_cast<float>(gate));
  };
  const std::vector<float> thetas =
      gates(theta.value_or(contender.filler_theta));
  const std::vector<float> etas = gates(contender.eta);
  const std::vector<float> alphas = gates(contender.alpha);
  const int64_t offset = lane.head * options_.spec.head_dim;
  const absl::Time start = Clock::Monotonic().Now();
  lane.status = lane.memory->Write({.num_rows = count,
                                    .keys = keys_.data() + offset,
                                    .values = values_.data() + offset,
                                    .row_stride = row_floats_,
                                    .theta = thetas.data(),
                                    .eta = etas.data(),
                                    .alpha = alphas.data()});
  lane.write_seconds += SecondsSince(start);
}

absl::Status MemoryBenchRun::Write(
    int64_t count, std::optional<double> theta,
    const std::function<void(PartRange)>& make_rows) {
  std::atomic<size_t> next{0};
  team_.Run([&](int member) {
    make_rows(PartOf(count, member, team_.num_threads()));
    team_.Barrier();
    for (size_t i = next++; i < lanes_.size(); i = next++) {
      WriteLane(lanes_[i], count, theta);
    }
  });
  for (const Lane& lane : lanes_) {
    if (lane.status.ok()) continue;
    return absl::Status(lane.status.code(),
                        absl::StrCat(contenders_[lane.contender].name, ": ",
                                     lane.status.message()));
  }
  return absl::OkStatus();
}

int64_t MemoryBenchRun::CountHits(const MemoryStream& stream,
                                  size_t contender) const {
  std::vector<float> candidates(
      static_cast<size_t>(options_.num_candidates * row_floats_));
  stream.Candidates(0, options_.num_candidates, candidates.data());
  const int64_t dim = options_.spec.head_dim;
  const auto score = [&](int64_t needle, int64_t candidate) {
    double sum = 0;
    for (int64_t i = 0; i < row_floats_; ++i) {
      const Lane& lane =
          lanes_[contender * static_cast<size_t>(options_.num_heads) +
                 static_cast<size_t>(i / dim)];
      const float out = lane.out[static_cast<size_t>(needle * dim + i % dim)];
      sum += double{out} *
             candidates[static_cast<size_t>(candidate * row_floats_ + i)];
    }
    return sum;
  };
  int64_t hits = 0;
  for (int64_t needle = 0; needle < options_.num_needles; ++needle) {
    const double right = score(needle, needle);
    bool is_best = true;
    for (int64_t c = 0; c < options_.num_candidates && is_best; ++c) {
      is_best = c == needle || score(needle, c) < right;
    }
    hits += is_best ? 1 : 0;
  }
  return hits;
}

void MemoryBenchRun::ReadLanes(const MemoryStream& stream, size_t context) {
  const int64_t dim = options_.spec.head_dim;
  std::vector<float> needles(
      static_cast<size_t>(options_.num_needles * row_floats_));
  stream.NeedleKeys(0, options_.num_needles, needles.data());
  std::atomic<size_t> next{0};
  team_.Run([&](int) {
    std::vector<float> queries(static_cast<size_t>(options_.num_needles * dim));
    for (size_t i = next++; i < lanes_.size(); i = next++) {
      Lane& lane = lanes_[i];
      for (int64_t n = 0; n < options_.num_needles; ++n) {
        std::copy_n(needles.data() + n * row_floats_ + lane.head * dim, dim,
                    queries.data() + n * dim);
      }
      const absl::Time start = Clock::Monotonic().Now();
      lane.memory->Read(queries.data(), options_.num_needles, lane.out.data());
      lane.read_seconds = SecondsSince(start);
    }
  });
  for (Lane& lane : lanes_) {
    const size_t at = lane.contender * contexts_.size() + context;
    MemoryBenchRow& row = rows_[at];
    RowSums& sums = sums_[at];
    sums.outputs.Update({reinterpret_cast<const uint8_t*>(lane.out.data()),
                         lane.out.size() * sizeof(float)});
    sums.write_seconds += std::exchange(lane.write_seconds, 0);
    sums.read_seconds += lane.read_seconds;
    if (lane.head == 0) row.state_bytes = 0;
    row.state_bytes += lane.memory->state_bytes();
  }
  for (size_t c = 0; c < contenders_.size(); ++c) {
    MemoryBenchRow& row = rows_[c * contexts_.size() + context];
    row.num_hits += CountHits(stream, c);
    row.num_tests += options_.num_needles;
  }
}

absl::Status MemoryBenchRun::RunSeed(int64_t index) {
  const MemoryStream stream(options_.seed + static_cast<uint64_t>(index),
                            options_.num_heads, options_.spec.head_dim);
  OpenLanes(stream);
  const auto at = [this](std::vector<float>& rows, PartRange part) {
    return rows.data() + part.begin * row_floats_;
  };
  for (int64_t done = 0; done < options_.num_needles; done += kBatchRows) {
    const int64_t count = std::min(kBatchRows, options_.num_needles - done);
    HEADWISE_RETURN_IF_ERROR(
        Write(count, options_.needle_theta, [&](PartRange part) {
          const int64_t size = part.end - part.begin;
          stream.NeedleKeys(done + part.begin, size, at(keys_, part));
          stream.Candidates(done + part.begin, size, at(values_, part));
        }));
  }
  int64_t done = 0;
  for (Lane& lane : lanes_) lane.write_seconds = 0;
  for (size_t context = 0; context < contexts_.size(); ++context) {
    while (done < contexts_[context]) {
      const int64_t count = std::min(kBatchRows, contexts_[context] - done);
      HEADWISE_RETURN_IF_ERROR(Write(count, std::nullopt, [&](PartRange part) {
        const int64_t size = part.end - part.begin;
        stream.FillerKeys(done + part.begin, size, at(keys_, part));
        stream.FillerValues(done + part.begin, size, at(values_, part));
      }));
      done += count;
      options_.on_progress(
          (static_cast<double>(index) +
           static_cast<double>(done) / static_cast<double>(contexts_.back())) /
          static_cast<double>(options_.num_seeds));
    }
    ReadLanes(stream, context);
  }
  return absl::OkStatus();
}

absl::Status CheckRange(const char* field, double value, double min,
                        double max) {
  // Written so that a NaN is outside.
  if (value >= min && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, ": ", value, " is outside [", min, ", ", max, "]"));
}

absl::Status CheckOptions(const MemoryBenchOptions& options) {
  HEADWISE_RETURN_IF_ERROR(CheckMemorySpec(options.spec));
  const auto check = [](const char* field, double value, double max) {
    return CheckRange(field, value, 0, max);
  };
  HEADWISE_RETURN_IF_ERROR(
      CheckRange("needles", static_cast<double>(options.num_needles), 1,
                 static_cast<double>(options.num_candidates)));
  HEADWISE_RETURN_IF_ERROR(check("needle_theta", options.needle_theta, 1e3));
  HEADWISE_RETURN_IF_ERROR(check("filler_theta", options.filler_theta, 1e3));
  HEADWISE_RETURN_IF_ERROR(
      check("careless_theta", options.careless_theta, 1e3));
  HEADWISE_RETURN_IF_ERROR(check("eta", options.eta, 1));
  HEADWISE_RETURN_IF_ERROR(check("alpha", options.alpha, 1));
  for (const int64_t context : options.context_lens) {
    HEADWISE_RETURN_IF_ERROR(
        CheckRange("context", static_cast<double>(context), 1, 1 << 30));
  }
  const std::vector<std::string> known = MemoryBaselines();
  for (const std::string& name : options.baselines) {
    if (std::find(known.begin(), known.end(), name) != known.end()) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        "baselines: \"", name, "\"; we have ", absl::StrJoin(known, ", ")));
  }
  if (std::count(options.baselines.begin(), options.baselines.end(), "full")) {
    const int64_t longest = *std::max_element(options.context_lens.begin(),
                                              options.context_lens.end());
    const int64_t bytes = (longest + options.num_needles) * options.num_heads *
                          options.spec.head_dim * 4;
    const auto available = static_cast<int64_t>(
        kMemoryShare * static_cast<double>(AvailableMemoryBytes()));
    if (bytes > available) {
      return absl::ResourceExhaustedError(
          absl::StrCat("full attention over ", longest, " tokens needs ", bytes,
                       " bytes; the machine has ", available,
                       ": leave \"full\" out of the baselines"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

std::vector<std::string> MemoryBaselines() {
  return {"linear",   "no-momentum", "no-forgetting",
          "careless", "window",      "full"};
}

absl::StatusOr<std::vector<MemoryBenchRow>> RunMemoryBench(
    const MemoryBenchOptions& options) {
  HEADWISE_RETURN_IF_ERROR(CheckOptions(options));
  return MemoryBenchRun(options).Run();
}

}  // namespace headwise
