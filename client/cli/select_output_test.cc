#include "client/cli/select_output.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

v1::SelectionJob Job() {
  v1::SelectionJob job;
  job.set_job_id("0123abcd");
  job.set_state(v1::SELECTION_JOB_STATE_RUNNING);
  job.set_bytes_done(42);
  job.set_bytes_total(100);
  job.set_documents(12345);
  job.set_tokens_per_second(3210.7);
  job.set_remaining_seconds(3723);
  for (const auto& [name, cost] :
       {std::pair{"code", 30.0}, {"web", 60.0}, {"math", 9.0}, {"", 1.0}}) {
    v1::DomainProgress* domain = job.add_domains();
    domain->set_domain(name);
    domain->set_documents(1000);
    domain->set_cost_seconds(cost);
  }
  v1::FlagCount* flag = job.add_flags();
  flag->set_flag("too_short");
  flag->set_documents(7);
  return job;
}

TEST(SelectOutputTest, ALineOfProgress) {
  EXPECT_THAT(RenderSelectionProgress(Job()),
              AllOf(HasSubstr(" 42 %"), HasSubstr("12,345 documents"),
                    HasSubstr("3,210 tokens/s"), HasSubstr("left 1h2m3s"),
                    HasSubstr("cost web 60 %, code 30 %, math 9 %, ...")));
  v1::SelectionJob job;
  EXPECT_THAT(RenderSelectionProgress(job),
              AllOf(HasSubstr("  0 %"), Not(HasSubstr("left")),
                    Not(HasSubstr("cost"))));
  job.set_note("no workers");
  job.set_state(v1::SELECTION_JOB_STATE_FINISHING);
  EXPECT_THAT(RenderSelectionProgress(job),
              AllOf(HasSubstr("no workers"), HasSubstr("duplicate ids")));
}

TEST(SelectOutputTest, ATableOfDomainsAndFlags) {
  v1::SelectionJob job = Job();
  job.set_state(v1::SELECTION_JOB_STATE_PAUSED);
  job.set_reason("no room on the disk");
  EXPECT_THAT(RenderSelectionJob(job),
              AllOf(StartsWith("job 0123abcd\nPAUSED: no room on the disk\n"),
                    HasSubstr("web "), HasSubstr("(none)"), HasSubstr("1m"),
                    HasSubstr("too_short")));
}

TEST(SelectOutputTest, RowsHaveTheKeysOfTheFilesInTheirOrder) {
  v1::SelectionRow row;
  row.set_doc_id("d");
  row.add_flags("empty_text");
  EXPECT_EQ(SelectionRowToJson(row).dump(),
            R"({"doc_id":"d","domain":"","n_tokens":0,"loss_base":null,)"
            R"("loss_masked":null,"score":null,"flags":["empty_text"],)"
            R"("nll_base":null,"nll_masked":null,"repetition":null})");
  row.set_n_tokens(4);
  row.set_nll_base(0.1);
  EXPECT_THAT(SelectionRowToJson(row).dump(), HasSubstr(R"("nll_base":0.1)"));
}

TEST(SelectOutputTest, JobsAsJson) {
  const auto json = SelectionJobToJson(Job());
  EXPECT_EQ(json["state"], "RUNNING");
  EXPECT_EQ(json["flags"]["too_short"], 7);
  EXPECT_EQ(json["domains"][1]["domain"], "web");
  EXPECT_EQ(json["remaining_seconds"], 3723.0);
  EXPECT_TRUE(
      SelectionJobToJson(v1::SelectionJob())["remaining_seconds"].is_null());
}

}  // namespace
}  // namespace headwise
