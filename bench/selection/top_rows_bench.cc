// Times the search for the best rows of each domain.
//
//   headwise_top_rows_bench [ROWS] [FILES] [FOLDER]
//
// Writes ROWS rows of 10 domains into FILES parts in a folder of its own below
// FOLDER, finds the top 20 % of each domain, and removes the folder. Prints one
// JSON object: bytes of the parts, rows taken, seconds of either step, and the
// peak of resident memory. The rows are made anew in each run from one seed.

#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <random>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/time.h"
#include "base/check.h"
#include "base/clock.h"
#include "base/status_macros.h"
#include "server/selection/shard_output.h"
#include "server/selection/top_rows.h"

namespace headwise {
namespace {

constexpr uint64_t kSeed = 20261126;
constexpr int kNumDomains = 10;

struct Case {
  int64_t num_rows = 10'000'000;
  int64_t num_files = 16;
  std::string parent = "/tmp";
};

class TempFolder {
 public:
  explicit TempFolder(const std::string& parent)
      : path_(parent + "/headwise_top_rows_XXXXXX") {
    HEADWISE_CHECK(mkdtemp(path_.data()) != nullptr);
  }
  ~TempFolder() { std::filesystem::remove_all(path_); }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// A loss of about 3 nats, which the masked heads raise by about a tenth.
ScoreRow RandomRow(int64_t number, std::mt19937_64& random) {
  std::normal_distribution<double> loss(3.0, 0.4), rise(0.1, 0.05);
  ScoreRow row;
  row.doc_id = absl::StrFormat("corpus/%08x-%09d", random() >> 32, number);
  row.domain = absl::StrCat("domain-", random() % kNumDomains);
  const auto num_tokens = static_cast<int64_t>(64 + random() % 1'984);
  row.loss.num_tokens = num_tokens;
  row.loss.base = std::max(0.3, loss(random)) * static_cast<double>(num_tokens);
  row.loss.masked = row.loss.base * (1.0 + rise(random));
  return row;
}

absl::StatusOr<std::vector<std::string>> WriteParts(const Case& c,
                                                    const std::string& folder) {
  std::mt19937_64 random(kSeed);
  std::vector<std::string> files;
  for (int64_t file = 0; file < c.num_files; ++file) {
    HEADWISE_ASSIGN_OR_RETURN(const auto part,
                              ShardOutput::Create(folder, file, "bench"));
    const int64_t end = c.num_rows * (file + 1) / c.num_files;
    for (int64_t row = c.num_rows * file / c.num_files; row < end; ++row) {
      HEADWISE_RETURN_IF_ERROR(part->Add(RandomRow(row, random)));
    }
    HEADWISE_RETURN_IF_ERROR(part->Commit().status());
    files.push_back(folder + "/" + PartName(file));
  }
  return files;
}

absl::Status RunCase(const Case& c) {
  const TempFolder folder(c.parent);
  const absl::Time start = Clock::Monotonic().Now();
  HEADWISE_ASSIGN_OR_RETURN(const auto files, WriteParts(c, folder.path()));
  const absl::Time written = Clock::Monotonic().Now();
  uint64_t file_bytes = 0;
  for (const std::string& file : files) {
    file_bytes += std::filesystem::file_size(file);
  }
  TopOptions options;
  options.rule.fraction = 0.2;
  options.temp_dir = folder.path();
  int64_t id_bytes = 0;  // so that rows are looked at
  HEADWISE_ASSIGN_OR_RETURN(
      const TopTotals totals,
      FindTopRows(files, options, [&id_bytes](const TopRow& top) {
        id_bytes += static_cast<int64_t>(top.row.doc_id.size());
        return absl::OkStatus();
      }));
  const absl::Time found = Clock::Monotonic().Now();
  rusage usage;
  HEADWISE_CHECK(getrusage(RUSAGE_SELF, &usage) == 0);
  absl::PrintF(
      "{\"rows\": %d, \"files\": %d, \"file_bytes\": %d, \"domains\": %d, "
      "\"taken\": %d, \"id_bytes\": %d, \"write_seconds\": %.2f, "
      "\"top_seconds\": %.2f, \"peak_rss_mib\": %.1f}\n",
      totals.num_rows, files.size(), file_bytes, totals.num_domains,
      totals.num_taken, id_bytes, absl::ToDoubleSeconds(written - start),
      absl::ToDoubleSeconds(found - written),
      static_cast<double>(usage.ru_maxrss) / 1024.0);
  return absl::OkStatus();
}

int Main(int argc, char** argv) {
  Case c;
  if (argc > 4 ||
      (argc > 1 &&
       (!absl::SimpleAtoi(argv[1], &c.num_rows) || c.num_rows < 0)) ||
      (argc > 2 && (!absl::SimpleAtoi(argv[2], &c.num_files) ||
                    c.num_files < 1 || c.num_files > 10'000))) {
    absl::FPrintF(stderr,
                  "usage: headwise_top_rows_bench [ROWS >= 0] "
                  "[FILES, 1 to 10000] [FOLDER]\n");
    return 2;
  }
  if (argc > 3) c.parent = argv[3];
  const absl::Status status = RunCase(c);
  if (!status.ok()) absl::FPrintF(stderr, "%s\n", status.ToString());
  return status.ok() ? 0 : 1;
}

}  // namespace
}  // namespace headwise

int main(int argc, char** argv) { return headwise::Main(argc, argv); }
