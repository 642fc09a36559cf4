"""Spark: a function for DataFrame.mapInPandas.

    from headwise.adapters.spark import score_in_pandas, scored_schema
    from headwise import Terms

    scored = df.mapInPandas(
        score_in_pandas("127.0.0.1:7600", Terms(plan="5f3a09c1")),
        scored_schema(df.schema))

Each task holds one connection. Imports neither pyspark nor pandas: whoever
calls has them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from headwise.adapters.columns import (OUTPUT_COLUMNS, Columns,
                                       score_columns)
from headwise.connection import Server
from headwise.selection import SelectionClient
from headwise.selection_types import Terms


def score_in_pandas(address: str | Server, terms: Terms,
                    columns: Columns = Columns(),
                    *, retries: int = 8
                    ) -> Callable[[Iterator[Any]], Iterator[Any]]:
    """A function over the pandas frames of a partition that adds the
    columns of columns.OUTPUT_COLUMNS. Null stands for no score."""

    def score_frames(frames: Iterator[Any]) -> Iterator[Any]:
        with SelectionClient(address, retries=retries) as client:
            for frame in frames:
                names = columns.output_names(frame.columns)
                values = score_columns(
                    client, terms, frame[columns.text],
                    None if columns.domain is None
                    else frame[columns.domain])
                yield frame.assign(**dict(zip(names, values)))

    return score_frames


def scored_schema(schema: Any, columns: Columns = Columns()) -> Any:
    """A StructType with the columns that score_in_pandas adds."""
    names = columns.output_names(schema.fieldNames())
    schema = copy.deepcopy(schema)
    for name, kind in zip(names, OUTPUT_COLUMNS.values(), strict=True):
        schema = schema.add(name, kind)
    return schema
