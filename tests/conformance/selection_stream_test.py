"""SelectionClient against a service that fails where it is told."""

import os
import pathlib
import pickle
import signal
import subprocess
import sys
import tempfile
import unittest

import grpc
import headwise
from headwise.v1 import head_plan_pb2

from selection_fake import FakeSelection

TERMS = headwise.Terms(plan="12345678", window=512, min_tokens=0,
                       domains=("web",))
UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


class SelectionStreamTest(unittest.TestCase):
    def setUp(self):
        self.fake = FakeSelection()
        self.addCleanup(self.fake.close)

    def client(self, retries=3):
        client = headwise.SelectionClient(self.fake.address, retries=retries)
        self.addCleanup(client.close)
        return client

    def test_rows_come_in_the_order_of_documents_of_any_form(self):
        documents = [headwise.Document("abc", "first", "web"),
                     {"text": "d", "id": 2, "domain": "code"},
                     "", "no id", b"\xff"]
        rows = list(self.client().score(documents, TERMS))
        self.assertEqual([row.doc_id for row in rows],
                         ["first", "2", "document:2", "document:3",
                          "document:4"])
        self.assertEqual([row.domain for row in rows],
                         ["web", "code", "", "", ""])
        self.assertEqual([row.n_tokens for row in rows], [3, 1, 0, 5, 1])
        self.assertEqual([row.is_ranked for row in rows],
                         [True, True, False, True, True])
        self.assertIsNone(rows[2].score)
        self.assertIsNone(rows[2].loss_base)
        self.assertEqual(rows[2].flags, ("empty_text",))
        self.assertEqual(rows[0].score,
                         (rows[0].loss_masked - rows[0].loss_base)
                         / rows[0].loss_base)
        self.assertEqual(self.fake.calls[0][4].text, b"\xff")

    def test_terms_go_first_and_none_is_the_servers_default(self):
        list(self.client().score(["a"], TERMS))
        terms = self.fake.terms
        self.assertEqual(terms.masked_plan.stored, "12345678")
        self.assertEqual(terms.scoring.window, 512)
        self.assertEqual(list(terms.ranking.domains), ["web"])
        self.assertTrue(terms.ranking.HasField("min_tokens"))
        self.assertFalse(terms.ranking.HasField("min_loss"))
        self.assertFalse(terms.ranking.HasField("max_repetition"))

    def test_no_documents_need_no_call(self):
        self.assertEqual(list(self.client().score([], TERMS)), [])
        self.assertEqual(self.fake.calls, [])

    def test_no_more_is_taken_ahead_than_was_allowed(self):
        for max_in_flight in (1, 7, 100):
            taken = 0

            def documents():
                nonlocal taken
                for i in range(300):
                    taken += 1
                    yield f"document {i}"

            rows = self.client().score(documents(), TERMS,
                                       max_in_flight=max_in_flight)
            for done, _ in enumerate(rows):
                self.assertLessEqual(taken - done, max_in_flight)
            self.assertEqual(taken, 300)

    def test_large_documents_are_bounded_by_bytes(self):
        taken = 0

        def documents():
            nonlocal taken
            for _ in range(20):
                taken += 1
                yield b"x" * (10 << 20)

        for done, _ in enumerate(self.client().score(documents(), TERMS)):
            self.assertLessEqual(taken - done, 4)

    def test_a_stream_that_breaks_goes_on_without_a_row_twice(self):
        documents = [f"text {i}" for i in range(200)]
        expected = list(self.client().score(documents, TERMS))
        for places in ([0], [1], [50], [199], [200], [3, 0, 0, 90]):
            with self.subTest(places):
                self.fake.failures = [(n, UNAVAILABLE) for n in places]
                rows = list(self.client().score(documents, TERMS,
                                                max_in_flight=64))
                self.assertEqual(rows, expected)
                self.assertEqual(self.fake.failures, [])

    def test_an_error_that_stays_is_told_in_the_end(self):
        self.fake.failures = [(5, UNAVAILABLE)] + [(0, UNAVAILABLE)] * 9
        rows = self.client(retries=2).score(["text"] * 20, TERMS)
        self.assertEqual(len([next(rows) for _ in range(5)]), 5)
        with self.assertRaises(headwise.HeadwiseError) as caught:
            next(rows)
        self.assertEqual(caught.exception.code, UNAVAILABLE)
        # One that broke after its row 5, and two that were tried again.
        self.assertEqual(len(self.fake.failures), 7)

    def test_what_is_wrong_with_the_call_is_not_tried_again(self):
        self.fake.failures = [(0, grpc.StatusCode.INVALID_ARGUMENT)]
        with self.assertRaises(headwise.HeadwiseError) as caught:
            list(self.client().score(["text"], TERMS))
        self.assertEqual(caught.exception.details, "as told")
        self.assertEqual(len(self.fake.calls), 1)
        copy = pickle.loads(pickle.dumps(caught.exception))
        self.assertEqual(str(copy), "INVALID_ARGUMENT: as told")
        self.assertEqual(copy.code, grpc.StatusCode.INVALID_ARGUMENT)

    def test_an_error_of_the_documents_is_the_callers(self):
        def documents():
            yield "good"
            raise KeyError("broken source")

        with self.assertRaises(KeyError):
            list(self.client().score(documents(), TERMS))
        with self.assertRaises(KeyError):
            list(self.client().score([{"id": "1"}], TERMS))

    def test_a_server_that_hangs_is_given_up(self):
        path = pathlib.Path(__file__).with_name("selection_fake.py")
        with subprocess.Popen([sys.executable, "-B", path], text=True,
                              stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as process:
            self.addCleanup(process.kill)
            address = process.stdout.readline().strip()
            with headwise.SelectionClient(address, retries=0) as client:
                rows = client.score((f"text {i}" for i in range(1000)), TERMS,
                                    max_in_flight=1)
                next(rows)
                process.send_signal(signal.SIGSTOP)
                # After a minute: pings are 20 s apart, and are waited for.
                with self.assertRaises(headwise.HeadwiseError) as caught:
                    list(rows)
            self.assertEqual(caught.exception.code, UNAVAILABLE)
            process.kill()

    def test_leaving_the_rows_ends_the_call(self):
        def documents():
            while True:
                yield "again"

        rows = self.client().score(documents(), TERMS)
        next(rows)
        rows.close()
        self.assertTrue(self.fake.ended.wait(60))

    def test_a_text_above_any_limit_is_cut_between_characters(self):
        # Two bytes each; the limit is odd.
        list(self.client().score(["é" * (9 << 20)], TERMS))
        text = self.fake.calls[0][0].text
        self.assertGreater(len(text), (16 << 20) - (64 << 10))
        self.assertLess(len(text), (16 << 20) - (32 << 10))
        self.assertEqual(len(text) % 2, 0)

    def test_watching_goes_on_after_a_restart(self):
        self.fake.failures = [(2, UNAVAILABLE), (0, UNAVAILABLE)]
        jobs = list(self.client().watch("f" * 64))
        self.assertEqual([job.shards_done for job in jobs],
                         [0, 1, 0, 1, 2, 3])
        self.assertEqual([job.state for job in jobs[-2:]], ["running", "done"])
        self.assertTrue(jobs[-1].is_final)
        self.assertIsNone(jobs[-1].remaining_seconds)

    def test_arguments_are_checked_before_any_call(self):
        with self.assertRaises(ValueError):
            next(self.client().score(["a"], TERMS, max_in_flight=0))
        for rules in ({}, {"count": 1, "fraction": 0.5}):
            with self.assertRaises(ValueError):
                next(self.client().top("f" * 64, **rules))

    def test_a_plan_is_read_from_its_binary_form(self):
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder) / "plan"
            plan = head_plan_pb2.HeadPlan(version=1, num_layers=2)
            path.write_bytes(plan.SerializeToString())
            data = headwise.read_plan(str(path))
            list(self.client().score(["a"], headwise.Terms(plan=data)))
            self.assertEqual(self.fake.terms.masked_plan.inline_plan, plan)
            path.write_text('{"headwise_plan": 1}')
            with self.assertRaises(ValueError):
                headwise.read_plan(str(path))


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    unittest.main(verbosity=2)
