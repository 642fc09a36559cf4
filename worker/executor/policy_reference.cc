#include "worker/executor/policy_reference.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace headwise {
namespace {

constexpr double kNothing = -std::numeric_limits<double>::infinity();

double Dot(const std::vector<double>& x, const std::vector<double>& y) {
  return std::inner_product(x.begin(), x.end(), y.begin(), 0.0);
}

double SizeOfTerms(const std::vector<double>& x, const std::vector<double>& y) {
  double sum = 0.0;
  for (size_t d = 0; d < x.size(); ++d) sum += std::abs(x[d] * y[d]);
  return sum;
}

std::vector<double> Softmax(const std::vector<double>& scores) {
  const double max = *std::max_element(scores.begin(), scores.end());
  std::vector<double> probs;
  for (const double s : scores) probs.push_back(std::exp(s - max));
  const double sum = std::accumulate(probs.begin(), probs.end(), 0.0);
  for (double& p : probs) p /= sum;
  return probs;
}

void AddTo(std::vector<double>* sum, double factor,
           const std::vector<double>& x) {
  for (size_t d = 0; d < x.size(); ++d) (*sum)[d] += factor * x[d];
}

bool ChoosesChunks(const UnitPolicy& policy) { return policy.chunk_len > 0; }

}  // namespace

PolicyReference::PolicyReference(ReferenceUnit unit) : unit_(std::move(unit)) {}

// x times e^(i place theta), channel pair by channel pair.
std::vector<double> PolicyReference::Rotated(std::vector<double> x,
                                             int64_t place) const {
  if (place == 0) return x;
  const int64_t pairs = unit_.rope.rotary_dim / 2;
  const bool interleaved = unit_.rope.layout == RopeLayout::kInterleaved;
  for (int64_t i = 0; i < pairs; ++i) {
    const double angle =
        static_cast<double>(place) *
        std::pow(unit_.rope.base,
                 -static_cast<double>(i) / static_cast<double>(pairs));
    const int64_t a = interleaved ? 2 * i : i;
    const int64_t b = interleaved ? 2 * i + 1 : i + pairs;
    const double re = x[a] * std::cos(angle) - x[b] * std::sin(angle);
    const double im = x[a] * std::sin(angle) + x[b] * std::cos(angle);
    x[a] = re;
    x[b] = im;
  }
  return x;
}

int64_t PolicyReference::StoredPlace(int64_t position) const {
  return unit_.policy.kind == PolicyKind::kLongHeads
             ? position % unit_.policy.chunk_len
             : position;
}

std::vector<double> PolicyReference::QueryAt(int64_t t, int64_t head,
                                             int64_t place) const {
  const auto from = unit_.queries.begin() +
                    (t * unit_.heads_per_kv_head + head) * unit_.head_dim;
  std::vector<double> query(from, from + unit_.head_dim);
  for (double& x : query) x *= unit_.softmax_scale;
  return Rotated(std::move(query), place);
}

std::vector<double> PolicyReference::Key(int64_t position,
                                         int64_t place) const {
  const auto from = unit_.keys.begin() + position * unit_.head_dim;
  return Rotated({from, from + unit_.head_dim}, place - StoredPlace(position));
}

std::vector<double> PolicyReference::Value(int64_t position) const {
  const auto from = unit_.values.begin() + position * unit_.head_dim;
  return {from, from + unit_.head_dim};
}

// The masks of StreamingLLM and RazorAttention.
bool PolicyReference::Sees(int64_t t, int64_t position) const {
  const UnitPolicy& policy = unit_.policy;
  if (position > t) return false;
  if (policy.kind == PolicyKind::kFull) return true;
  int64_t window = policy.window;
  if (policy.kind == PolicyKind::kRazor && policy.full_prompt) {
    if (t < unit_.prompt_len) return true;
    if (policy.window_divisor > 0) {
      window = std::max(window, unit_.prompt_len / policy.window_divisor);
    }
  }
  return position < policy.num_sinks || t - position < window;
}

