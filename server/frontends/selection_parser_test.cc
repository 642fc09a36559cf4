#include "server/frontends/selection_parser.h"

#include <cmath>
#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/head_plan/head_plan_hash.h"
#include "proto/head_plan_codec.h"
#include "server/frontends/frontend_fakes.h"
#include "server/frontends/masked_plan.h"
#include "server/frontends/rich_status.h"
#include "server/frontends/selection_folders.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::StartsWith;

HeadPlan MaskedPlanOf(const std::vector<int64_t>& heads,
                      HeadMask mask = HeadMask::kUniform) {
  HeadPlan plan = FullPlan(2, 4, 2);
  for (const int64_t head : heads) {
    plan.heads[static_cast<size_t>(head)].mask = mask;
  }
  return plan;
}

class SelectionParserTest : public testing::Test {
 protected:
  v1::ScoreDocumentsTerms Terms() const {
    v1::ScoreDocumentsTerms terms;
    WriteHeadPlan(MaskedPlanOf({1, 6}),
                  terms.mutable_masked_plan()->mutable_inline_plan());
    return terms;
  }
  v1::SelectionJobSpec Spec() const {
    v1::SelectionJobSpec spec;
    *spec.mutable_masked_plan() = Terms().masked_plan();
    spec.mutable_input()->set_root("corpus");
    return spec;
  }
  std::string Refusal(const v1::ScoreDocumentsTerms& terms) const {
    return std::string(
        ParseDocumentTerms(terms, context_, TestSha256()).status().message());
  }
  std::string Refusal(const v1::SelectionJobSpec& spec) const {
    return std::string(
        ParseJobSpec(spec, context_, TestSha256()).status().message());
  }

  FakeServed fakes_;
  FakeCluster cluster_;
  FakeEngine engine_;
  ServedModel served_ = fakes_.Served();
  PlanStore plans_{fakes_.model.hyperparameters(), KvType::kFp16};
  ModelDigest digest_{fakes_.model};
  ServerMetrics metrics_{"tiny", engine_, cluster_};
  OpenCalls open_calls_;
  const FrontendContext context_{.engine = engine_,
                                 .model = served_,
                                 .cluster = cluster_,
                                 .plans = plans_,
                                 .digest = digest_,
                                 .metrics = metrics_,
                                 .open_calls = open_calls_,
                                 .clock = Clock::Monotonic()};
};

TEST_F(SelectionParserTest, AbsentFieldsAreTheDefaults) {
  const auto call = ParseDocumentTerms(Terms(), context_, TestSha256());
  ASSERT_TRUE(call.ok()) << call.status();
  EXPECT_EQ(call->scoring.window, 32);  // the model's context
  EXPECT_EQ(call->scoring.max_tokens, 0);
  EXPECT_EQ(call->scoring.skip_tokens, 1);
  EXPECT_EQ(call->rules.min_tokens, 64);
  EXPECT_EQ(call->rules.min_loss, 0.2);
  EXPECT_EQ(call->max_document_bytes, 16 << 20);
  EXPECT_EQ(*call->plan, MaskedPlanOf({1, 6}));
}

TEST_F(SelectionParserTest, ZeroIsAValueOfTheRankingRules) {
  v1::ScoreDocumentsTerms terms = Terms();
  terms.mutable_ranking()->set_min_tokens(0);
  terms.mutable_ranking()->set_min_loss(0);
  terms.mutable_ranking()->set_max_repetition(0);
  const auto call = ParseDocumentTerms(terms, context_, TestSha256());
  ASSERT_TRUE(call.ok()) << call.status();
  EXPECT_EQ(call->rules.min_tokens, 0);
  EXPECT_EQ(call->rules.min_loss, 0.0);
  EXPECT_EQ(call->rules.max_repetition, 0.0);
}

TEST_F(SelectionParserTest, NoPlanSaysHowToMakeOne) {
  v1::ScoreDocumentsTerms terms = Terms();
  terms.clear_masked_plan();
  EXPECT_THAT(Refusal(terms), HasSubstr("headwise select detect"));
  v1::SelectionJobSpec spec = Spec();
  spec.clear_masked_plan();
  EXPECT_THAT(Refusal(spec), StartsWith("spec.masked_plan: "));
}

