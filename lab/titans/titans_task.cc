#include "lab/titans/titans_task.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"

namespace headwise {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMinTextBytes = 20000;

std::vector<fs::path> FilesOf(const std::string& path) {
  std::error_code error;
  if (!fs::is_directory(path, error)) return {path};
  std::vector<fs::path> files;
  for (const auto& entry : fs::directory_iterator(path, error)) {
    if (entry.is_regular_file(error) && !entry.is_symlink(error)) {
      files.push_back(entry.path());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

// `count` numbers below `bound`, all different, in order.
std::vector<int64_t> DrawDistinct(int64_t count, int64_t bound, Draws& draws) {
  std::set<int64_t> drawn;
  while (static_cast<int64_t>(drawn.size()) < count) {
    drawn.insert(draws.Below(bound));
  }
  return {drawn.begin(), drawn.end()};
}

TitansBatch EmptyBatch(int64_t num_sequences, int64_t length) {
  return {.tokens = torch::zeros({num_sequences, length}, torch::kInt64),
          .labelled = torch::zeros({num_sequences, length}, torch::kBool)};
}

void SetRow(const std::vector<int64_t>& tokens, int64_t row,
            TitansBatch& batch) {
  batch.tokens[row].copy_(torch::tensor(tokens, torch::kInt64));
}

void DrawRecallRow(const std::string& text, int64_t row, int64_t num_pairs,
                   Draws& draws, TitansBatch& batch) {
  const int64_t length = batch.tokens.size(1);
  std::vector<int64_t> tokens;
  if (draws.Below(8) == 0) {
    for (int64_t i = 0; i < length; ++i) {
      tokens.push_back(draws.Below(kFirstTitansKey));
    }
  } else {
    tokens = DrawFiller(text, length, draws);
  }
  const std::vector<Pair> pairs = DrawPairs(num_pairs, draws);
  const int64_t shift = draws.Below(2);
  const int64_t num_places = (length - shift) / 2;
  std::set<int64_t> written;
  auto labelled = batch.labelled.accessor<bool, 2>();
  for (const int64_t place : DrawDistinct(
           std::min(3 * num_pairs, num_places / 2), num_places, draws)) {
    const Pair& pair = draws.Of(pairs);
    const int64_t at = 2 * place + shift;
    tokens[static_cast<size_t>(at)] = pair.key;
    tokens[static_cast<size_t>(at) + 1] = pair.value;
    labelled[row][at] = !written.insert(pair.key).second;
  }
  SetRow(tokens, row, batch);
}

}  // namespace

absl::StatusOr<TitansText> ReadTitansText(const std::string& path) {
  std::string all;
  for (const fs::path& name : FilesOf(path)) {
    std::ifstream file(name, std::ios::binary);
    all.append(std::istreambuf_iterator<char>(file), {});
    if (!file.good() && !file.eof()) {
      return absl::NotFoundError(
          absl::StrCat(name.string(), ": can't be read"));
    }
  }
  if (all.size() < kMinTextBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": ", all.size(), " bytes of text; the least are ",
                     kMinTextBytes));
  }
  const size_t cut = all.size() - all.size() / 10;
  return TitansText{.train = all.substr(0, cut), .held_out = all.substr(cut)};
}

std::vector<int64_t> DrawFiller(const std::string& text, int64_t length,
                                Draws& draws) {
  const auto size = static_cast<int64_t>(text.size());
  int64_t at = draws.Below(size);
  std::vector<int64_t> tokens;
  for (int64_t i = 0; i < length; ++i, at = (at + 1) % size) {
    tokens.push_back(static_cast<uint8_t>(text[static_cast<size_t>(at)]));
  }
  return tokens;
}

std::vector<Pair> DrawPairs(int64_t num_pairs, Draws& draws) {
  std::vector<Pair> pairs;
  for (const int64_t key : DrawDistinct(num_pairs, kNumTitansKeys, draws)) {
    pairs.push_back(
        {.key = kFirstTitansKey + key,
         .value = kFirstTitansValue + draws.Below(kNumTitansValues)});
  }
  return pairs;
}

TitansBatch DrawRecallBatch(const std::string& text, int64_t num_sequences,
                            int64_t length, int64_t num_pairs, Draws& draws) {
  TitansBatch batch = EmptyBatch(num_sequences, length);
  for (int64_t row = 0; row < num_sequences; ++row) {
    DrawRecallRow(text, row, num_pairs, draws, batch);
  }
  return batch;
}

TitansBatch DrawTextBatch(const std::string& text, int64_t num_sequences,
                          int64_t length, Draws& draws) {
  TitansBatch batch = EmptyBatch(num_sequences, length);
  for (int64_t row = 0; row < num_sequences; ++row) {
    SetRow(DrawFiller(text, length, draws), row, batch);
  }
  batch.labelled.slice(1, 0, length - 1).fill_(true);
  return batch;
}

}  // namespace headwise
