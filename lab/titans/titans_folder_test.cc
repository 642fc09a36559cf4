#include "lab/titans/titans_folder.h"

#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "lab/titans/titans_forward.h"
#include "lab/titans/titans_run.h"
#include "lab/titans/titans_table.h"
#include "lab/titans/toy_titans.h"
#include "model/model.h"
#include "model/tokenizer/tokenizer.h"
#include "worker/executor/titans_reference.h"

namespace headwise {
namespace {

using ::testing::HasSubstr;

class TitansFolderTest : public testing::Test {
 protected:
  TitansFolderTest() {
    torch::manual_seed(21);
    std::filesystem::create_directories(folder_);
  }
  ~TitansFolderTest() override { std::filesystem::remove_all(folder_); }

  const std::string folder_ =
      testing::TempDir() + "titans_folder_" + std::to_string(getpid());
};

torch::Tensor LogitsOf(const TitansWeights& weights,
                       const std::vector<int32_t>& tokens) {
  const torch::NoGradGuard no_gradient;
  TitansState state = BeginTitans(weights, 1);
  const torch::Tensor row = torch::tensor(tokens, torch::kInt64).unsqueeze(0);
  return TitansLogits(weights, RunTitans(weights, row, 0, state, nullptr))[0];
}

// What the product's plain forward, in double, reads from the folder.
TEST_F(TitansFolderTest, LogitsAreThoseOfThePlainForwardOfWhatWasWritten) {
  std::vector<int32_t> tokens;
  for (int32_t i = 0; i < 22; ++i) tokens.push_back((i * 97 + 5) % 385);
  for (const TitansVariant variant : AllTitansVariants()) {
    SCOPED_TRACE(TitansVariantName(variant));
    const TitansWeights weights(ToyTitans(variant),
                                {.theta = -0.5, .eta = 0.0, .alpha = -1.0});
    const absl::Status written = WriteTitansFolder(folder_, weights);
    ASSERT_TRUE(written.ok()) << written;
    const auto model = Model::Open(folder_);
    ASSERT_TRUE(model.ok()) << model.status();
    const torch::Tensor logits = LogitsOf(weights, tokens);
    const auto expected = TitansReferenceForward(**model, tokens);
    for (size_t i = 0; i < expected.size(); ++i) {
      const torch::Tensor row = torch::tensor(expected[i], torch::kFloat64);
      const auto difference = (logits[static_cast<int64_t>(i)] - row).abs();
      EXPECT_LT(difference.max().item<double>(), 1e-4) << "token " << i;
    }
    const auto read = ReadTitansFolder(folder_);
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_TRUE(torch::equal(LogitsOf(**read, tokens), logits));
  }
}

TEST_F(TitansFolderTest, TokenizerHasBytesKeysAndValues) {
  const TitansWeights weights(ToyTitans(TitansVariant::kLmm));
  ASSERT_TRUE(WriteTitansFolder(folder_, weights).ok());
  const auto model = Model::Open(folder_);
  ASSERT_TRUE(model.ok()) << model.status();
  const auto tokenizer = Tokenizer::Create((*model)->tokenizer_data());
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status();
  const std::string text = "a b\n\xc3\xa9<k0><v63>.";
  const std::vector<int32_t> tokens = (*tokenizer)->Encode(text, {});
  EXPECT_THAT(tokens, testing::ElementsAre('a', ' ', 'b', '\n', 0xc3, 0xa9,
                                           kFirstTitansKey,
                                           kFirstTitansValue + 63, '.'));
  EXPECT_EQ((*tokenizer)->Decode(tokens, false), text);
}

TEST_F(TitansFolderTest, AFolderThatIsNoModelIsRefused) {
  EXPECT_FALSE(ReadTitansFolder(folder_).ok());
}

// A whole run: its files, and the table of two of them.
TEST_F(TitansFolderTest, ARunLeavesItsFilesAndATableReadsThem) {
  std::ofstream(folder_ + "/text") << std::string(30000, 'x');
  TitansRun run = {.hyper = ToyTitans(TitansVariant::kLmm),
                   .training = {.num_steps = 2,
                                .num_sequences = 1,
                                .min_length = 16,
                                .length = 16,
                                .num_pairs = 2}};
  for (const char* name : {"one", "two"}) {
    const absl::Status done =
        RunTitansTraining(run, {.folder = folder_ + "/" + name,
                                .text = folder_ + "/text",
                                .contexts = {512}});
    ASSERT_TRUE(done.ok()) << done;
    run.training.is_recall = false;
  }
  for (const char* file :
       {"config.json", "model.safetensors", "tokenizer.json", "task.json"}) {
    EXPECT_TRUE(std::filesystem::exists(folder_ + "/one/" + file)) << file;
  }
  EXPECT_FALSE(std::filesystem::exists(folder_ + "/two/task.json"));
  const absl::Status table = WriteTitansTable(
      {folder_ + "/one", folder_ + "/two/"}, folder_ + "/table");
  ASSERT_TRUE(table.ok()) << table;
  const auto csv = ReadTextFile(folder_ + "/table.csv");
  ASSERT_TRUE(csv.ok());
  EXPECT_THAT(*csv, HasSubstr("recall_512"));
  EXPECT_THAT(*csv, HasSubstr("\none,lmm,recall,2,yes,yes,"));
  EXPECT_THAT(*csv, HasSubstr("\ntwo,lmm,text,2,yes,yes,"));
  for (const char* file : {"/table.svg", "/table-loss.svg"}) {
    EXPECT_THAT(*ReadTextFile(folder_ + file), HasSubstr("</svg>"));
  }
  EXPECT_FALSE(WriteTitansTable({folder_}, folder_ + "/none").ok());
}

}  // namespace
}  // namespace headwise
