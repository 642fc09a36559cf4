"""Sessions of headwise.v1.Attention."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Iterator, Sequence
from typing import Any

import grpc
import numpy as np

from headwise import tensors
from headwise.connection import Connection, HeadwiseError, Server
from headwise.leased import FLOAT_TYPES, Leased
from headwise.snapshot_file import ATTENTION_SNAPSHOT
from headwise.v1 import attention_pb2 as pb
from headwise.v1 import attention_pb2_grpc as pb_grpc

_KV_TYPES = {"fp32": pb.KV_TYPE_FP32, "fp16": pb.KV_TYPE_FP16,
             "bf16": pb.KV_TYPE_BF16, "int8": pb.KV_TYPE_INT8}
_MAX_CHUNK_BYTES = 4 << 20  # of keys and values together
_MAX_CHUNK_POSITIONS = 8192
_MAX_CALL_BYTES = 12 << 20  # of queries, and of an answer
_MAX_QUERIES = 4096
# After these an Append goes on from where the server says that it is.
_RETRIED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED)


@dataclasses.dataclass(frozen=True)
class Streaming:
    """A head whose queries see `num_sinks` first keys and `window` last."""
    num_sinks: int
    window: int


@dataclasses.dataclass(frozen=True)
class Razor:
    """As Streaming, with one slot more that stands for all others: their mean
    key and value, with the weight of as many, or of one."""
    num_sinks: int
    window: int
    count_weight: bool = True


@dataclasses.dataclass(frozen=True)
class Quest:
    """A head whose queries see `num_chunks` blocks of 64 keys: the first, the
    last, and those that may score highest."""
    num_chunks: int
    per_query_head: bool = False


@dataclasses.dataclass(frozen=True)
class LandmarkOracle:
    """A head whose queries see the first chunk, the last ones, and those with
    the highest log-sum-exp, `num_chunks` in all."""
    chunk_len: int
    num_chunks: int
    per_query_head: bool = False


Policy = Streaming | Razor | Quest | LandmarkOracle
_KINDS = {Streaming: "streaming", Razor: "razor", Quest: "quest",
          LandmarkOracle: "landmark-oracle"}


@dataclasses.dataclass(frozen=True)
class Probes:
    """What to tell of where queries look."""
    top_keys: int = 0
    segment_bounds: Sequence[int] = ()
    entropy: bool = False
    max_bytes: int = 0  # 0: 1 MiB


@dataclasses.dataclass(frozen=True)
class Answer:
    """Arrays of float32, [query_len, num_heads, ...]; what was not asked for
    has a last dimension of 0."""
    output: np.ndarray         # [query_len, num_heads, head_dim]
    lse: np.ndarray            # [query_len, num_heads], natural log
    top_positions: np.ndarray  # [query_len, num_heads, top_keys], int64
    top_probs: np.ndarray      # [query_len, num_heads, top_keys]
    segment_mass: np.ndarray   # [query_len, num_heads, segments]
    entropy: np.ndarray        # [query_len, num_heads], or [.., 0]


def _policy(policy: Policy | None) -> pb.AttentionPolicy:
    if policy is None:
        return pb.AttentionPolicy(kind="full")
    # The fields have the names of the message's.
    return pb.AttentionPolicy(kind=_KINDS[type(policy)],
                              **dataclasses.asdict(policy))


class Session(Leased):
    """Keys and values on a cluster. Not to be shared between threads."""

    _noun = "session"
    _stub = pb_grpc.AttentionStub

    def __init__(self, server: Connection, info: pb.AttentionSession,
                 owns_server: bool = True):
        super().__init__(server, info, owns_server)
        self.session_id: str = info.session_id
        self.stored_positions: int = info.stored_positions

    @classmethod
    def open(cls, address: str | Server, *, num_heads: int, num_kv_heads: int,
             head_dim: int, max_positions: int, input_type: str = "fp32",
             kv_type: str | None = None, softmax_scale: float = 0.0,
             policies: Sequence[Policy | None] = (), ttl_seconds: int = 0,
             tenant: str = "", timeout: float = 600.0) -> Session:
        """Reserves room for max_positions. kv_type: how keys and values are
        stored, fp32, fp16, bf16 or int8; None: as they come. policies: one
        for all KV heads, or one each; None stands for a full head."""
        request = pb.OpenSessionRequest(
            num_heads=num_heads, num_kv_heads=num_kv_heads,
            head_dim=head_dim, input_type=FLOAT_TYPES[input_type],
            kv_type=_KV_TYPES[kv_type or input_type],
            softmax_scale=softmax_scale, max_positions=max_positions,
            policies=[_policy(p) for p in policies], ttl_seconds=ttl_seconds)
        return cls._started(address, tenant, timeout, "Open", request)

    @classmethod
    def attach(cls, address: str | Server, session_id: str, *, tenant: str = "",
               timeout: float = 600.0) -> Session:
        """A session that was opened before, by this process or another."""
        return cls._started(address, tenant, timeout, "GetSession",
                            pb.GetSessionRequest(session_id=session_id))

    @classmethod
    def restore(cls, address: str | Server, path: str, *, tenant: str = "",
                timeout: float = 600.0) -> Session:
        """A new session from a file of snapshot()."""
        return cls._started(address, tenant, timeout, "Restore",
                            ATTENTION_SNAPSHOT.read(path))

    def append(self, keys: Any, values: Any, *, retries: int = 5) -> int:
        """Adds [positions, num_kv_heads, head_dim] each; returns how many
        positions are stored. Goes on where it was after a broken stream."""
        shape = (self._config.num_kv_heads, self._config.head_dim)
        keys = self._checked(keys, "keys", "positions", shape)
        values = self._checked(values, "values", "positions", shape)
        if len(keys) != len(values):
            raise ValueError(f"{len(keys)} keys and {len(values)} values")
        begin = self.stored_positions
        for attempt in range(retries + 1):
            done = self.stored_positions - begin
            if done >= len(keys):
                break
            try:
                answer = self._server.call("Append", self._chunks(
                    keys[done:], values[done:], self.stored_positions))
                self.stored_positions = answer.stored_positions
            except HeadwiseError as error:
                if error.code not in _RETRIED or attempt == retries:
                    self._refresh()
                    raise
                time.sleep(min(0.1 * 2 ** attempt, 2.0))
                self._refresh()
        return self.stored_positions

    def attend(self, queries: Any, *,
               visible_end: Sequence[int] | None = None,
               all_keys: bool = False, probes: Probes = Probes()) -> Answer:
        """Attention of [query_len, num_heads, head_dim]. By default queries
        are those of the last positions, causal; or row i sees the positions
        below visible_end[i]; or all. Large queries go in several calls."""
        shape = (self._config.num_heads, self._config.head_dim)
        queries = self._checked(queries, "queries", "positions", shape)
        count = len(queries)
        if all_keys:
            ends = [self.stored_positions] * count
        elif visible_end is None:
            last = self.stored_positions
            ends = list(range(last - count + 1, last + 1))
        else:
            ends = [int(end) for end in visible_end]
        if len(ends) != count:
            raise ValueError(f"{len(ends)} visible_end for {count} queries")
        row_bytes = shape[0] * (4 * shape[1] + 4 + 12 * probes.top_keys
                                + 4 * len(probes.segment_bounds) + 4)
        step = max(1, min(_MAX_QUERIES, _MAX_CALL_BYTES // row_bytes))
        parts = [self._attend(queries[i:i + step], ends[i:i + step], probes)
                 for i in range(0, max(count, 1), step)]
        if len(parts) == 1:
            return parts[0]
        return Answer(*(np.concatenate([getattr(p, field.name)
                                        for p in parts])
                        for field in dataclasses.fields(Answer)))

    def fork(self) -> Session:
        """A session with the same positions, which grows on its own."""
        info = self._server.call("Fork", pb.ForkSessionRequest(
            session_id=self.session_id))
        return Session(self._server, info, owns_server=False)

    def snapshot(self, path: str) -> None:
        """Writes the session to a file; see restore()."""
        ATTENTION_SNAPSHOT.write(path, self._server.stream(
            "Snapshot", pb.SnapshotRequest(session_id=self.session_id)))

    def delete(self) -> None:
        self._server.call("Delete", pb.DeleteSessionRequest(
            session_id=self.session_id))

    def _chunks(self, keys: np.ndarray, values: np.ndarray,
                offset: int) -> Iterator[pb.AppendRequest]:
        position_bytes = 2 * keys[0].nbytes
        step = max(1, min(_MAX_CHUNK_POSITIONS,
                          _MAX_CHUNK_BYTES // position_bytes))
        for i in range(0, len(keys), step):
            k, v = keys[i:i + step].tobytes(), values[i:i + step].tobytes()
            digest = hashlib.sha256(k)
            digest.update(v)
            yield pb.AppendRequest(session_id=self.session_id,
                                   offset=offset + i, keys=k, values=v,
                                   sha256=digest.digest())

    def _attend(self, queries: np.ndarray, ends: Sequence[int],
                probes: Probes) -> Answer:
        count, heads, head_dim = queries.shape
        answer = self._server.call("Attend", pb.AttendRequest(
            session_id=self.session_id, query_len=count,
            queries=queries.tobytes(), visible_end=ends,
            probes=pb.ProbeOptions(
                top_keys=probes.top_keys, entropy=probes.entropy,
                segment_bounds=probes.segment_bounds,
                max_bytes=probes.max_bytes)))

        def array(values: Any, dtype: Any = np.float32) -> np.ndarray:
            width = len(values) // (count * heads)
            return np.array(values, dtype).reshape(count, heads, width)

        entropy = array(answer.entropy)
        return Answer(
            output=tensors.floats_of(answer.output, "fp32",
                                     (count, heads, head_dim)),
            lse=array(answer.lse)[..., 0],
            top_positions=array(answer.top_positions, np.int64),
            top_probs=array(answer.top_probs),
            segment_mass=array(answer.segment_mass),
            entropy=entropy[..., 0] if probes.entropy else entropy)

    def _refresh(self) -> None:
        """Asks how much is stored; keeps what it knows if nobody answers."""
        try:
            self.stored_positions = self._server.call(
                "GetSession", pb.GetSessionRequest(session_id=self.session_id)
            ).stored_positions
        except HeadwiseError as error:
            if error.code not in _RETRIED:
                raise
