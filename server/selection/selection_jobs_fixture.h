// What tests of jobs share: a corpus on disk and a model that answers in any
// order.

#ifndef HEADWISE_SERVER_SELECTION_SELECTION_JOBS_FIXTURE_H_
#define HEADWISE_SERVER_SELECTION_SELECTION_JOBS_FIXTURE_H_

#include <stdlib.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <sstream>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "server/selection/selection_jobs.h"

namespace headwise {

// What all scorers of a test share. Outlives them.
struct FakeModel {
  int64_t num_at_once = 8;
  absl::Duration delay;  // of each text
  // Asked for each text; an error is the answer.
  std::function<absl::Status(const std::string& text)> fail;
  std::atomic<int64_t> num_scored = 0;
  std::atomic<int64_t> num_under_way = 0;
  std::atomic<int64_t> max_under_way = 0;
};

// A function of the text alone, with as many tokens as it has bytes.
inline DocumentLoss FakeLoss(const std::string& text) {
  uint64_t hash = 1469598103934665603u;  // FNV-1a
  for (const char c : text) {
    hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
  }
  DocumentLoss loss;
  loss.num_tokens = static_cast<int64_t>(text.size());
  const auto size = static_cast<double>(text.size());
  loss.base = size * (1.0 + static_cast<double>(hash % 1000) / 1000.0);
  loss.masked = loss.base * (1.0 + static_cast<double>(hash % 77) / 100.0);
  return loss;
}

// Answers from a thread of its own, of the texts that wait always a random one.
class FakeDocumentScorer final : public DocumentScorer {
 public:
  explicit FakeDocumentScorer(FakeModel& model)
      : model_(model), thread_([this] { Loop(); }) {}
  ~FakeDocumentScorer() override {
    {
      absl::MutexLock lock(&mutex_);
      is_stopping_ = true;
    }
    thread_.join();
  }

  void Score(std::string text, Done done) override {
    const int64_t under_way = ++model_.num_under_way;
    model_.max_under_way = std::max<int64_t>(model_.max_under_way, under_way);
    absl::MutexLock lock(&mutex_);
    waiting_.push_back({std::move(text), std::move(done)});
  }
  int64_t num_at_once() const override { return model_.num_at_once; }

 private:
  struct Waiting {
    std::string text;
    Done done;
  };

  bool HasNewsLocked() const ABSL_SHARED_LOCKS_REQUIRED(mutex_) {
    return is_stopping_ || !waiting_.empty();
  }

  void Loop() {
    std::minstd_rand random(20261126);
    while (true) {
      Waiting next;
      {
        absl::MutexLock lock(&mutex_);
        mutex_.Await(absl::Condition(this, &FakeDocumentScorer::HasNewsLocked));
        if (waiting_.empty()) return;
        std::swap(waiting_[random() % waiting_.size()], waiting_.back());
        next = std::move(waiting_.back());
        waiting_.pop_back();
      }
      if (model_.delay > absl::ZeroDuration()) absl::SleepFor(model_.delay);
      absl::Status status;
      if (model_.fail != nullptr) status = model_.fail(next.text);
      --model_.num_under_way;
      if (!status.ok()) {
        next.done(status);
        continue;
      }
      ++model_.num_scored;
      next.done(FakeLoss(next.text));
    }
  }

