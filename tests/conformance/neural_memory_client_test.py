"""Our Python client of headwise.v1.NeuralMemory against `headwise serve`, with
NumPy as the reference."""

import pathlib
import tempfile
import unittest

import grpc
import headwise
import numpy as np
from headwise.v1 import neural_memory_pb2 as pb
from headwise.v1 import neural_memory_pb2_grpc as pb_grpc

from headwise_server import HeadwiseServer

HEADS, DIM, CHUNK = 3, 16, 8
TOKENS = 200


def linear_memory(weights, keys, values, theta, eta, alpha):
    """Weights of one head after every token, in double: equations 13 and 14 of
    Titans for M(k) = k W, gradients of |M(k) - v|^2 at the chunk's begin."""
    memory, surprise = weights.astype(np.float64), np.zeros((DIM, DIM))
    after = []
    for token, (k, v) in enumerate(zip(keys, values)):
        if token % CHUNK == 0:
            begin = memory
        gradient = 2 * np.outer(k, k @ begin - v)
        surprise = eta[token] * surprise - theta[token] * gradient
        memory = (1 - alpha[token]) * memory + surprise
        after.append(memory)
    return after


class NeuralMemoryClientTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = HeadwiseServer("--local-workers", "2",
                                    "--neural-memory-bytes", str(64 << 20))
        cls.addClassCleanup(cls.server.close)
        random = np.random.default_rng(7)
        cls.keys, cls.values, cls.queries = (
            random.uniform(-0.5, 0.5, (TOKENS, HEADS, DIM)).astype(np.float32)
            for _ in range(3))
        cls.gates = headwise.Gates(
            theta=random.uniform(0, 0.1, (TOKENS, HEADS)).astype(np.float32),
            eta=random.uniform(0, 0.9, (TOKENS, HEADS)).astype(np.float32),
            alpha=random.uniform(0, 0.1, (TOKENS, HEADS)).astype(np.float32))

    def create(self, **changes):
        arguments = {"num_heads": HEADS, "head_dim": DIM, "chunk_len": CHUNK,
                     **changes}
        memory = headwise.NeuralMemory.create(self.server.address, **arguments)
        self.addCleanup(memory.close)
        return memory

    def write_some(self, memory, begin, end):
        gates = headwise.Gates(self.gates.theta[begin:end],
                               self.gates.eta[begin:end],
                               self.gates.alpha[begin:end])
        return memory.write(self.keys[begin:end], self.values[begin:end],
                            queries=self.queries[begin:end], gates=gates)

    def refused(self, code, call, *arguments, **named):
        with self.assertRaises(headwise.HeadwiseError) as caught:
            call(*arguments, **named)
        self.assertEqual(caught.exception.code, code)
        return caught.exception.details

    def test_a_linear_memory_is_what_the_equations_say(self):
        random = np.random.default_rng(3)
        weights = random.uniform(-0.3, 0.3, (HEADS, DIM, DIM)).astype(
            np.float32)
        with self.create(num_layers=1, residual=False,
                         weights=weights) as memory:
            written = self.write_some(memory, 0, TOKENS)
            read = memory.read(self.queries)
            self.assertEqual(memory.num_tokens, TOKENS)
            self.assertEqual(memory.state_bytes, HEADS * 2 * DIM * DIM * 4)
        for head in range(HEADS):
            after = linear_memory(
                weights[head], self.keys[:, head], self.values[:, head],
                self.gates.theta[:, head], self.gates.eta[:, head],
                self.gates.alpha[:, head])
            expected = [q @ m for q, m in zip(self.queries[:, head], after)]
            np.testing.assert_allclose(written.output[:, head], expected,
                                       atol=1e-5)
            np.testing.assert_allclose(
                read[:, head], self.queries[:, head] @ after[-1], atol=1e-5)
            k, v = self.keys[0, head], self.values[0, head]
            np.testing.assert_allclose(
                written.surprise[0, head],
                np.linalg.norm(2 * np.outer(k, k @ weights[head] - v)),
                rtol=1e-5)

    def test_bits_do_not_depend_on_how_tokens_are_written(self):
        with self.create(activation="gelu") as whole, \
                self.create(activation="gelu") as other:
            expected = self.write_some(whole, 0, TOKENS)
            parts = [self.write_some(other, begin, min(begin + 13, TOKENS))
                     for begin in range(0, TOKENS, 13)]
            np.testing.assert_array_equal(
                np.concatenate([p.output for p in parts]), expected.output)
            np.testing.assert_array_equal(
                np.concatenate([p.surprise for p in parts]), expected.surprise)
            np.testing.assert_array_equal(other.read(self.queries),
                                          whole.read(self.queries))

    def test_long_writes_go_in_several_calls(self):
        random = np.random.default_rng(5)
        keys = random.uniform(-0.5, 0.5, (20_000, HEADS, DIM)).astype(
            np.float16)
        with self.create(input_type="fp16",
                         gates=headwise.Gates(0.01)) as memory:
            written = memory.write(keys, keys, queries=keys)
            self.assertEqual(written.output.shape, keys.shape)
            self.assertEqual(memory.num_tokens, 20_000)
            self.assertEqual(memory.read(keys).shape, keys.shape)
            with self.assertRaises(TypeError):
                memory.write(self.keys, self.values)
            with self.assertRaises(ValueError):
                memory.write(keys[:, :2], keys[:, :2])
            with self.assertRaises(ValueError):
                memory.write(keys[:4], keys[:4],
                             gates=headwise.Gates(np.zeros(3, np.float32)))

    def test_a_snapshot_restores_on_three_workers_with_equal_bits(self):
        other = HeadwiseServer("--local-workers", "3")
        self.addCleanup(other.close)
        with tempfile.TemporaryDirectory() as folder, self.create() as memory:
            path = f"{folder}/memory"
            self.write_some(memory, 0, 101)
            memory.snapshot(path)
            expected = self.write_some(memory, 101, TOKENS)
            with headwise.NeuralMemory.restore(other.address, path) as moved:
                self.assertEqual(moved.num_tokens, 101)
                got = self.write_some(moved, 101, TOKENS)
                np.testing.assert_array_equal(got.output, expected.output)
                np.testing.assert_array_equal(moved.read(self.queries),
                                              memory.read(self.queries))
            data = pathlib.Path(path).read_bytes()
            for damaged in (data[:-100], data[:2000] + b"?" + data[2001:]):
                pathlib.Path(path).write_bytes(damaged)
                self.refused(grpc.StatusCode.DATA_LOSS,
                             headwise.NeuralMemory.restore, other.address,
                             path)
            pathlib.Path(path).write_bytes(b"something else")
            with self.assertRaises(ValueError):
                headwise.NeuralMemory.restore(other.address, path)

    def test_forks_learn_alone_and_frozen_ones_do_not(self):
        with self.create() as memory:
            self.write_some(memory, 0, 50)
            before = memory.read(self.queries)
            memory.freeze()
            details = self.refused(grpc.StatusCode.FAILED_PRECONDITION,
                                   self.write_some, memory, 50, 60)
            self.assertIn("frozen", details)
            fork = memory.fork()
            self.write_some(fork, 50, 60)
            np.testing.assert_array_equal(memory.read(self.queries), before)
            memory.unfreeze()
            self.write_some(memory, 50, 60)
            np.testing.assert_array_equal(memory.read(self.queries),
                                          fork.read(self.queries))
            fork.delete()

    def test_a_memory_that_blows_up_goes_on_once_tokens_are_dropped(self):
        with self.create() as memory, self.create() as good:
            self.write_some(memory, 0, 50)
            memory.write(self.keys[50:52], self.values[50:52],
                         gates=headwise.Gates(theta=1e6))
            details = self.refused(grpc.StatusCode.OUT_OF_RANGE,
                                   self.write_some, memory, 52, 60)
            self.assertIn("DropOpenTokens drops them and goes back to 48",
                          details)
            self.assertEqual(memory.drop_open_tokens(), 4)
            self.assertEqual(memory.num_tokens, 48)
            self.write_some(memory, 48, 60)
            self.write_some(good, 0, 60)
            np.testing.assert_array_equal(memory.read(self.queries),
                                          good.read(self.queries))

    def test_a_model_without_memories_has_none_to_begin_with(self):
        details = self.refused(grpc.StatusCode.NOT_FOUND,
                               headwise.NeuralMemory.of_model,
                               self.server.address, "titans")
        model = details.split('the served model is "')[1].split('"')[0]
        details = self.refused(grpc.StatusCode.FAILED_PRECONDITION,
                               headwise.NeuralMemory.of_model,
                               self.server.address, model, layer=1, heads=[0])
        self.assertIn("has no neural memories", details)

    def open_session(self):
        return headwise.Session.open(self.server.address, num_heads=1,
                                     num_kv_heads=1, head_dim=16,
                                     max_positions=100)

    def test_a_memory_of_a_session_goes_with_it(self):
        with tempfile.TemporaryDirectory() as folder, \
                self.open_session() as other:
            with self.open_session() as session:
                memory = self.create(session=session)
                self.assertEqual(memory.memory_id, session.session_id)
                self.write_some(memory, 0, 10)
                expected = memory.read(self.queries)
                memory.snapshot(f"{folder}/memory")
            self.refused(grpc.StatusCode.NOT_FOUND, memory.read, self.queries)
            restored = headwise.NeuralMemory.restore(
                self.server.address, f"{folder}/memory", session=other)
            self.addCleanup(restored.close)
            self.assertEqual(restored.memory_id, other.session_id)
            np.testing.assert_array_equal(restored.read(self.queries),
                                          expected)

    def test_bad_input_is_refused_and_changes_nothing(self):
        with self.create() as memory:
            self.write_some(memory, 0, 50)
            before = memory.read(self.queries)
            invalid = grpc.StatusCode.INVALID_ARGUMENT
            keys = self.keys[50:60].copy()
            keys[4, 1, 7] = np.nan
            self.assertIn("head 1, tokens from 50 on: keys[4][7] = nan",
                          self.refused(invalid, memory.write, keys,
                                       self.values[50:60],
                                       gates=headwise.Gates(0.1)))
            good = (self.keys[50:60], self.values[50:60])
            for name, gates in (("theta", headwise.Gates(-0.5)),
                                ("eta", headwise.Gates(0.1, eta=1.5)),
                                ("alpha", headwise.Gates(0.1, alpha=np.inf))):
                self.assertIn(f"{name}[0] = ", self.refused(
                    invalid, memory.write, *good, gates=gates))
            self.assertIn("no default gates",
                          self.refused(invalid, memory.write, *good))
            theta = np.full(10, 0.01, np.float32)
            theta[3] = 1e6
            details = self.refused(grpc.StatusCode.OUT_OF_RANGE, memory.write,
                                   *good, gates=headwise.Gates(theta))
            self.assertRegex(details, r"head 0: token 55: .*max_norm")
            self.assertIn("50 tokens are written", details)
            np.testing.assert_array_equal(memory.read(self.queries), before)
            memory.num_tokens = 51
            self.assertIn("expected offset 50, got 51", self.refused(
                grpc.StatusCode.OUT_OF_RANGE, memory.write, *good,
                gates=headwise.Gates(0.1)))
        self.assertIn("head_dim = 20", self.refused(invalid, self.create,
                                                    head_dim=20))
        self.assertRegex(
            self.refused(grpc.StatusCode.RESOURCE_EXHAUSTED, self.create,
                         num_heads=256, head_dim=256, hidden_dim=1024),
            r"needs \d+ bytes, \d+ of 33554432 are available")
        with grpc.insecure_channel(self.server.address) as channel, \
                self.assertRaises(grpc.RpcError) as caught:
            pb_grpc.NeuralMemoryStub(channel).Create(
                pb.CreateMemoryRequest(model="titans"), timeout=60)
        self.assertEqual(caught.exception.code(),
                         grpc.StatusCode.NOT_FOUND)

    def test_a_memory_of_another_tenant_is_not_found(self):
        with self.create(tenant="a") as memory:
            self.refused(grpc.StatusCode.NOT_FOUND,
                         headwise.NeuralMemory.attach, self.server.address,
                         memory.memory_id, tenant="b")
            again = headwise.NeuralMemory.attach(
                self.server.address, memory.memory_id, tenant="a")
            self.assertEqual(again.num_tokens, 0)
            again.close()

    def test_a_tenants_quota_names_the_bytes(self):
        server = HeadwiseServer("--neural-memory-tenant-bytes", "1000")
        self.addCleanup(server.close)
        details = self.refused(
            grpc.StatusCode.RESOURCE_EXHAUSTED, headwise.NeuralMemory.create,
            server.address, num_heads=HEADS, head_dim=DIM)
        self.assertRegex(details, r"the memory needs \d+ bytes, 1000 of 1000 "
                                  "are available to the tenant")

    def test_memories_and_calls_are_series(self):
        with self.create() as memory:
            self.write_some(memory, 0, 50)
            page = self.server.metrics_page()
        self.assertRegex(page, r"headwise_memories [1-9]")
        self.assertRegex(page, r"headwise_memory_state_bytes [1-9]")
        self.assertRegex(page, r"headwise_memory_updates_total [1-9]")
        self.assertRegex(page, r"headwise_memory_surprise_count [1-9]")
        self.assertIn("headwise_memory_rollbacks_total", page)
        self.assertIn('api="memory_write"', page)


if __name__ == "__main__":
    unittest.main(verbosity=2)