void PolicyReference::SeePositions(int64_t t, ReferenceRow* row) const {
  for (int64_t j = 0; j <= t; ++j) {
    if (Sees(t, j)) row->seen.push_back(j);
  }
}

const std::vector<double>& PolicyReference::ChunkKey(int64_t chunk,
                                                     int64_t head) {
  std::vector<double>& key = chunk_keys_[{chunk, head}];
  if (!key.empty()) return key;
  const int64_t n = unit_.policy.chunk_len;
  std::vector<std::vector<double>> keys;
  for (int64_t i = 0; i < n; ++i) keys.push_back(Key(chunk * n + i, i));
  std::vector<double> mean(static_cast<size_t>(unit_.head_dim));
  std::vector<double> scores(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    const std::vector<double> query = QueryAt(chunk * n + i, head, i);
    for (int64_t j = 0; j < n; ++j) scores[j] = Dot(query, keys[j]);
    const std::vector<double> probs = Softmax(scores);
    for (int64_t j = 0; j < n; ++j) {
      AddTo(&mean, probs[j] / static_cast<double>(n), Value(chunk * n + j));
    }
  }
  for (int64_t j = 0; j < n; ++j) {
    scores[j] = unit_.softmax_scale * Dot(mean, keys[j]);
  }
  const std::vector<double> probs = Softmax(scores);
  key.resize(static_cast<size_t>(unit_.head_dim));
  for (int64_t j = 0; j < n; ++j) AddTo(&key, probs[j], keys[j]);
  return key;
}

double PolicyReference::ChunkScore(int64_t t, int64_t head, int64_t chunk) {
  if (unit_.policy.kind == PolicyKind::kLongHeads) {
    return Dot(QueryAt(t, head, 0), ChunkKey(chunk, head));
  }
  const std::vector<double> query = QueryAt(t, head, t);
  const int64_t n = unit_.policy.chunk_len;
  std::vector<double> smallest = Key(chunk * n, chunk * n);
  std::vector<double> largest = smallest;
  double sum = 0.0;
  for (int64_t j = chunk * n; j < (chunk + 1) * n; ++j) {
    const std::vector<double> key = Key(j, j);
    sum += std::exp(Dot(query, key));
    for (size_t d = 0; d < key.size(); ++d) {
      smallest[d] = std::min(smallest[d], key[d]);
      largest[d] = std::max(largest[d], key[d]);
    }
  }
  if (unit_.policy.kind == PolicyKind::kLandmarkOracle) return std::log(sum);
  double bound = 0.0;
  for (size_t d = 0; d < query.size(); ++d) {
    bound += std::max(query[d] * smallest[d], query[d] * largest[d]);
  }
  return bound;
}

// Chunk 0, the query's own, the one before it, and the best of the others.
void PolicyReference::SeeChunks(int64_t t, int64_t head, ReferenceRow* row) {
  const UnitPolicy& policy = unit_.policy;
  const int64_t own = t / policy.chunk_len;
  std::vector<std::pair<double, int64_t>> best;  // (-score, chunk)
  for (int64_t chunk = 1; chunk + 1 < own; ++chunk) {
    double score = kNothing;
    for (int64_t h = 0; h < unit_.heads_per_kv_head; ++h) {
      if (policy.per_query_head && h != head) continue;
      score = std::max(score, ChunkScore(t, h, chunk));
    }
    best.push_back({-score, chunk});
  }
  std::sort(best.begin(), best.end());
  std::vector<int64_t> chosen = {0, own - 1, own};
  const auto wanted = static_cast<size_t>(policy.num_chunks - 3);
  for (size_t i = 0; i < std::min(wanted, best.size()); ++i) {
    chosen.push_back(best[i].second);
  }
  if (best.size() > wanted && wanted > 0) {
    const double in = -best[wanted - 1].first;
    const double out = -best[wanted].first;
    row->is_close_call =
        in != out && in - out < 1e-4 * (1.0 + std::abs(in) + std::abs(out));
  }
  std::sort(chosen.begin(), chosen.end());
  chosen.erase(std::unique(chosen.begin(), chosen.end()), chosen.end());
  for (const int64_t chunk : chosen) {
    for (int64_t i = 0; chunk >= 0 && i < policy.chunk_len; ++i) {
      const int64_t j = chunk * policy.chunk_len + i;
      if (j <= t) row->seen.push_back(j);
    }
  }
}

