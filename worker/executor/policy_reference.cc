#include "worker/executor/policy_reference.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "model/head_plan/kv_retention.h"

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
  const int64_t period = RotationPeriod(unit_.policy);
  return period > 0 ? position % period : position;
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
  const int64_t n = unit_.policy.chunk_len;
  if (unit_.policy.kind == PolicyKind::kLandmark) {
    const int64_t own = t / n;
    const int64_t others = std::min(own, unit_.policy.num_chunks - 1);
    // The last ones stand where they are, the others all before those.
    const int64_t first = own - others - 1;
    const int64_t at =
        unit_.policy.slot_positions && chunk < first ? first : chunk;
    return LandmarkScore(t, head, chunk, at);
  }
  const std::vector<double> query = QueryAt(t, head, t);
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

// What the landmark of `chunk` scores if the chunk stands where `place` does.
double PolicyReference::LandmarkScore(int64_t t, int64_t head, int64_t chunk,
                                      int64_t place) const {
  const int64_t n = unit_.policy.chunk_len;
  return Dot(QueryAt(t, head, t), Key(chunk * n + n - 1, place * n + n - 1));
}

// Chunk 0, the query's own, the one before it (kLandmark: its own alone), and
// the best of the others.
void PolicyReference::SeeChunks(int64_t t, int64_t head, ReferenceRow* row) {
  const UnitPolicy& policy = unit_.policy;
  const int64_t own = t / policy.chunk_len;
  std::vector<int64_t> chosen = {0, own - 1, own};
  if (policy.kind == PolicyKind::kLandmark) chosen = {own};
  std::vector<std::pair<double, int64_t>> best;  // (-score, chunk)
  for (int64_t chunk = 0; chunk < own; ++chunk) {
    if (std::count(chosen.begin(), chosen.end(), chunk) > 0) continue;
    double score = kNothing;
    for (int64_t h = 0; h < unit_.heads_per_kv_head; ++h) {
      if (policy.per_query_head && h != head) continue;
      score = std::max(score, ChunkScore(t, h, chunk));
    }
    best.push_back({-score, chunk});
  }
  std::sort(best.begin(), best.end());
  const auto wanted = static_cast<size_t>(policy.num_chunks) - chosen.size();
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
    const bool by_landmark =
        policy.kind == PolicyKind::kLandmark && chunk < own;
    if (by_landmark) row->landmark_scores[chunk] = kNothing;
    const int64_t end = policy.chunk_len - (by_landmark ? 1 : 0);
    for (int64_t i = 0; chunk >= 0 && i < end; ++i) {
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
  if (policy.kind == PolicyKind::kLandmark) return;
  if (policy.kind == PolicyKind::kLongHeads || policy.slot_positions) {
    std::iota(row->places.begin(), row->places.end(), 0);
    row->place = row->places.back();
  }
}

// kLandmark: where chunks stand, and what their landmarks score there. With
// slot positions the paper's: side by side from one chunk before the last
// `others` on; a chunk that is one of these leaves that place free.
void PolicyReference::PlaceChunks(int64_t t, int64_t head,
                                  ReferenceRow* row) const {
  const int64_t n = unit_.policy.chunk_len;
  const int64_t own = t / n;
  const auto others = static_cast<int64_t>(row->landmark_scores.size());
  std::map<int64_t, int64_t> place_of = {{own, own}};
  int64_t slot = own - others - 1;
  for (auto& [chunk, score] : row->landmark_scores) {
    place_of[chunk] = chunk;
    if (unit_.policy.slot_positions) {
      place_of[chunk] = slot + (chunk >= own - others ? 1 : 0);
    }
    ++slot;
    score = LandmarkScore(t, head, chunk, place_of[chunk]);
  }
  for (int64_t& place : row->places) {
    place = place_of[place / n] * n + place % n;
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

// kLandmark: `probs` of the query's own chunk and of the landmarks, then each
// chunk's shares of what its landmark has.
void PolicyReference::ShareByLandmarks(int64_t t, ReferenceRow* row,
                                       const std::vector<double>& scores,
                                       std::vector<double>* probs) const {
  const int64_t n = unit_.policy.chunk_len;
  std::map<int64_t, std::vector<double>> scores_of;  // by chunk
  for (size_t i = 0; i < scores.size(); ++i) {
    scores_of[row->seen[i] / n].push_back(scores[i]);
  }
  std::vector<double> current;
  for (const auto& [chunk, score] : row->landmark_scores) {
    current.push_back(score);
  }
  const std::vector<double>& own = scores_of[t / n];
  current.insert(current.end(), own.begin(), own.end());
  current = Softmax(current);
  probs->clear();
  size_t at = 0;
  for (const auto& [chunk, score] : row->landmark_scores) {
    for (const double share : Softmax(scores_of[chunk])) {
      probs->push_back(share * current[at]);
    }
    ++at;
  }
  probs->insert(probs->end(), current.begin() + static_cast<int64_t>(at),
                current.end());
}

// Errors in roundings of u = 2^-24, with S the largest sum of |q k|: rotations
// move a query by a few u each, a score is a chain of head_dim FMAs, an output
// one over what is seen; scores count above and below the fraction. Where a
// share of a share is meant, so do landmarks'.
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
  std::vector<double> probs = Softmax(scores);
  if (unit_.policy.kind == PolicyKind::kLandmark) {
    for (const auto& [chunk, score] : row->landmark_scores) {
      const int64_t n = unit_.policy.chunk_len;
      const std::vector<double> key = Key(chunk * n + n - 1, 0);
      size = std::max(size, std::sqrt(Dot(query, query) * Dot(key, key)));
    }
    size *= 2.0;
    ShareByLandmarks(t, row, scores, &probs);
  }
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
  if (unit_.policy.kind == PolicyKind::kLandmark) PlaceChunks(t, head, &row);
  if (unit_.policy.kind == PolicyKind::kRazor) AddDropped(t, &row);
  Attend(t, head, &row);
  return row;
}

}  // namespace headwise
