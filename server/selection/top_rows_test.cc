#include "server/selection/top_rows.h"

#include <algorithm>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/selection/external_sort.h"
#include "server/selection/test_row_files.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr uint64_t kSeed = 20261126;

class TopRowsTest : public RowFilesTest {
 protected:
  TopOptions Options(TopRule rule) const {
    return {.rule = rule, .temp_dir = folder_};
  }
  // Fails the test unless the search succeeds.
  std::vector<TopRow> Find(const std::vector<std::string>& files,
                           const TopOptions& options) {
    std::vector<TopRow> rows;
    const auto totals = FindTopRows(files, options, [&rows](const TopRow& row) {
      rows.push_back(row);
      return absl::OkStatus();
    });
    EXPECT_TRUE(totals.ok()) << totals.status();
    totals_ = totals.value_or(TopTotals());
    EXPECT_EQ(totals_.num_taken, static_cast<int64_t>(rows.size()));
    EXPECT_EQ(NumOtherFiles(), 0);
    return rows;
  }
  absl::Status StatusOf(const std::vector<std::string>& files,
                        const TopOptions& options) {
    const auto take = [](const TopRow&) { return absl::OkStatus(); };
    return FindTopRows(files, options, take).status();
  }
  static std::vector<std::string> Ids(const std::vector<TopRow>& rows) {
    std::vector<std::string> ids;
    for (const TopRow& top : rows) ids.push_back(top.row.doc_id);
    return ids;
  }

  TopTotals totals_;
};

TEST_F(TopRowsTest, TakesTheBestOfEachDomainInOrder) {
  const std::string first = WriteRows(
      "part-000000.jsonl", {RowOf("w1", "web", 0.1), RowOf("c1", "code", 0.5),
                            RowOf("w2", "web", 0.3)});
  const std::string second =
      Write("part-000001.jsonl.zst",
            Zstd(Lines({RowOf("w3", "web", 0.2), RowOf("c2", "code", -0.5)})));
  const std::vector<TopRow> rows = Find({first, second}, Options({.count = 2}));
  EXPECT_THAT(Ids(rows), ElementsAre("c1", "c2", "w2", "w3"));
  EXPECT_EQ(rows[3].rank, 2);
  EXPECT_EQ(rows[3].num_ranked, 3);
  EXPECT_EQ(rows[3].position, 3);
  EXPECT_EQ(RowToJson(rows[3].row), RowToJson(RowOf("w3", "web", 0.2)));
  EXPECT_EQ(totals_.num_rows, 5);
  EXPECT_EQ(totals_.num_ranked, 5);
  EXPECT_EQ(totals_.num_domains, 2);
  EXPECT_EQ(totals_.num_taken_tokens, 400);
}

TEST_F(TopRowsTest, TiesGoByTheBytesOfTheIdThenByPosition) {
  std::vector<ScoreRow> rows;
  for (const std::string& id :
       {std::string("b"), std::string("\u00fc"), std::string("a\0", 2),
        std::string("a"), std::string("a\0b", 3), std::string("aa"),
        std::string("a"), std::string("")}) {
    rows.push_back(RowOf(id, "web", 0.25));
  }
  const std::vector<TopRow> top =
      Find({WriteRows("rows.jsonl", rows)}, Options({.fraction = 1.0}));
  EXPECT_THAT(Ids(top),
              ElementsAre("", "a", "a", std::string("a\0", 2),
                          std::string("a\0b", 3), "aa", "b", "\u00fc"));
  EXPECT_EQ(top[1].position, 3);
  EXPECT_EQ(top[2].position, 6);
}

TEST_F(TopRowsTest, RowsThatAreNotRankedAreLeftOut) {
  std::vector<ScoreRow> rows = {RowOf("plain", "web", 0.1)};
  for (const DocumentFlag flag : {kDuplicateId, kTooShort, kLowLoss, kTruncated,
                                  kMadeUpId, kInvalidIdType}) {
    rows.push_back(RowOf(absl::StrCat("flag ", flag), "web", 0.2));
    rows.back().flags = flag;
    rows.back().loss.is_truncated = flag == kTruncated;
  }
  rows.push_back({.doc_id = "empty", .domain = "web", .flags = kEmptyText});
  rows.push_back({.doc_id = "no tokens, no flag", .domain = "web"});
  rows.push_back(RowOf("no loss", "web", 0.0));
  rows.back().loss.base = 0.0;
  const std::vector<TopRow> top =
      Find({WriteRows("rows.jsonl", rows)}, Options({.count = 99}));
  EXPECT_THAT(Ids(top),
              ElementsAre(absl::StrCat("flag ", kMadeUpId),
                          absl::StrCat("flag ", kInvalidIdType),
                          absl::StrCat("flag ", kTruncated), "plain"));
  EXPECT_EQ(top[2].row.flags, kTruncated);
  EXPECT_TRUE(top[2].row.loss.is_truncated);
  EXPECT_EQ(totals_.num_rows, 10);
  EXPECT_EQ(totals_.num_ranked, 4);
}

