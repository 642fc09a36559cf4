"""Scores within Ray Data, datatrove and Spark's pandas frames.

Ray runs for real, against `headwise serve`. datatrove's steps run in its own
local pipeline, against a service that is not the model. Spark itself is not
here (it would be half a gigabyte and a Java runtime): its function gets the
pandas frames that Spark would give it.
"""

import os
import pathlib
import secrets
import tempfile
import time
import unittest

import headwise
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from datatrove.data import Document as TroveDocument
from datatrove.executor import LocalPipelineExecutor
from datatrove.pipeline.readers import JsonlReader
from datatrove.pipeline.writers import JsonlWriter
from headwise.adapters.columns import OUTPUT_COLUMNS, Columns
from headwise.adapters.datatrove import HeadwiseFilter, HeadwiseScore
from headwise.adapters.ray_data import HeadwiseScorer
from headwise.adapters.spark import score_in_pandas, scored_schema

from headwise_server import HeadwiseServer
from selection_fake import FakeSelection
from selection_model import plan_of_served_model, text_of

TERMS = headwise.Terms(plan="12345678")
NAMES = list(OUTPUT_COLUMNS)
RAY_SECONDS = 60  # for its processes to be gone


def processes_naming(text):
    """Ids of processes that have `text` in their command line."""
    found = []
    for folder in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if text.encode() in (folder / "cmdline").read_bytes():
                found.append(int(folder.name))
        except OSError:  # it has ended
            pass
    return found


class RayTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        # Else it makes a token, and leaves it in the home folder.
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
        os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
        import ray
        cls.ray = ray
        # Sockets have paths of at most 107 bytes.
        folder = tempfile.TemporaryDirectory(dir="/tmp", prefix="hw-ray-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name
        cls.server = HeadwiseServer("--local-workers", "2")
        cls.addClassCleanup(cls.server.close)
        cls.addClassCleanup(cls.end_ray)
        ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False,
                 object_store_memory=200 << 20, _temp_dir=cls.folder)
        context = ray.data.DataContext.get_current()
        context.enable_progress_bars = False

    @classmethod
    def end_ray(cls):
        cls.ray.shutdown()
        deadline = time.monotonic() + RAY_SECONDS
        while left := processes_naming(cls.folder):
            if time.monotonic() > deadline:
                raise RuntimeError(f"Ray left processes {left}")
            time.sleep(0.05)

    def test_parquet_in_and_parquet_out_with_the_bits_of_score(self):
        terms = headwise.Terms(
            plan=plan_of_served_model(self.server.address), window=256)
        texts = [text_of(i) for i in range(8)] + ["", None, "Short."]
        source = pathlib.Path(self.folder) / "in"
        source.mkdir()
        for part in (0, 1):
            pq.write_table(
                pa.table({"number": pa.array(range(part, 11, 2), pa.int16()),
                          "text": texts[part::2],
                          "kind": ["code" if part else "web"]
                          * len(texts[part::2])}),
                source / f"{part}.parquet")

        # A block for each of the actors.
        scored = self.ray.data.read_parquet(str(source)).repartition(
            2).map_batches(
            HeadwiseScorer, batch_format="pyarrow", batch_size=3,
            compute=self.ray.data.ActorPoolStrategy(size=2), num_cpus=0.5,
            fn_constructor_kwargs={
                "address": self.server.address, "terms": terms,
                "columns": Columns(domain="kind", prefix="hw_")})
        target = pathlib.Path(self.folder) / "out"
        scored.write_parquet(str(target))

        table = pa.concat_tables(
            pq.read_table(path) for path in target.glob("*.parquet"))
        table = table.sort_by("number")
        self.assertEqual(table["number"].to_pylist(), list(range(11)))
        self.assertEqual(table.schema.field("number").type, pa.int16())
        self.assertEqual(table["text"].to_pylist(), texts)
        with headwise.SelectionClient(self.server.address) as client:
            rows = list(client.score(
                [headwise.Document(text or "", str(i),
                                   "code" if i % 2 else "web")
                 for i, text in enumerate(texts)], terms))
        for name in NAMES:
            self.assertEqual(table[f"hw_{name}"].to_pylist(),
                             [list(row.flags) if name == "flags"
                              else getattr(row, name) for row in rows], name)
        self.assertEqual([row.is_ranked for row in rows],
                         [True] * 8 + [False] * 3)
        self.assertEqual(table["hw_flags"].to_pylist()[8:],
                         [["empty_text"], ["empty_text"], ["too_short"]])


