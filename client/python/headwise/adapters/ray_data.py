"""Ray Data: a class for Dataset.map_batches.

    import ray
    from headwise.adapters.ray_data import HeadwiseScorer
    from headwise import Terms

    scored = ray.data.read_parquet("corpus/").map_batches(
        HeadwiseScorer, batch_format="pyarrow", batch_size=256,
        compute=ray.data.ActorPoolStrategy(size=4), num_cpus=0.1,
        fn_constructor_kwargs={"address": "127.0.0.1:7600",
                               "terms": Terms(plan="5f3a09c1")})
    scored.write_parquet("scored/")

Each of the actors holds one connection. The scores of a document are the same
bits whatever batches and actors there are.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from headwise.adapters.columns import (OUTPUT_COLUMNS, Columns, missing,
                                       score_columns)
from headwise.connection import Server
from headwise.selection import SelectionClient
from headwise.selection_types import Terms

_NUMPY_TYPES = {"bigint": np.int64, "double": np.float64, "boolean": np.bool_,
                "array<string>": np.object_}


class HeadwiseScorer:
    """Adds the columns of columns.OUTPUT_COLUMNS to a batch, which may be an
    Arrow table (batch_format="pyarrow"; keeps all types, and null stands for
    no score) or a dict of NumPy arrays (Ray's default; NaN stands for no
    score)."""

    def __init__(self, address: str | Server, terms: Terms,
                 columns: Columns = Columns(), *, retries: int = 8):
        self._client = SelectionClient(address, retries=retries)
        self._terms = terms
        self._columns = columns

    def __call__(self, batch: Any) -> Any:
        if isinstance(batch, Mapping):
            return self._score_arrays(batch)
        return self._score_table(batch)

    def _score_arrays(self, batch: Mapping[str, np.ndarray]
                      ) -> dict[str, np.ndarray]:
        columns = self._columns
        names = columns.output_names(batch)
        values = score_columns(
            self._client, self._terms, batch[columns.text],
            None if columns.domain is None else batch[columns.domain])
        arrays = {}
        for name, kind, column in zip(names, OUTPUT_COLUMNS.values(), values):
            arrays[name] = np.empty(len(column), _NUMPY_TYPES[kind])
            arrays[name][:] = column
        return {**batch, **arrays}

    def _score_table(self, table: Any) -> Any:
        try:
            import pyarrow as pa
        except ImportError as error:
            raise missing("ray_data", "pyarrow", error) from error
        if not isinstance(table, pa.Table):
            raise TypeError("a batch must be a dict of arrays or an Arrow "
                            f"table, not {type(table).__name__}: give "
                            "map_batches batch_format=\"pyarrow\"")
        columns = self._columns
        names = columns.output_names(table.column_names)
        values = score_columns(
            self._client, self._terms, table[columns.text].to_pylist(),
            None if columns.domain is None
            else table[columns.domain].to_pylist())
        types = {"bigint": pa.int64(), "double": pa.float64(),
                 "boolean": pa.bool_(),
                 "array<string>": pa.list_(pa.string())}
        for name, kind, column in zip(names, OUTPUT_COLUMNS.values(), values):
            table = table.append_column(name, pa.array(column, types[kind]))
        return table
