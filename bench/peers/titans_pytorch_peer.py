"""titans-pytorch 0.5.5, as a peer: how it is installed, and its memory."""

import environment

PACKAGES = ('torch==2.15.0', 'numpy==2.4.6', 'titans-pytorch==0.5.5')


def run_in_environment():
    """Runs this program again in build/peers/titans, made on first use."""
    environment.run_in('titans', PACKAGES)


def neural_memory(dim, heads, hidden_factor, **options):
    """Its NeuralMemory with a memory of two layers, GELU between them."""
    # pylint: disable=import-outside-toplevel
    from titans_pytorch import MemoryMLP, NeuralMemory
    if heads > 1:
        options['dim_head'] = dim // heads
    model = MemoryMLP(dim // heads, depth=2, expansion_factor=hidden_factor)
    return NeuralMemory(dim=dim, heads=heads, model=model, **options)
