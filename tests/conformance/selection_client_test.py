"""The Python package of selection against `headwise serve`."""

import json
import os
import pathlib
import subprocess
import tempfile
import unittest

import grpc
import headwise

from headwise_server import HeadwiseServer
from html_outline import Outline
from selection_model import plan_of_served_model, text_of


class SelectionClientTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        for name in ("corpus", "jobs", "out"):
            (cls.folder / name).mkdir()
        cls.server = HeadwiseServer(
            "--local-workers", "2",
            "--selection-state", str(cls.folder / "jobs"),
            "--input-root", f"corpus={cls.folder / 'corpus'}",
            "--output-root", str(cls.folder / "out"))
        cls.addClassCleanup(cls.server.close)
        cls.client = headwise.SelectionClient(cls.server.address)
        cls.addClassCleanup(cls.client.close)
        cls.terms = headwise.Terms(
            plan=plan_of_served_model(cls.server.address), window=256)
        cls.documents = [
            headwise.Document(text_of(i), f"id-{i:02}",
                              "web" if i % 3 else "code") for i in range(12)]
        cls.rows = list(cls.client.score(cls.documents, cls.terms))

    def test_rows_are_those_of_the_documents_in_their_order(self):
        self.assertEqual([row.doc_id for row in self.rows],
                         [document.id for document in self.documents])
        self.assertEqual([row.domain for row in self.rows],
                         [document.domain for document in self.documents])
        for row in self.rows:
            self.assertEqual(row.flags, ())
            self.assertTrue(row.is_ranked)
            self.assertGreater(row.n_tokens, 64)
            self.assertGreaterEqual(row.repetition, 0)
            self.assertLessEqual(row.repetition, 1)
            self.assertEqual(row.loss_base, row.nll_base / row.n_tokens)
            self.assertEqual(row.loss_masked, row.nll_masked / row.n_tokens)
            self.assertAlmostEqual(
                row.score,
                (row.nll_masked - row.nll_base) / row.nll_base, delta=1e-12)
        self.assertEqual(len({row.score for row in self.rows}), 12)

    def test_bits_do_not_depend_on_what_is_in_flight(self):
        rows = list(self.client.score(self.documents[:5], self.terms,
                                      max_in_flight=1))
        self.assertEqual(rows, self.rows[:5])

    def test_what_cannot_be_scored_is_a_row_with_flags(self):
        rows = list(self.client.score(
            ["", b"\xff\xfe", "Short.", b"x" * (17 << 20), text_of(0)],
            self.terms))
        self.assertEqual([row.doc_id for row in rows[1:3]],
                         ["document:1", "document:2"])
        expected = [{"empty_text"}, {"invalid_utf8"}, {"too_short"},
                    {"too_large"}, set()]
        for row, flags in zip(rows, expected, strict=True):
            self.assertEqual(set(row.flags), flags | {"made_up_id"})
            self.assertEqual(row.is_ranked, not flags)
        self.assertIsNone(rows[0].score)
        self.assertIsNotNone(rows[2].score)
        self.assertEqual(rows[4].score, self.rows[0].score)

    def test_a_plan_that_is_not_there_is_refused(self):
        with self.assertRaises(headwise.HeadwiseError) as caught:
            list(self.client.score(["text"], headwise.Terms(plan="0" * 64)))
        self.assertEqual(caught.exception.code, grpc.StatusCode.NOT_FOUND)

    def test_a_job_has_the_rows_of_score_and_is_done_once(self):
        path = self.folder / "corpus/part.jsonl"
        path.write_text("".join(
            json.dumps({"id": d.id, "domain": d.domain, "text": d.text}) + "\n"
            for d in self.documents))
        seen = []
        job = self.client.create_job(self.terms, headwise.Input("corpus"),
                                     on_input=lambda *so_far:
                                     seen.append(so_far))
        for job in self.client.watch(job.job_id, interval=0.1):
            self.assertNotEqual(job.state, "paused", job.reason)
        self.assertEqual(job.state, "done")
        self.assertEqual((job.documents, job.scored, job.ranked), (12, 12, 12))
        self.assertEqual(job.tokens, sum(r.n_tokens for r in self.rows))
        self.assertEqual(job.domains["code"].ranked, 4)
        self.assertEqual(job.bytes_total, path.stat().st_size)
        self.assertEqual(len(job.masked_heads), 20)

        top = list(self.client.top(job.job_id, fraction=1.0))
        self.assertEqual([t.rank for t in top],
                         [*range(1, 5), *range(1, 9)])
        ranked = sorted(self.rows, key=lambda r: (r.domain, -r.score))
        self.assertEqual([t.row for t in top], ranked)
        best = list(self.client.top(job.job_id, count=1, domains=["web"]))
        self.assertEqual([t.row for t in best], ranked[4:5])
        quantiles = self.client.quantiles(job.job_id, [0, 1])
        scores = [r.score for r in ranked if r.domain == "web"]
        self.assertEqual(quantiles["web"], {0.0: scores[-1], 1.0: scores[0]})

        self.check_report(job.output)
        again = self.client.create_job(self.terms, headwise.Input("corpus"))
        self.assertEqual(again.job_id, job.job_id)
        self.assertEqual(again.state, "done")
        self.assertEqual(again.result_sha256, job.result_sha256)
        self.assertEqual(self.client.get_job(job.job_id[:12]).state, "done")
        self.assertIn(job.job_id,
                      [listed.job_id for listed in self.client.list_jobs()])
        with self.assertRaises(headwise.HeadwiseError) as caught:
            self.client.pause(job.job_id)
        self.assertEqual(caught.exception.code,
                         grpc.StatusCode.FAILED_PRECONDITION)

    def check_report(self, folder):
        """The page that the command line makes of a job's folder."""
        page = self.folder / "report.html"
        subprocess.run(
            [os.environ["HEADWISE_PROGRAM"], "select", "report",
             "--out", folder, "--input", self.folder / "corpus",
             "--count", "3", "--html", page], check=True, timeout=120)
        outline = Outline(page.read_text())
        self.assertEqual(outline.tags["section"], 2)
        self.assertIn("code", outline.headings)
        self.assertIn(text_of(0)[:300], outline.text)

    def test_a_job_of_no_such_root_is_refused(self):
        with self.assertRaises(headwise.HeadwiseError) as caught:
            self.client.create_job(self.terms, headwise.Input("elsewhere"))
        self.assertEqual(caught.exception.code, grpc.StatusCode.NOT_FOUND)


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    unittest.main(verbosity=2)