class BatchTest(unittest.TestCase):
    """What HeadwiseScorer does with batches, without Ray."""

    def setUp(self):
        self.fake = FakeSelection()
        self.addCleanup(self.fake.close)

    def test_arrays_of_numpy_get_arrays(self):
        scorer = HeadwiseScorer(self.fake.address, TERMS)
        batch = {"text": np.array(["abc", "", "de"], object),
                 "other": np.array([1, 2, 3])}
        out = scorer(batch)
        self.assertEqual(list(out), ["text", "other", *NAMES])
        np.testing.assert_array_equal(out["n_tokens"], [3, 0, 2])
        np.testing.assert_array_equal(out["loss_base"], [2, np.nan, 2])
        np.testing.assert_array_equal(out["is_ranked"], [True, False, True])
        self.assertEqual(list(out["flags"]), [[], ["empty_text"], []])
        self.assertEqual(out["score"].dtype, np.float64)
        np.testing.assert_array_equal(out["other"], batch["other"])

    def test_an_empty_table_has_the_columns_too(self):
        table = pa.table({"text": pa.array([], pa.string())})
        out = HeadwiseScorer(self.fake.address, TERMS)(table)
        self.assertEqual(out.column_names, ["text", *NAMES])
        self.assertEqual(out.schema.field("flags").type,
                         pa.list_(pa.string()))
        self.assertEqual(self.fake.calls, [])

    def test_columns_that_are_missing_or_taken_are_named(self):
        scorer = HeadwiseScorer(self.fake.address, TERMS)
        with self.assertRaisesRegex(ValueError, "no column 'text'"):
            scorer(pa.table({"body": ["a"]}))
        with self.assertRaisesRegex(ValueError, r"\['score'\] are there"):
            scorer(pa.table({"text": ["a"], "score": [1]}))
        with self.assertRaisesRegex(TypeError, "must be str or bytes, not"):
            scorer(pa.table({"text": [1]}))
        with self.assertRaisesRegex(TypeError, "not DataFrame"):
            scorer(pd.DataFrame({"text": ["a"]}))


