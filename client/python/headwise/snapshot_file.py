"""Files of snapshots: a first line, then messages with their lengths."""

from __future__ import annotations

import dataclasses
import os
import struct
from collections.abc import Iterable, Iterator
from typing import Any, BinaryIO

from google.protobuf.message import DecodeError

from headwise.v1 import attention_pb2, neural_memory_pb2

_MAX_MESSAGE_BYTES = 16 << 20


@dataclasses.dataclass(frozen=True)
class SnapshotFormat:
    """Of what is kept in the file."""
    noun: str
    message: Any  # the class of its messages

    @property
    def first_line(self) -> bytes:
        return f"headwise {self.noun} snapshot 1\n".encode()

    def write(self, path: str, parts: Iterable[Any]) -> None:
        """The file appears once it is whole."""
        part_path = f"{path}.part"
        try:
            with open(part_path, "wb") as file:
                file.write(self.first_line)
                for part in parts:
                    data = part.SerializeToString()
                    file.write(struct.pack("<I", len(data)))
                    file.write(data)
            os.replace(part_path, path)
        finally:
            if os.path.exists(part_path):
                os.remove(part_path)

    def read(self, path: str) -> Iterator[Any]:
        """ValueError for a file that is none. The server refuses what is cut
        or changed, so what can't be read ends the parts."""
        file = open(path, "rb")
        if file.read(len(self.first_line)) != self.first_line:
            file.close()
            raise ValueError(f"{path} is no {self.noun} snapshot")
        return self._messages(file)

    def _messages(self, file: BinaryIO) -> Iterator[Any]:
        with file:
            while len(header := file.read(4)) == 4:
                size = struct.unpack("<I", header)[0]
                data = file.read(size) if size <= _MAX_MESSAGE_BYTES else b""
                if len(data) != size:
                    return
                try:
                    part = self.message.FromString(data)
                except DecodeError:
                    return
                yield part


ATTENTION_SNAPSHOT = SnapshotFormat("attention", attention_pb2.SnapshotPart)
MEMORY_SNAPSHOT = SnapshotFormat("memory",
                                 neural_memory_pb2.MemorySnapshotPart)
