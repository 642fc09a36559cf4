#include "server/placement/planner.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <sstream>
#include <utility>

#include "absl/numeric/int128.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/placement/apportionment.h"

namespace headwise {
namespace {

// The cost model, for one new token at context_len. A rank of speed 1.0 is one
// thread that reads memory at 17.5 GB/s and does 133 GFLOP/s of fp32 FMA (what
// one thread of a two-core server measured with AVX2). Work on weights reads
// each byte once and computes less than it waits for; attention also computes,
// 2 FMA per query head, key element and position:
//
//   unit      ms = max((unit_weight_bytes + kv_bytes_per_unit_position *
//                      context_len) / bytes per ms,
//                     4 * heads_per_kv_head * head_dim * context_len /
//                      flops per ms)
//   MLP tile  ms = mlp_tile_weight_bytes / bytes per ms
//   vocab tile ms = vocab_tile_weight_bytes / bytes per ms
//   rank      ms = its pieces' sum / speed
//   token     ms = sum over layers of (slowest rank's units + slowest rank's
//   MLP
//                  tiles) + slowest rank's vocab tiles
//
// Since all units of a layer cost the same, the least maximum is that of
// count / speed. The exchanges themselves are not counted: every placement has
// the same number of them.
constexpr double kBytesPerMs = 17.5e6;
constexpr double kFlopsPerMs = 133e6;

constexpr int64_t kUnlimited = std::numeric_limits<int64_t>::max();
constexpr size_t kMaxWorkers = 64;
// Within these no sum of the forecast leaves 64 bits, and a plan stays small.
constexpr int64_t kMaxPieces = int64_t{1} << 22;
constexpr int64_t kMaxPieceBytes = int64_t{1} << 40;
constexpr int64_t kMaxContextLen = int64_t{1} << 40;
// Relative speeds beyond this are a slip of the pen, and would round to zero.
constexpr double kMinSpeed = 1e-6;
constexpr double kMaxSpeed = 1e6;
// A cache hands out whole blocks of this many positions.
constexpr int64_t kBlockPositions = 64;

std::string Text(absl::int128 value) {
  std::ostringstream text;
  text << value;
  return text.str();
}

absl::Status CheckField(const char* name, int64_t value, int64_t limit) {
  if (value >= 1 && value <= limit) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "model shape: ", name, " is ", value, ", must be 1 to ", limit));
}

absl::Status CheckShape(const ModelShape& shape) {
  const std::pair<const char*, int64_t> counts[] = {
      {"num_layers", shape.num_layers},
      {"num_units", shape.num_units},
      {"num_mlp_tiles", shape.num_mlp_tiles},
      {"num_vocab_tiles", shape.num_vocab_tiles},
      {"heads_per_kv_head", shape.heads_per_kv_head},
      {"head_dim", shape.head_dim},
      {"model_dim", shape.model_dim}};
  for (const auto& [name, value] : counts) {
    HEADWISE_RETURN_IF_ERROR(CheckField(name, value, kMaxPieces));
  }
  const std::pair<const char*, int64_t> sizes[] = {
      {"unit_weight_bytes", shape.unit_weight_bytes},
      {"mlp_tile_weight_bytes", shape.mlp_tile_weight_bytes},
      {"vocab_tile_weight_bytes", shape.vocab_tile_weight_bytes},
      {"kv_bytes_per_unit_position", shape.kv_bytes_per_unit_position}};
  for (const auto& [name, value] : sizes) {
    HEADWISE_RETURN_IF_ERROR(CheckField(name, value, kMaxPieceBytes));
  }
  const int64_t num_pieces =
      shape.num_layers * (shape.num_units + shape.num_mlp_tiles) +
      shape.num_vocab_tiles;
  if (num_pieces > kMaxPieces) {
    return absl::InvalidArgumentError(absl::StrCat(
        "model shape: ", num_pieces, " units and tiles, at most ", kMaxPieces));
  }
  return absl::OkStatus();
}