// True positions, or 0, 1, 2, ... over what is seen, the query's own last.
void PolicyReference::PlaceKeys(int64_t t, ReferenceRow* row) const {
  const UnitPolicy& policy = unit_.policy;
  row->places = row->seen;
  row->place = t;
  if (policy.kind == PolicyKind::kLongHeads || policy.slot_positions) {
    std::iota(row->places.begin(), row->places.end(), 0);
    row->place = row->places.back();
  }
}

void PolicyReference::AddDropped(int64_t t, ReferenceRow* row) const {
  row->mean_key.assign(static_cast<size_t>(unit_.head_dim), 0.0);
  row->mean_value = row->mean_key;
  std::vector<int64_t> dropped;
  for (int64_t j = 0; j <= t; ++j) {
    if (!Sees(t, j)) dropped.push_back(j);
  }
  row->num_dropped = static_cast<int64_t>(dropped.size());
  for (const int64_t j : dropped) {
    const double share = 1.0 / static_cast<double>(row->num_dropped);
    AddTo(&row->mean_key, share, Key(j, j));
    AddTo(&row->mean_value, share, Value(j));
  }
}

// Errors in roundings of u = 2^-24, with S the largest sum of |q k|: rotations
// move a query by a few u each, a score is a chain of head_dim FMAs, an output
// one over what is seen; scores count above and below the fraction.
void PolicyReference::Attend(int64_t t, int64_t head, ReferenceRow* row) const {
  std::vector<double> scores;
  std::vector<std::vector<double>> values;
  double size = 0.0;
  double largest = 0.0;
  const std::vector<double> query = QueryAt(t, head, row->place);
  const auto see = [&](const std::vector<double>& key, double bias,
                       std::vector<double> value) {
    scores.push_back(Dot(query, key) + bias);
    size = std::max(size, SizeOfTerms(query, key) + std::abs(bias));
    for (const double x : value) largest = std::max(largest, std::abs(x));
    values.push_back(std::move(value));
  };
  for (size_t i = 0; i < row->seen.size(); ++i) {
    see(Key(row->seen[i], row->places[i]), 0.0, Value(row->seen[i]));
  }
  if (row->num_dropped > 0) {
    const double bias = unit_.policy.count_weight
                            ? std::log(static_cast<double>(row->num_dropped))
                            : 0.0;
    see(row->mean_key, bias, row->mean_value);
    row->slot_score = scores.back();
  }
  const std::vector<double> probs = Softmax(scores);
  row->out.assign(static_cast<size_t>(unit_.head_dim), 0.0);
  for (size_t i = 0; i < probs.size(); ++i) {
    AddTo(&row->out, probs[i], values[i]);
  }
  const auto roundings =
      2.0 * (static_cast<double>(unit_.head_dim) + 10.0) * size +
      static_cast<double>(row->seen.size()) + 100.0;
  row->error = 0x1p-24 * roundings * largest;
}

ReferenceRow PolicyReference::Row(int64_t t, int64_t head) {
  ReferenceRow row;
  if (ChoosesChunks(unit_.policy)) {
    SeeChunks(t, head, &row);
  } else {
    SeePositions(t, &row);
  }
  PlaceKeys(t, &row);
  if (unit_.policy.kind == PolicyKind::kRazor) AddDropped(t, &row);
  Attend(t, head, &row);
  return row;
}

}  // namespace headwise
