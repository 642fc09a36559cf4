#include "worker/executor/reference_forward.h"

#include <cmath>

#include "absl/strings/str_cat.h"
#include "base/check.h"

namespace headwise {
namespace {

using Vector = std::vector<double>;

class Reference {
 public:
  explicit Reference(const Model& model)
      : model_(model), hyper_(model.hyperparameters()) {}

  std::vector<Vector> Run(const std::vector<int32_t>& tokens);

 private:
  Vector Row(const std::string& name, int64_t row = 0) const;
  Vector Times(const std::string& name, const Vector& x) const;
  Vector Norm(const Vector& x, const Vector& weight) const;
  Vector Project(const std::string& prefix, const std::string& what,
                 const Vector& x) const;
  void NormHeads(const std::string& name, Vector* x) const;
  void Rotate(int64_t position, Vector* x) const;
  Vector Attend(const Vector& q, const std::vector<Vector>& keys,
                const std::vector<Vector>& values) const;
  void Layer(const std::string& prefix, std::vector<Vector>* x) const;

  const Model& model_;
  const Hyperparameters& hyper_;
};

Vector Reference::Row(const std::string& name, int64_t row) const {
  const TensorView* tensor = model_.FindTensor(name);
  HEADWISE_CHECK(tensor != nullptr);
  std::vector<float> values(static_cast<size_t>(tensor->cols()));
  DequantizeRow(*tensor, row, absl::MakeSpan(values));
  return {values.begin(), values.end()};
}

Vector Reference::Times(const std::string& name, const Vector& x) const {
  Vector y;
  for (int64_t r = 0; r < model_.FindTensor(name)->rows(); ++r) {
    const Vector w = Row(name, r);
    double sum = 0.0;
    for (size_t k = 0; k < x.size(); ++k) sum += w[k] * x[k];
    y.push_back(sum);
  }
  return y;
}

Vector Reference::Norm(const Vector& x, const Vector& weight) const {
  double squares = 0.0;
  for (double v : x) squares += v * v;
  const double scale = 1.0 / std::sqrt(squares / static_cast<double>(x.size()) +
                                       hyper_.norm_epsilon);
  Vector y(x.size());
  for (size_t i = 0; i < x.size(); ++i) y[i] = x[i] * scale * weight[i];
  return y;
}

Vector Reference::Project(const std::string& prefix, const std::string& what,
                          const Vector& x) const {
  Vector y = Times(prefix + what + ".weight", x);
  if (hyper_.qkv_bias) {
    const Vector bias = Row(prefix + what + ".bias");
    for (size_t i = 0; i < y.size(); ++i) y[i] += bias[i];
  }
  return y;
}

void Reference::NormHeads(const std::string& name, Vector* x) const {
  if (!hyper_.qk_norm) return;
  const auto dim = static_cast<size_t>(hyper_.head_dim);
  for (size_t begin = 0; begin < x->size(); begin += dim) {
    const Vector head(x->begin() + static_cast<int64_t>(begin),
                      x->begin() + static_cast<int64_t>(begin + dim));
    const Vector normed = Norm(head, Row(name));
    for (size_t d = 0; d < dim; ++d) (*x)[begin + d] = normed[d];
  }
}

void Reference::Rotate(int64_t position, Vector* x) const {
  const RopeFrequencies rope = ComputeRopeFrequencies(hyper_.rope);
  const auto pairs = rope.inverse_frequencies.size();
  const bool interleaved = hyper_.rope.layout == RopeLayout::kInterleaved;
  for (size_t head = 0; head < x->size();
       head += static_cast<size_t>(hyper_.head_dim)) {
    for (size_t i = 0; i < pairs; ++i) {
      double& a = (*x)[head + (interleaved ? 2 * i : i)];
      double& b = (*x)[head + (interleaved ? 2 * i + 1 : i + pairs)];
      const double angle =
          static_cast<double>(position) * rope.inverse_frequencies[i];
      const double c = std::cos(angle) * rope.magnitude;
      const double s = std::sin(angle) * rope.magnitude;
      const double rotated = a * c - b * s;
      b = a * s + b * c;
      a = rotated;
    }
  }
}

// All query heads of one position over all positions so far.
Vector Reference::Attend(const Vector& q, const std::vector<Vector>& keys,
                         const std::vector<Vector>& values) const {
  const int64_t dim = hyper_.head_dim;
  Vector out(q.size(), 0.0);
  for (int64_t head = 0; head < hyper_.num_heads; ++head) {
    const int64_t kv = head / hyper_.heads_per_kv_head() * dim;
    Vector weights;
    double max = -1e300, sum = 0.0;
    for (const Vector& key : keys) {
      double score = 0.0;
      for (int64_t d = 0; d < dim; ++d)
        score += q[head * dim + d] * key[kv + d];
      weights.push_back(score / std::sqrt(static_cast<double>(dim)));
      max = std::max(max, weights.back());
    }
    for (double& w : weights) sum += w = std::exp(w - max);
    for (size_t j = 0; j < values.size(); ++j) {
      for (int64_t d = 0; d < dim; ++d) {
        out[head * dim + d] += weights[j] / sum * values[j][kv + d];
      }
    }
  }
  return out;
}

void Reference::Layer(const std::string& prefix, std::vector<Vector>* x) const {
  std::vector<Vector> keys, values;
  for (size_t t = 0; t < x->size(); ++t) {
    Vector& row = (*x)[t];
    const auto position = static_cast<int64_t>(t);
    const Vector normed = Norm(row, Row(prefix + "attn_norm.weight"));
    Vector q = Project(prefix, "attn_q", normed);
    Vector k = Project(prefix, "attn_k", normed);
    NormHeads(prefix + "attn_q_norm.weight", &q);
    NormHeads(prefix + "attn_k_norm.weight", &k);
    Rotate(position, &q);
    Rotate(position, &k);
    keys.push_back(k);
    values.push_back(Project(prefix, "attn_v", normed));
    const Vector mixed =
        Times(prefix + "attn_output.weight", Attend(q, keys, values));
    for (size_t i = 0; i < row.size(); ++i) row[i] += mixed[i];
    const Vector inner = Norm(row, Row(prefix + "ffn_norm.weight"));
    Vector gate = Times(prefix + "ffn_gate.weight", inner);
    const Vector up = Times(prefix + "ffn_up.weight", inner);
    for (size_t i = 0; i < gate.size(); ++i) {
      gate[i] *= up[i] / (1.0 + std::exp(-gate[i]));
    }
    const Vector down = Times(prefix + "ffn_down.weight", gate);
    for (size_t i = 0; i < row.size(); ++i) row[i] += down[i];
  }
}

std::vector<Vector> Reference::Run(const std::vector<int32_t>& tokens) {
  std::vector<Vector> x;
  for (int32_t token : tokens) x.push_back(Row("token_embd.weight", token));
  for (int64_t l = 0; l < hyper_.num_layers; ++l) {
    Layer(absl::StrCat("blk.", l, "."), &x);
  }
  for (Vector& row : x) {
    row = Times(hyper_.tied_embeddings ? "token_embd.weight" : "output.weight",
                Norm(row, Row("output_norm.weight")));
  }
  return x;
}

}  // namespace

std::vector<Vector> ReferenceForward(const Model& model,
                                     const std::vector<int32_t>& tokens) {
  return Reference(model).Run(tokens);
}

}  // namespace headwise