absl::Status CheckWorkers(const std::vector<WorkerCapacity>& workers) {
  if (workers.empty() || workers.size() > kMaxWorkers) {
    return absl::InvalidArgumentError(
        absl::StrCat(workers.size(), " workers, must be 1 to ", kMaxWorkers));
  }
  for (const WorkerCapacity& worker : workers) {
    if (!(worker.speed >= kMinSpeed && worker.speed <= kMaxSpeed)) {
      return absl::InvalidArgumentError(
          absl::StrCat("worker '", worker.name, "': speed is ", worker.speed,
                       ", must be ", kMinSpeed, " to ", kMaxSpeed));
    }
    if (worker.memory_bytes < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("worker '", worker.name, "': memory_bytes is ",
                       worker.memory_bytes, ", must be 0 (unlimited) or more"));
    }
  }
  return absl::OkStatus();
}

RankLoads EmptyLoads(const std::vector<WorkerCapacity>& workers) {
  RankLoads loads;
  for (const WorkerCapacity& worker : workers) {
    loads.speed.push_back(worker.speed);
    loads.memory_bytes.push_back(worker.memory_bytes == 0
                                     ? absl::Int128Max()
                                     : absl::int128(worker.memory_bytes));
    loads.used_bytes.push_back(0);
  }
  return loads;
}

// The three kinds of pieces, in this order everywhere.
enum { kUnits, kMlpTiles, kVocabTiles, kNumKinds };
using Kinds = std::array<PieceKind, kNumKinds>;
using Totals = std::array<std::vector<int64_t>, kNumKinds>;

Kinds KindsOf(const ModelShape& shape, int64_t context_len) {
  const int64_t num_blocks =
      (context_len + kBlockPositions - 1) / kBlockPositions;
  const absl::int128 kv_bytes = absl::int128(shape.kv_bytes_per_unit_position) *
                                kBlockPositions * num_blocks;
  return {PieceKind{shape.num_layers, shape.num_units,
                    kv_bytes + shape.unit_weight_bytes},
          PieceKind{shape.num_layers, shape.num_mlp_tiles,
                    shape.mlp_tile_weight_bytes},
          PieceKind{1, shape.num_vocab_tiles, shape.vocab_tile_weight_bytes}};
}

absl::Status DoesNotFit(const Kinds& kinds, const RankLoads& loads,
                        int64_t context_len) {
  absl::int128 needed = 0;
  absl::int128 largest = 0;
  for (const PieceKind& kind : kinds) {
    needed += kind.bytes * (kind.num_layers * kind.per_layer);
    largest = std::max(largest, kind.bytes);
  }
  absl::int128 available = 0;
  for (const absl::int128& bytes : loads.memory_bytes) available += bytes;
  return absl::ResourceExhaustedError(absl::StrCat(
      "weights and KV at context_len ", context_len, " need ", Text(needed),
      " bytes in pieces of up to ", Text(largest), ", the ",
      loads.memory_bytes.size(), " workers have ", Text(available)));
}

// Totals for all kinds. First by speed, units first: a byte moved to a rank
// that has room saves the same time in every kind. Where memory is so tight
// that this leaves a piece over, larger pieces go first, at last without regard
// to speed; if that fails too, no rank has room for some piece, so less than
// one such piece per rank is free.
absl::StatusOr<Totals> ShareAll(const Kinds& kinds, const RankLoads& empty,
                                int64_t context_len) {
  std::array<int, kNumKinds> by_kind = {kUnits, kMlpTiles, kVocabTiles};
  std::array<int, kNumKinds> by_size = by_kind;
  std::stable_sort(by_size.begin(), by_size.end(), [&](int a, int b) {
    return kinds[a].bytes > kinds[b].bytes;
  });
  const std::pair<std::array<int, kNumKinds>, ShareRule> attempts[] = {
      {by_kind, ShareRule::kFastest},
      {by_size, ShareRule::kFastest},
      {by_size, ShareRule::kFullest}};
  for (const auto& [order, rule] : attempts) {
    RankLoads loads = empty;
    Totals totals;
    bool all_placed = true;
    for (const int kind : order) {
      totals[kind] = ShareTotals(kinds[kind], rule, loads);
      int64_t placed = 0;
      for (const int64_t total : totals[kind]) placed += total;
      all_placed = all_placed &&
                   placed == kinds[kind].num_layers * kinds[kind].per_layer;
    }
    if (all_placed) return totals;
  }
  return DoesNotFit(kinds, empty, context_len);
}

