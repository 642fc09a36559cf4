#include "client/cli/head_map_picture.h"

#include <cstdlib>
#include <set>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

v1::HeadMap MakeMap(int num_layers, int num_kv_heads, int num_workers) {
  v1::HeadMap map;
  map.set_model("tiny");
  map.set_membership_epoch(3);
  map.set_world_size(num_workers);
  map.set_group_kind("gloo");
  map.set_num_layers(num_layers);
  map.set_num_heads(num_kv_heads * 3);
  map.set_num_kv_heads(num_kv_heads);
  for (int rank = 0; rank < num_workers; ++rank) {
    v1::WorkerShare& worker = *map.add_workers();
    worker.set_name("w" + std::to_string(rank));
    worker.set_rank(rank);
    worker.set_speed(1.0 / (rank + 1));
  }
  for (int layer = 0; layer < num_layers; ++layer) {
    for (int kv_head = 0; kv_head < num_kv_heads; ++kv_head) {
      v1::UnitPlacement& unit = *map.add_units();
      unit.set_layer(layer);
      unit.set_kv_head(kv_head);
      unit.set_rank((layer + kv_head) % num_workers);
    }
  }
  return map;
}

TEST(HeadMapPictureTest, OneLetterForEachUnitUnderALayerRuler) {
  v1::HeadMap map = MakeMap(7, 2, 2);
  v1::WorkerShare& worker = *map.mutable_workers(0);
  worker.set_address("127.0.0.1:9");
  worker.set_version("0.2.0");
  worker.set_num_units(8);
  worker.set_num_mlp_tiles(5);
  worker.set_num_vocab_tiles(4);
  worker.set_weight_bytes(3 << 20);
  worker.set_kv_bytes_per_token(1536);
  worker.set_kv_capacity_bytes(int64_t{5} << 30);
  worker.set_forecast_ms_per_token(1.25);
  map.set_max_context_len(4096);
  map.set_version("0.1.0");
  map.set_protocol(2);
  map.set_numerics(7);
  map.set_forecast_ms_per_token(2.5);
  EXPECT_EQ(RenderHeadMap(map, {}),
            "tiny: 7 layers, 6 heads in 2 KV heads, on 2 workers (gloo group, "
            "membership epoch 3)\n"
            "build 0.1.0, protocol 2, numerics 7\n"
            "\n"
            "   layer  0    5\n"
            "kv head 0 ABABABA\n"
            "kv head 1 BABABAB\n"
            "\n"
            " A  w0 at 127.0.0.1:9, build 0.2.0\n"
            "    speed 1.00, 8 of 14 units, 5 MLP tiles, 4 vocabulary tiles\n"
            "    weights 3.0 MiB, KV 1.5 KiB for each token, capacity 5.0 GiB, "
            "forecast 1.250 ms for a token\n"
            " B  w1\n"
            "    speed 0.50, 0 of 14 units, 0 MLP tiles, 0 vocabulary tiles\n"
            "    weights 0 B, KV 0 B for each token, capacity unlimited\n"
            "longest sequence that fits: 4096 tokens\n"
            "forecast: 2.500 ms for a token\n");
}

TEST(HeadMapPictureTest, WhoIsMissingIsNamed) {
  v1::HeadMap map = MakeMap(1, 1, 1);
  v1::MissingWorker* missing = map.add_missing();
  missing->set_name("h:7001");
  missing->set_reason("DNS resolution failed");
  EXPECT_THAT(RenderHeadMap(map, {}),
              HasSubstr("missing: h:7001: DNS resolution failed\n"));
}

TEST(HeadMapPictureTest, PoliciesOfAPlanHaveAGridAndALegend) {
  v1::HeadMap map = MakeMap(4, 2, 1);
  map.set_plan("dc9ad24e976ff3a0634b2d3c0d6c6872");
  for (v1::UnitPlacement& unit : *map.mutable_units()) {
    const bool is_full = unit.kv_head() == 1 && unit.layer() < 2;
    unit.set_policy(is_full ? "full" : "streaming");
    unit.set_policy_description(is_full ? "full"
                                        : "streaming, 4 sinks, window 64");
  }
  EXPECT_THAT(RenderHeadMap(map, {}),
              EndsWith("\n"
                       "plan dc9ad24e976ff3a0\n"
                       "\n"
                       "   layer  0\n"
                       "kv head 0 SSSS\n"
                       "kv head 1 FFSS\n"
                       "\n"
                       " S  6 of 8 units: streaming, 4 sinks, window 64\n"
                       " F  2 of 8 units: full\n"));
  map.mutable_units(0)->set_policy("of a later version");
  map.mutable_units(0)->set_policy_description("of a later version");
  EXPECT_THAT(RenderHeadMap(map, {}), HasSubstr("kv head 0 ?SSS\n"));
}

