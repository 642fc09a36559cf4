"""What tests of selection ask of the served model: texts and a masked plan."""

import hashlib

import grpc
from headwise.v1 import head_plan_pb2 as pb

from headwise_server import MODEL
from reflected_api import ReflectedApi

WORDS = ("the station reported that green boxes were sent north before noon "
         "while seven clerks counted paper lamps and wrote each number down "
         "in a ledger that nobody read until the harbour master asked").split()


def text_of(number: int, num_words: int = 60) -> str:
    """The same for the same number."""
    words = []
    state = number * 2654435761 + 12345
    for _ in range(num_words):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        words.append(WORDS[(state >> 33) % len(WORDS)])
    # Something to look up again.
    return f"Code {state % 9973}. {' '.join(words)}. Code {state % 9973}."


def masked_plan(num_layers: int, num_heads: int, num_kv_heads: int,
                masked: set[tuple[int, int]]) -> bytes:
    """Every unit full; (layer, head) of `masked` uniform. In binary form."""
    with open(MODEL, "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    full = pb.UnitPolicy(kind=pb.POLICY_KIND_FULL)
    heads = [pb.QueryHeadPlan(mask=pb.HEAD_MASK_UNIFORM
                              if (layer, head) in masked
                              else pb.HEAD_MASK_UNSPECIFIED)
             for layer in range(num_layers) for head in range(num_heads)]
    return pb.HeadPlan(version=1, model_sha256=digest, num_layers=num_layers,
                       num_heads=num_heads, num_kv_heads=num_kv_heads,
                       units=[full] * (num_layers * num_kv_heads), heads=heads,
                       origin="a test").SerializeToString()


def plan_of_served_model(address: str) -> bytes:
    """A tenth of the heads, spread over the upper two thirds of layers."""
    with grpc.insecure_channel(address) as channel:
        shape = ReflectedApi(channel).call("headwise.v1.Admin", "GetHeadMap")
    layers, heads = shape.num_layers, shape.num_heads
    masked = {(layer, (7 * layer) % heads)
              for layer in range(layers // 3, layers)}
    return masked_plan(layers, heads, shape.num_kv_heads, masked)
