// Neural memories as a person uses them: the whole program against a server on
// a socket.

#include <cmath>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/program_log.h"
#include "client/cli/command_test_folder.h"
#include "client/cli/local_server.h"
#include "client/cli/tensor_file.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/files/test_model_writer.h"
#include "nlohmann/json.hpp"

namespace headwise {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

constexpr int64_t kTokens = 150;

// [kTokens, 2, 16] with a direction of its own for each token.
std::string Tensor(float phase) {
  std::vector<float> x;
  for (int64_t i = 0; i < kTokens * 32; ++i) {
    x.push_back(0.5f * std::sin(phase + 0.7f * static_cast<float>(i * i % 97)));
  }
  return {reinterpret_cast<const char*>(x.data()), x.size() * sizeof(float)};
}

class MemoryCommandsTest : public CommandTestFolder {
 protected:
  MemoryCommandsTest() {
    LogToStderr({.level = "warn"});  // stdout is read
    EXPECT_TRUE(WriteFile(Path("m.gguf"), WriteTinyGguf({})).ok());
    for (const auto& [name, phase] :
         {std::pair{"k", 0.0f}, {"v", 1.0f}, {"q", 2.0f}}) {
      for (const char* type : {".npy", ".bin"}) {
        EXPECT_TRUE(WriteTensorFile(Path(absl::StrCat(name, type)),
                                    {kTokens, 2, 16}, Tensor(phase))
                        .ok());
      }
    }
    LocalServerOptions options;
    options.cluster.model = Path("m.gguf");
    options.cluster.threads = 1;
    options.cluster.local_workers = 2;
    options.cluster.context_len = 4096;
    options.listen_address = "127.0.0.1:0";
    options.attention = true;
    options.attention_bytes = 64 << 20;
    options.neural_memory_bytes = 64 << 20;
    auto server = LocalServer::Create(options);
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
  }

  // `headwise memory LINE` at the server.
  std::string AtServer(const std::string& line) {
    return Run(absl::StrCat(
        "memory ", line, " --server 127.0.0.1:", server_->frontends().port()));
  }
  nlohmann::json Json(const std::string& line) {
    const std::string out = AtServer(line + " --json");
    auto json = nlohmann::json::parse(out, nullptr, /*allow_exceptions=*/false);
    EXPECT_TRUE(json.is_object()) << out;
    return json.is_object() ? json : nlohmann::json::object();
  }
  std::string Create(const std::string& flags = "") {
    return Json("create --heads 2 --head-dim 16 --theta 0.02 --eta 0.5 " +
                flags)
        .value("memory_id", "");
  }
  std::string Write(const std::string& id, const std::string& type = ".npy") {
    return AtServer(absl::StrCat("write ", id, " --keys ", Path("k" + type),
                                 " --values ", Path("v" + type)));
  }
  // The bytes that the queries read.
  std::string Read(const std::string& id, const std::string& type = ".npy") {
    EXPECT_THAT(
        AtServer(absl::StrCat("read ", id, " --queries ", Path("q" + type),
                              " --output ", Path("out.npy"))),
        StartsWith("150 queries read of"));
    const auto tensor = ReadTensorFile(Path("out.npy"));
    EXPECT_TRUE(tensor.ok()) << tensor.status();
    EXPECT_THAT(tensor->shape, testing::ElementsAre(kTokens, 2, 16));
    return tensor->bytes;
  }