TEST(HeadMapPictureTest, OnePolicyForAllIsALine) {
  v1::HeadMap map = MakeMap(4, 2, 1);
  map.set_plan("full");
  for (v1::UnitPlacement& unit : *map.mutable_units()) {
    unit.set_policy("full");
    unit.set_policy_description("full");
  }
  EXPECT_THAT(RenderHeadMap(map, {}),
              EndsWith("\nplan full: every unit full\n"));
}

TEST(HeadMapPictureTest, CutContextsHaveAGridOfTheirRanks) {
  v1::HeadMap map = MakeMap(3, 1, 3);
  for (int unit = 0; unit < 2; ++unit) {
    for (int rank = unit; rank < unit + 2; ++rank) {
      map.mutable_units(unit)->add_context_ranks(rank);
    }
  }
  EXPECT_THAT(RenderHeadMap(map, {}),
              EndsWith("\n"
                       "contexts over ranks\n"
                       "\n"
                       "   layer  0\n"
                       "kv head 0 12-\n"
                       "\n"
                       " 1  1 of 3 units: context over A B\n"
                       " 2  1 of 3 units: context over B C\n"
                       " -  1 of 3 units: context on the rank of the unit\n"));
}

TEST(HeadMapPictureTest, ManyLayersAreCutIntoBandsThatFit) {
  const std::string picture = RenderHeadMap(MakeMap(25, 1, 1), {.columns = 20});
  EXPECT_THAT(picture, HasSubstr("   layer  0    5\nkv head 0 AAAAAAAAAA\n\n"
                                 "   layer  10   15\nkv head 0 AAAAAAAAAA\n\n"
                                 "   layer  20\nkv head 0 AAAAA\n"));
}

TEST(HeadMapPictureTest, UnitsThatTheMapDoesNotNameAreDots) {
  v1::HeadMap map = MakeMap(3, 1, 1);
  map.mutable_units(1)->set_layer(99);  // outside: ignored
  EXPECT_THAT(RenderHeadMap(map, {}), HasSubstr("kv head 0 A.A\n"));
}

TEST(HeadMapPictureTest, AnEmptyMapIsAHeadline) {
  EXPECT_THAT(RenderHeadMap({}, {}), HasSubstr(": 0 layers"));
}

TEST(HeadMapPictureTest, ColourStandsBesideTheLetters) {
  const v1::HeadMap map = MakeMap(2, 1, 2);
  const std::string plain = RenderHeadMap(map, {});
  std::string colored = RenderHeadMap(map, {.color = true});
  EXPECT_THAT(plain, Not(HasSubstr("\x1b")));
  EXPECT_THAT(colored, HasSubstr("\x1b[30;48;5;214mA\x1b[0m"));
  EXPECT_THAT(colored, HasSubstr("\x1b[30;48;5;117mB\x1b[0m"));
  // Without its colours it is the plain picture.
  size_t begin;
  while ((begin = colored.find('\x1b')) != std::string::npos) {
    colored.erase(begin, colored.find('m', begin) - begin + 1);
  }
  EXPECT_EQ(colored, plain);
}

TEST(HeadMapPictureTest, RanksHaveLettersOfTheirOwn) {
  std::set<char> letters;
  for (int64_t rank = 0; rank < 62; ++rank) letters.insert(RankLetter(rank));
  EXPECT_EQ(letters.size(), 62u);
  EXPECT_EQ(RankLetter(0), 'A');
  EXPECT_EQ(RankLetter(26), 'a');
  EXPECT_EQ(RankLetter(61), '9');
  EXPECT_EQ(RankLetter(63), '#');
}

TEST(HeadMapPictureTest, BytesHaveBinaryUnits) {
  EXPECT_EQ(FormatBytes(0), "0 B");
  EXPECT_EQ(FormatBytes(1023), "1023 B");
  EXPECT_EQ(FormatBytes(1024), "1.0 KiB");
  EXPECT_EQ(FormatBytes(98362432), "93.8 MiB");
  EXPECT_EQ(FormatBytes(int64_t{3} << 50), "3.0 PiB");
}

TEST(HeadMapPictureTest, NoColorIsHonoured) {
  unsetenv("NO_COLOR");
  EXPECT_TRUE(WantsColor(true));
  EXPECT_FALSE(WantsColor(false));
  setenv("NO_COLOR", "1", 1);
  EXPECT_FALSE(WantsColor(true));
  setenv("NO_COLOR", "", 1);
  EXPECT_TRUE(WantsColor(true));
  unsetenv("NO_COLOR");
}

}  // namespace
}  // namespace headwise
