"""The Python package of attention sessions against `headwise serve`."""

import os
import pathlib
import subprocess
import sys
import tempfile
import unittest

import grpc
import headwise
import numpy as np
from headwise.v1 import attention_pb2 as pb
from headwise.v1 import attention_pb2_grpc as pb_grpc

from headwise_server import HeadwiseServer

EXAMPLES = (pathlib.Path(__file__).resolve().parents[2]
            / "client/python/examples")
HEADS, KV_HEADS, DIM = 4, 2, 32
# Where bench/kernels/attention_peer.py installs torch; else this Python's own.
TORCH_SITE = next(pathlib.Path(os.environ.get("HEADWISE_TORCH_VENV", "/-"))
                  .glob("lib/python3*/site-packages/torch/.."), None)


BF16_SCRIPT = '''
import sys, torch, headwise
k, v = torch.randn(2, 3000, 2, 32, generator=torch.manual_seed(3)).bfloat16()
q = torch.randn(4, 2, 32).bfloat16()
with headwise.Session.open(sys.argv[1], num_heads=2, num_kv_heads=2,
                           head_dim=32, max_positions=3000,
                           input_type="bf16") as session:
    session.append(k, v)
    got = torch.from_numpy(session.attend(q, all_keys=True).output.copy())
want = torch.nn.functional.scaled_dot_product_attention(
    *(x.double().transpose(0, 1) for x in (q, k, v))).transpose(0, 1)
print((got - want).abs().max().item())
'''


