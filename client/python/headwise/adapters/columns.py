"""What the adapters for tables share: columns of texts in, of scores out."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterable
from typing import Any

from headwise.selection import SelectionClient
from headwise.selection_types import Document, Row, Terms

# Names that are put behind a prefix, with Spark's names of their types.
OUTPUT_COLUMNS = {"n_tokens": "bigint", "loss_base": "double",
                  "loss_masked": "double", "score": "double",
                  "is_ranked": "boolean", "flags": "array<string>"}


@dataclasses.dataclass(frozen=True)
class Columns:
    """Where a table has the documents and gets the scores. domain: a column,
    or None: one domain. prefix: of the columns that are added."""
    text: str = "text"
    domain: str | None = None
    prefix: str = ""

    def output_names(self, present: Iterable[str]) -> list[str]:
        """Of OUTPUT_COLUMNS; ValueError if the table lacks an input column or
        has one of these already."""
        present = list(present)
        for name in (self.text, self.domain):
            if name is not None and name not in present:
                raise ValueError(f"no column {name!r}; there are {present}")
        names = [self.prefix + name for name in OUTPUT_COLUMNS]
        taken = [name for name in names if name in present]
        if taken:
            raise ValueError(f"columns {taken} are there already; give a "
                             "prefix")
        return names


def _text_of(value: Any) -> str | bytes:
    """A missing text counts as an empty one. Tables spell it None or NaN."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if not isinstance(value, (str, bytes)):
        raise TypeError(f"a text must be str or bytes, not "
                        f"{type(value).__name__}")
    return value


def score_columns(client: SelectionClient, terms: Terms, texts: Iterable[Any],
                  domains: Iterable[Any] | None = None) -> list[list[Any]]:
    """The columns of OUTPUT_COLUMNS, a value for each text. None where a text
    was not scored."""
    if domains is None:
        domains = itertools.repeat("")
    # Rows are told apart by their order; without an id each had a flag.
    documents = (
        Document(_text_of(text), id=str(number), domain=str(_text_of(domain)))
        for number, (text, domain) in enumerate(zip(texts, domains)))
    rows = [row_values(row) for row in client.score(documents, terms)]
    if not rows:
        return [[] for _ in OUTPUT_COLUMNS]
    return [list(column) for column in zip(*rows)]


def row_values(row: Row) -> list[Any]:
    """In the order of OUTPUT_COLUMNS."""
    return [list(row.flags) if name == "flags" else getattr(row, name)
            for name in OUTPUT_COLUMNS]


def missing(adapter: str, packages: str, error: ImportError) -> ImportError:
    """The error of an adapter whose packages aren't there."""
    return ImportError(f"headwise.adapters.{adapter}: {error}; "
                       f"pip install {packages}")
