"""NumPy arrays and torch tensors to the bytes of the wire, and back."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

TYPES = ("fp32", "fp16", "bf16")
ITEM_BYTES = {"fp32": 4, "fp16": 2, "bf16": 2}
_BY_DTYPE = {"float32": "fp32", "float16": "fp16", "bfloat16": "bf16"}


def type_of(tensor: Any) -> str:
    """fp32, fp16 or bf16; TypeError for any other dtype."""
    name = str(tensor.dtype).removeprefix("torch.")
    if name not in _BY_DTYPE:
        raise TypeError(f"dtype {tensor.dtype} must be float32, float16 or "
                        "bfloat16")
    return _BY_DTYPE[name]


def as_array(tensor: Any) -> np.ndarray:
    """A contiguous little-endian array; bf16 as its bits in uint16."""
    kind = type_of(tensor)
    if type(tensor).__module__.split(".")[0] == "torch":
        # Whoever has a tensor has imported torch.
        torch = sys.modules["torch"]
        tensor = tensor.detach().cpu().contiguous()
        if kind == "bf16":
            return tensor.view(torch.int16).numpy().view(np.uint16)
        return tensor.numpy()
    array = np.ascontiguousarray(tensor)
    if kind == "bf16":  # ml_dtypes
        return array.view(np.uint16)
    return array.astype(array.dtype.newbyteorder("<"), copy=False)


def floats_of(data: bytes, kind: str, shape: tuple[int, ...]) -> np.ndarray:
    """Bytes of the wire as float32."""
    if kind == "fp32":
        return np.frombuffer(data, "<f4").reshape(shape)
    if kind == "fp16":
        return np.frombuffer(data, "<f2").astype(np.float32).reshape(shape)
    bits = np.frombuffer(data, "<u2").astype(np.uint32) << 16
    return bits.view(np.float32).reshape(shape)