def attention(queries, keys, values, sees):
    """Output and lse of [query_len, HEADS, DIM] in double. sees: a mask
    [query_len, positions]."""
    output = np.empty(queries.shape)
    lse = np.empty(queries.shape[:2])
    for head in range(HEADS):
        k = keys[:, head * KV_HEADS // HEADS].astype(np.float64)
        v = values[:, head * KV_HEADS // HEADS].astype(np.float64)
        scores = queries[:, head].astype(np.float64) @ k.T / np.sqrt(DIM)
        scores[~sees] = -np.inf
        top = scores.max(axis=1, keepdims=True)
        weights = np.exp(scores - top)
        total = weights.sum(axis=1, keepdims=True)
        output[:, head] = weights / total @ v
        lse[:, head] = (top + np.log(total))[:, 0]
    return output, lse


class AttentionClientTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = HeadwiseServer("--local-workers", "2",
                                    "--attention-bytes", str(400 << 20))
        cls.addClassCleanup(cls.server.close)
        random = np.random.default_rng(7)
        shape = (20_000, KV_HEADS, DIM)
        cls.keys = random.standard_normal(shape, np.float32)
        cls.values = random.standard_normal(shape, np.float32)
        cls.queries = random.standard_normal((5, HEADS, DIM), np.float32)

    def open(self, **changes):
        arguments = {"num_heads": HEADS, "num_kv_heads": KV_HEADS,
                     "head_dim": DIM, "max_positions": 20_000, **changes}
        session = headwise.Session.open(self.server.address, **arguments)
        self.addCleanup(session.close)
        return session

    def test_answers_are_those_of_softmax_attention(self):
        with self.open() as session:
            self.assertEqual(session.append(self.keys, self.values), 20_000)
            answer = session.attend(self.queries)
        sees = np.arange(20_000) < np.arange(19_996, 20_001)[:, None]
        output, lse = attention(self.queries, self.keys, self.values, sees)
        np.testing.assert_allclose(answer.output, output, atol=1e-5)
        np.testing.assert_allclose(answer.lse, lse, atol=1e-5)

    def test_a_streaming_head_sees_sinks_and_window(self):
        policies = [headwise.Streaming(num_sinks=4, window=256)]
        with self.open(policies=policies) as session:
            session.append(self.keys, self.values)
            answer = session.attend(self.queries, all_keys=True)
        positions = np.arange(20_000)
        sees = np.tile((positions < 4) | (positions >= 20_000 - 256), (5, 1))
        output, _ = attention(self.queries, self.keys, self.values, sees)
        np.testing.assert_allclose(answer.output, output, atol=1e-5)

    def test_heads_that_choose_with_room_for_everything_are_full(self):
        keys, values = self.keys[:2000], self.values[:2000]
        for policy in (headwise.Razor(num_sinks=4, window=2000),
                       headwise.Quest(num_chunks=32),
                       headwise.LandmarkOracle(chunk_len=256, num_chunks=8,
                                               per_query_head=True)):
            with self.subTest(policy), self.open(policies=[policy]) as session:
                session.append(keys, values)
                answer = session.attend(self.queries, all_keys=True)
                output, lse = attention(self.queries, keys, values,
                                        np.ones((5, 2000), bool))
                np.testing.assert_allclose(answer.output, output, atol=1e-5)
                np.testing.assert_allclose(answer.lse, lse, atol=1e-5)

    def test_a_razor_head_sees_the_mean_of_the_others_too(self):
        policy = headwise.Razor(num_sinks=4, window=256)
        with self.open(policies=[policy]) as session:
            session.append(self.keys, self.values)
            answer = session.attend(self.queries, all_keys=True)
        others = slice(4, 20_000 - 256)
        keys, values = (
            np.concatenate([x[:4], x[-256:],
                            np.tile(x[others].mean(0), (19_740, 1, 1))])
            for x in (self.keys, self.values))
        output, lse = attention(self.queries, keys, values,
                                np.ones((5, 20_000), bool))
        np.testing.assert_allclose(answer.output, output, atol=1e-5)
        np.testing.assert_allclose(answer.lse, lse, atol=1e-5)

    def test_half_precision_goes_in_and_is_stored(self):
        with self.open(input_type="fp16") as session:
            keys = self.keys.astype(np.float16)
            values = self.values.astype(np.float16)
            queries = self.queries.astype(np.float16)
            session.append(keys, values)
            answer = session.attend(queries, all_keys=True)
            with self.assertRaises(TypeError):
                session.append(self.keys, self.values)
        output, _ = attention(queries, keys, values,
                              np.ones((5, 20_000), bool))
        np.testing.assert_allclose(answer.output, output, atol=1e-5)

    def test_many_queries_go_in_several_calls_with_the_same_bits(self):
        queries = np.tile(self.queries, (1000, 1, 1))
        probes = headwise.Probes(top_keys=40, max_bytes=8 << 20)
        with self.open() as session:
            session.append(self.keys[:6000], self.values[:6000])
            answer = session.attend(queries, probes=probes)
            last = session.attend(queries[-1:])
        self.assertEqual(answer.output.shape, (5000, HEADS, DIM))
        self.assertEqual(answer.top_positions.shape, (5000, HEADS, 40))
        np.testing.assert_array_equal(answer.output[-1:], last.output)

    def test_another_process_goes_on_where_one_stopped(self):
        with self.open() as session:
            session.append(self.keys[:5000], self.values[:5000])
            other = headwise.Session.attach(self.server.address,
                                            session.session_id)
            self.addCleanup(other.close)
            self.assertEqual(other.stored_positions, 5000)
            other.append(self.keys[5000:], self.values[5000:])
            answer = other.attend(self.queries)
        with self.open() as whole:
            whole.append(self.keys, self.values)
            np.testing.assert_array_equal(
                whole.attend(self.queries).output, answer.output)

    def test_a_nan_is_refused_by_place_and_what_was_before_stays(self):
        keys = self.keys.copy()
        keys[15_000, 1, 3] = np.nan
        with self.open() as session:
            with self.assertRaises(headwise.HeadwiseError) as caught:
                session.append(keys, self.values)
            self.assertEqual(caught.exception.code,
                             grpc.StatusCode.INVALID_ARGUMENT)
            self.assertIn("position 15000, KV head 1, dimension 3",
                          caught.exception.details)
            stored = session.stored_positions
            self.assertLess(stored, 15_000)
            session.append(self.keys[stored:], self.values[stored:])
            self.assertEqual(session.stored_positions, 20_000)

    def test_a_wrong_hash_and_a_gap_are_refused(self):
        with self.open() as session, grpc.insecure_channel(
                self.server.address) as channel:
            stub = pb_grpc.AttentionStub(channel)
            data = self.keys[:10].tobytes()
            chunk = pb.AppendRequest(session_id=session.session_id, keys=data,
                                     values=data, sha256=bytes(32))
            with self.assertRaises(grpc.RpcError) as caught:
                stub.Append(iter([chunk]), timeout=60)
            self.assertEqual(caught.exception.code(),
                             grpc.StatusCode.DATA_LOSS)
            session.stored_positions = 7
            with self.assertRaises(headwise.HeadwiseError) as caught:
                session.append(self.keys[:10], self.values[:10])
            self.assertEqual(caught.exception.code,
                             grpc.StatusCode.OUT_OF_RANGE)
            self.assertEqual(session.stored_positions, 0)

    def test_a_snapshot_restores_on_three_workers_with_equal_bits(self):
        other = HeadwiseServer("--local-workers", "3")
        self.addCleanup(other.close)
        with tempfile.TemporaryDirectory() as folder, \
                self.open(kv_type="int8") as session:
            path = f"{folder}/session"
            session.append(self.keys, self.values)
            expected = session.attend(self.queries)
            fork = session.fork()
            session.snapshot(path)
            fork.append(self.keys[:0], self.values[:0])
            np.testing.assert_array_equal(
                fork.attend(self.queries).output, expected.output)
            fork.delete()
            with headwise.Session.restore(other.address, path) as restored:
                answer = restored.attend(self.queries)
            np.testing.assert_array_equal(answer.output, expected.output)
            np.testing.assert_array_equal(answer.lse, expected.lse)
            data = pathlib.Path(path).read_bytes()
            for damaged in (data[:-100], data[:1000] + b"?" + data[1001:]):
                pathlib.Path(path).write_bytes(damaged)
                with self.assertRaises(headwise.HeadwiseError) as caught:
                    headwise.Session.restore(other.address, path)
                self.assertEqual(caught.exception.code,
                                 grpc.StatusCode.DATA_LOSS)
            pathlib.Path(path).write_bytes(b"something else")
            with self.assertRaises(ValueError):
                headwise.Session.restore(other.address, path)

    def test_a_session_of_another_tenant_is_not_found(self):
        with self.open(tenant="a") as session:
            for tenant in ("", "b"):
                with self.assertRaises(headwise.HeadwiseError) as caught:
                    headwise.Session.attach(self.server.address,
                                            session.session_id, tenant=tenant)
                self.assertEqual(caught.exception.code,
                                 grpc.StatusCode.NOT_FOUND)

    def test_what_does_not_fit_is_refused_with_the_bytes(self):
        with self.assertRaises(headwise.HeadwiseError) as caught:
            self.open(num_kv_heads=4, head_dim=256, max_positions=1_000_000)
        self.assertEqual(caught.exception.code,
                         grpc.StatusCode.RESOURCE_EXHAUSTED)
        self.assertRegex(caught.exception.details,
                         r"needs \d+ bytes, \d+ of 209715200 are available")

    def test_probes_find_the_key_that_is_like_the_query(self):
        queries = np.repeat(self.keys[[17, 9000]], 2, axis=1) * 32
        probes = headwise.Probes(top_keys=2, segment_bounds=[0, 100, 20_000],
                                 entropy=True)
        with self.open() as session:
            session.append(self.keys, self.values)
            answer = session.attend(queries, all_keys=True, probes=probes)
        np.testing.assert_array_equal(answer.top_positions[..., 0],
                                      [[17] * HEADS, [9000] * HEADS])
        np.testing.assert_allclose(answer.segment_mass.sum(axis=-1), 1,
                                   atol=1e-5)
        self.assertGreater(answer.segment_mass[0, 0, 0], 0.99)
        self.assertLess(answer.entropy[0, 0], 0.1)

    def test_sessions_and_calls_are_series(self):
        with self.open():
            page = self.server.metrics_page()
        self.assertRegex(page, r"headwise_attention_sessions [1-9]")
        self.assertRegex(page, r"headwise_attention_bytes [1-9]")
        self.assertIn('api="attention_open"', page)


class ExamplesBase(unittest.TestCase):
    def run_example(self, name, *arguments, python_path=""):
        server = HeadwiseServer("--local-workers", "2",
                                "--attention-bytes", str(400 << 20))
        self.addCleanup(server.close)
        done = subprocess.run(
            [sys.executable, "-B", EXAMPLES / name, server.address,
             *arguments], capture_output=True, text=True, timeout=300,
            env={**os.environ, "PYTHONPATH": str(python_path)})
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout


class ExamplesTest(ExamplesBase):
    def test_they_have_at_most_thirty_lines(self):
        for path in EXAMPLES.glob("*.py"):
            self.assertLessEqual(path.read_text().count("\n"), 30, path)

    def test_the_heat_map_shows_where_heads_look(self):
        lines = self.run_example("heat_map.py").splitlines()
        self.assertEqual(len(lines), 16)
        # Query 0 of head h is key 4095 - 1000 h.
        for head in range(4):
            self.assertIn(f"key {4095 - 1000 * head:4d}", lines[head])
            self.assertEqual(lines[head].split("|")[1].strip(), "@")


    def test_needles_are_found_behind_filler(self):
        out = self.run_example("needles.py", "20000")
        self.assertIn("20008 tokens in 262144 bytes: 100% recalled", out)


class TorchTest(ExamplesBase):
    """Needs torch: gigabytes, so ctest runs it with the slow tests only."""

    def test_bf16_tensors_of_torch_go_in(self):
        with tempfile.TemporaryDirectory() as folder:
            script = pathlib.Path(folder) / "bf16.py"
            script.write_text(BF16_SCRIPT)
            out = self.run_example(script, python_path=TORCH_SITE or "")
        self.assertLess(float(out), 1e-5)

    def test_the_million_keys_match_torch(self):
        out = self.run_example("million_keys.py", "50000",
                               python_path=TORCH_SITE or "")
        self.assertEqual(out.count("largest difference"), 3)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    unittest.main(verbosity=2)