// By layer, how many of its pieces each rank holds; nothing for nothing.
std::vector<std::vector<int64_t>> HeldCounts(
    const std::vector<std::vector<RankBits>>& held, size_t world_size) {
  std::vector<std::vector<int64_t>> counts;
  for (const std::vector<RankBits>& layer : held) {
    counts.push_back(CountHeld(layer, static_cast<int>(world_size)));
  }
  return counts;
}

std::vector<std::vector<int>> DealLayers(
    const std::vector<std::vector<int64_t>>& counts,
    const std::vector<std::vector<RankBits>>& held) {
  static const std::vector<RankBits>* const kNothing =
      new std::vector<RankBits>;
  std::vector<std::vector<int>> ranks;
  for (size_t layer = 0; layer < counts.size(); ++layer) {
    ranks.push_back(
        DealPieces(counts[layer], held.empty() ? *kNothing : held[layer]));
  }
  return ranks;
}

absl::Status CheckHeld(const ModelShape& shape, const HeldPieces& held) {
  const auto check = [](const char* what, size_t have, int64_t want) {
    if (have == 0 || have == static_cast<size_t>(want)) return absl::OkStatus();
    return absl::InvalidArgumentError(absl::StrCat(
        "held pieces: ", have, " ", what, ", must be none or ", want));
  };
  HEADWISE_RETURN_IF_ERROR(
      check("layers of units", held.units.size(), shape.num_layers));
  HEADWISE_RETURN_IF_ERROR(
      check("layers of MLP tiles", held.mlp_tiles.size(), shape.num_layers));
  for (const std::vector<RankBits>& layer : held.units) {
    HEADWISE_RETURN_IF_ERROR(check("units", layer.size(), shape.num_units));
  }
  for (const std::vector<RankBits>& layer : held.mlp_tiles) {
    HEADWISE_RETURN_IF_ERROR(
        check("MLP tiles", layer.size(), shape.num_mlp_tiles));
  }
  return check("vocabulary tiles", held.vocab_tiles.size(),
               shape.num_vocab_tiles);
}

double SlowestMs(const std::vector<int>& rank_of_piece, double piece_ms,
                 const std::vector<double>& speed) {
  std::vector<int64_t> counts(speed.size(), 0);
  for (const int rank : rank_of_piece) ++counts[static_cast<size_t>(rank)];
  double slowest = 0.0;
  for (size_t rank = 0; rank < counts.size(); ++rank) {
    slowest = std::max(slowest, counts[rank] * piece_ms / speed[rank]);
  }
  return slowest;
}

std::array<double, kNumKinds> PieceMs(const ModelShape& shape,
                                      int64_t context_len) {
  const double context = static_cast<double>(context_len);
  const double unit_bytes =
      shape.unit_weight_bytes + shape.kv_bytes_per_unit_position * context;
  const double unit_flops =
      4.0 * shape.heads_per_kv_head * shape.head_dim * context;
  return {std::max(unit_bytes / kBytesPerMs, unit_flops / kFlopsPerMs),
          shape.mlp_tile_weight_bytes / kBytesPerMs,
          shape.vocab_tile_weight_bytes / kBytesPerMs};
}

// Exact but for decode_ms, which the caller adds.
RankForecast Forecast(const ModelShape& shape, const Totals& totals,
                      size_t rank, int64_t memory_bytes) {
  RankForecast forecast;
  forecast.num_units = totals[kUnits][rank];
  forecast.num_mlp_tiles = totals[kMlpTiles][rank];
  forecast.num_vocab_tiles = totals[kVocabTiles][rank];
  forecast.weight_bytes =
      forecast.num_units * shape.unit_weight_bytes +
      forecast.num_mlp_tiles * shape.mlp_tile_weight_bytes +
      forecast.num_vocab_tiles * shape.vocab_tile_weight_bytes;
  forecast.kv_bytes_per_position =
      forecast.num_units * shape.kv_bytes_per_unit_position;
  forecast.kv_capacity_bytes =
      memory_bytes == 0 ? kUnlimited : memory_bytes - forecast.weight_bytes;
  return forecast;
}