  std::unique_ptr<LocalServer> server_;
};

TEST_F(MemoryCommandsTest, AMemoryIsWrittenFromFilesAndRead) {
  const auto created =
      Json("create --heads 2 --head-dim 16 --theta 0.02 --eta 0.5");
  EXPECT_EQ(created["hidden_dim"], 32);
  EXPECT_EQ(created["state_bytes"], 2 * 1024 * 8);
  EXPECT_EQ(created["workers"].size(), 2u);
  const std::string id = created["memory_id"];
  const auto written = Json(
      absl::StrCat("write ", id, " --keys ", Path("k.npy"), " --values ",
                   Path("v.npy"), " --queries ", Path("q.npy"), " --output ",
                   Path("o.npy"), " --surprise ", Path("s.npy")));
  EXPECT_EQ(written["written_tokens"], kTokens);
  EXPECT_EQ(written["num_tokens"], kTokens);
  EXPECT_GT(written["mean_surprise"], 0.0);
  EXPECT_THAT(ReadTensorFile(Path("o.npy"))->shape,
              testing::ElementsAre(kTokens, 2, 16));
  EXPECT_THAT(ReadTensorFile(Path("s.npy"))->shape,
              testing::ElementsAre(kTokens, 2));
  // Plain bytes are the same tokens.
  const std::string other = Create();
  EXPECT_THAT(Write(other, ".bin"), StartsWith("150 tokens written, 150 in"));
  EXPECT_EQ(Read(other, ".bin"), Read(id));
  // The last query of the write has read what a read does.
  EXPECT_EQ(Read(id).substr((kTokens - 1) * 128),
            ReadTensorFile(Path("o.npy"))->bytes.substr((kTokens - 1) * 128));
}

TEST_F(MemoryCommandsTest, ForksSnapshotsAndFrozenOnes) {
  const std::string id = Create();
  Write(id);
  const std::string before = Read(id);
  EXPECT_EQ(Json("freeze " + id)["frozen"], true);
  EXPECT_THAT(Write(id), HasSubstr("error: the memory is frozen"));
  const std::string fork = Json("fork " + id)["memory_id"];
  EXPECT_THAT(Write(fork), StartsWith("150 tokens written, 300 in all"));
  EXPECT_EQ(Read(id), before);
  EXPECT_EQ(AtServer(absl::StrCat("snapshot ", id, " --file ", Path("snap"))),
            "");
  EXPECT_FALSE(std::filesystem::exists(Path("snap.part")));
  EXPECT_EQ(AtServer("delete " + id), "");
  EXPECT_THAT(AtServer("show " + id), HasSubstr("no such memory"));
  const auto restored = Json("restore --file " + Path("snap"));
  const std::string restored_id = restored["memory_id"];
  EXPECT_EQ(restored["num_tokens"], kTokens);
  EXPECT_EQ(restored["frozen"], true);
  EXPECT_EQ(Read(restored_id), before);
  EXPECT_EQ(Json("list")["memories"].size(), 2u);
  EXPECT_THAT(AtServer("list"), HasSubstr("frozen"));
  EXPECT_EQ(Json("unfreeze " + restored_id)["frozen"], false);
}

TEST_F(MemoryCommandsTest, OpenTokensAreDropped) {
  const std::string id = Create();
  Write(id);
  const auto dropped = Json("drop-open " + id);
  EXPECT_EQ(dropped["num_dropped"], kTokens % 64);
  EXPECT_EQ(dropped["num_tokens"], kTokens / 64 * 64);
  EXPECT_EQ(AtServer("drop-open " + id), "0 tokens dropped, 128 left\n");
}

TEST_F(MemoryCommandsTest, WhatIsWrongIsNamed) {
  EXPECT_THAT(AtServer("create --model m --layer 1 --of-heads 0,1"),
              HasSubstr("error: model: \"tiny\" has no neural memories"));
  EXPECT_THAT(AtServer("create --model other"),
              HasSubstr("error: model: \"other\" is not served here"));
  EXPECT_THAT(AtServer("create --model m --heads 2"), StartsWith("usage: "));
  EXPECT_THAT(AtServer("create --heads 2 --head-dim 16 --of-heads 1"),
              StartsWith("usage: "));
  EXPECT_THAT(AtServer("create --heads 2 --head-dim 20"),
              HasSubstr("error: head_dim = 20"));
  EXPECT_THAT(AtServer("create --heads 2 --head-dim 16 --eta 0.5"),
              StartsWith("usage: "));
  const std::string id = Create("--input-type fp16");
  EXPECT_THAT(Write(id),
              HasSubstr("[150, 2, 16] f4; the memory takes [tokens, 2, 16] "
                        "f2"));
  EXPECT_THAT(AtServer(absl::StrCat("write ", id, " --keys ", Path("none"),
                                    " --values ", Path("v.npy"))),
              HasSubstr("cannot read"));
  EXPECT_THAT(AtServer("restore --file " + Path("k.npy")),
              HasSubstr("is not a snapshot of a neural memory"));
  EXPECT_THAT(AtServer("snapshot nobody --file " + Path("snap")),
              HasSubstr("no such memory"));
  EXPECT_FALSE(std::filesystem::exists(Path("snap")));
}

}  // namespace
}  // namespace headwise
