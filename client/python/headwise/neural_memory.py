"""Memories of headwise.v1.NeuralMemory."""

from __future__ import annotations

import dataclasses
import hashlib
import time
from collections.abc import Iterable, Iterator
from typing import Any

import grpc
import numpy as np

from headwise import tensors
from headwise.attention import Session
from headwise.connection import Connection, HeadwiseError, Server
from headwise.leased import FLOAT_TYPES, Leased
from headwise.snapshot_file import MEMORY_SNAPSHOT
from headwise.v1 import neural_memory_pb2 as pb
from headwise.v1 import neural_memory_pb2_grpc as pb_grpc

_ACTIVATIONS = {"silu": pb.MEMORY_ACTIVATION_SILU,
                "gelu": pb.MEMORY_ACTIVATION_GELU}
_NORMS = {"none": pb.MEMORY_NORM_NONE, "layer": pb.MEMORY_NORM_LAYER,
          "rms": pb.MEMORY_NORM_RMS}
_RULES = {"token": pb.MEMORY_RULE_TOKEN, "chunk": pb.MEMORY_RULE_CHUNK}
_MAX_TENSOR_BYTES = 3_000_000  # of each tensor of a call
_MAX_TOKENS = 8192             # of a call
# After these a write is sent again: it is known by its offset and hash.
_RETRIED = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED)


@dataclasses.dataclass(frozen=True)
class Gates:
    """Step size, decay of the momentum, forgetting: numbers, or arrays of
    [tokens] or [tokens, num_heads]."""
    theta: Any
    eta: Any = 0.0
    alpha: Any = 0.0


@dataclasses.dataclass(frozen=True)
class Written:
    """What a write has told; float32. NaN where a call's answer was lost, and
    the server knew the tokens when they came again."""
    output: np.ndarray | None  # [tokens, num_heads, head_dim], with queries
    surprise: np.ndarray       # [tokens, num_heads]


def _set_gates(config: pb.MemoryConfig, gates: Gates | None) -> None:
    if gates is not None:
        config.default_gates.CopyFrom(pb.MemoryGates(
            theta=gates.theta, eta=gates.eta, alpha=gates.alpha))


