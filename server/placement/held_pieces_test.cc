#include "server/placement/held_pieces.h"

#include <algorithm>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "server/placement/planner.h"
#include "server/placement/planner_checks.h"

namespace headwise {
namespace {

using Ranks = std::vector<int>;

TEST(DealPiecesTest, NeighboursWhereNobodyHoldsAnything) {
  EXPECT_EQ(DealPieces({2, 0, 3}, {}), (Ranks{0, 0, 2, 2, 2}));
  EXPECT_EQ(DealPieces({2, 0, 3}, {0, 0, 0, 0, 0}), (Ranks{0, 0, 2, 2, 2}));
  EXPECT_EQ(DealPieces({0, 0}, {}), Ranks());
}

TEST(DealPiecesTest, WhoHoldsAPieceKeepsItUpToItsCount) {
  EXPECT_EQ(DealPieces({1, 2}, {0b10, 0b01, 0b01}), (Ranks{1, 0, 1}));
  EXPECT_EQ(DealPieces({0, 3}, {0b01, 0b01, 0b01}), (Ranks{1, 1, 1}));
  // Ranks that are no more are not counted.
  EXPECT_EQ(DealPieces({1, 1}, {0b100, 0b10}), (Ranks{0, 1}));
}

TEST(DealPiecesTest, PiecesThatFewHoldChooseFirst) {
  EXPECT_EQ(DealPieces({1, 1}, {0b11, 0b01}), (Ranks{1, 0}));
  EXPECT_EQ(DealPieces({1, 1, 1}, {0b111, 0b011, 0b001}), (Ranks{2, 1, 0}));
}

ModelShape ShapeOf(int64_t num_units, int64_t num_mlp_tiles) {
  return {.num_layers = 30,
          .num_units = num_units,
          .num_mlp_tiles = num_mlp_tiles,
          .num_vocab_tiles = 49,
          .heads_per_kv_head = 3,
          .head_dim = 64,
          .model_dim = 576,
          .unit_weight_bytes = 1000,
          .mlp_tile_weight_bytes = 1000,
          .vocab_tile_weight_bytes = 1000,
          .kv_bytes_per_unit_position = 256};
}

std::vector<WorkerCapacity> Workers(int number) {
  std::vector<WorkerCapacity> workers;
  for (int i = 0; i < number; ++i) {
    workers.push_back({"w" + std::to_string(i)});
  }
  return workers;
}

// What a plan's ranks hold, seen from a group that lacks rank `gone`; -1: from
// one that has a new rank at the end.
HeldPieces HeldAfter(const Placement& placement, int gone) {
  const auto bits = [gone](const Ranks& ranks) {
    std::vector<RankBits> held;
    for (const int rank : ranks) {
      held.push_back(rank == gone
                         ? 0
                         : RankBits{1}
                               << (gone >= 0 && rank > gone ? rank - 1 : rank));
    }
    return held;
  };
  HeldPieces held;
  for (const Ranks& layer : placement.unit_rank) {
    held.units.push_back(bits(layer));
  }
  for (const Ranks& layer : placement.mlp_tile_rank) {
    held.mlp_tiles.push_back(bits(layer));
  }
  held.vocab_tiles = bits(placement.vocab_tile_rank);
  return held;
}

// Pieces that their new rank does not hold.
int64_t NumMoved(const Placement& placement, const HeldPieces& held) {
  int64_t moved = 0;
  const auto count = [&moved](const Ranks& ranks,
                              const std::vector<RankBits>& bits) {
    for (size_t i = 0; i < ranks.size(); ++i) {
      moved += (bits[i] >> ranks[i] & 1) == 0 ? 1 : 0;
    }
  };
  for (size_t layer = 0; layer < placement.unit_rank.size(); ++layer) {
    count(placement.unit_rank[layer], held.units[layer]);
    count(placement.mlp_tile_rank[layer], held.mlp_tiles[layer]);
  }
  count(placement.vocab_tile_rank, held.vocab_tiles);
  return moved;
}

int64_t NumPieces(const RankForecast& rank) {
  return rank.num_units + rank.num_mlp_tiles + rank.num_vocab_tiles;
}

// Whoever dies or comes: each rank has as much as if it were planned anew, and
// of what the others had, less is loaded than a tenth of the model.
TEST(HeldPiecesTest, AfterADeathOrAnArrivalFewPiecesMove) {
  for (const auto& [num_units, num_mlp_tiles] :
       {std::pair<int, int>{3, 8}, {4, 16}, {8, 28}}) {
    const ModelShape shape = ShapeOf(num_units, num_mlp_tiles);
    const int64_t num_all = 30 * (num_units + num_mlp_tiles) + 49;
    for (int number = 2; number <= 8; ++number) {
      const auto before = PlanPlacement(shape, Workers(number), 64);
      ASSERT_TRUE(before.ok()) << before.status();
      for (int gone = -1; gone < number; ++gone) {
        SCOPED_TRACE(testing::Message() << num_units << " units, " << number
                                        << " workers, gone " << gone);
        const auto workers = Workers(gone < 0 ? number + 1 : number - 1);
        const HeldPieces held = HeldAfter(before->placement, gone);
        const auto anew = PlanPlacement(shape, workers, 64);
        const auto plan = PlanPlacement(shape, workers, 64, held);
        ASSERT_TRUE(plan.ok()) << plan.status();
        ExpectConsistent(shape, *plan);
        for (size_t rank = 0; rank < workers.size(); ++rank) {
          EXPECT_EQ(NumPieces(plan->ranks[rank]), NumPieces(anew->ranks[rank]));
        }
        const int64_t least =
            NumPieces(gone < 0 ? plan->ranks.back() : before->ranks[gone]);
        const int64_t moved = NumMoved(plan->placement, held);
        EXPECT_GE(moved, least);
        EXPECT_LE(moved, least + num_all / 10);
      }
    }
  }
}

// Nobody came or went: nothing is loaded.
TEST(HeldPiecesTest, TheSameWorkersKeepEverything) {
  const ModelShape shape = ShapeOf(3, 8);
  const auto before = PlanPlacement(shape, Workers(4), 64);
  const HeldPieces held = HeldAfter(before->placement, -1);
  const auto plan = PlanPlacement(shape, Workers(4), 64, held);
  EXPECT_EQ(NumMoved(plan->placement, held), 0);
}

TEST(HeldPiecesTest, AnotherShapeIsRefused) {
  HeldPieces held;
  held.vocab_tiles = {0, 0};
  const absl::Status status =
      PlanPlacement(ShapeOf(3, 8), Workers(2), 64, held).status();
  EXPECT_EQ(status.message(),
            "held pieces: 2 vocabulary tiles, must be none or 49");
}

}  // namespace
}  // namespace headwise