TEST_F(SelectionParserTest, AStoredPlanIsFoundByItsFirstDigits) {
  const auto stored = plans_.Put(MaskedPlanOf({3}));
  ASSERT_TRUE(stored.ok());
  v1::ScoreDocumentsTerms terms = Terms();
  terms.mutable_masked_plan()->set_stored(stored->hash.substr(0, 10));
  const auto call = ParseDocumentTerms(terms, context_, TestSha256());
  ASSERT_TRUE(call.ok()) << call.status();
  EXPECT_EQ(HeadPlanHash(*call->plan), stored->hash);
  terms.mutable_masked_plan()->set_stored("full");
  EXPECT_THAT(Refusal(terms), HasSubstr("masks no head"));
  terms.mutable_masked_plan()->set_stored("0123456789");
  EXPECT_TRUE(absl::IsNotFound(
      ParseDocumentTerms(terms, context_, TestSha256()).status()));
}

TEST_F(SelectionParserTest, APlanThatDoesMoreThanMaskIsRefused) {
  const auto refusal = [this](const HeadPlan& plan) {
    v1::ScoreDocumentsTerms terms;
    WriteHeadPlan(plan, terms.mutable_masked_plan()->mutable_inline_plan());
    return Refusal(terms);
  };
  HeadPlan plan = MaskedPlanOf({1});
  plan.units[3] = {.kind = PolicyKind::kStreaming, .num_sinks = 4, .window = 8};
  EXPECT_THAT(refusal(plan), HasSubstr("has unit 1.1 with streaming"));
  plan = MaskedPlanOf({1});
  plan.heads[2].output_scale = 0.5f;
  EXPECT_THAT(refusal(plan), HasSubstr("scales or calibrates head 0.2"));
  plan = MaskedPlanOf({1});
  plan.heads[5].mask = HeadMask::kZero;
  EXPECT_THAT(refusal(plan), HasSubstr("masks head 1.1 by zero"));
  EXPECT_THAT(refusal(FullPlan(2, 4, 2)), HasSubstr("masks no head"));
  plan = MaskedPlanOf({1});
  plan.model_sha256 = std::string(64, 'b');
  EXPECT_THAT(refusal(plan), StartsWith("terms.masked_plan.inline_plan: "));
}

TEST_F(SelectionParserTest, HeadsAndMaskAreThePlan) {
  for (const HeadMask mask : {HeadMask::kUniform, HeadMask::kZero}) {
    const HeadPlan plan = MaskedPlanOf({0, 3, 7}, mask);
    const auto masked = MaskedHeadsOf(plan);
    ASSERT_TRUE(masked.ok()) << masked.status();
    EXPECT_THAT(masked->heads, ElementsAre("0.0", "0.3", "1.3"));
    const auto again = PlanOfMaskedHeads(
        *masked, fakes_.model.hyperparameters(), TestSha256());
    ASSERT_TRUE(again.ok()) << again.status();
    EXPECT_EQ(HeadPlanHash(*again), HeadPlanHash(plan));
  }
  const Hyperparameters& hyper = fakes_.model.hyperparameters();
  for (const char* head : {"2.0", "0.4", "-1.0", "0", "0.1.2", "a.b", ""}) {
    EXPECT_FALSE(PlanOfMaskedHeads({{head}, "uniform"}, hyper, "").ok())
        << head;
  }
  EXPECT_FALSE(PlanOfMaskedHeads({{"0.1"}, "none"}, hyper, "").ok());
  EXPECT_FALSE(PlanOfMaskedHeads({{"0.1"}, "mean"}, hyper, "").ok());
}

