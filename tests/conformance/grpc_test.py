"""Health, reflection and errors through grpcio, which we did not write."""

import pathlib
import unittest

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from headwise_server import MODEL, HeadwiseServer
from reflected_api import ReflectedApi

INFERENCE = "headwise.v1.Inference"
ADMIN = "headwise.v1.Admin"
MODEL_NAME = pathlib.Path(MODEL).stem
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


class GrpcTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = HeadwiseServer()
        cls.addClassCleanup(cls.server.close)
        cls.channel = grpc.insecure_channel(
            cls.server.address,
            options=[("grpc.max_send_message_length", -1)])
        cls.addClassCleanup(cls.channel.close)
        cls.api = ReflectedApi(cls.channel)
        cls.health = health_pb2_grpc.HealthStub(cls.channel)

    def test_check_serves_every_name(self):
        for name in ("", INFERENCE, ADMIN, MODEL_NAME):
            reply = self.health.Check(
                health_pb2.HealthCheckRequest(service=name), timeout=30)
            self.assertEqual(reply.status, SERVING, name)

    def test_check_of_an_unknown_name_is_not_found(self):
        with self.assertRaises(grpc.RpcError) as caught:
            self.health.Check(
                health_pb2.HealthCheckRequest(service="nobody"), timeout=30)
        self.assertEqual(caught.exception.code(), grpc.StatusCode.NOT_FOUND)

    def test_reflection_lists_the_services(self):
        self.assertLessEqual(
            {INFERENCE, ADMIN, "grpc.health.v1.Health",
             "grpc.reflection.v1alpha.ServerReflection"},
            self.api.services())

    def test_score_and_its_hash_repeat(self):
        scores = [
            self.api.call(INFERENCE, "Score", text="The sky is blue today.")
            for _ in range(2)]
        self.assertGreater(scores[0].num_tokens, 2)
        self.assertEqual(len(scores[0].logprobs), scores[0].num_tokens - 1)
        self.assertEqual(len(scores[0].logits_sha256), 64)
        self.assertEqual(scores[0].logits_sha256, scores[1].logits_sha256)
        self.assertEqual(scores[0].nll, scores[1].nll)

    def test_generate_streams_progress_text_and_usage(self):
        events = list(self.api.call(
            INFERENCE, "Generate", text="The capital of France is",
            options={"max_tokens": 4, "ignore_eos": True}))
        self.assertEqual(events[0].WhichOneof("event"), "prefill")
        self.assertEqual(events[-1].WhichOneof("event"), "finished")
        self.assertEqual(events[-1].finished.usage.generated_tokens, 4)
        tokens = [token for event in events
                  for token in event.generated.tokens]
        self.assertEqual(len(tokens), 4)
        self.assertTrue("".join(e.generated.text for e in events))

    def test_an_error_names_its_field_in_a_detail(self):
        with self.assertRaises(grpc.RpcError) as caught:
            list(self.api.call(INFERENCE, "Generate", text="x",
                               options={"max_tokens": -1}))
        error = caught.exception
        self.assertEqual(error.code(), grpc.StatusCode.INVALID_ARGUMENT)
        self.assertIn("options.max_tokens", error.details())
        details = dict(error.trailing_metadata())["grpc-status-details-bin"]
        self.assertIn(b"google.rpc.BadRequest", details)

    def test_an_unknown_model_is_not_found(self):
        with self.assertRaises(grpc.RpcError) as caught:
            self.api.call(INFERENCE, "Score", model="other", text="ab")
        self.assertEqual(caught.exception.code(), grpc.StatusCode.NOT_FOUND)

    def test_a_message_above_the_limit_is_refused(self):
        with self.assertRaises(grpc.RpcError) as caught:
            self.api.call(INFERENCE, "Tokenize", text="a" * (17 << 20))
        self.assertEqual(caught.exception.code(),
                         grpc.StatusCode.RESOURCE_EXHAUSTED)

    def test_a_cancelled_stream_leaves_the_server_well(self):
        for _ in range(5):
            stream = self.api.call(INFERENCE, "Generate", text="Once upon",
                                   options={"ignore_eos": True})
            next(stream)
            stream.cancel()
        self.assertEqual(self.api.call(
            ADMIN, "GetHeadMap").world_size, 1)


class DrainTest(unittest.TestCase):
    def test_term_turns_health_red_and_exits_clean(self):
        server = HeadwiseServer("--drain", "1")
        self.addCleanup(server.close)
        with grpc.insecure_channel(server.address) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(
                health_pb2.HealthCheckRequest(service=MODEL_NAME), timeout=60)
            self.assertEqual(next(watch).status, SERVING)
            server.process.terminate()
            self.assertEqual(next(watch).status, NOT_SERVING)
        self.assertEqual(server.process.wait(timeout=60), 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