TEST_F(TopRowsTest, ABudgetEndsAtTheFirstRowThatWouldExceedIt) {
  const std::string file =
      WriteRows("rows.jsonl",
                {RowOf("w1", "web", 0.9, 50), RowOf("w2", "web", 0.8, 50),
                 RowOf("w3", "web", 0.7, 101), RowOf("w4", "web", 0.6, 1),
                 RowOf("c1", "code", 0.1, 201), RowOf("m1", "math", 0.1, 200)});
  const auto ids = [&](int64_t budget) {
    return Ids(Find({file}, Options({.token_budget = budget})));
  };
  EXPECT_THAT(ids(0), IsEmpty());
  EXPECT_THAT(ids(99), ElementsAre("w1"));
  EXPECT_THAT(ids(100), ElementsAre("w1", "w2"));
  EXPECT_THAT(ids(200), ElementsAre("m1", "w1", "w2"));
  EXPECT_THAT(ids(201), ElementsAre("c1", "m1", "w1", "w2", "w3"));
  EXPECT_EQ(totals_.num_taken_tokens, 201 + 200 + 201);
  EXPECT_EQ(ids(std::numeric_limits<int64_t>::max()).size(), 6u);
}

TEST_F(TopRowsTest, AFractionRoundsHalfARowUp) {
  EXPECT_EQ(RowsOfFraction(0.0, 1'000), 0);
  EXPECT_EQ(RowsOfFraction(1.0, 1'000), 1'000);
  EXPECT_EQ(RowsOfFraction(0.2, 10'000'000), 2'000'000);
  EXPECT_EQ(RowsOfFraction(0.2, 2), 0);
  EXPECT_EQ(RowsOfFraction(0.2, 3), 1);
  EXPECT_EQ(RowsOfFraction(0.5, 1), 1);
  EXPECT_EQ(RowsOfFraction(0.4999, 1), 0);
  EXPECT_EQ(RowsOfFraction(0.145, 100), 15);
  EXPECT_EQ(RowsOfFraction(0.5, 0), 0);
  // Every half of three decimals, whatever its binary form.
  for (int thousandths = 0; thousandths <= 1'000; ++thousandths) {
    const int64_t rows = 500;
    EXPECT_EQ(RowsOfFraction(thousandths / 1'000.0, rows),
              (thousandths * rows + 500) / 1'000)
        << thousandths;
  }
}

TEST_F(TopRowsTest, OnlyTheDomainsAskedFor) {
  const std::string file = WriteRows(
      "rows.jsonl",
      {RowOf("w", "web", 0.1), RowOf("c", "code", 0.1), RowOf("", "", 0.1)});
  TopOptions options = Options({.count = 9});
  options.domains = {"web", "", "none"};
  EXPECT_THAT(Ids(Find({file}, options)), ElementsAre("", "w"));
  EXPECT_EQ(totals_.num_rows, 3);
  EXPECT_EQ(totals_.num_ranked, 2);
}

TEST_F(TopRowsTest, NoFilesAndNoRowsGiveNothing) {
  EXPECT_THAT(Find({}, Options({.fraction = 0.5})), IsEmpty());
  EXPECT_THAT(Find({Write("rows.jsonl", "")}, Options({.count = 1})),
              IsEmpty());
}

// Scores with many ties, in files of any number, with so little memory that
// runs are spilled: the same as a sort of all in memory.
TEST_F(TopRowsTest, EqualsASortInMemory) {
  std::mt19937_64 random(kSeed);
  std::vector<ScoreRow> rows;
  for (int i = 0; i < 40'000; ++i) {
    const double score = static_cast<double>(random() % 4'000) / 1'000.0 - 2.0;
    rows.push_back(RowOf(absl::StrCat("doc ", random() % 30'000),
                         absl::StrCat("domain ", random() % 7), score,
                         64 + static_cast<int64_t>(random() % 1'000)));
    if (random() % 10 == 0) rows.back().flags = kTooShort;
  }
  std::map<std::string, std::vector<size_t>> order;  // by domain
  for (size_t i = 0; i < rows.size(); ++i) {
    if (HasRank(rows[i])) order[rows[i].domain].push_back(i);
  }
  std::vector<size_t> expected;
  for (auto& [domain, places] : order) {
    std::sort(places.begin(), places.end(), [&rows](size_t a, size_t b) {
      if (rows[a].score() != rows[b].score()) {
        return rows[a].score() > rows[b].score();
      }
      return std::tie(rows[a].doc_id, a) < std::tie(rows[b].doc_id, b);
    });
    const int64_t taken =
        RowsOfFraction(0.2, static_cast<int64_t>(places.size()));
    expected.insert(expected.end(), places.begin(), places.begin() + taken);
  }
  for (const size_t rows_per_file : {size_t{40'000}, size_t{3'001}}) {
    std::vector<std::string> files;
    for (size_t at = 0; at < rows.size(); at += rows_per_file) {
      const size_t end = std::min(rows.size(), at + rows_per_file);
      files.push_back(
          Write(absl::StrCat("part-", rows_per_file, "-", at, ".jsonl.zst"),
                Zstd(Lines({rows.begin() + at, rows.begin() + end}))));
    }
    TopOptions options = Options({.fraction = 0.2});
    options.max_memory_bytes = kMinSortBytes;
    const std::vector<TopRow> top = Find(files, options);
    ASSERT_EQ(top.size(), expected.size()) << "seed=" << kSeed;
    for (size_t i = 0; i < top.size(); ++i) {
      ASSERT_EQ(top[i].position, static_cast<int64_t>(expected[i])) << i;
      ASSERT_EQ(RowToJson(top[i].row), RowToJson(rows[expected[i]])) << i;
    }
  }
}

TEST_F(TopRowsTest, TheRuleIsChecked) {
  constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
  for (const TopRule& rule :
       {TopRule{}, TopRule{.fraction = 0.5, .count = 1},
        TopRule{.count = 1, .token_budget = 1}, TopRule{.fraction = -0.1},
        TopRule{.fraction = 1.1}, TopRule{.fraction = kNan},
        TopRule{.count = -1}, TopRule{.token_budget = -1}}) {
    const absl::Status status = StatusOf({}, Options(rule));
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  }
  EXPECT_EQ(CheckTopRule({.fraction = 1.5}).message(),
            "fraction is 1.5, must be in [0, 1]");
  EXPECT_EQ(CheckTopRule({}).message(),
            "0 of fraction, count and token_budget are set, must be exactly 1");
}

TEST_F(TopRowsTest, ABrokenFileIsNamedAndNothingIsTaken) {
  const std::string good = WriteRows("good.jsonl", {RowOf("a", "web", 0.1)});
  const std::string bad =
      Write("bad.jsonl", Lines({RowOf("b", "web", 1)}) + "{");
  int num_taken = 0;
  const absl::Status status =
      FindTopRows({good, bad}, Options({.count = 1}), [&](const TopRow&) {
        ++num_taken;
        return absl::OkStatus();
      }).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(bad + ", line 2"));
  EXPECT_EQ(num_taken, 0);
  EXPECT_EQ(StatusOf({path("none.jsonl")}, Options({.count = 1})).code(),
            absl::StatusCode::kNotFound);
}

TEST_F(TopRowsTest, StopsWhenAskedToAndOnTheCallersError) {
  std::vector<ScoreRow> rows(10'000, RowOf("a", "web", 0.1));
  const std::string file = WriteRows("rows.jsonl", rows);
  TopOptions options = Options({.count = 10'000});
  // The n-th question is answered by no, until there are no more questions.
  absl::Status status = absl::CancelledError("");
  int answer = 0;
  for (; absl::IsCancelled(status); ++answer) {
    ASSERT_LT(answer, 10);
    int num_asked = 0;
    options.keep_going = [&num_asked, answer] { return num_asked++ != answer; };
    status = StatusOf({file}, options);
  }
  EXPECT_TRUE(status.ok()) << status;
  EXPECT_GT(answer, 4);  // also while rows are taken

  int num_taken = 0;
  status = FindTopRows({file}, Options({.count = 10}), [&](const TopRow&) {
             return ++num_taken < 3 ? absl::OkStatus()
                                    : absl::AbortedError("enough");
           }).status();
  EXPECT_EQ(status, absl::AbortedError("enough"));
  EXPECT_EQ(num_taken, 3);
  EXPECT_EQ(NumOtherFiles(), 0);
}

}  // namespace
}  // namespace headwise