TEST_F(SelectionParserTest, FieldsOfTermsAreNamed) {
  const auto refusal = [this](auto change) {
    v1::ScoreDocumentsTerms terms = Terms();
    change(terms);
    return Refusal(terms);
  };
  EXPECT_THAT(
      refusal([](auto& terms) { terms.mutable_scoring()->set_window(33); }),
      StartsWith("terms.scoring.window: 33 is outside [2, 32]"));
  EXPECT_THAT(
      refusal([](auto& terms) { terms.mutable_scoring()->set_window(-1); }),
      StartsWith("terms.scoring.window"));
  EXPECT_THAT(
      refusal([](auto& terms) { terms.mutable_scoring()->set_max_tokens(-1); }),
      StartsWith("terms.scoring.max_tokens"));
  EXPECT_THAT(refusal([](auto& terms) {
                terms.mutable_scoring()->set_skip_tokens(32);
              }),
              StartsWith("terms.scoring.skip_tokens"));
  EXPECT_THAT(
      refusal([](auto& terms) { terms.mutable_ranking()->set_min_tokens(-1); }),
      StartsWith("terms.ranking.min_tokens: is -1"));
  EXPECT_THAT(refusal([](auto& terms) {
                terms.mutable_ranking()->set_min_loss(std::nan(""));
              }),
              StartsWith("terms.ranking.min_loss"));
  EXPECT_THAT(refusal([](auto& terms) {
                terms.mutable_ranking()->set_max_repetition(1.5);
              }),
              StartsWith("terms.ranking.max_repetition: is 1.5"));
  EXPECT_THAT(refusal([](auto& terms) {
                for (int i = 0; i < 257; ++i) {
                  terms.mutable_ranking()->add_domains("d");
                }
              }),
              StartsWith("terms.ranking.domains: has 257 entries"));
  EXPECT_THAT(refusal([](auto& terms) {
                terms.mutable_ranking()->add_domains(std::string(257, 'd'));
              }),
              StartsWith("terms.ranking.domains[0]: has 257 bytes"));
  EXPECT_THAT(refusal([](auto& terms) {
                terms.set_max_document_bytes((16 << 20) + 1);
              }),
              StartsWith("terms.max_document_bytes: is 16777217"));
  EXPECT_TRUE(absl::IsNotFound([this] {
    v1::ScoreDocumentsTerms terms = Terms();
    terms.set_model("other");
    return ParseDocumentTerms(terms, context_, TestSha256()).status();
  }()));
}

TEST_F(SelectionParserTest, ASpecBecomesAManifest) {
  v1::SelectionJobSpec message = Spec();
  message.mutable_input()->add_paths("web");
  message.mutable_input()->set_text_field("content");
  message.mutable_input()->set_shard_bytes(1 << 20);
  message.mutable_ranking()->add_domains("web");
  message.set_output("out");
  const auto spec = ParseJobSpec(message, context_, TestSha256());
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->output, "out");
  const JobManifest& manifest = spec->manifest;
  EXPECT_EQ(manifest.model_sha256, TestSha256());
  EXPECT_EQ(manifest.masked_plan_sha256, HeadPlanHash(MaskedPlanOf({1, 6})));
  EXPECT_THAT(manifest.masked_heads, ElementsAre("0.1", "1.2"));
  EXPECT_EQ(manifest.mask, "uniform");
  EXPECT_EQ(manifest.kv_type, "fp16");
  EXPECT_EQ(manifest.scoring.window, 32);
  EXPECT_THAT(manifest.ranking.domains, ElementsAre("web"));
  EXPECT_EQ(manifest.input.root, "corpus");
  EXPECT_THAT(manifest.input.paths, ElementsAre("web"));
  EXPECT_EQ(manifest.input.id_field, "id");
  EXPECT_EQ(manifest.input.text_field, "content");
  EXPECT_EQ(manifest.input.shard_bytes, 1 << 20);
  EXPECT_TRUE(CheckManifest(manifest).ok());
}

TEST_F(SelectionParserTest, FieldsOfASpecAreNamed) {
  v1::SelectionJobSpec spec = Spec();
  spec.mutable_input()->clear_root();
  EXPECT_THAT(Refusal(spec), StartsWith("spec.input.root: "));
  spec = Spec();
  spec.mutable_input()->set_shard_bytes(1);
  EXPECT_THAT(Refusal(spec), StartsWith("spec.input.shard_bytes: is 1;"));
  spec = Spec();
  spec.mutable_input()->set_max_document_bytes(-1);
  EXPECT_THAT(Refusal(spec), StartsWith("spec.input.max_document_bytes: "));
  spec = Spec();
  spec.mutable_scoring()->set_window(1);
  EXPECT_THAT(Refusal(spec), StartsWith("spec.scoring.window: 1"));
  spec = Spec();
  for (int i = 0; i <= kMaxInputPaths; ++i) spec.mutable_input()->add_paths("");
  EXPECT_THAT(Refusal(spec), StartsWith("spec.input.paths: has 1025"));
}

