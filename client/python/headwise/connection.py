"""Calls of one service: tenant, deadline, errors of ours."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import grpc

_OPTIONS = [("grpc.max_receive_message_length", 64 << 20),
            ("grpc.max_send_message_length", -1),
            # A private network is assumed: http_proxy is for other programs.
            ("grpc.enable_http_proxy", 0),
            # A server that is gone without a word ends a stream.
            ("grpc.keepalive_time_ms", 20_000),
            ("grpc.keepalive_timeout_ms", 10_000)]


@dataclasses.dataclass(frozen=True)
class Server:
    """A server with TLS, wherever an address is asked for. PEM files, read
    with each new connection: ca, the authorities that its certificate must
    come from, default: those of the system; cert and key, who we are.
    server_name: what its certificate is for, if not the address's host."""
    address: str
    ca: str = ""
    cert: str = ""
    key: str = ""
    server_name: str = ""

    def channel(self, options: list[tuple[str, Any]]) -> grpc.Channel:
        if bool(self.cert) != bool(self.key):
            raise ValueError("cert and key need each other; got "
                             f"cert={self.cert!r}, key={self.key!r}")
        ca, key, cert = (pathlib.Path(path).read_bytes() if path else None
                         for path in (self.ca, self.key, self.cert))
        if self.server_name:
            options = [*options,
                       ("grpc.ssl_target_name_override", self.server_name)]
        return grpc.secure_channel(
            self.address, grpc.ssl_channel_credentials(ca, key, cert),
            options=options)


class HeadwiseError(RuntimeError):
    """A call that the server refused; `code` is a grpc.StatusCode."""

    def __init__(self, error: grpc.RpcError):
        self.code = error.code()
        self.details = error.details()
        super().__init__(f"{self.code.name}: {self.details}")

    def __reduce__(self) -> Any:
        # Ray and Spark carry errors from their workers as pickles.
        return _restored, (self.code, self.details)


def _restored(code: grpc.StatusCode, details: str) -> HeadwiseError:
    error = HeadwiseError.__new__(HeadwiseError)
    error.code, error.details = code, details
    RuntimeError.__init__(error, f"{code.name}: {details}")
    return error


class Connection:
    """A channel and a stub. `timeout` is of each call, in seconds."""

    def __init__(self, address: str | Server,
                 stub: Callable[[grpc.Channel], Any],
                 tenant: str, timeout: float):
        self._channel = (address.channel(_OPTIONS)
                         if isinstance(address, Server) else
                         grpc.insecure_channel(address, options=_OPTIONS))
        self._stub = stub(self._channel)
        self._metadata = [("x-headwise-tenant", tenant)] if tenant else []
        self._timeout = timeout

    def call(self, method: str, request: Any) -> Any:
        try:
            return getattr(self._stub, method)(
                request, timeout=self._timeout, metadata=self._metadata)
        except grpc.RpcError as error:
            raise HeadwiseError(error) from error

    def stream(self, method: str, request: Any,
               has_deadline: bool = True) -> Iterator[Any]:
        """Answers as they come. Closing the iterator ends the call."""
        call = getattr(self._stub, method)(
            request, timeout=self._timeout if has_deadline else None,
            metadata=self._metadata)
        try:
            yield from call
        except grpc.RpcError as error:
            raise HeadwiseError(error) from error
        finally:
            call.cancel()

    def close(self) -> None:
        self._channel.close()
