"""Who may include whom.

The table is docs/architecture.md's picture: a folder may include itself and the
folders listed; of two rows the longest matching prefix counts.
"""

import re

_INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', re.M)
_PROTO = 'proto'
_WORKER_BELOW_SERVICE = ['worker/attention', 'worker/cache',
                         'worker/neural_memory', 'worker/collectives',
                         'worker/backends']
# What both sides share: docs/decisions/
# 2026-11-26-share-one-step-between-coordinator-and-worker.md
_STEP = 'worker/step'
_STEP_WIRE = 'worker/step_wire'
# Attention sessions: the coordinator merges partials with the workers' own
# kernel, or the bits would differ.
# docs/decisions/2026-11-26-merge-partials-at-the-coordinator.md
_SESSIONS = 'worker/sessions'
# What sessions and neural memories of callers share, on either side.
_WORKER_LEASES = 'worker/leases'
_LEASES = 'server/leases'
# What outlives the coordinator's process.
_BOOKS = 'server/books'
_SERVER_INSIDE = ['server/scheduler', 'server/placement', 'server/membership']

ALLOWED = {
    'base': [],
    'model': ['base'],
    'proto': ['base', 'model'],  # codecs of plain forms
    'worker/attention': ['base', 'model'],
    'worker/cache': ['base', 'model', 'worker/attention'],
    'worker/backends': ['base', 'model'],
    'worker/collectives': ['base', 'worker/backends'],
    'worker/neural_memory': ['base', 'model', 'worker/backends'],
    'worker/step': ['base', 'model'],
    'worker/step_wire': ['base', 'model', _STEP, _PROTO],
    # Policies that choose what a query sees run by the executor's code.
    _SESSIONS: ['base', 'model', 'worker/attention', 'worker/backends',
                'worker/executor', _WORKER_LEASES],
    'worker/session_wire': ['base', _SESSIONS, _PROTO],
    _WORKER_LEASES: ['base'],
    'worker/memory_parts': ['base', 'model', 'worker/backends',
                            'worker/neural_memory', _WORKER_LEASES],
    'worker/memory_wire': ['base', 'worker/memory_parts', _PROTO],
    'worker/executor': ['base', 'model', _STEP, *_WORKER_BELOW_SERVICE],
    'worker/gpu_executor': ['base', 'model', _STEP, 'worker/executor',
                            *_WORKER_BELOW_SERVICE],
    'worker': ['base', 'model', 'worker', _PROTO],  # service/, main programs
    'server/membership': ['base', 'model', _PROTO, 'server/placement'],
    'server/election': ['base', _PROTO],
    'server/placement': ['base', 'model', 'server/membership'],
    'server/scheduler': ['base', 'model', _STEP, 'server/placement',
                         'server/membership'],
    _LEASES: ['base', 'server/membership', _WORKER_LEASES, _STEP_WIRE],
    'server/attention': ['base', 'model', _PROTO, _LEASES, 'server/membership',
                         'worker/backends', _SESSIONS, 'worker/session_wire'],
    'server/neural_memory': ['base', 'model', _PROTO, _LEASES,
                             'server/membership', 'worker/backends',
                             'worker/memory_parts',
                             'worker/memory_wire', 'worker/neural_memory',
                             'worker/sessions'],
    'server/calibration': ['base', 'model', _STEP, 'server/scheduler'],
    _BOOKS: ['base'],
    'server/selection': ['base', 'model', _STEP, _BOOKS, 'server/scheduler'],
    'server/dispatch': ['base', 'model', _STEP, _STEP_WIRE, _PROTO,
                        *_SERVER_INSIDE],
    'server/frontends': ['base', 'model', _STEP, _PROTO, *_SERVER_INSIDE,
                         'server/attention', _BOOKS, 'server/calibration',
                         _LEASES, 'server/neural_memory', 'server/selection'],
    'server': ['base', 'model', _STEP, _PROTO, 'server'],  # the program itself
    'client/cpp': ['base', 'model', _PROTO],
    'client': ['base', 'model', _STEP, _PROTO, 'client'],
    'tests': ['base', 'model', _PROTO, 'worker', 'server', 'client', 'bench'],
    'bench': ['base', 'model', _PROTO, 'worker', 'server', 'client', 'tests'],
    'lab': ['base', 'model', _PROTO, 'worker', 'server', 'client', 'tests',
            'bench'],
}

