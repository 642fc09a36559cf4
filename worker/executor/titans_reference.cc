#include "worker/executor/titans_reference.h"

#include <algorithm>
#include <cmath>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "worker/neural_memory/memory_reference.h"

namespace headwise {
namespace {

using Vector = std::vector<double>;
using Rows = std::vector<Vector>;

double Sigmoid(double z) { return 1.0 / (1.0 + std::exp(-z)); }

double Dot(const Vector& a, const Vector& b) {
  double sum = 0.0;
  for (size_t i = 0; i < a.size(); ++i) sum += a[i] * b[i];
  return sum;
}

// A row of an attention: what it scores, before the softmax, and its value.
struct Seen {
  double score;
  Vector value;
};

Vector Softmax(const std::vector<Seen>& seen) {
  double max = -1e300, sum = 0.0;
  for (const Seen& row : seen) max = std::max(max, row.score);
  Vector out(seen[0].value.size(), 0.0);
  for (const Seen& row : seen) sum += std::exp(row.score - max);
  for (const Seen& row : seen) {
    for (size_t d = 0; d < out.size(); ++d) {
      out[d] += std::exp(row.score - max) / sum * row.value[d];
    }
  }
  return out;
}

class Layer {
 public:
  Layer(const Model& model, int64_t index)
      : model_(model),
        hyper_(model.hyperparameters()),
        titans_(*hyper_.titans),
        dim_(static_cast<size_t>(hyper_.head_dim)),
        prefix_(absl::StrCat("blk.", index, ".")) {}

  void Run(Rows* x) const {
    const TitansVariant v = titans_.variant;
    if (v == TitansVariant::kMal || v == TitansVariant::kLmm) {
      Add(Times("mem_output.weight", Memories(Normed("mem_norm", *x))), x);
    }
    if (v == TitansVariant::kMal || v == TitansVariant::kSwa) {
      Add(Times("attn_output.weight", Attentions(Normed("attn_norm", *x))), x);
    }
    if (v == TitansVariant::kMag || v == TitansVariant::kMac) {
      const Rows u = Normed("attn_norm", *x);
      Add(Times("attn_output.weight",
                v == TitansVariant::kMag ? Gated(u) : Contexts(u)),
          x);
    }
    Add(Mlp(Normed("ffn_norm", *x)), x);
  }

  // Of any tensor.
  static Vector RowOf(const Model& model, const std::string& name,
                      int64_t row) {
    const TensorView* tensor = model.FindTensor(name);
    HEADWISE_CHECK(tensor != nullptr);
    std::vector<float> values(static_cast<size_t>(tensor->cols()));
    DequantizeRow(*tensor, row, absl::MakeSpan(values));
    return {values.begin(), values.end()};
  }
  static Vector Norm(const Vector& x, const Vector& weight, double epsilon) {
    const double scale =
        1.0 / std::sqrt(Dot(x, x) / static_cast<double>(x.size()) + epsilon);
    Vector y(x.size());
    for (size_t i = 0; i < x.size(); ++i) y[i] = x[i] * scale * weight[i];
    return y;
  }

 private:
  Vector Row(const std::string& name, int64_t row = 0) const {
    return RowOf(model_, prefix_ + name, row);
  }
  // Rows [first, first + count) of a matrix times each x.
  Rows Product(const std::string& name, int64_t first, int64_t count,
               const Rows& x) const {
    Rows out(x.size());
    for (int64_t r = first; r < first + count; ++r) {
      const Vector w = Row(name, r);
      for (size_t t = 0; t < x.size(); ++t) out[t].push_back(Dot(w, x[t]));
    }
    return out;
  }
  Rows Times(const std::string& name, const Rows& x) const {
    return Product(name, 0, model_.FindTensor(prefix_ + name)->rows(), x);
  }
  // The rows of one head.
  Rows OfHead(const std::string& name, int64_t head, const Rows& x) const {
    return Product(name, head * hyper_.head_dim, hyper_.head_dim, x);
  }
  Rows Normed(const std::string& name, const Rows& x) const {
    const Vector weight = Row(name + ".weight");
    Rows out;
    for (const Vector& row : x) {
      out.push_back(Norm(row, weight, hyper_.norm_epsilon));
    }
    return out;
  }
  static void Add(const Rows& y, Rows* x) {
    for (size_t t = 0; t < y.size(); ++t) {
      for (size_t i = 0; i < y[t].size(); ++i) (*x)[t][i] += y[t][i];
    }
  }
  static void Append(const Rows& head, Rows* all) {
    all->resize(head.size());
    for (size_t t = 0; t < head.size(); ++t) {
      (*all)[t].insert((*all)[t].end(), head[t].begin(), head[t].end());
    }
  }
  // A head's slice of a vector of all heads.
  Vector Slice(const std::string& name, int64_t head) const {
    const Vector all = Row(name);
    const auto begin = all.begin() + head * hyper_.head_dim;
    return {begin, begin + hyper_.head_dim};
  }

