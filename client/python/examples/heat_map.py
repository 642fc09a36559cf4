"""Where do queries look? The mass of 32 segments as a heat map.

    python heat_map.py [127.0.0.1:7600]
"""
import sys

import numpy as np

import headwise

SHADES = " .:-=+*#%@"
address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:7600"
random = np.random.default_rng(1)
keys = random.standard_normal((4096, 4, 64), np.float32)
values = random.standard_normal((4096, 4, 64), np.float32)
# Each head's queries look for a key that was, at another distance for each.
queries = np.stack([keys[4095 - 1000 * head:16:-256, head][:4]
                    for head in range(4)], axis=1) * 2
with headwise.Session.open(address, num_heads=4, num_kv_heads=4, head_dim=64,
                           max_positions=4096) as session:
    session.append(keys, values)
    answer = session.attend(queries, all_keys=True, probes=headwise.Probes(
        top_keys=1, segment_bounds=range(0, 4097, 128), entropy=True))
for query, head in np.ndindex(answer.lse.shape):
    row = "".join(SHADES[min(int(10 * m), 9)]
                  for m in answer.segment_mass[query, head])
    print(f"query {query} head {head} |{row}| key "
          f"{answer.top_positions[query, head, 0]:4d}, entropy "
          f"{answer.entropy[query, head]:.2f}")