TEST_F(SelectionParserTest, DocumentsAreTakenWithTheirFlags) {
  DocumentCall call;
  call.max_document_bytes = 4;
  const auto take = [&](const std::string& id, const std::string& text) {
    v1::SelectionDocument message;
    message.set_id(id);
    message.set_text(text);
    return TakeDocument(2, 17, call, &message);
  };
  EXPECT_EQ(take("a", "text")->flags, 0u);
  EXPECT_EQ(take("a", "text")->text, "text");
  EXPECT_EQ(take("a", "texts")->flags, kTooLarge);
  EXPECT_EQ(take("a", "\xff")->flags, kInvalidUtf8);
  EXPECT_EQ(take("", "text")->id, "document:17");
  EXPECT_EQ(take("", "text")->flags, kMadeUpId);
  EXPECT_THAT(std::string(take(std::string(4097, 'a'), "").status().message()),
              StartsWith("documents[2].id: has 4097 bytes"));
  EXPECT_TRUE(CheckDocumentCount(256).ok());
  EXPECT_FALSE(CheckDocumentCount(257).ok());
}

TEST_F(SelectionParserTest, TopRulesQuantilesAndIntervals) {
  v1::TopKRequest top;
  EXPECT_THAT(std::string(ParseTopK(top).status().message()),
              HasSubstr("fraction, count or token_budget"));
  top.set_fraction(0);
  EXPECT_EQ(ParseTopK(top)->rule.fraction, 0.0);
  top.set_fraction(std::nan(""));
  EXPECT_FALSE(ParseTopK(top).ok());
  top.set_fraction(1.01);
  EXPECT_FALSE(ParseTopK(top).ok());
  top.set_count(-1);
  EXPECT_FALSE(ParseTopK(top).ok());
  top.set_count(5);
  EXPECT_EQ(ParseTopK(top)->rule.count, 5);
  EXPECT_FALSE(ParseTopK(top)->rule.fraction.has_value());
  top.set_token_budget(std::numeric_limits<int64_t>::max());
  EXPECT_TRUE(ParseTopK(top).ok());

  v1::QuantilesRequest quantiles;
  EXPECT_EQ(ParseQuantiles(quantiles)->size(), 9u);
  quantiles.add_quantiles(0.5);
  EXPECT_THAT(*ParseQuantiles(quantiles), ElementsAre(0.5));
  quantiles.add_quantiles(-0.1);
  EXPECT_THAT(std::string(ParseQuantiles(quantiles).status().message()),
              StartsWith("quantiles[1]: is -0.1"));

  v1::WatchJobRequest watch;
  EXPECT_EQ(*ParseWatchInterval(watch), absl::Seconds(1));
  watch.set_interval_seconds(0.05);
  EXPECT_EQ(*ParseWatchInterval(watch), absl::Milliseconds(50));
  watch.set_interval_seconds(61);
  EXPECT_FALSE(ParseWatchInterval(watch).ok());
}

TEST(NameFieldTest, NamesWhatASentenceBeginsWith) {
  const auto named = [](const absl::Status& status) {
    return NameField("spec", status);
  };
  EXPECT_EQ(named(absl::InvalidArgumentError("input.root: is bad")),
            InvalidField("spec.input.root", "is bad"));
  const absl::Status plain = absl::InvalidArgumentError("no field: here");
  EXPECT_EQ(named(plain), plain);
  const absl::Status other = absl::NotFoundError("a: b");
  EXPECT_EQ(named(other), other);
}

TEST(NameSpecFieldTest, KnowsTheFieldsOfASpec) {
  const auto named = [](const char* message) {
    return NameSpecField(absl::InvalidArgumentError(message));
  };
  EXPECT_EQ(named("path \"../x\" has a part"),
            InvalidField("spec.input.paths", "\"../x\" has a part"));
  EXPECT_EQ(named("root: is odd"), InvalidField("spec.input.root", "is odd"));
  EXPECT_EQ(named("scoring.window: is 0"),
            InvalidField("spec.scoring.window", "is 0"));
  EXPECT_EQ(named("pathology"), absl::InvalidArgumentError("pathology"));
  EXPECT_EQ(NameSpecField(absl::NotFoundError("root: x")),
            absl::NotFoundError("root: x"));
}

TEST(SelectionFoldersTest, InputRootsAreNamesAndFolders) {
  const auto roots = ParseInputRoots({"web=/data/web", "code=/a=b"});
  ASSERT_TRUE(roots.ok()) << roots.status();
  EXPECT_EQ(roots->at("web"), "/data/web");
  EXPECT_EQ(roots->at("code"), "/a=b");
  for (const char* bad : {"", "web", "=x", "web=", "a b=x", "a/b=x"}) {
    EXPECT_FALSE(ParseInputRoots({bad}).ok()) << bad;
  }
  EXPECT_FALSE(ParseInputRoots({"a=x", "a=y"}).ok());
}

}  // namespace
}  // namespace headwise
