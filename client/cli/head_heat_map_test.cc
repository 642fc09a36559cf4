#include "client/cli/head_heat_map.h"

#include <cmath>
#include <limits>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::HasSubstr;
using testing::Not;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();

// By layer: (0, 0.5), (1, nan), (0.999, 0.05).
HeadHeatMap SmallMap() {
  return {.title = "a <score> & more",
          .num_layers = 3,
          .num_rows = 2,
          .values = {0, 0.5, 1, kNan, 0.999, 0.05}};
}

int CountOf(const std::string& text, const std::string& part) {
  int count = 0;
  for (size_t at = text.find(part); at != std::string::npos;
       at = text.find(part, at + 1)) {
    ++count;
  }
  return count;
}

TEST(HeadHeatMapTest, ADigitForEachHeadUnderALayerRuler) {
  EXPECT_EQ(RenderHeatMap(SmallMap(), {}),
            "a <score> & more\n"
            "\n"
            "layer  0\n"
            "head 0 099\n"
            "head 1 5.0\n"
            "\n"
            "0123456789  from 0 to 1 in even steps\n");
}

TEST(HeadHeatMapTest, ColourStandsBesideTheDigits) {
  std::string colored = RenderHeatMap(SmallMap(), {.color = true});
  EXPECT_THAT(colored, HasSubstr("\x1b[97;48;5;53m0\x1b[0m"));
  EXPECT_THAT(colored, HasSubstr("\x1b[30;48;5;220m9\x1b[0m"));
  size_t begin;
  while ((begin = colored.find('\x1b')) != std::string::npos) {
    colored.erase(begin, colored.find('m', begin) - begin + 1);
  }
  EXPECT_EQ(colored, RenderHeatMap(SmallMap(), {}));
}

TEST(HeadHeatMapTest, RowsOfThreeDigitsStayAligned) {
  const HeadHeatMap map = {.row_label = "kv head",
                           .num_layers = 1,
                           .num_rows = 101,
                           .values = std::vector<double>(101, 3.0)};
  const std::string picture = RenderHeatMap(map, {});
  EXPECT_THAT(picture, HasSubstr("    layer  0\nkv head 0  0\n"));
  EXPECT_THAT(picture, HasSubstr("kv head 100"
                                 "0\n"));
  EXPECT_THAT(picture, HasSubstr("from 3 to 3"));
}

TEST(HeadHeatMapTest, ValuesThatCannotBeScaledAreNoError) {
  const double huge = std::numeric_limits<double>::max();
  HeadHeatMap map = SmallMap();
  map.values = {-huge, huge, 0, kNan, INFINITY, -INFINITY};
  EXPECT_THAT(RenderHeatMap(map, {}), HasSubstr("head 0 05.\nhead 1 9..\n"));
  map.values.assign(6, kNan);
  EXPECT_THAT(RenderHeatMap(map, {}), HasSubstr("head 0 ...\n"));
  EXPECT_THAT(RenderHeatMapSvg(map), Not(HasSubstr("nan")));
  EXPECT_THAT(RenderHeatMap({.title = "empty"}, {}), HasSubstr("empty\n"));
}

TEST(HeadHeatMapTest, SvgHasASquareWithATooltipForEachHead) {
  const std::string svg = RenderHeatMapSvg(SmallMap());
  EXPECT_THAT(svg, testing::StartsWith("<svg xmlns="));
  EXPECT_THAT(svg, testing::EndsWith("</svg>\n"));
  EXPECT_EQ(CountOf(svg, "<title>"), 6);
  EXPECT_THAT(svg, HasSubstr("fill=\"#440154\"><title>layer 0, head 0: 0<"));
  EXPECT_THAT(svg, HasSubstr("fill=\"#fde725\"><title>layer 1, head 0: 1<"));
  EXPECT_THAT(svg, HasSubstr("fill=\"#eeeeee\"><title>layer 1, head 1: none<"));
  EXPECT_THAT(svg, HasSubstr(">layer 2, head 1: 0.05<"));
  // Axes and the ends of the ramp.
  EXPECT_THAT(svg, HasSubstr(">layer</text>"));
  EXPECT_THAT(svg, HasSubstr(">head</text>"));
  EXPECT_THAT(svg, HasSubstr("\"end\">1</text>"));
}

TEST(HeadHeatMapTest, SvgQuotesWhatPeopleWrote) {
  HeadHeatMap map = SmallMap();
  map.row_label = "<h>";
  const std::string svg = RenderHeatMapSvg(map);
  EXPECT_THAT(svg, HasSubstr("a &lt;score&gt; &amp; more"));
  EXPECT_THAT(svg, Not(HasSubstr("<score>")));
  EXPECT_THAT(svg, Not(HasSubstr("<h>")));
}

}  // namespace
}  // namespace headwise
