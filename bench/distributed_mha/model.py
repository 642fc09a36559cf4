"""What is modelled rather than measured: four CPU workers, four GPUs.

t is the time of a worker with its share of the heads, c that of its messages,
and T = max over workers (t + c). Heads are independent, so nothing is merged.
"""

import dataclasses


def four_workers(one, share, messages):
    """Seconds of four workers on four machines. `one`: measured, of a worker
    with all heads; `share`: of one with a quarter of them. Never less than a
    quarter of `one`: what is gained beyond that is noise, or room in a cache
    that a larger problem has not. `messages`: of all messages, measured with
    nothing to compute. There are as many for any number of workers, and one
    coordinator sends them; so they count whole, and as if nothing
    overlapped."""
    return max(share, one / 4) + messages


@dataclasses.dataclass(frozen=True)
class Gpu:
    """Rates that are reached, not those of data sheets."""
    flops: float = 100e12       # fp16 products, fp32 sums
    bytes_per_s: float = 1008e9  # its memory: an RTX 4090
    link_bytes_per_s: float = 25e9  # PCIe 4.0 x16
    link_latency_s: float = 10e-6
    memory_bytes: float = 24e9


ELEMENT_BYTES = 2  # fp16
# Of the score matrix through memory: written; read and written by scale and
# mask; read and written by softmax; read by the product with the values.
SCORE_PASSES = 6


def gpu_vanilla(gpu, tokens, heads, head_dim):
    """Seconds on one GPU; None if the scores of all heads don't fit."""
    scores = heads * tokens * tokens
    if scores * ELEMENT_BYTES > gpu.memory_bytes:
        return None
    return (4 * scores * head_dim / gpu.flops
            + SCORE_PASSES * ELEMENT_BYTES * scores / gpu.bytes_per_s)


def gpu_tiled(gpu, tokens, heads, head_dim, workers):
    """Seconds of tiled causal attention, heads / workers on each GPU, where
    their q, k and v are; outputs of all but one travel to that one."""
    tensor = tokens * heads * head_dim * ELEMENT_BYTES
    compute = 2 * tokens * tokens * heads * head_dim / gpu.flops
    seconds = max(compute, 4 * tensor / gpu.bytes_per_s) / workers
    if workers > 1:
        seconds += (gpu.link_latency_s
                    + tensor * (workers - 1) / workers / gpu.link_bytes_per_s)
    return seconds