class NeuralMemory(Leased):
    """Keys and values that a cluster learns as they come. Not to be shared
    between threads."""

    _noun = "memory"
    _stub = pb_grpc.NeuralMemoryStub

    def __init__(self, server: Connection, info: pb.Memory,
                 owns_server: bool = True):
        super().__init__(server, info, owns_server)
        self.memory_id: str = info.memory_id
        self.num_tokens: int = info.num_tokens
        self.state_bytes: int = info.state_bytes

    @classmethod
    def create(cls, address: str | Server, *, num_heads: int, head_dim: int,
               num_layers: int = 2, hidden_dim: int = 0,
               activation: str = "silu", norm: str = "none",
               residual: bool = True, rule: str = "token",
               chunk_len: int = 64, loss_scale: float = 2.0,
               max_norm: float = 1e4, gates: Gates | None = None,
               input_type: str = "fp32", weights: Any = None, seed: int = 0,
               session: Session | None = None, ttl_seconds: int = 0,
               tenant: str = "", timeout: float = 600.0) -> NeuralMemory:
        """gates: of writes that bring none, numbers. weights: float32
        [num_heads, num_weights]; None: drawn from the seed. session: the
        memory has its id and goes with it."""
        config = pb.MemoryConfig(
            spec=pb.MemorySpec(
                num_heads=num_heads, head_dim=head_dim, num_layers=num_layers,
                hidden_dim=hidden_dim, activation=_ACTIVATIONS[activation],
                norm=_NORMS[norm], residual=residual, rule=_RULES[rule],
                chunk_len=chunk_len, loss_scale=loss_scale, max_norm=max_norm),
            input_type=FLOAT_TYPES[input_type], ttl_seconds=ttl_seconds)
        _set_gates(config, gates)
        request = pb.CreateMemoryRequest(
            config=config, session_id=session.session_id if session else "")
        if weights is None:
            request.seed = seed
        else:
            request.weights = np.asarray(weights, "<f4").tobytes()
        return cls._started(address, tenant, timeout, "Create", request)

    @classmethod
    def of_model(cls, address: str | Server, model: str, *, layer: int = 0,
                 heads: Iterable[int] = (), gates: Gates | None = None,
                 input_type: str = "fp32", session: Session | None = None,
                 ttl_seconds: int = 0, tenant: str = "",
                 timeout: float = 600.0) -> NeuralMemory:
        """A memory with the spec and the first weights of heads of a layer of
        the served Titans model; none: of all. gates: of writes that bring
        none; None: what the model's biases give. Keys, values and queries are
        the caller's own."""
        request = pb.CreateMemoryRequest(
            config=pb.MemoryConfig(input_type=FLOAT_TYPES[input_type],
                                   ttl_seconds=ttl_seconds),
            model=model, layer=layer, heads=heads,
            session_id=session.session_id if session else "")
        _set_gates(request.config, gates)
        return cls._started(address, tenant, timeout, "Create", request)

    @classmethod
    def attach(cls, address: str | Server, memory_id: str, *, tenant: str = "",
               timeout: float = 600.0) -> NeuralMemory:
        """A memory that was created before, by this process or another."""
        return cls._started(address, tenant, timeout, "GetMemory",
                            pb.GetMemoryRequest(memory_id=memory_id))

    @classmethod
    def restore(cls, address: str | Server, path: str, *,
                session: Session | None = None, tenant: str = "",
                timeout: float = 600.0) -> NeuralMemory:
        """A new memory from a file of snapshot()."""
        def parts() -> Iterator[pb.MemorySnapshotPart]:
            for part in read:
                if part.HasField("header") and session is not None:
                    part.header.session_id = session.session_id
                yield part
        read = MEMORY_SNAPSHOT.read(path)
        return cls._started(address, tenant, timeout, "Restore", parts())

    def write(self, keys: Any, values: Any, *, queries: Any = None,
              gates: Gates | None = None, retries: int = 5) -> Written:
        """Learns [tokens, num_heads, head_dim] each; queries of that shape
        read what is known once their token is written. Large writes go in
        several calls: after an error num_tokens says how far they came."""
        keys = self._rows(keys, "keys")
        values = self._rows(values, "values")
        if queries is not None:
            queries = self._rows(queries, "queries")
        for name, other in (("values", values), ("queries", queries)):
            if other is not None and len(other) != len(keys):
                raise ValueError(f"{len(keys)} keys and {len(other)} {name}")
        gate_arrays = [self._gate(gate, len(keys)) for gate in (
            (gates.theta, gates.eta, gates.alpha) if gates else (None,) * 3)]
        step = self._step()
        parts = [self._write(*(None if x is None else x[i:i + step]
                               for x in (keys, values, queries, *gate_arrays)),
                             retries=retries)
                 for i in range(0, len(keys), step)]
        spec = self._config.spec
        shape = (len(keys), spec.num_heads)
        surprise = np.concatenate([p.surprise for p in parts]
                                  or [np.empty(0, np.float32)])
        output = b"".join(p.outputs for p in parts)
        return Written(
            None if queries is None else tensors.floats_of(
                output, "fp32", (*shape, spec.head_dim)),
            surprise.astype(np.float32).reshape(shape))

    def read(self, queries: Any) -> np.ndarray:
        """What [queries, num_heads, head_dim] read now, float32."""
        queries = self._rows(queries, "queries")
        step = self._step()
        parts = [self._server.call("Read", pb.ReadMemoryRequest(
            memory_id=self.memory_id, queries=queries[i:i + step].tobytes()))
            for i in range(0, len(queries), step)]
        return tensors.floats_of(b"".join(p.outputs for p in parts), "fp32",
                                 queries.shape)

    def drop_open_tokens(self) -> int:
        """Forgets the tokens since the last whole chunk, and says how many:
        the way on if they lead beyond max_norm."""
        answer = self._server.call("DropOpenTokens", pb.DropOpenTokensRequest(
            memory_id=self.memory_id))
        self.num_tokens = answer.num_tokens
        return answer.num_dropped

    def freeze(self) -> None:
        """Writes are refused until unfreeze()."""
        self._server.call("Freeze", pb.FreezeMemoryRequest(
            memory_id=self.memory_id))

    def unfreeze(self) -> None:
        self._server.call("Unfreeze", pb.FreezeMemoryRequest(
            memory_id=self.memory_id))

    def fork(self, session: Session | None = None) -> NeuralMemory:
        """A memory of equal bits, which learns on its own."""
        info = self._server.call("Fork", pb.ForkMemoryRequest(
            memory_id=self.memory_id,
            session_id=session.session_id if session else ""))
        return NeuralMemory(self._server, info, owns_server=False)

    def snapshot(self, path: str) -> None:
        """Writes the memory to a file; see restore()."""
        MEMORY_SNAPSHOT.write(path, self._server.stream(
            "Snapshot", pb.SnapshotMemoryRequest(memory_id=self.memory_id)))

    def delete(self) -> None:
        self._server.call("Delete", pb.DeleteMemoryRequest(
            memory_id=self.memory_id))

    def _rows(self, tensor: Any, name: str) -> np.ndarray:
        spec = self._config.spec
        return self._checked(tensor, name, "tokens",
                             (spec.num_heads, spec.head_dim))

    def _gate(self, gate: Any, count: int) -> np.ndarray | None:
        if gate is None:
            return None
        array = np.asarray(gate, "<f4")
        if array.ndim == 0:
            return np.full(count, array, "<f4")
        if array.shape not in ((count,), (count, self._config.spec.num_heads)):
            raise ValueError(f"gates have shape {array.shape}, must be "
                             f"[{count}] or [{count}, num_heads]")
        return np.ascontiguousarray(array)

    def _step(self) -> int:
        """Tokens of one call."""
        spec = self._config.spec
        row_bytes = (spec.num_heads * spec.head_dim
                     * tensors.ITEM_BYTES[self.input_type])
        return max(1, min(_MAX_TOKENS, _MAX_TENSOR_BYTES // row_bytes))

    def _write(self, keys: np.ndarray, values: np.ndarray,
               queries: np.ndarray | None, theta: np.ndarray | None,
               eta: np.ndarray | None, alpha: np.ndarray | None, *,
               retries: int) -> pb.WriteMemoryResponse:
        data = [b"" if x is None else x.tobytes()
                for x in (keys, values, queries, theta, eta, alpha)]
        digest = hashlib.sha256()
        for part in data:
            digest.update(part)
        request = pb.WriteMemoryRequest(
            memory_id=self.memory_id, offset=self.num_tokens, keys=data[0],
            values=data[1], queries=data[2], theta=data[3], eta=data[4],
            alpha=data[5], return_surprise=True, sha256=digest.digest())
        for attempt in range(retries + 1):
            try:
                answer = self._server.call("Write", request)
                break
            except HeadwiseError as error:
                if error.code not in _RETRIED or attempt == retries:
                    raise
                time.sleep(min(0.1 * 2 ** attempt, 2.0))
        if answer.repeated:  # the first answer was lost on the way
            answer.surprise.extend([np.nan] * (len(keys)
                                               * self._config.spec.num_heads))
            if queries is not None:
                answer.outputs = np.full(queries.size, np.nan, "<f4").tobytes()
        self.num_tokens = answer.num_tokens
        return answer
