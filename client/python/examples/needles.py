"""Eight needles in a stream of any length, kept in constant space.

    python needles.py [127.0.0.1:7600] [100000]
"""
import sys

import numpy as np

import headwise

address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7600"
length = int(sys.argv[2]) if len(sys.argv) > 2 else 100_000
random = np.random.default_rng(1)


def directions(count):
    rows = random.standard_normal((count, 2, 64)).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=2, keepdims=True)


needles, values = directions(8), directions(8)
with headwise.NeuralMemory.create(address, num_heads=2, head_dim=64,
                                  residual=False) as memory:
    memory.write(needles, values, gates=headwise.Gates(theta=0.45))
    for _ in range(0, length, 10_000):  # filler hardly moves the memory
        memory.write(directions(10_000), directions(10_000),
                     gates=headwise.Gates(theta=1e-6, alpha=1e-7))
    scores = np.einsum("qhd,nhd->hqn", memory.read(needles), values)
    print(f"{memory.num_tokens} tokens in {memory.state_bytes} bytes:",
          f"{(scores.argmax(2) == np.arange(8)).mean():.0%} recalled")
