"""datatrove: a step that scores documents, and a filter by score.

    from headwise.adapters.datatrove import HeadwiseScore, HeadwiseFilter
    from headwise import Terms

    pipeline = [JsonlReader("corpus/"),
                HeadwiseScore("127.0.0.1:7600", Terms(plan="5f3a09c1")),
                HeadwiseFilter({"web": 0.14, "code": 0.31}),
                JsonlWriter("selected/")]
"""

from __future__ import annotations

import collections
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from headwise.adapters.columns import OUTPUT_COLUMNS, missing, row_values
from headwise.connection import Server
from headwise.selection import SelectionClient
from headwise.selection_types import Document, Terms

try:
    from datatrove.pipeline.base import PipelineStep
    from datatrove.pipeline.filters.base_filter import BaseFilter
except ImportError as error:
    raise missing("datatrove", "datatrove regex", error) from error


class HeadwiseScore(PipelineStep):
    """Puts what columns.OUTPUT_COLUMNS names into each document's metadata;
    None stands for no score. Order stays.

    domain_key: of the metadata; a document without it has no domain. prefix:
    before the names that are put there.
    """
    name = "Headwise score"
    type = "SCORE"

    def __init__(self, address: str | Server, terms: Terms, *,
                 domain_key: str = "domain", prefix: str = "",
                 max_in_flight: int = 512, retries: int = 8):
        super().__init__()
        self._address = address
        self._terms = terms
        self._domain_key = domain_key
        self._prefix = prefix
        self._max_in_flight = max_in_flight
        self._retries = retries

    def run(self, data: Iterable[Any] | None, rank: int = 0,
            world_size: int = 1) -> Iterator[Any]:
        # Executors copy steps into other processes: no connection before here.
        waiting: collections.deque[Any] = collections.deque()

        def documents() -> Iterator[Document]:
            for document in data or ():
                waiting.append(document)
                domain = document.metadata.get(self._domain_key) or ""
                yield Document(document.text, str(document.id or ""),
                               str(domain))

        with SelectionClient(self._address, retries=self._retries) as client:
            for row in client.score(documents(), self._terms,
                                    max_in_flight=self._max_in_flight):
                document = waiting.popleft()
                for key, value in zip(OUTPUT_COLUMNS, row_values(row)):
                    document.metadata[self._prefix + key] = value
                self.stat_update("ranked" if row.is_ranked else "not_ranked")
                self.stat_update("tokens", value=row.n_tokens)
                self.update_doc_stats(document)
                yield document


class HeadwiseFilter(BaseFilter):
    """Keeps documents whose score is at least a threshold: one for all, or one
    for each domain, since scores of different domains can't be compared. A
    document that isn't ranked goes, and so does one of a domain that has no
    threshold."""
    name = "Headwise filter"

    def __init__(self, threshold: float | Mapping[str, float], *,
                 domain_key: str = "domain", prefix: str = "",
                 exclusion_writer: Any = None):
        super().__init__(exclusion_writer)
        self._threshold = threshold
        self._domain_key = domain_key
        self._prefix = prefix

    def filter(self, doc: Any) -> bool | tuple[bool, str]:
        if self._prefix + "score" not in doc.metadata:
            raise ValueError(f"document {doc.id!r} has no "
                             f"{self._prefix + 'score'!r} in its metadata: "
                             "HeadwiseScore must come before")
        if not doc.metadata[self._prefix + "is_ranked"]:
            return False, "not_ranked"
        score = doc.metadata[self._prefix + "score"]
        threshold = self._threshold
        if isinstance(threshold, Mapping):
            domain = str(doc.metadata.get(self._domain_key) or "")
            if domain not in threshold:
                return False, "no_threshold"
            threshold = threshold[domain]
        return True if score >= threshold else (False, "low_score")
