"""Makes tests/golden/titans: what torch's autograd and titans-pytorch 0.5.5 say
of memories, for worker/neural_memory/memory_golden_test.cc.

    titans_vectors.py

The first call makes build/peers/titans with torch and titans-pytorch from PyPI
(some gigabytes). All arithmetic is in double; files are little-endian fp32.
Inputs are not stored: they are uniform(seed, n) below, which the test has too.

gradients.f32: for 48 kinds of memory (depth 1 to 4; SiLU, GELU; no norm, layer
norm, RMS norm; without and with residual; the last varies fastest) of head_dim
16 and hidden_dim 32, kind i from 0: the gradient of |M(k) - v|^2 with respect
to all weights, by autograd. Seeds: weights 100 + i (times 0.5), key 200 + i,
value 300 + i.

parity_plain.f32, parity_norm.f32: NeuralMemory(dim=64, heads=1, chunk_size=64,
batch_size=64, two layers, hidden 128) over 4,096 tokens without and with its
norm and residual. Every 16th token's output, then the final weights and the
final momentum (matrices in order, then gamma). Seeds and factors: set_weights.
"""

import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
sys.path.append(str(ROOT / 'bench' / 'peers'))
import titans_pytorch_peer  # noqa: E402 pylint: disable=wrong-import-position

OUT = pathlib.Path(__file__).resolve().parent / 'titans'
DIM = 64
CHUNK = 64
TOKENS = 4096


def uniform(seed, *shape):
    """Numbers of 24 bits in [-1, 1): the upper bits of SplitMix64's output at
    seed * 2^32 + index."""
    import numpy  # pylint: disable=import-outside-toplevel
    import torch  # pylint: disable=import-outside-toplevel
    size = numpy.prod(shape, dtype=int)
    z = numpy.arange(size, dtype=numpy.uint64) + numpy.uint64(seed << 32)
    with numpy.errstate(over='ignore'):
        z = (z + numpy.uint64(1)) * numpy.uint64(0x9e3779b97f4a7c15)
        z = (z ^ z >> numpy.uint64(30)) * numpy.uint64(0xbf58476d1ce4e5b9)
        z = (z ^ z >> numpy.uint64(27)) * numpy.uint64(0x94d049bb133111eb)
        z = z ^ z >> numpy.uint64(31)
    values = (z >> numpy.uint64(40)).astype(numpy.float64) / 2 ** 23 - 1
    return torch.from_numpy(values).reshape(shape)


def memory(weights, gamma, x, kind):
    """M(x) of the kind (depth, activation, norm, residual)."""
    import torch  # pylint: disable=import-outside-toplevel
    functional = torch.nn.functional
    _, activation, norm, residual = kind
    y = x
    for index, matrix in enumerate(weights):
        if index:
            y = getattr(functional, activation)(y)
        y = y @ matrix
    if norm == 'layer':
        y = functional.layer_norm(y, y.shape[-1:], eps=1e-5)
    if norm == 'rms':
        y = functional.rms_norm(y, y.shape[-1:], eps=1e-5)
    if norm:
        y = y * (1 + gamma)
    return y + x if residual else y


def gradients():
    import torch  # pylint: disable=import-outside-toplevel
    kinds = [(depth, activation, norm, residual) for depth in range(1, 5)
             for activation in ('silu', 'gelu')
             for norm in (None, 'layer', 'rms') for residual in (False, True)]
    results = []
    for index, kind in enumerate(kinds):
        widths = [16] + [32] * (kind[0] - 1) + [16]
        sizes = [a * b for a, b in zip(widths, widths[1:])]
        flat = 0.5 * uniform(100 + index, sum(sizes) + (16 if kind[2] else 0))
        flat.requires_grad_()
        parts = flat.split(sizes + [len(flat) - sum(sizes)])
        weights = [part.reshape(a, b) for part, a, b in
                   zip(parts, widths, widths[1:])]
        out = memory(weights, parts[-1], uniform(200 + index, 16), kind)
        loss = (out - uniform(300 + index, 16)).square().sum()
        results += torch.autograd.grad(loss, flat)
    return torch.cat(results)


def set_weights(module):
    """Everything that the module would have learned."""
    import torch  # pylint: disable=import-outside-toplevel
    hidden = 2 * DIM
    gates = {'to_adaptive_step': 4, 'to_momentum': 5, 'to_decay_factor': 6}
    biases = {'to_adaptive_step': 0.0, 'to_momentum': 0.5,
              'to_decay_factor': -4.0}
    with torch.no_grad():
        for index, name in enumerate(('to_keys', 'to_values', 'to_queries')):
            # Ours acts from the right on rows, [in, out]: hence the transpose.
            getattr(module, name).weight.copy_(
                0.25 * uniform(1 + index, DIM, DIM).T)
        for name, seed in gates.items():
            getattr(module, name)[0].weight.copy_(0.25 * uniform(seed, 1, DIM))
            getattr(module, name)[0].bias.fill_(biases[name])
        for name, parameter in zip(module.memory_model_parameter_names,
                                   module.memory_model_parameters):
            if name.endswith('gamma'):
                parameter.copy_(0.25 * uniform(9, 1, DIM))
            elif name.endswith('weights.0'):
                parameter.copy_(0.25 * uniform(7, 1, DIM, hidden))
            else:
                parameter.copy_(0.125 * uniform(8, 1, hidden, DIM))


def parity(with_norm):
    import torch  # pylint: disable=import-outside-toplevel
    module = titans_pytorch_peer.neural_memory(
        dim=DIM, heads=1, chunk_size=CHUNK, batch_size=CHUNK,
        hidden_factor=2, pre_rmsnorm=False,
        mem_model_norm_add_residual=with_norm,
        default_step_transform_max_lr=0.1).double()
    set_weights(module)
    with torch.no_grad():
        out, state = module(uniform(10, 1, TOKENS, DIM))
    weights, momentum = state.states
    names = sorted(weights.keys(), key=lambda name: 'gamma' in name)
    return torch.cat([out[0, ::16].flatten(),
                      *[weights[name].flatten() for name in names],
                      *[momentum[name].flatten() for name in names]])


def main():
    titans_pytorch_peer.run_in_environment()
    OUT.mkdir(exist_ok=True)
    for name, values in (('gradients', gradients()),
                         ('parity_plain', parity(False)),
                         ('parity_norm', parity(True))):
        values.float().numpy().astype('<f4').tofile(OUT / f'{name}.f32')
        print(f'{name}: {len(values)} floats, largest '
              f'{values.abs().max().item():.4g}')


if __name__ == '__main__':
    main()
