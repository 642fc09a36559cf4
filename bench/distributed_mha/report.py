"""The page that measure.py writes."""

import datetime
import shlex
import statistics
import sys

import compare
import mha_sides
import model

PRODUCT_TARGET = 40.0  # over vanilla, on four workers
TWO_TARGET = 1.8       # two workers to one


def row(cells):
    return '| ' + ' | '.join(cells) + ' |'


def table(header, rows):
    return '\n'.join([row(header), '|---' * len(header) + '|',
                      *(row(r) for r in rows)])


def ms(values):
    return compare.spread([v * 1e3 for v in values], 1)


def ratios(over, under):
    return [a / b for a, b in zip(over, under)]


def ratio(values):
    if not values:
        return '-'
    return (f'**{statistics.median(values):.2f}** '
            f'({min(values):.2f} to {max(values):.2f})')


class Gains:
    """Ratios of one length, one figure a round; empty where a side is
    missing."""

    def __init__(self, seconds):
        one = seconds['local1']
        share = seconds['share']
        four = [model.four_workers(a, b, 0.0) for a, b in zip(one, share)]
        four_sent = [model.four_workers(*figures) for figures
                     in zip(one, share, seconds['messages'])]
        vanilla = seconds.get('vanilla', [])
        blas = seconds.get('blas', [])
        self.kernel = ratios(vanilla, one)
        self.kernel_blas = ratios(blas, one)
        self.two = ratios(one, seconds['local2'])
        self.two_cpu = ratios(seconds['cpu of local1'],
                              seconds['cpu of local2'])
        self.two_grpc = ratios(seconds['grpc1'], seconds['grpc2'])
        self.four = ratios(one, four)
        self.four_sent = ratios(one, four_sent)
        self.product = ratios(vanilla, four)
        self.product_sent = ratios(vanilla, four_sent)
        self.product_blas = ratios(blas, four)


TIME_COLUMNS = [
    ('vanilla', 'vanilla'), ('blas', 'vanilla with BLAS'),
    ('local1', '1 worker'), ('local2', '2 workers'),
    ('share', 'a quarter of the heads'), ('grpc1', '1 worker, gRPC'),
    ('grpc2', '2 workers, gRPC')]
GAIN_COLUMNS = [
    ('kernel', 'kernel'), ('two', '2 workers'),
    ('two_cpu', '2 workers, CPU time'), ('two_grpc', '2 workers, gRPC'),
    ('four', '4 workers, modelled'),
    ('four_sent', 'with messages'), ('product', 'kernel x 4 workers'),
    ('product_sent', 'with messages')]
BLAS_COLUMNS = [('kernel_blas', 'kernel'),
                ('product_blas', 'kernel x 4 workers, modelled')]


def time_table(seconds):
    return table(['tokens', *(title for _, title in TIME_COLUMNS)],
                 [[f'{n:,}', *(ms(sides[key]) if key in sides else '-'
                               for key, _ in TIME_COLUMNS)]
                  for n, sides in seconds.items()])


def gain_table(gains, columns):
    return table(['tokens', *(title for _, title in columns)],
                 [[f'{n:,}', *(ratio(getattr(g, key)) for key, _ in columns)]
                  for n, g in gains.items()])


def transport_table(seconds):
    rows = []
    for n, sides in seconds.items():
        sent = 4 * n * mha_sides.HEADS * mha_sides.HEAD_DIM * 4
        added = [[a - b for a, b in zip(sides[f'grpc{w}'], sides[f'local{w}'])]
                 for w in (1, 2)]
        rows.append([f'{n:,}', f'{sent / 1e6:,.1f}', ms(sides['messages']),
                     *map(ms, added), ms(sides['local4']),
                     ms(sides['grpc4'])])
    return table(['tokens', 'q, k, v and outputs, MB', 'messages alone, ms',
                  '1 worker: gRPC adds', '2 workers: gRPC adds',
                  '4 workers', '4 workers, gRPC'], rows)


def gpu_table(tokens):
    gpu, rows = model.Gpu(), []
    shape = (mha_sides.HEADS, mha_sides.HEAD_DIM)
    for n in [*tokens, 65536, 1 << 20]:
        vanilla = model.gpu_vanilla(gpu, n, *shape)
        one = model.gpu_tiled(gpu, n, *shape, 1)
        four = model.gpu_tiled(gpu, n, *shape, 4)
        rows.append([f'{n:,}', f'{vanilla * 1e3:,.2f}' if vanilla else
                     'does not fit', f'{one * 1e3:,.2f}', f'{four * 1e3:,.2f}',
                     f'{vanilla / one:.1f}' if vanilla else '-',
                     f'{one / four:.2f}',
                     f'**{vanilla / four:.1f}**' if vanilla else '-'])
    return table(['tokens', 'vanilla, ms', 'tiled, 1 GPU', 'tiled, 4 GPUs',
                  'kernel', '4 GPUs', 'product'], rows)


def verdict(name, target, by_tokens):
    medians = {n: statistics.median(v) for n, v in by_tokens.items() if v}
    if not medians:
        return f'- {name}: not measured.'
    missed = [f'{v:.2f} at {n:,}' for n, v in medians.items() if v < target]
    if not missed:
        return f'- {name}, at least {target:g}: met at every length.'
    return f'- {name}, at least {target:g}: missed, {", ".join(missed)}.'