class DatatroveTest(unittest.TestCase):
    def setUp(self):
        self.fake = FakeSelection()
        self.addCleanup(self.fake.close)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def documents(self):
        return [TroveDocument(f"text {i}" * (i != 4), f"id-{i}",
                              metadata={"domain": "web" if i % 2 else "code"})
                for i in range(10)]

    def test_scores_are_put_into_the_metadata_in_order(self):
        step = HeadwiseScore(self.fake.address, TERMS, prefix="hw_",
                             max_in_flight=3)
        out = list(step.run(iter(self.documents())))
        self.assertEqual([d.id for d in out], [f"id-{i}" for i in range(10)])
        with headwise.SelectionClient(self.fake.address) as client:
            rows = list(client.score(
                [headwise.Document(d.text, d.id) for d in self.documents()],
                TERMS))
        self.assertEqual([d.metadata["hw_score"] for d in out],
                         [row.score for row in rows])
        self.assertEqual(out[4].metadata["hw_flags"], ["empty_text"])
        self.assertFalse(out[4].metadata["hw_is_ranked"])
        self.assertEqual([d.domain for d in self.fake.calls[0]],
                         ["code", "web"] * 5)
        self.assertEqual(step.stats["ranked"].total, 9)
        self.assertEqual(list(step.run(None)), [])

    def test_a_filter_keeps_what_reaches_its_domains_threshold(self):
        documents = self.documents()
        list(HeadwiseScore(self.fake.address, TERMS).run(iter(documents)))
        threshold = documents[3].metadata["score"]
        kept = list(HeadwiseFilter({"web": threshold}).run(iter(documents)))
        self.assertEqual(
            [d.id for d in kept],
            [d.id for d in documents if d.metadata["domain"] == "web"
             and d.metadata["score"] >= threshold])
        self.assertIn("id-3", [d.id for d in kept])
        all_scored = list(HeadwiseFilter(0.0).run(iter(documents)))
        self.assertEqual(len(all_scored), 9)
        with self.assertRaisesRegex(ValueError, "HeadwiseScore must come"):
            list(HeadwiseFilter(0.0).run(iter(self.documents())))

    def test_a_pipeline_of_datatrove_runs_both(self):
        source, target = self.folder / "in", self.folder / "out"
        source.mkdir()
        (source / "a.jsonl").write_text("".join(
            f'{{"id": "{d.id}", "text": "{d.text}"}}\n'
            for d in self.documents()))
        LocalPipelineExecutor(
            pipeline=[JsonlReader(str(source)),
                      HeadwiseScore(self.fake.address, TERMS),
                      HeadwiseFilter(0.0),
                      JsonlWriter(str(target), compression=None)],
            tasks=1, logging_dir=str(self.folder / "logs")).run()
        lines = (target / "00000.jsonl").read_text().splitlines()
        # The reader itself leaves out the empty text.
        self.assertEqual(len(lines), 9)
        self.assertIn('"is_ranked":true', lines[0].replace(": ", ":"))


class FakeStructType:
    """Of Spark's StructType what scored_schema needs."""

    def __init__(self, fields):
        self.fields = fields

    def fieldNames(self):
        return [name for name, _ in self.fields]

    def add(self, name, kind):
        self.fields.append((name, kind))
        return self


class SparkTest(unittest.TestCase):
    def test_frames_of_a_partition_get_the_columns(self):
        fake = FakeSelection()
        self.addCleanup(fake.close)
        frames = [pd.DataFrame({"text": ["abc", None], "kind": ["a", "b"]}),
                  pd.DataFrame({"text": pd.Series([], dtype=str),
                                "kind": pd.Series([], dtype=str)}),
                  pd.DataFrame({"text": ["de"], "kind": ["a"]}, index=[7])]
        score = score_in_pandas(fake.address, TERMS, Columns(domain="kind"))
        out = list(score(iter(frames)))
        self.assertEqual([list(frame.columns) for frame in out],
                         [["text", "kind", *NAMES]] * 3)
        self.assertEqual(list(out[0]["n_tokens"]), [3, 0])
        self.assertTrue(np.isnan(out[0]["score"][1]))
        self.assertEqual(list(out[0]["flags"]), [[], ["empty_text"]])
        self.assertEqual(list(out[2]["n_tokens"]), [2])
        # As Spark turns frames into Arrow.
        table = pa.Table.from_pandas(out[0])
        self.assertEqual(table["score"].null_count, 1)
        self.assertEqual(table.schema.field("flags").type,
                         pa.list_(pa.string()))

    def test_the_schema_has_them_too_and_the_old_one_stays(self):
        schema = FakeStructType([("text", "string")])
        out = scored_schema(schema, Columns(prefix="hw_"))
        self.assertEqual(out.fields[1:],
                         [(f"hw_{name}", kind)
                          for name, kind in OUTPUT_COLUMNS.items()])
        self.assertEqual(len(schema.fields), 1)
        with self.assertRaises(ValueError):
            scored_schema(out, Columns(prefix="hw_"))


if __name__ == "__main__":
    os.environ.setdefault("PYTHONDONTWRITEBYTECODE", "1")
    unittest.main(verbosity=2)