  Rows Mlp(const Rows& u) const {
    Rows gate = Times("ffn_gate.weight", u);
    const Rows up = Times("ffn_up.weight", u);
    for (size_t t = 0; t < u.size(); ++t) {
      for (size_t i = 0; i < gate[t].size(); ++i) {
        gate[t][i] *= Sigmoid(gate[t][i]) * up[t][i];
      }
    }
    return Times("ffn_down.weight", gate);
  }

  Rows Rotated(Rows x) const {
    const RopeFrequencies rope = ComputeRopeFrequencies(hyper_.rope);
    const size_t pairs = rope.inverse_frequencies.size();
    for (size_t t = 0; t < x.size(); ++t) {
      for (size_t i = 0; i < pairs; ++i) {
        const double angle =
            static_cast<double>(t) * rope.inverse_frequencies[i];
        const double a = x[t][i], b = x[t][i + pairs];
        x[t][i] = a * std::cos(angle) - b * std::sin(angle);
        x[t][i + pairs] = a * std::sin(angle) + b * std::cos(angle);
      }
    }
    return x;
  }
  double Score(const Vector& q, const Vector& k) const {
    return Dot(q, k) / std::sqrt(static_cast<double>(dim_));
  }
  void SeePersistent(int64_t head, const Vector& plain_query,
                     std::vector<Seen>* seen) const {
    for (int64_t p = 0; p < titans_.num_persistent; ++p) {
      const int64_t row = head * titans_.num_persistent + p;
      seen->push_back({Score(plain_query, Row("persistent_k", row)),
                       Row("persistent_v", row)});
    }
  }

  Rows Attention(int64_t head, const Rows& u) const {
    const Rows plain = OfHead("attn_q.weight", head, u);
    const Rows q = Rotated(plain);
    const Rows k = Rotated(OfHead("attn_k.weight", head, u));
    const Rows v = OfHead("attn_v.weight", head, u);
    Rows out;
    for (size_t t = 0; t < u.size(); ++t) {
      std::vector<Seen> seen;
      const auto window = static_cast<size_t>(titans_.window);
      for (size_t j = t + 1 > window ? t + 1 - window : 0; j <= t; ++j) {
        seen.push_back({Score(q[t], k[j]), v[j]});
      }
      SeePersistent(head, plain[t], &seen);
      out.push_back(Softmax(seen));
    }
    return out;
  }
  Rows Attentions(const Rows& u) const {
    Rows all;
    for (int64_t h = 0; h < hyper_.num_heads; ++h)
      Append(Attention(h, u), &all);
    return all;
  }

