"""What sessions and memories have in common: a cluster keeps them for a while,
for whoever names them."""

from __future__ import annotations

from typing import Any, TypeVar

import numpy as np

from headwise import tensors
from headwise.connection import Connection, HeadwiseError, Server
from headwise.v1 import attention_pb2 as pb

FLOAT_TYPES = {"fp32": pb.FLOAT_TYPE_FP32, "fp16": pb.FLOAT_TYPE_FP16,
               "bf16": pb.FLOAT_TYPE_BF16}

_Self = TypeVar("_Self", bound="Leased")


class Leased:
    """Deleted when its with block ends."""

    _noun = ""
    _stub: Any = None  # the class of its service's stub

    def __init__(self, server: Connection, info: Any,
                 owns_server: bool = True):
        self._server = server
        self._owns_server = owns_server
        self._config = info.config

    @classmethod
    def _started(cls: type[_Self], address: str | Server, tenant: str,
                 timeout: float, method: str, request: Any) -> _Self:
        server = Connection(address, cls._stub, tenant, timeout)
        try:
            return cls(server, server.call(method, request))
        except BaseException:
            server.close()
            raise

    @property
    def input_type(self) -> str:
        return tensors.TYPES[self._config.input_type - pb.FLOAT_TYPE_FP32]

    def delete(self) -> None:
        raise NotImplementedError

    def close(self) -> None:
        """Leaves it on the cluster until it expires."""
        if self._owns_server:
            self._server.close()

    def __enter__(self: _Self) -> _Self:
        return self

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> None:
        try:
            self.delete()
        except HeadwiseError:
            if kind is None:
                raise
        finally:
            self.close()

    def _checked(self, tensor: Any, name: str, rows: str,
                 shape: tuple[int, int]) -> np.ndarray:
        """A tensor [rows, *shape] of the input type."""
        if tensors.type_of(tensor) != self.input_type:
            raise TypeError(f"{name} are {tensors.type_of(tensor)}, the "
                            f"{self._noun} takes {self.input_type}")
        if len(tensor.shape) != 3 or tuple(tensor.shape[1:]) != shape:
            raise ValueError(f"{name} have shape {tuple(tensor.shape)}, must "
                             f"be [{rows}, {shape[0]}, {shape[1]}]")
        return tensors.as_array(tensor)
