"""Attention over a Headwise cluster.

    import headwise

    with headwise.Session.open("127.0.0.1:7600", num_heads=8, num_kv_heads=8,
                               head_dim=64, max_positions=100_000) as session:
        session.append(keys, values)  # [positions, num_kv_heads, head_dim]
        answer = session.attend(queries)  # [query_len, num_heads, head_dim]
        answer.output, answer.lse

Tensors are NumPy arrays or torch tensors; torch is never imported.
"""

from headwise.attention import (Answer, HeadwiseError, Probes, Session,
                                Streaming)

__all__ = ["Answer", "HeadwiseError", "Probes", "Session", "Streaming"]
