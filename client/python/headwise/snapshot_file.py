"""Files of snapshots: a first line, then messages with their lengths."""

from __future__ import annotations

import os
import struct
from collections.abc import Iterable, Iterator
from typing import BinaryIO

from google.protobuf.message import DecodeError

from headwise.v1 import attention_pb2 as pb

_FIRST_LINE = b"headwise attention snapshot 1\n"
_MAX_MESSAGE_BYTES = 16 << 20


def write_parts(path: str, parts: Iterable[pb.SnapshotPart]) -> None:
    """The file appears once it is whole."""
    part_path = f"{path}.part"
    try:
        with open(part_path, "wb") as file:
            file.write(_FIRST_LINE)
            for part in parts:
                data = part.SerializeToString()
                file.write(struct.pack("<I", len(data)))
                file.write(data)
        os.replace(part_path, path)
    finally:
        if os.path.exists(part_path):
            os.remove(part_path)


def read_parts(path: str) -> Iterator[pb.SnapshotPart]:
    """ValueError for a file that is none. The server refuses what is cut or
    changed, so what can't be read ends the parts."""
    file = open(path, "rb")
    if file.read(len(_FIRST_LINE)) != _FIRST_LINE:
        file.close()
        raise ValueError(f"{path} is not a snapshot of an attention session")
    return _messages(file)


def _messages(file: BinaryIO) -> Iterator[pb.SnapshotPart]:
    with file:
        while len(header := file.read(4)) == 4:
            size = struct.unpack("<I", header)[0]
            data = file.read(size) if size <= _MAX_MESSAGE_BYTES else b""
            if len(data) != size:
                return
            try:
                part = pb.SnapshotPart.FromString(data)
            except DecodeError:
                return
            yield part
