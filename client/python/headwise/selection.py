"""Selection of documents: headwise.v1.Selection."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import grpc

from headwise.connection import Connection, HeadwiseError, Server
from headwise.score_stream import ScoreStream
from headwise.selection_types import (Document, Input, Job, Ranked, Row, Terms,
                                      job_of, masked_plan_of, ranking_of,
                                      row_of, scoring_of)
from headwise.v1 import selection_pb2 as pb
from headwise.v1 import selection_pb2_grpc as pb_grpc

# The server drains, starts again, forms its group of workers anew, or has as
# many streams as it takes.
_RETRIED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED,
            grpc.StatusCode.RESOURCE_EXHAUSTED)
_MAX_RETRY_SECONDS = 5.0


class SelectionClient:
    """Calls of one server. May be shared between threads.

    timeout: seconds of a call, but not of those that stream. retries: how often
    in a row score() and watch() begin again where they were when the server
    can't be reached or takes no more.
    """

    def __init__(self, address: str | Server, *, tenant: str = "",
                 timeout: float = 600.0, retries: int = 8):
        self._server = Connection(address, pb_grpc.SelectionStub, tenant,
                                  timeout)
        self._retries = retries

    def score(self,
              documents: Iterable[Document | Mapping[str, Any] | str | bytes],
              terms: Terms, *, max_in_flight: int = 512) -> Iterator[Row]:
        """A row for each document, in their order. At most max_in_flight
        documents, or 32 MiB of them, are taken from `documents` ahead of their
        rows, by the thread that iterates over the rows. A document that can't
        be scored has a row with flags that say why."""
        if max_in_flight < 1:
            raise ValueError(f"max_in_flight {max_in_flight} must be 1 or more")
        stream = ScoreStream(documents, terms, max_in_flight)
        yield from self._retried(
            lambda: stream.rows(lambda requests: self._server.stream(
                "ScoreDocuments", requests, has_deadline=False)))

    def create_job(self, terms: Terms, files: Input, *, output: str = "",
                   on_input: Callable[[int, int], None] | None = None) -> Job:
        """The job of these terms over these files, which may be there already.
        on_input is told how many bytes of the input the server has read, and
        of how many; 0: it still looks for files."""
        spec = pb.SelectionJobSpec(
            model=terms.model, masked_plan=masked_plan_of(terms.plan),
            scoring=scoring_of(terms), ranking=ranking_of(terms),
            input=pb.SelectionInput(
                root=files.root, paths=files.paths, id_field=files.id_field,
                text_field=files.text_field, domain_field=files.domain_field,
                domain=files.domain, shard_bytes=files.shard_bytes,
                max_document_bytes=files.max_document_bytes), output=output)
        request = pb.CreateJobRequest(spec=spec)
        for event in self._server.stream("CreateJob", request,
                                         has_deadline=False):
            if event.HasField("job"):
                return job_of(event.job)
            if on_input is not None:
                on_input(event.input.bytes, event.input.total_bytes)
        raise RuntimeError("the server ended CreateJob without a job")

    def get_job(self, job_id: str) -> Job:
        return self._job_call("GetJob", pb.GetJobRequest(job_id=job_id))

    def pause(self, job_id: str) -> Job:
        return self._job_call("PauseJob", pb.PauseJobRequest(job_id=job_id))

    def resume(self, job_id: str) -> Job:
        return self._job_call("ResumeJob", pb.ResumeJobRequest(job_id=job_id))

    def cancel(self, job_id: str) -> Job:
        return self._job_call("CancelJob", pb.CancelJobRequest(job_id=job_id))

    def list_jobs(self) -> list[Job]:
        """Without domains and flags."""
        answer = self._server.call("ListJobs", pb.ListJobsRequest())
        return [job_of(message) for message in answer.jobs]

    def watch(self, job_id: str, *, interval: float = 1.0) -> Iterator[Job]:
        """The job now and as it changes, to its final state; goes on when the
        server has started again. interval: seconds, 0.05 to 60."""
        request = pb.WatchJobRequest(job_id=job_id, interval_seconds=interval)
        for message in self._retried(lambda: self._server.stream(
                "WatchJob", request, has_deadline=False)):
            yield job_of(message)

    def top(self, job_id: str, *, fraction: float | None = None,
            count: int | None = None, token_budget: int | None = None,
            domains: Sequence[str] = ()) -> Iterator[Ranked]:
        """The best rows of every domain of a job that is done, by one of three
        rules; by domain, then by rank."""
        rules = {"fraction": fraction, "count": count,
                 "token_budget": token_budget}
        rule = {name: value for name, value in rules.items()
                if value is not None}
        if len(rule) != 1:
            raise ValueError("one of fraction, count and token_budget must be "
                             f"given, not {len(rule)}")
        request = pb.TopKRequest(job_id=job_id, domains=domains, **rule)
        for answer in self._server.stream("TopK", request,
                                          has_deadline=False):
            for ranked in answer.rows:
                yield Ranked(ranked.rank, row_of(ranked.row))

    def quantiles(self, job_id: str, quantiles: Sequence[float] = ()
                  ) -> dict[str, dict[float, float]]:
        """Scores of the ranked rows so far: by domain, then by quantile."""
        answer = self._server.call("Quantiles", pb.QuantilesRequest(
            job_id=job_id, quantiles=quantiles))
        return {d.domain: dict(zip(answer.quantiles, d.scores))
                for d in answer.domains}

    def close(self) -> None:
        self._server.close()

    def __enter__(self) -> SelectionClient:
        return self

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        self.close()

    def _job_call(self, method: str, request: Any) -> Job:
        return job_of(self._server.call(method, request))

    def _retried(self, start: Callable[[], Iterator[Any]]) -> Iterator[Any]:
        """All of a stream, which is started again after errors that pass; the
        count begins anew whenever something came."""
        attempt = 0
        while True:
            try:
                with contextlib.closing(start()) as items:
                    for item in items:
                        attempt = 0
                        yield item
                return
            except HeadwiseError as error:
                # An hour is what the server gives a call.
                passes = error.code in _RETRIED or (
                    error.code == grpc.StatusCode.DEADLINE_EXCEEDED
                    and attempt == 0)
                if not passes or attempt == self._retries:
                    raise
            time.sleep(min(0.1 * 2 ** attempt, _MAX_RETRY_SECONDS))
            attempt += 1
