"""Documents in flight between a caller and a server."""

from __future__ import annotations

import collections
import queue
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from headwise.selection_types import (Document, Row, Terms, masked_plan_of,
                                      ranking_of, row_of, scoring_of)
from headwise.v1 import selection_pb2 as pb

_MAX_BATCH_DOCUMENTS = 32
_MAX_BATCH_BYTES = 1 << 20  # unless one document has more
_MAX_IN_FLIGHT_BYTES = 32 << 20
# A message has at most 16 MiB, and more in it than the text. Of a larger text
# the begin is sent, which is too large as well.
_MAX_TEXT_BYTES = (16 << 20) - (64 << 10)
_MADE_UP_ID = "document:"


def _wire_form(document: Document) -> pb.SelectionDocument:
    text = document.text
    if isinstance(text, str):
        # What is no text arrives as no UTF-8, and its row says so.
        text = text.encode("utf-8", "surrogatepass")
    if len(text) > _MAX_TEXT_BYTES:
        end = _MAX_TEXT_BYTES + 1
        while text[end:end + 1] and text[end] & 0xC0 == 0x80 \
                and end < _MAX_TEXT_BYTES + 4:
            end += 1  # not within a character
        text = text[:end]
    return pb.SelectionDocument(id=document.id, domain=document.domain,
                                text=text)


class ScoreStream:
    """The state of one SelectionClient.score(): what was taken and has no row
    yet, so that a new call can send it again. Scoring changes nothing on the
    server and gives the same bits each time. One thread."""

    def __init__(self, documents: Iterable[Any], terms: Terms,
                 max_in_flight: int):
        self._documents = iter(documents)
        self._terms = pb.ScoreDocumentsRequest(terms=pb.ScoreDocumentsTerms(
            model=terms.model, masked_plan=masked_plan_of(terms.plan),
            scoring=scoring_of(terms), ranking=ranking_of(terms),
            max_document_bytes=_MAX_TEXT_BYTES))
        self._max_in_flight = max_in_flight
        self._unanswered: collections.deque[pb.SelectionDocument] = (
            collections.deque())
        self._unanswered_bytes = 0
        self._num_rows = 0
        self._is_at_end = False

    def rows(self, call: Callable[[Iterator[Any]], Iterator[Any]]
             ) -> Iterator[Row]:
        """Rows by one call of ScoreDocuments, to the end of the documents or
        to an error; after an error, another goes on."""
        num_rows_before = self._num_rows
        # Bounded by what is in flight.
        requests: queue.SimpleQueue[Any] = queue.SimpleQueue()
        requests.put(self._terms)
        self._put(list(self._unanswered), requests)
        if self._is_at_end:
            requests.put(None)
        self._fill(requests)
        if not self._unanswered:
            return
        answers = call(iter(requests.get, None))
        try:
            for answer in answers:
                for message in answer.rows:
                    yield self._take_row(message, num_rows_before)
                self._fill(requests)
            if self._unanswered:
                raise RuntimeError(f"the server ended the stream with "
                                   f"{len(self._unanswered)} documents "
                                   "unanswered")
        finally:
            requests.put(None)  # ends the thread that sends
            answers.close()

    def _fill(self, requests: queue.SimpleQueue[Any]) -> None:
        """Takes documents until enough are in flight, and sends them."""
        if self._is_at_end:
            return
        taken = []
        try:
            while (len(self._unanswered) < self._max_in_flight
                   and self._unanswered_bytes < _MAX_IN_FLIGHT_BYTES):
                document = next(self._documents, None)
                if document is None:
                    self._is_at_end = True
                    break
                taken.append(_wire_form(Document.of(document)))
                self._unanswered.append(taken[-1])
                self._unanswered_bytes += len(taken[-1].text)
        finally:
            self._put(taken, requests)
        if self._is_at_end:
            requests.put(None)

    def _put(self, documents: list[pb.SelectionDocument],
             requests: queue.SimpleQueue[Any]) -> None:
        batch, batch_bytes = pb.ScoreDocumentsRequest(), 0
        for document in documents:
            size = len(document.text)
            if len(batch.documents) == _MAX_BATCH_DOCUMENTS or (
                    batch.documents
                    and batch_bytes + size > _MAX_BATCH_BYTES):
                requests.put(batch)
                batch, batch_bytes = pb.ScoreDocumentsRequest(), 0
            batch.documents.append(document)
            batch_bytes += size
        if batch.documents:
            requests.put(batch)

    def _take_row(self, message: pb.SelectionRow,
                  num_rows_before: int) -> Row:
        if not self._unanswered:
            raise RuntimeError("the server sent a row of no document")
        document = self._unanswered.popleft()
        self._unanswered_bytes -= len(document.text)
        self._num_rows += 1
        if not document.id and num_rows_before:
            # The server counts from the begin of its call.
            number = int(message.doc_id.removeprefix(_MADE_UP_ID))
            message.doc_id = f"{_MADE_UP_ID}{number + num_rows_before}"
        return row_of(message)
