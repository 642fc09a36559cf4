#include "server/neural_memory/memory_rows.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "worker/neural_memory/memory_head.h"

namespace headwise {
namespace {

absl::Span<const uint8_t> SpanOf(const std::string& bytes) {
  return {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
}

absl::Status CheckAnswerBytes(const MemoryConfig& config, int64_t num_queries) {
  const int64_t query_bytes = 4 * config.token_floats();
  if (num_queries * query_bytes <= kMaxMemoryAnswerBytes) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("queries: the outputs of ", num_queries, " have ",
                   num_queries * query_bytes, " bytes, an answer at most ",
                   kMaxMemoryAnswerBytes, ": ",
                   kMaxMemoryAnswerBytes / query_bytes, " queries fit"));
}

absl::Status CheckGateBytes(const MemoryConfig& config, absl::string_view name,
                            const std::string& bytes, int64_t num_tokens) {
  if (bytes.empty() && !config.default_gates.empty()) {
    return absl::OkStatus();
  }
  const auto size = static_cast<int64_t>(bytes.size());
  if (size == 4 * num_tokens || size == 4 * num_tokens * config.num_heads) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      name, ": ", size, " bytes; ", num_tokens, " tokens need ", 4 * num_tokens,
      ", or ", 4 * num_tokens * config.num_heads, " for ", config.num_heads,
      " heads",
      bytes.empty() ? ", since the memory has no default gates" : ""));
}

std::vector<float> ReadTensor(FloatType type, const std::string& bytes) {
  const auto n = static_cast<int64_t>(bytes.size()) / FloatBytes(type);
  std::vector<float> out(static_cast<size_t>(n));
  ReadFloats(type, reinterpret_cast<const uint8_t*>(bytes.data()), n,
             out.data());
  return out;
}

// [num_tokens][num_heads], from any of the three forms.
std::vector<float> ReadGate(const MemoryConfig& config,
                            const std::string& bytes, int64_t num_tokens,
                            float MemoryGates::*gate) {
  const auto count = static_cast<size_t>(num_tokens * config.num_heads);
  std::vector<float> out;
  if (!bytes.empty()) out = ReadTensor(FloatType::kFp32, bytes);
  if (out.size() == count) return out;
  const std::vector<float> of_tokens = std::exchange(out, {});
  out.reserve(count);
  for (int64_t token = 0; token < num_tokens; ++token) {
    for (int64_t head = 0; head < config.num_heads; ++head) {
      out.push_back(bytes.empty() ? config.GatesOf(head).*gate
                                  : of_tokens[token]);
    }
  }
  return out;
}

absl::StatusOr<int64_t> RowsOf(const MemoryConfig& config,
                               const std::string& bytes,
                               absl::string_view name) {
  const int64_t row_bytes =
      config.token_floats() * FloatBytes(config.input_type);
  const auto size = static_cast<int64_t>(bytes.size());
  if (size > 0 && size % row_bytes == 0 && size / row_bytes <= kMaxMemoryRows) {
    return size / row_bytes;
  }
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": ", size, " bytes; must have ", row_bytes,
                   " for each of 1 to ", kMaxMemoryRows));
}

absl::Status CheckSameSize(absl::string_view name, const std::string& bytes,
                           const std::string& keys) {
  if (bytes.size() == keys.size()) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(name, ": ", bytes.size(),
                                                 " bytes; must have ",
                                                 keys.size(), " as the keys"));
}

}  // namespace

absl::StatusOr<int64_t> TokensOf(const MemoryConfig& config,
                                 const MemoryWrite& write) {
  HEADWISE_ASSIGN_OR_RETURN(const int64_t num_tokens,
                            RowsOf(config, write.keys, "keys"));
  HEADWISE_RETURN_IF_ERROR(CheckSameSize("values", write.values, write.keys));
  if (!write.queries.empty()) {
    HEADWISE_RETURN_IF_ERROR(
        CheckSameSize("queries", write.queries, write.keys));
    HEADWISE_RETURN_IF_ERROR(CheckAnswerBytes(config, num_tokens));
  }
  HEADWISE_RETURN_IF_ERROR(
      CheckGateBytes(config, "theta", write.theta, num_tokens));
  HEADWISE_RETURN_IF_ERROR(
      CheckGateBytes(config, "eta", write.eta, num_tokens));
  HEADWISE_RETURN_IF_ERROR(
      CheckGateBytes(config, "alpha", write.alpha, num_tokens));
  return num_tokens;
}