  FakeModel& model_;
  absl::Mutex mutex_;
  std::vector<Waiting> waiting_ ABSL_GUARDED_BY(mutex_);
  bool is_stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

// A folder with an input root, an output root and a state.
class SelectionJobsTest : public testing::Test {
 protected:
  SelectionJobsTest() {
    std::string path = testing::TempDir() + "selection_jobs_XXXXXX";
    EXPECT_NE(mkdtemp(path.data()), nullptr);
    folder_ = std::filesystem::canonical(path);
    for (const char* name : {"in", "out", "state"}) {
      std::filesystem::create_directories(path_of(name));
    }
  }
  ~SelectionJobsTest() override {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  std::string path_of(const std::string& name) const {
    return folder_ + "/" + name;
  }
  void Write(const std::string& name, const std::string& bytes) const {
    std::ofstream(path_of(name), std::ios::binary) << bytes;
  }
  static std::string ReadAll(const std::string& path) {
    std::ifstream file(path, std::ios::binary);
    std::stringstream bytes;
    bytes << file.rdbuf();
    return bytes.str();
  }

  static std::string Line(const std::string& id, const std::string& domain,
                          const std::string& text) {
    return absl::StrFormat(R"({"id":"%s","domain":"%s","text":"%s"})", id,
                           domain, text) +
           "\n";
  }

  // `num_files` files of 40 documents: of 3 domains, every tenth too short to
  // be ranked, one broken line and one id of the file before in each.
  void WriteCorpus(int num_files) const {
    std::minstd_rand random(7);
    const char* domains[] = {"web", "code", "math"};
    for (int file = 0; file < num_files; ++file) {
      std::string lines;
      for (int i = 0; i < 40; ++i) {
        std::string text;
        const size_t size = i % 10 == 9 ? 5 : 80 + random() % 200;
        while (text.size() < size) absl::StrAppend(&text, random() % 1000, " ");
        std::string id = absl::StrCat("doc-", file, "-", i);
        if (i == 20 && file > 0) id = absl::StrCat("doc-", file - 1, "-3");
        lines += Line(id, domains[random() % 3], text);
        if (i == 30) lines += "{\"id\": \"broken\n";
      }
      Write(absl::StrCat("in/", file, ".jsonl"), lines);
    }
  }

  SelectionJobsOptions Options(FakeModel& model) const {
    SelectionJobsOptions options;
    options.state_dir = path_of("state");
    options.input_roots = {{"corpus", path_of("in")}};
    options.output_root = path_of("out");
    options.make_scorer = [&model](const JobManifest&) {
      return std::make_unique<FakeDocumentScorer>(model);
    };
    options.lease = absl::Seconds(10);
    options.min_back_off = absl::Milliseconds(5);
    options.max_back_off = absl::Milliseconds(40);
    return options;
  }

  static JobSpec Spec() {
    JobSpec spec;
    spec.manifest.model_sha256 = std::string(64, 'a');
    spec.manifest.masked_plan_sha256 = std::string(64, 'b');
    spec.manifest.masked_heads = {"18.6", "20.1"};
    spec.manifest.scoring.window = 2048;
    spec.manifest.input.root = "corpus";
    spec.manifest.input.shard_bytes = 2048;
    return spec;
  }

  static std::unique_ptr<SelectionJobs> Open(SelectionJobsOptions options) {
    auto jobs = SelectionJobs::Open(std::move(options));
    EXPECT_TRUE(jobs.ok()) << jobs.status();
    return jobs.ok() ? *std::move(jobs) : nullptr;
  }
  static JobStatus Create(SelectionJobs& jobs, const JobSpec& spec) {
    auto job = jobs.Create(spec, [](int64_t, int64_t) { return true; });
    EXPECT_TRUE(job.ok()) << job.status();
    return job.ok() ? *std::move(job) : JobStatus{};
  }

  // Its status once it has that state, or after 30 s.
  static JobStatus WaitFor(SelectionJobs& jobs, const std::string& id,
                           JobState state) {
    return WaitUntil(jobs, id, [state](const JobStatus& status) {
      return status.state == state;
    });
  }
  static JobStatus WaitUntil(
      SelectionJobs& jobs, const std::string& id,
      const std::function<bool(const JobStatus&)>& is_there) {
    for (int i = 0; i < 3000; ++i) {
      auto status = jobs.Get(id);
      EXPECT_TRUE(status.ok()) << status.status();
      if (!status.ok()) return {};
      if (is_there(*status)) return *status;
      absl::SleepFor(absl::Milliseconds(10));
    }
    const JobStatus last = *jobs.Get(id);
    ADD_FAILURE() << "the job is " << JobStateName(last.state) << " ("
                  << last.reason << ", " << last.note << ") with "
                  << last.num_shards_done << " of " << last.num_shards;
    return last;
  }

  // All files of a folder by their names, hidden ones too.
  static std::map<std::string, std::string> Files(const std::string& folder) {
    std::map<std::string, std::string> files;
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(folder)) {
      if (!entry.is_regular_file()) continue;
      files[std::filesystem::relative(entry.path(), folder)] =
          ReadAll(entry.path());
    }
    return files;
  }

  static void ExpectSameFiles(
      const std::map<std::string, std::string>& files,
      const std::map<std::string, std::string>& expected) {
    for (const auto& [name, bytes] : files) {
      EXPECT_EQ(expected.count(name), 1u) << name << " is too many";
    }
    for (const auto& [name, bytes] : expected) {
      const auto found = files.find(name);
      EXPECT_TRUE(found != files.end() && found->second == bytes) << name;
    }
  }
  // Files that a writer has not given their name.
  static int NumUnfinished(const std::string& folder) {
    int count = 0;
    for (const auto& [name, bytes] : Files(folder)) {
      if (std::filesystem::path(name).filename().string()[0] == '.') ++count;
    }
    return count;
  }

  // What an undisturbed run of `spec` writes, in a state of its own.
  std::map<std::string, std::string> Expected(const JobSpec& spec) const {
    FakeModel model;
    SelectionJobsOptions options = Options(model);
    options.state_dir = path_of("expected_state");
    options.output_root = path_of("expected_out");
    std::filesystem::create_directories(options.output_root);
    const auto jobs = Open(options);
    const JobStatus job = Create(*jobs, spec);
    WaitFor(*jobs, job.id, JobState::kDone);
    return Files(job.output_dir);
  }

  std::string folder_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_SELECTION_JOBS_FIXTURE_H_
