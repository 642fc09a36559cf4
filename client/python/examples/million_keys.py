"""A million keys on two workers, compared with torch on a sample.

    headwise serve --model M --local-workers 2 --attention-bytes 5000000000
    python million_keys.py [127.0.0.1:7600] [positions]

Keys and values are fp32, stored as fp32 (4.1 GB); torch attends in double.
"""
import sys

import torch

import headwise

address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7600"
positions = int(sys.argv[2]) if len(sys.argv) > 2 else 1_000_000
torch.manual_seed(1)
keys, values = torch.randn(2, positions, 8, 64)
queries = torch.randn(4, 8, 64)
with headwise.Session.open(address, num_heads=8, num_kv_heads=8, head_dim=64,
                           max_positions=positions) as session:
    session.append(keys, values)
    answer = session.attend(queries, all_keys=True)
for head in (0, 3, 7):
    expected = torch.nn.functional.scaled_dot_product_attention(
        queries[:, head].double(), keys[:, head].double(),
        values[:, head].double())
    got = torch.from_numpy(answer.output[:, head].copy())
    error = (got - expected).abs().max().item()
    print(f"head {head}: largest difference {error:.1e}")
    assert error < 1e-5