absl::StatusOr<int64_t> QueriesOf(const MemoryConfig& config,
                                  const std::string& queries) {
  HEADWISE_ASSIGN_OR_RETURN(const int64_t num_queries,
                            RowsOf(config, queries, "queries"));
  HEADWISE_RETURN_IF_ERROR(CheckAnswerBytes(config, num_queries));
  return num_queries;
}

absl::Status CheckHash(const MemoryWrite& write) {
  if (write.sha256.size() != sizeof(Sha256Digest)) {
    return absl::InvalidArgumentError(
        absl::StrCat("sha256: ", write.sha256.size(), " bytes; must have 32"));
  }
  Sha256 hash;
  for (const std::string* tensor : {&write.keys, &write.values, &write.queries,
                                    &write.theta, &write.eta, &write.alpha}) {
    hash.Update(SpanOf(*tensor));
  }
  const Sha256Digest digest = hash.Finish();
  if (std::equal(digest.begin(), digest.end(), SpanOf(write.sha256).begin())) {
    return absl::OkStatus();
  }
  return absl::DataLossError(absl::StrCat(
      "sha256 of the write at offset ", write.offset, " is ", Sha256Hex(digest),
      ", not ", absl::BytesToHexString(write.sha256),
      " as it says: it was changed on the way"));
}

absl::StatusOr<MemoryTensors> ReadTensors(const MemoryConfig& config,
                                          const MemoryWrite& write,
                                          int64_t num_tokens) {
  const int64_t heads = config.num_heads;
  MemoryTensors tensors;
  tensors.num_rows = num_tokens;
  tensors.keys = ReadTensor(config.input_type, write.keys);
  tensors.values = ReadTensor(config.input_type, write.values);
  tensors.queries = ReadTensor(config.input_type, write.queries);
  tensors.theta =
      ReadGate(config, write.theta, num_tokens, &MemoryGates::theta);
  tensors.eta = ReadGate(config, write.eta, num_tokens, &MemoryGates::eta);
  tensors.alpha =
      ReadGate(config, write.alpha, num_tokens, &MemoryGates::alpha);
  for (int64_t head = 0; head < heads; ++head) {
    const int64_t at = head * config.spec.head_dim;
    MemoryRows rows;
    rows.num_rows = num_tokens;
    rows.keys = tensors.keys.data() + at;
    rows.values = tensors.values.data() + at;
    rows.queries =
        tensors.queries.empty() ? nullptr : tensors.queries.data() + at;
    rows.row_stride = config.token_floats();
    rows.theta = tensors.theta.data() + head;
    rows.eta = tensors.eta.data() + head;
    rows.alpha = tensors.alpha.data() + head;
    rows.gate_stride = heads;
    const absl::Status checked = CheckMemoryRows(config.spec, rows);
    if (checked.ok()) continue;
    return absl::Status(checked.code(),
                        absl::StrCat("head ", head, ", tokens from ",
                                     write.offset, " on: ", checked.message()));
  }
  return tensors;
}

absl::StatusOr<std::vector<float>> ReadQueries(const MemoryConfig& config,
                                               const std::string& queries) {
  const auto* data = reinterpret_cast<const uint8_t*>(queries.data());
  const auto n =
      static_cast<int64_t>(queries.size()) / FloatBytes(config.input_type);
  const int64_t at = FirstNotBelow(config.input_type, data, n, INFINITY);
  std::vector<float> floats = ReadTensor(config.input_type, queries);
  if (at == n) return floats;
  const int64_t row = at / config.spec.head_dim;
  return absl::InvalidArgumentError(absl::StrCat(
      "queries: ", floats[at], " at query ", row / config.num_heads, ", head ",
      row % config.num_heads, ", dimension ", at % config.spec.head_dim,
      " is not finite"));
}

std::vector<float> HeadsOf(const std::vector<float>& tensor, int64_t num_heads,
                           int64_t width, int64_t first, int64_t count) {
  if (count == num_heads) return tensor;
  std::vector<float> heads;
  heads.reserve(tensor.size() / num_heads * count);
  for (size_t row = 0; row < tensor.size(); row += num_heads * width) {
    const float* from = tensor.data() + row + first * width;
    heads.insert(heads.end(), from, from + count * width);
  }
  return heads;
}

void PutHeads(const std::vector<float>& heads, int64_t num_heads, int64_t width,
              int64_t first, int64_t count, std::vector<float>& tensor) {
  const int64_t row_floats = count * width;
  const int64_t num_rows = static_cast<int64_t>(heads.size()) / row_floats;
  for (int64_t row = 0; row < num_rows; ++row) {
    std::copy_n(heads.data() + row * row_floats, row_floats,
                tensor.data() + (row * num_heads + first) * width);
  }
}

}  // namespace headwise