// Positions whose KV the rank can hold, in whole blocks.
int64_t MaxContextLen(const RankForecast& rank) {
  if (rank.kv_bytes_per_position == 0) return kUnlimited;
  if (rank.kv_capacity_bytes == kUnlimited) return kUnlimited;
  return rank.kv_capacity_bytes / rank.kv_bytes_per_position / kBlockPositions *
         kBlockPositions;
}

}  // namespace

absl::StatusOr<PlacementPlan> PlanPlacement(
    const ModelShape& shape, const std::vector<WorkerCapacity>& workers,
    int64_t context_len, const HeldPieces& held) {
  HEADWISE_RETURN_IF_ERROR(CheckShape(shape));
  HEADWISE_RETURN_IF_ERROR(CheckWorkers(workers));
  HEADWISE_RETURN_IF_ERROR(CheckHeld(shape, held));
  if (context_len < 0 || context_len > kMaxContextLen) {
    return absl::InvalidArgumentError(absl::StrCat(
        "context_len is ", context_len, ", must be 0 to ", kMaxContextLen));
  }
  const Kinds kinds = KindsOf(shape, context_len);
  const RankLoads loads = EmptyLoads(workers);
  HEADWISE_ASSIGN_OR_RETURN(const Totals totals,
                            ShareAll(kinds, loads, context_len));

  const auto units = SpreadOverLayers(kinds[kUnits], totals[kUnits], {},
                                      HeldCounts(held.units, workers.size()));
  std::vector<std::vector<double>> unit_work;  // [num_layers][world_size]
  for (const std::vector<int64_t>& counts : units) {
    unit_work.emplace_back(counts.begin(), counts.end());
  }
  const auto mlp_tiles =
      SpreadOverLayers(kinds[kMlpTiles], totals[kMlpTiles], unit_work,
                       HeldCounts(held.mlp_tiles, workers.size()));

  PlacementPlan plan;
  plan.placement.world_size = static_cast<int>(workers.size());
  plan.placement.unit_rank = DealLayers(units, held.units);
  plan.placement.mlp_tile_rank = DealLayers(mlp_tiles, held.mlp_tiles);
  plan.placement.vocab_tile_rank =
      DealPieces(totals[kVocabTiles], held.vocab_tiles);
  plan.decode_ms = DecodeMs(shape, plan.placement, loads.speed, context_len);
  const std::array<double, kNumKinds> piece_ms = PieceMs(shape, context_len);

  plan.max_context_len = kUnlimited;
  for (size_t rank = 0; rank < workers.size(); ++rank) {
    RankForecast forecast =
        Forecast(shape, totals, rank, workers[rank].memory_bytes);
    for (int kind = 0; kind < kNumKinds; ++kind) {
      forecast.decode_ms +=
          totals[kind][rank] * piece_ms[kind] / workers[rank].speed;
    }
    plan.max_context_len =
        std::min(plan.max_context_len, MaxContextLen(forecast));
    plan.ranks.push_back(forecast);
  }
  return plan;
}

double DecodeMs(const ModelShape& shape, const Placement& placement,
                const std::vector<double>& speeds, int64_t context_len) {
  const std::array<double, kNumKinds> piece_ms = PieceMs(shape, context_len);
  double ms =
      SlowestMs(placement.vocab_tile_rank, piece_ms[kVocabTiles], speeds);
  for (size_t layer = 0; layer < placement.unit_rank.size(); ++layer) {
    ms +=
        SlowestMs(placement.unit_rank[layer], piece_ms[kUnits], speeds) +
        SlowestMs(placement.mlp_tile_rank[layer], piece_ms[kMlpTiles], speeds);
  }
  return ms;
}

}  // namespace headwise
