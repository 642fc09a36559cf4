"""Scores documents twice with plain PyTorch: as the model is, and with some
query heads masked. The yardstick of `headwise select`, and its reference.

    two_pass_scorer.py --model M --heads 18.6,18.7 --input docs.jsonl
                       [--out rows.jsonl] [--threads 2] [--limit N]

Each input line is {"id": .., "ids": [token, ..]}: a whole document, as
`headwise tokenize --json --plain-special` gives it. Each row of the output is
{"id", "n_tokens", "nll_base", "nll_masked"}; the last line on stdout is a JSON
object with tokens per second.

Weights are dequantized to fp32, as are activations. A masked head has uniform
attention: the running mean of its values. A document is one forward pass, and
the pair is two of them: nothing is shared, nothing is batched. The first call
makes build/peers/torch and installs torch and gguf there.
"""

import argparse
import json
import math
import pathlib
import sys
import time

import environment

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
DEFAULT_MODEL = ROOT / 'models' / 'SmolLM2-135M-Instruct.Q4_1.gguf'


class Llama:
    """The forward pass of a llama GGUF in fp32."""

    def __init__(self, path):
        import gguf
        import torch
        self.torch = torch
        reader = gguf.GGUFReader(path)

        def number(name):
            return reader.fields[name].contents()

        self.layers = int(number('llama.block_count'))
        self.heads = int(number('llama.attention.head_count'))
        self.kv_heads = int(number('llama.attention.head_count_kv'))
        self.eps = float(number('llama.attention.layer_norm_rms_epsilon'))
        self.base = float(number('llama.rope.freq_base'))
        self.weights = {
            t.name: torch.from_numpy(
                gguf.dequantize(t.data, t.tensor_type).copy())
            for t in reader.tensors}
        self.embedding = self.weights['token_embd.weight']
        self.output = self.weights.get('output.weight', self.embedding)
        self.dim = self.weights['blk.0.attn_q.weight'].shape[0] // self.heads
        self.masked = [[] for _ in range(self.layers)]

    def norm(self, x, name):
        torch = self.torch
        scale = torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.eps)
        return x * scale * self.weights[name]

    def rotate(self, x):
        """[heads][tokens][dim]; a GGUF of llama has its pairs side by side."""
        torch = self.torch
        steps = torch.arange(0, self.dim, 2, dtype=torch.float64) / self.dim
        angles = torch.outer(
            torch.arange(x.shape[1], dtype=torch.float64), self.base ** -steps)
        cos, sin = angles.cos().float(), angles.sin().float()
        even, odd = x[..., 0::2], x[..., 1::2]
        return torch.stack((even * cos - odd * sin, even * sin + odd * cos),
                           -1).flatten(-2)

    def attention(self, x, layer, masked):
        torch = self.torch
        count = x.shape[0]

        def project(name, heads):
            weight = self.weights[f'blk.{layer}.{name}.weight']
            return (x @ weight.T).view(count, heads, self.dim).transpose(0, 1)

        q = self.rotate(project('attn_q', self.heads))
        k = self.rotate(project('attn_k', self.kv_heads))
        v = project('attn_v', self.kv_heads)
        group = self.heads // self.kv_heads
        out = torch.nn.functional.scaled_dot_product_attention(
            q[None], k.repeat_interleave(group, 0)[None],
            v.repeat_interleave(group, 0)[None], is_causal=True)[0]
        for head in masked:
            values = v[head // group]
            seen = torch.arange(1, count + 1, dtype=torch.float32)[:, None]
            out[head] = values.cumsum(0) / seen
        return (out.transpose(0, 1).reshape(count, -1)
                @ self.weights[f'blk.{layer}.attn_output.weight'].T)

    def nll(self, ids, masked):
        """Sum over all tokens but the first, natural logarithm."""
        torch = self.torch
        x = self.embedding[torch.tensor(ids)]
        for layer in range(self.layers):
            name = f'blk.{layer}.'
            x = x + self.attention(self.norm(x, name + 'attn_norm.weight'),
                                   layer, masked[layer])
            h = self.norm(x, name + 'ffn_norm.weight')
            gate = h @ self.weights[name + 'ffn_gate.weight'].T
            up = h @ self.weights[name + 'ffn_up.weight'].T
            x = x + (torch.nn.functional.silu(gate) * up
                     ) @ self.weights[name + 'ffn_down.weight'].T
        x = self.norm(x, 'output_norm.weight')
        logits = x[:-1] @ self.output.T
        return torch.nn.functional.cross_entropy(
            logits, torch.tensor(ids[1:]), reduction='sum').double().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--model', default=DEFAULT_MODEL)
    parser.add_argument('--heads', required=True, help='layer.head, ..')
    parser.add_argument('--input', required=True)
    parser.add_argument('--out')
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--limit', type=int, default=0, help='documents')
    arguments = parser.parse_args()
    environment.run_in('torch', environment.TORCH)
    import torch
    torch.set_num_threads(arguments.threads)
    torch.set_grad_enabled(False)
    model = Llama(arguments.model)
    masked = [[] for _ in range(model.layers)]
    for name in arguments.heads.split(','):
        layer, head = name.split('.')
        masked[int(layer)].append(int(head))
    with open(arguments.input, encoding='utf-8') as file:
        documents = [json.loads(line) for line in file]
    documents = [d for d in documents if len(d['ids']) > 1]
    if arguments.limit:
        documents = documents[:arguments.limit]
    model.nll(documents[0]['ids'], masked)  # warm
    rows = []
    tokens = 0
    start = time.perf_counter()
    for document in documents:
        ids = document['ids']
        row = {'id': document['id'], 'n_tokens': len(ids) - 1,
               'nll_base': model.nll(ids, [[]] * model.layers),
               'nll_masked': model.nll(ids, masked)}
        if not all(map(math.isfinite, (row['nll_base'], row['nll_masked']))):
            sys.exit(f'{document["id"]}: a loss is not finite')
        rows.append(row)
        tokens += len(ids)
    seconds = time.perf_counter() - start
    if arguments.out:
        with open(arguments.out, 'w', encoding='utf-8') as file:
            for row in rows:
                file.write(json.dumps(row) + '\n')
    print(json.dumps({'documents': len(rows), 'tokens': tokens,
                      'seconds': seconds, 'tokens_per_second':
                      tokens / seconds, 'threads': arguments.threads,
                      'torch': torch.__version__}))


if __name__ == '__main__':
    main()