  // Theta, eta, alpha of a token.
  Vector Gates(int64_t head, const Vector& u) const {
    Vector gates;
    const Vector bias = Row("mem_gate.bias");
    for (int64_t gate = 0; gate < 3; ++gate) {
      const int64_t row = gate * hyper_.num_heads + head;
      const double s = Sigmoid(Dot(Row("mem_gate.weight", row), u) + bias[row]);
      const double e = titans_.gate_stretch;
      gates.push_back(std::clamp((1.0 + 2.0 * e) * s - e, 0.0, 1.0));
    }
    gates[0] *= titans_.theta_max;
    return gates;
  }
  static Vector Silu(Vector x) {
    for (double& v : x) v *= Sigmoid(v);
    return x;
  }
  static Vector Unit(Vector x) {
    const double length = std::max(std::sqrt(Dot(x, x)), 1e-6);
    for (double& v : x) v /= length;
    return x;
  }
  // q, k or v of a memory, but for its length.
  Rows MemoryInputs(const std::string& name, int64_t head,
                    const Rows& u) const {
    const Rows z = OfHead(name + ".weight", head, u);
    Rows out;
    const int64_t taps = titans_.conv_kernel;
    for (size_t t = 0; t < z.size(); ++t) {
      Vector sum = z[t];
      for (size_t d = 0; taps > 1 && d < dim_; ++d) {
        const Vector w = Row(name + "_conv.weight",
                             head * hyper_.head_dim + static_cast<int64_t>(d));
        sum[d] = 0.0;
        for (int64_t j = 0; j < taps; ++j) {
          const int64_t from = static_cast<int64_t>(t) - (taps - 1) + j;
          if (from >= 0) sum[d] += w[j] * z[from][d];
        }
      }
      out.push_back(Silu(sum));
    }
    return out;
  }
  ReferenceMemory NewMemory(int64_t head) const {
    return ReferenceMemory(titans_.memory, Row("mem_init", head));
  }
  Rows Memory(int64_t head, const Rows& u) const {
    const Rows q = MemoryInputs("mem_q", head, u);
    const Rows k = MemoryInputs("mem_k", head, u);
    const Rows v = MemoryInputs("mem_v", head, u);
    ReferenceMemory memory = NewMemory(head);
    Rows out;
    for (size_t t = 0; t < u.size(); ++t) {
      const Vector gates = Gates(head, u[t]);
      memory.Write(Unit(k[t]), v[t], gates[0], gates[1], gates[2]);
      out.push_back(memory.Read(Unit(q[t])));
    }
    return out;
  }
  Rows Memories(const Rows& u) const {
    Rows all;
    for (int64_t h = 0; h < hyper_.num_heads; ++h) {
      Rows m = Memory(h, u);
      const Vector weight = Slice("mem_output_norm.weight", h);
      for (Vector& row : m) row = Norm(row, weight, hyper_.norm_epsilon);
      Append(m, &all);
    }
    return all;
  }
  Vector Mix(int64_t head, const Vector& y, const Vector& m) const {
    Vector out =
        Norm(y, Slice("attn_mix_norm.weight", head), hyper_.norm_epsilon);
    const Vector gate =
        Norm(m, Slice("mem_output_norm.weight", head), hyper_.norm_epsilon);
    for (size_t d = 0; d < dim_; ++d) out[d] *= Sigmoid(gate[d]);
    return out;
  }
  Rows Gated(const Rows& u) const {
    Rows all;
    for (int64_t h = 0; h < hyper_.num_heads; ++h) {
      Rows y = Attention(h, u);
      const Rows m = Memory(h, u);
      for (size_t t = 0; t < u.size(); ++t) y[t] = Mix(h, y[t], m[t]);
      Append(y, &all);
    }
    return all;
  }
  Vector Inner(const std::string& name, int64_t head, const Vector& x) const {
    return OfHead(name + ".weight", head, {x})[0];
  }
  Rows Contexts(const Rows& u) const {
    Rows all;
    for (int64_t h = 0; h < hyper_.num_heads; ++h) Append(Context(h, u), &all);
    return all;
  }
  Rows Context(int64_t head, const Rows& u) const {
    const Rows plain = OfHead("attn_q.weight", head, u);
    const Rows q = Rotated(plain);
    const Rows k = Rotated(OfHead("attn_k.weight", head, u));
    const Rows v = OfHead("attn_v.weight", head, u);
    const Rows reads = OfHead("mem_q.weight", head, u);
    ReferenceMemory memory = NewMemory(head);
    Rows out, context;
    for (size_t t = 0; t < u.size(); ++t) {
      const size_t begin = t - t % static_cast<size_t>(titans_.window);
      if (t == begin) context.clear();
      context.push_back(memory.ReadChunkStart(Unit(Silu(reads[t]))));
      std::vector<Seen> seen;
      SeePersistent(head, plain[t], &seen);
      for (size_t j = begin; j <= t; ++j) {
        seen.push_back({Score(q[t], k[j]), v[j]});
        const Vector& h = context[j - begin];
        seen.push_back({Score(plain[t], Inner("mac_context_k", head, h)),
                        Inner("mac_context_v", head, h)});
      }
      const Vector y = Softmax(seen);
      const Vector gates = Gates(head, u[t]);
      memory.Write(Unit(Silu(Inner("mac_memory_k", head, y))),
                   Silu(Inner("mac_memory_v", head, y)), gates[0], gates[1],
                   gates[2]);
      const Vector m = memory.Read(Unit(Silu(Inner("mac_memory_q", head, y))));
      out.push_back(Mix(head, y, m));
    }
    return out;
  }

  const Model& model_;
  const Hyperparameters& hyper_;
  const TitansHyperparameters& titans_;
  const size_t dim_;
  const std::string prefix_;
};

}  // namespace

std::vector<std::vector<double>> TitansReferenceForward(
    const Model& model, const std::vector<int32_t>& tokens) {
  const Hyperparameters& hyper = model.hyperparameters();
  Rows x;
  for (const int32_t token : tokens) {
    x.push_back(Layer::RowOf(model, "token_embd.weight", token));
  }
  for (int64_t l = 0; l < hyper.num_layers; ++l) Layer(model, l).Run(&x);
  const Vector weight = Layer::RowOf(model, "output_norm.weight", 0);
  const std::string output =
      hyper.tied_embeddings ? "token_embd.weight" : "output.weight";
  Rows logits(x.size());
  for (int64_t token = 0; token < hyper.vocab_size; ++token) {
    const Vector row = Layer::RowOf(model, output, token);
    for (size_t t = 0; t < x.size(); ++t) {
      if (token == 0) x[t] = Layer::Norm(x[t], weight, hyper.norm_epsilon);
      logits[t].push_back(Dot(row, x[t]));
    }
  }
  return logits;
}

}  // namespace headwise