# The embedded cluster, the benches that time its engine without gRPC, and what
# reads the folder of a selection job as its server does:
# docs/decisions/2026-11-24-let-the-cli-join-server-and-worker.md
JOINS_BOTH_SIDES = re.compile(
    r'^client/cli/(embedded_cluster|local_server|local_worker_link|'
    r'bench_runner|bench_needle_(texts|runner|cluster)|'
    r'bench_memory_(stream|contenders|runner|task|model)|'
    r'select_documents|select_folder(_report)?)(_test)?\.(h|cc)$')

# Unit tests beside the code, and fuzz targets, may use test support and what
# else their own side offers.
_TEST_FILE = re.compile(r'(_test|_fuzz|_bench)\.(cc|cu|h)$')

_RPC = re.compile(r'^(grpc|grpcpp|grpc\+\+|google/protobuf)/|\.pb\.h$')
_RPC_FOLDERS = ('server/frontends/', 'server/dispatch/', 'server/membership/',
                'server/coordinator/',  # the program, which joins the rest
                'server/election/etcd_', 'server/attention/grpc_',
                'server/leases/grpc_',
                'server/neural_memory/grpc_', 'worker/memory_wire/',
                'worker/service/', 'worker/session_wire/', 'worker/step_wire/',
                'client/', 'proto/', 'tests/', 'bench/')
_CUDA = re.compile(r'^(cuda|cublas|cudnn|nccl|device_launch|flashinfer|cute/|'
                   r'cutlass/)')
_CUDA_FILES = re.compile(r'^(worker/backends/cuda/|worker/collectives/nccl_)')
_GLOO_FILES = re.compile(r'^worker/collectives/')

_INTEGERS_ONLY = ('server/scheduler/', 'server/placement/',
                  'worker/attention/', 'worker/cache/')
_THREAD_OWNER = re.compile(r'^server/scheduler/engine(_\w+)?\.(h|cc)$')
_THREADS = re.compile(r'\bstd::(jthread|thread|async)\b|\bpthread_create\b')


def _row(path):
    parts = path.split('/')[:-1]
    while parts:
        folder = '/'.join(parts)
        if folder in ALLOWED:
            return folder
        parts.pop()
    return None


def _is_inside(path, folder):
    return path.startswith(folder + '/')


def includes_of(source):
    """Pairs (line, included name, is quoted)."""
    # Quoted names are blanked as literals are, so look at the text, and only
    # at lines that are directives.
    for match in _INCLUDE.finditer(source.text):
        line_start = source.text.rfind('\n', 0, match.start(1)) + 1
        if source.directives[line_start:match.start(1)].strip():
            yield (source.line_of(match.start(1)), match.group(2),
                   match.group(1) == '"')


def _side(path):
    return path.split('/')[0]


def _may_include(path, row, name):
    if JOINS_BOTH_SIDES.search(path) and _side(name) in ('server', 'worker'):
        return True
    if _is_inside(name, row) or any(_is_inside(name, f) for f in ALLOWED[row]):
        return True
    return bool(_TEST_FILE.search(path)) and (
        _side(name) in (_side(path), 'tests', 'model', 'base'))


def _edge_problem(path, name):
    """Libraries that live at one edge each."""
    if _RPC.search(name):
        if not path.startswith(_RPC_FOLDERS):
            return f'{name}: gRPC and protobuf stop at the edges'
    if _CUDA.search(name) and not _CUDA_FILES.search(path):
        return f'{name}: CUDA and NCCL belong to worker/backends/cuda'
    if name.startswith('gloo/') and not _GLOO_FILES.search(path):
        return f'{name}: gloo belongs to worker/collectives'
    return None


def check(path, source):
    row = _row(path)
    if row is None:
        return
    for line, name, quoted in includes_of(source):
        ours = quoted and _side(name) in {f.split('/')[0] for f in ALLOWED}
        if ours and not _may_include(path, row, name):
            yield line, f'{row} may not include {name}'
        problem = _edge_problem(path, name)
        if problem:
            yield line, problem
    if (path.startswith(_INTEGERS_ONLY) and not _TEST_FILE.search(path)
            and not _THREAD_OWNER.search(path)):
        for match in _THREADS.finditer(source.code):
            yield (source.line_of(match.start()),
                   f'{match.group(0)}: {row} has no threads of its own')
