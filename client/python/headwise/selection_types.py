"""What goes into a selection and comes out of one, as plain objects."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.message import DecodeError

from headwise.v1 import head_plan_pb2
from headwise.v1 import selection_pb2 as pb

_FINAL_STATES = ("done", "cancelled")
# Flags of rows that are ranked all the same.
_REMARKS = frozenset(("truncated", "made_up_id", "invalid_id_type"))


@dataclasses.dataclass(frozen=True)
class Document:
    text: str | bytes
    id: str = ""      # empty: "document:<number>"
    domain: str = ""

    @classmethod
    def of(cls, value: Document | Mapping[str, Any] | str | bytes) -> Document:
        """From a mapping with "text" and perhaps "id" and "domain", or from a
        text alone."""
        if isinstance(value, Document):
            return value
        if isinstance(value, (str, bytes)):
            return cls(value)
        return cls(value["text"], str(value.get("id", "")),
                   str(value.get("domain", "")))


@dataclasses.dataclass(frozen=True)
class Row:
    """Of a document; names are those of a job's files. Losses are nats for a
    token, None where not scored."""
    doc_id: str
    domain: str
    n_tokens: int
    loss_base: float | None
    loss_masked: float | None
    score: float | None  # (loss_masked - loss_base) / loss_base
    flags: tuple[str, ...]
    nll_base: float | None  # sums over n_tokens tokens
    nll_masked: float | None
    repetition: float | None  # 0 to 1, of its tokens

    @property
    def is_ranked(self) -> bool:
        return self.score is not None and _REMARKS.issuperset(self.flags)


@dataclasses.dataclass(frozen=True)
class Terms:
    """How documents are scored. plan: the masked heads, as the hash (or its
    first 8 digits) of a plan that the server has, or as read_plan() gives it.
    0 and None stand for the server's defaults."""
    plan: str | bytes
    model: str = ""
    window: int = 0       # tokens
    max_tokens: int = 0   # of a document that are looked at
    skip_tokens: int = 0  # of each window whose loss does not count
    min_tokens: int | None = None  # for a document to be ranked
    min_loss: float | None = None
    max_repetition: float | None = None
    domains: Sequence[str] = ()    # that are ranked; none: any


@dataclasses.dataclass(frozen=True)
class Input:
    """Files of a job. root: the name of one of the server's input roots."""
    root: str
    paths: Sequence[str] = ()  # below it; none: all
    id_field: str = ""         # "id"
    text_field: str = ""       # "text"
    domain_field: str = ""     # "domain"
    domain: str = ""           # of records without that field
    shard_bytes: int = 0
    max_document_bytes: int = 0


@dataclasses.dataclass(frozen=True)
class Domain:
    """What a job has done of a domain."""
    documents: int
    scored: int
    ranked: int
    tokens: int
    cost_seconds: float


@dataclasses.dataclass(frozen=True)
class Job:
    job_id: str
    state: str   # running, paused, finishing, done, cancelled
    reason: str  # of a job that is paused
    note: str    # what holds a running job up
    input_root: str
    output: str  # the job's folder, as the server sees it
    masked_heads: tuple[str, ...]  # "layer.head"
    shards_done: int
    shards_total: int
    bytes_done: int
    bytes_total: int
    documents: int
    scored: int
    ranked: int
    tokens: int
    domains: dict[str, Domain]
    flags: dict[str, int]  # documents that have each
    running_seconds: float
    tokens_per_second: float
    remaining_seconds: float | None  # None: not known yet
    result_sha256: str               # of a job that is done

    @property
    def is_final(self) -> bool:
        return self.state in _FINAL_STATES


@dataclasses.dataclass(frozen=True)
class Ranked:
    rank: int  # from 1 within the row's domain
    row: Row


def read_plan(path: str) -> bytes:
    """A plan file in its binary form, as `headwise plan convert` makes it of
    the other; ValueError for any other file."""
    data = pathlib.Path(path).read_bytes()
    try:
        is_plan = head_plan_pb2.HeadPlan.FromString(data).version > 0
    except DecodeError:
        is_plan = False
    if not is_plan:
        raise ValueError(f"{path} is no head plan in binary form; headwise "
                         "plan convert makes one from JSON")
    return data


def _optional(message: Any, field: str) -> Any:
    return getattr(message, field) if message.HasField(field) else None


def row_of(message: pb.SelectionRow) -> Row:
    return Row(message.doc_id, message.domain, message.n_tokens,
               _optional(message, "loss_base"),
               _optional(message, "loss_masked"), _optional(message, "score"),
               tuple(message.flags), _optional(message, "nll_base"),
               _optional(message, "nll_masked"),
               _optional(message, "repetition"))


def masked_plan_of(plan: str | bytes) -> pb.MaskedPlan:
    if isinstance(plan, bytes):
        return pb.MaskedPlan(
            inline_plan=head_plan_pb2.HeadPlan.FromString(plan))
    return pb.MaskedPlan(stored=plan)


def scoring_of(terms: Terms) -> pb.SelectionScoring:
    return pb.SelectionScoring(window=terms.window,
                               max_tokens=terms.max_tokens,
                               skip_tokens=terms.skip_tokens)


def ranking_of(terms: Terms) -> pb.SelectionRanking:
    return pb.SelectionRanking(min_tokens=terms.min_tokens,
                               min_loss=terms.min_loss,
                               max_repetition=terms.max_repetition,
                               domains=terms.domains)


def job_of(message: pb.SelectionJob) -> Job:
    state = pb.SelectionJobState.Name(message.state)
    return Job(
        job_id=message.job_id,
        state=state.removeprefix("SELECTION_JOB_STATE_").lower(),
        reason=message.reason, note=message.note, input_root=message.input_root,
        output=message.output, masked_heads=tuple(message.masked_heads),
        shards_done=message.shards_done, shards_total=message.shards_total,
        bytes_done=message.bytes_done, bytes_total=message.bytes_total,
        documents=message.documents, scored=message.scored,
        ranked=message.ranked, tokens=message.tokens,
        domains={d.domain: Domain(d.documents, d.scored, d.ranked, d.tokens,
                                  d.cost_seconds) for d in message.domains},
        flags={f.flag: f.documents for f in message.flags},
        running_seconds=message.running_seconds,
        tokens_per_second=message.tokens_per_second,
        remaining_seconds=_optional(message, "remaining_seconds"),
        result_sha256=message.result_sha256)