def verdicts(gains):
    def of(key):
        return {n: getattr(g, key) for n, g in gains.items()}
    return '\n'.join([
        verdict('kernel gain x modelled scaling to 4 workers',
                PRODUCT_TARGET, of('product')),
        verdict('the same with the messages of one coordinator',
                PRODUCT_TARGET, of('product_sent')),
        verdict('the same against vanilla with BLAS', PRODUCT_TARGET,
                of('product_blas')),
        verdict('2 workers to 1, measured', TWO_TARGET, of('two')),
        verdict('2 workers to 1, CPU time of the busiest', TWO_TARGET,
                of('two_cpu')),
        verdict('2 workers to 1 over gRPC, measured', TWO_TARGET,
                of('two_grpc'))])


HEAD = '''# Distributed multi-head attention

- machine: {machine}
- load average of a minute: {before:.1f} before, {after:.1f} after
- commit: {commit}, {date}
- command: `{command}`

Causal self-attention of N queries over N keys, {heads} heads of {dim}, fp32,
after He and Kabic, "A Unified View of Long-Sequence Models towards Modeling
Million-Scale Dependencies" (2023): almost 40 times as fast as vanilla
multi-head attention with four GPUs. What they distributed, and what vanilla
was, is not public. Milliseconds or ratios, median of {rounds} interleaved
rounds and range; a ratio is taken within a round.

Checked in every round: all sides agree to {worst:.1e}; ours are equal bit by
bit on 1, 2 and 4 workers, in one process and over gRPC.
'''
BUSY = '''
Other work was running: times, and ratios of times, show that too. The column
of CPU time does not.
'''
TIMES = '''
## Times

- vanilla: the whole score matrix of a head in memory, plain loops, one thread,
  built as the rest is (no -march: SSE2, no FMA). Masked pairs are computed
  too, by BLAS as well; ours leaves them out, which is 2 of its gain.
- vanilla with BLAS: the same steps, products by NumPy's OpenBLAS, one thread.
- N workers: attention sessions on workers of one thread in one process, keys
  and values appended and all queries attended. gRPC: the same by
  headwise.v1.Attention, client, coordinator and workers each a process.
- a quarter of the heads: one worker with 2 of 8 heads, alone on the machine.

'''
GAINS = '''
## Gains

CPU time is that of the busiest worker's thread: where every worker has a core
of its own, it is the time. Where other work takes cores, only it shows whether
workers hinder each other.

Modelled are four workers on four machines: each does a quarter of the heads in
the time measured above (not less than a quarter of all heads' time), and
nothing is merged. "With messages" adds the time of all messages, measured alone
on this machine's loopback, whole and without overlap: one coordinator sends
all.

'''
BLAS = '''
Against vanilla with BLAS, which is nearer to what a framework does:

'''
TRANSPORT = '''
## What the transport costs

Tensors travel twice, client to coordinator to worker, all on this machine's
cores. Messages alone: the same bytes, but every query sees one key. What gRPC
adds is less where sending and computing overlap. Four workers share the cores
too, so their times show overhead only.

'''
GPUS = '''
## Four GPUs, modelled

No GPU was measured. One does {tflops:.0f} TFLOP/s and reads {gb:,.0f} GB/s (an
RTX 4090), the link {link:.0f} GB/s after {latency:.0f} us. Vanilla: all 4 N N
H d flops, and {passes} passes over an fp16 score matrix (written; scaled and
masked; softmax; read). Tiled: the causal half of the flops; q, k and v are
where their heads are, and outputs of three GPUs travel to the fourth.
So most of a product of 40 can't come from four GPUs, which give at most 4: it
is what the baseline leaves undone.

'''
TARGETS = '''
## Targets

'''


def report(arguments, seconds, differences, load):
    gains = {n: Gains(sides) for n, sides in seconds.items()}
    gpu = model.Gpu()
    command = ('python3 bench/distributed_mha/measure.py '
               + shlex.join(sys.argv[1:])).strip()
    head = HEAD.format(
        machine=compare.machine(), before=load[0], after=load[1],
        commit=compare.commit(), date=datetime.date.today().isoformat(),
        command=command, heads=mha_sides.HEADS, dim=mha_sides.HEAD_DIM,
        rounds=arguments.rounds, worst=max(differences.values()))
    if load[0] > 0.5:  # before it began
        head += BUSY
    gpus = GPUS.format(
        tflops=gpu.flops / 1e12, gb=gpu.bytes_per_s / 1e9,
        link=gpu.link_bytes_per_s / 1e9, latency=gpu.link_latency_s * 1e6,
        passes=model.SCORE_PASSES)
    return '\n'.join([
        head + TIMES + time_table(seconds),
        GAINS + gain_table(gains, GAIN_COLUMNS),
        BLAS + gain_table(gains, BLAS_COLUMNS),
        TRANSPORT + transport_table(seconds),
        gpus + gpu_table(arguments.tokens),
        TARGETS + verdicts(gains), ''])
