"""Attention, neural memory and selection of documents by a Headwise cluster.

    import headwise

    with headwise.Session.open("127.0.0.1:7600", num_heads=8, num_kv_heads=8,
                               head_dim=64, max_positions=100_000) as session:
        session.append(keys, values)  # [positions, num_kv_heads, head_dim]
        answer = session.attend(queries)  # [query_len, num_heads, head_dim]
        answer.output, answer.lse

    with headwise.NeuralMemory.create("127.0.0.1:7600", num_heads=8,
                                      head_dim=64,
                                      gates=headwise.Gates(0.05)) as memory:
        memory.write(keys, values)  # [tokens, num_heads, head_dim], and again
        memory.read(queries)

A server with TLS is a headwise.Server("10.0.0.10:7600", ca="ca.pem") in place
of the address.

Tensors are NumPy arrays or torch tensors; torch is never imported.

    with headwise.SelectionClient("127.0.0.1:7600") as client:
        for row in client.score(texts, headwise.Terms(plan="5f3a09c1")):
            print(row.doc_id, row.score)
"""

from headwise.attention import (Answer, LandmarkOracle, Probes, Quest, Razor,
                                Session, Streaming)
from headwise.connection import HeadwiseError, Server
from headwise.neural_memory import Gates, NeuralMemory, Written
from headwise.selection import SelectionClient
from headwise.selection_types import (Document, Input, Job, Row, Terms,
                                      read_plan)

__all__ = ["Answer", "Document", "Gates", "HeadwiseError", "Input", "Job",
           "LandmarkOracle", "NeuralMemory", "Probes", "Quest", "Razor", "Row",
           "SelectionClient", "Server", "Session", "Streaming", "Terms",
           "Written", "read_plan"]
