#include "server/selection/external_sort.h"

#include <signal.h>
#include <sys/resource.h>

#include <algorithm>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/selection/test_row_files.h"

namespace headwise {
namespace {

using testing::HasSubstr;

struct Item {
  std::string group;
  uint64_t key = 0;
  std::string tail;

  bool operator==(const Item&) const = default;
  bool operator<(const Item& other) const {
    return std::tie(group, key, tail) <
           std::tie(other.group, other.key, other.tail);
  }
};

class ExternalSortTest : public RowFilesTest {
 protected:
  std::unique_ptr<ExternalSort> Make(int64_t max_memory_bytes) {
    auto sort = ExternalSort::Create(
        {.max_memory_bytes = max_memory_bytes, .temp_dir = folder_});
    EXPECT_TRUE(sort.ok()) << sort.status();
    return *std::move(sort);
  }
  static void AddAll(const std::vector<Item>& items, ExternalSort& sort) {
    for (const Item& item : items) {
      const absl::Status status = sort.Add(item.group, item.key, item.tail);
      ASSERT_TRUE(status.ok()) << status;
    }
  }
  // All that is left, and that each group has as many records as it says.
  static std::vector<Item> Drain(ExternalSort& sort) {
    std::vector<Item> items;
    while (true) {
      const auto group = sort.NextGroup();
      EXPECT_TRUE(group.ok()) << group.status();
      if (!group.ok() || !group->has_value()) return items;
      int64_t count = 0;
      while (true) {
        const auto record = sort.NextRecord();
        EXPECT_TRUE(record.ok()) << record.status();
        if (!record.ok() || !record->has_value()) break;
        items.push_back(
            {(*group)->name, (*record)->key, std::string((*record)->tail)});
        ++count;
      }
      EXPECT_EQ(count, (*group)->num_records);
    }
  }
};

// Few distinct keys and tails, so that all three columns decide.
std::vector<Item> RandomItems(int count, size_t max_tail_bytes) {
  std::mt19937_64 random(20261126);
  std::vector<Item> items;
  for (int i = 0; i < count; ++i) {
    Item item;
    item.group.assign(random() % 3, static_cast<char>('a' + random() % 3));
    item.key = random() % 4 == 0 ? ~uint64_t{0} - random() % 2 : random() % 50;
    item.tail.assign(random() % (max_tail_bytes + 1), '\0');
    for (char& byte : item.tail) byte = static_cast<char>(random() % 2 * 255);
    items.push_back(item);
  }
  return items;
}

TEST_F(ExternalSortTest, NothingSortsToNothing) {
  const auto sort = Make(kMinSortBytes);
  ASSERT_TRUE(sort->Sort().ok());
  EXPECT_TRUE(Drain(*sort).empty());
  EXPECT_TRUE(Drain(*sort).empty());
}

TEST_F(ExternalSortTest, SortsByGroupThenKeyThenTail) {
  const auto sort = Make(kMinSortBytes);
  AddAll({{"b", 1, "x"},
          {"a", 2, ""},
          {"a", 1, "\xff"},
          {"a", 1, "y"},
          {"", 9, "z"},
          {"a", 1, "ya"},
          {"b", 0, ""}},
         *sort);
  ASSERT_TRUE(sort->Sort().ok());
  EXPECT_EQ(Drain(*sort), (std::vector<Item>{{"", 9, "z"},
                                             {"a", 1, "y"},
                                             {"a", 1, "ya"},
                                             {"a", 1, "\xff"},
                                             {"a", 2, ""},
                                             {"b", 0, ""},
                                             {"b", 1, "x"}}));
}

// One run, several, and more than can be merged at once.
TEST_F(ExternalSortTest, EqualsASortInMemoryForAnyNumberOfRuns) {
  for (const int count : {1, 1'000, 60'000, 500'000}) {
    SCOPED_TRACE(count);
    std::vector<Item> items = RandomItems(count, 40);
    const auto sort = Make(kMinSortBytes);
    AddAll(items, *sort);
    ASSERT_TRUE(sort->Sort().ok());
    EXPECT_LE(sort->num_runs(), 15);
    std::sort(items.begin(), items.end());
    EXPECT_TRUE(Drain(*sort) == items);
  }
}

TEST_F(ExternalSortTest, AGroupMayBeLeftAtAnyRecord) {
  std::vector<Item> items = RandomItems(60'000, 40);
  const auto sort = Make(kMinSortBytes);
  AddAll(items, *sort);
  ASSERT_TRUE(sort->Sort().ok());
  ASSERT_GT(sort->num_runs(), 1);
  std::sort(items.begin(), items.end());
  int64_t to_read = 0;
  for (auto item = items.begin(); item != items.end(); to_read += 701) {
    const auto group = sort->NextGroup();
    ASSERT_TRUE(group.ok() && group->has_value());
    ASSERT_EQ((*group)->name, item->group);
    for (int64_t i = 0; i < std::min(to_read, (*group)->num_records); ++i) {
      const auto record = sort->NextRecord();
      ASSERT_TRUE(record.ok() && record->has_value());
      ASSERT_EQ((*record)->key, item[i].key);
      ASSERT_EQ((*record)->tail, item[i].tail);
    }
    item += (*group)->num_records;
  }
  EXPECT_TRUE(Drain(*sort).empty());
}

// Their table is bounded too: these would need 100 times the memory.
TEST_F(ExternalSortTest, AGroupForEachRecord) {
  const auto sort = Make(kMinSortBytes);
  for (int i = 0; i < 20'000; ++i) {
    ASSERT_TRUE(sort->Add(std::to_string(i * 7919 % 20'000), i, "").ok());
  }
  ASSERT_TRUE(sort->Sort().ok());
  const std::vector<Item> items = Drain(*sort);
  ASSERT_EQ(items.size(), 20'000u);
  EXPECT_TRUE(std::is_sorted(items.begin(), items.end()));
}

// More runs than there are buffers of the largest record's size.
TEST_F(ExternalSortTest, LargeRecordsNeedLargeBuffers) {
  const auto sort = Make(4 * kMinSortBytes);
  const auto size = static_cast<size_t>(sort->max_record_bytes()) - 200;
  for (int i = 0; i < 300; ++i) {
    const std::string tail(i % 50 == 0 ? 10 : size, 'x');
    ASSERT_TRUE(sort->Add("g", static_cast<uint64_t>(299 - i), tail).ok());
  }
  ASSERT_TRUE(sort->Sort().ok());
  EXPECT_LT(sort->num_runs(), 16);
  const std::vector<Item> items = Drain(*sort);
  ASSERT_EQ(items.size(), 300u);
  for (uint64_t i = 0; i < 300; ++i) {
    EXPECT_EQ(items[i].key, i);
    EXPECT_EQ(items[i].tail.size(), (299 - i) % 50 == 0 ? 10 : size);
  }
}

TEST_F(ExternalSortTest, ARecordThatIsTooLargeIsNamed) {
  const auto sort = Make(kMinSortBytes);
  const absl::Status status = sort->Add("g", 0, std::string(65'536, 'x'));
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()), HasSubstr("allows 65536"));
  ASSERT_TRUE(sort->Add("g", 0, "fits").ok());
}

TEST_F(ExternalSortTest, TheFolderStaysEmpty) {
  {
    const auto sort = Make(kMinSortBytes);
    AddAll(RandomItems(60'000, 40), *sort);
    EXPECT_EQ(NumOtherFiles(), 0);  // also while it runs
    ASSERT_TRUE(sort->Sort().ok());
    EXPECT_EQ(NumOtherFiles(), 0);
  }
  EXPECT_EQ(NumOtherFiles(), 0);
}

TEST_F(ExternalSortTest, OptionsAreChecked) {
  auto sort = ExternalSort::Create(
      {.max_memory_bytes = kMinSortBytes - 1, .temp_dir = folder_});
  EXPECT_EQ(sort.status().message(),
            "max_memory_bytes is 1048575, must be at least 1048576");
  sort = ExternalSort::Create({.temp_dir = ""});
  EXPECT_EQ(sort.status().code(), absl::StatusCode::kInvalidArgument);
  sort = ExternalSort::Create({.temp_dir = path("none")});
  EXPECT_EQ(sort.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(sort.status().message()), HasSubstr(path("none")));
}

// The limit of a file's size stands for a full disk: the same path of errors.
class FileSizeLimit {
 public:
  explicit FileSizeLimit(rlim_t num_bytes) {
    EXPECT_EQ(getrlimit(RLIMIT_FSIZE, &before_), 0);
    handler_ = signal(SIGXFSZ, SIG_IGN);
    const rlimit limit = {num_bytes, before_.rlim_max};
    EXPECT_EQ(setrlimit(RLIMIT_FSIZE, &limit), 0);
  }
  ~FileSizeLimit() {
    setrlimit(RLIMIT_FSIZE, &before_);
    signal(SIGXFSZ, handler_);
  }

 private:
  rlimit before_;
  sighandler_t handler_;
};

TEST_F(ExternalSortTest, NoRoomIsANamedErrorWhereverItHappens) {
  const std::vector<Item> items = RandomItems(500'000, 40);
  bool was_full_in_add = false, was_full_in_sort = false, has_fit = false;
  // Until the run succeeds; the last steps fail while runs are merged.
  for (rlim_t limit = kMinSortBytes; !has_fit; limit += limit / 3) {
    const auto sort = Make(kMinSortBytes);
    absl::Status status;
    {
      const FileSizeLimit full(limit);
      for (const Item& item : items) {
        status = sort->Add(item.group, item.key, item.tail);
        if (!status.ok()) break;
      }
      was_full_in_add |= !status.ok();
      if (status.ok()) {
        status = sort->Sort();
        was_full_in_sort |= !status.ok();
      }
    }
    has_fit = status.ok();
    if (has_fit) break;
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
    EXPECT_THAT(std::string(status.message()),
                HasSubstr("no room in " + folder_));
    EXPECT_EQ(NumOtherFiles(), 0);
  }
  EXPECT_TRUE(was_full_in_add);
  EXPECT_TRUE(was_full_in_sort);
}

}  // namespace
}  // namespace headwise
