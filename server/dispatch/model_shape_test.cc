#include "server/dispatch/model_shape.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/files/test_stub_model.h"

namespace headwise {
namespace {

// A model of two layers whose matrices are views without bytes behind them.
class FakeModel final : public StubModel {
 public:
  FakeModel() {
    hyper_.num_layers = 2;
    hyper_.num_heads = 4;
    hyper_.num_kv_heads = 2;
    hyper_.head_dim = 8;
    hyper_.model_dim = 32;
    hyper_.ffn_dim = 512;
    hyper_.vocab_size = 2000;
    hyper_.tied_embeddings = true;
    for (const char* layer : {"blk.0.", "blk.1."}) {
      const std::string prefix = layer;
      Add(prefix + "attn_q.weight", 1000);
      Add(prefix + "attn_k.weight", 500);
      Add(prefix + "attn_v.weight", prefix == "blk.0." ? 500 : 501);
      Add(prefix + "attn_output.weight", 1000);
      for (const char* name : {"ffn_gate", "ffn_up", "ffn_down"}) {
        Add(prefix + name + ".weight", 1600);
      }
    }
    Add("token_embd.weight", 4001);
  }

 private:
  void Add(const std::string& name, size_t bytes) {
    TensorView tensor;
    tensor.name = name;
    tensor.bytes = absl::Span<const uint8_t>(bytes_).first(bytes);
    tensors_.push_back(tensor);
  }

  const std::vector<uint8_t> bytes_ = std::vector<uint8_t>(8192);
};

TEST(MakeModelShapeTest, BytesAreMeansOverLayersRoundedUp) {
  const ModelShape shape = MakeModelShape(FakeModel(), KvType::kFp16);
  EXPECT_EQ(shape.num_layers, 2);
  EXPECT_EQ(shape.num_units, 2);
  EXPECT_EQ(shape.heads_per_kv_head, 2);
  EXPECT_EQ(shape.unit_weight_bytes, 1501);  // 6001 / 4
  EXPECT_EQ(shape.num_mlp_tiles, 8);         // of 64 columns
  EXPECT_EQ(shape.mlp_tile_weight_bytes, 600);
  EXPECT_EQ(shape.num_vocab_tiles, 2);
  EXPECT_EQ(shape.vocab_tile_weight_bytes, 2001);  // the tied embedding
  EXPECT_EQ(shape.kv_bytes_per_unit_position, 32);
}

}  // namespace
}  // namespace headwise
