"""What a C++ file must look like inside."""

import re

MAX_FUNCTION_LINES = 70
_LONG_BECAUSE = re.compile(r'//\s*tidy: long because \S+')

# The right-hand column of the house vocabulary: names that have no other honest
# use here. Literals and comments may quote them; identifiers may not hold them.
BANNED = [
    'seq_len', 'seqlen', 'kv_len', 'past_len', 'q_len', 'head_size',
    'qkv_dim', 'gqa_factor', 'kv_mul', 'head_groups', 'page_table',
    'slot_mapping', 'cache_loc', 'nranks', 'nnodes', 'n_nodes', 'tp_rank',
    'n_head', 'n_kv', 'n_head_kv', 'hidden_size', 'n_embd', 'n_layer', 'n_ctx',
    'n_vocab', 'n_ff', 'qo_head', 'pos_id', 'left_context', 'logsumexp2',
]
_WORD = re.compile(r'\b[A-Za-z_]\w*\b')
_BANNED = re.compile(r'(?:^|_)(' + '|'.join(BANNED) + r')s?(?:_|$)')

_MUTEX = re.compile(r'\babsl::Mutex\s+(\w+)\s*(?:;|\{|ABSL_)')
_STD_LOCK = re.compile(r'\bstd::(mutex|shared_mutex|recursive_mutex|'
                       r'condition_variable)\b')


def guard_of(path):
    return 'HEADWISE_' + re.sub(r'\W', '_', path).upper() + '_'


def check_guard(path, source):
    if not path.endswith('.h'):
        return
    guard = guard_of(path)
    lines = [l.strip() for l in source.directives.split('\n') if l.strip()]
    if lines[:2] != [f'#ifndef {guard}', f'#define {guard}']:
        yield 1, f'include guard must be {guard}'
    elif not source.text.rstrip().endswith(f'#endif  // {guard}'):
        yield source.text.count('\n'), f'must end with #endif  // {guard}'


def check_using(path, source):
    if path.endswith('.h'):
        for match in re.finditer(r'\busing\s+namespace\b', source.code):
            yield source.line_of(match.start()), 'using namespace in a header'


def long_functions(source):
    """Triples (first line, number of lines, reason given or not)."""
    lines = source.text.split('\n')
    for scope in source.scopes:
        if scope.kind != 'function':
            continue
        first, last = source.line_of(scope.head), source.line_of(scope.end)
        if last - first + 1 > MAX_FUNCTION_LINES:
            # The comment may stand above the function or within it.
            near = '\n'.join(lines[max(0, first - 8):last])
            yield first, last - first + 1, bool(_LONG_BECAUSE.search(near))


def check_functions(path, source):
    for line, count, excused in long_functions(source):
        if not excused:
            yield line, (f'function of {count} lines, limit '
                         f'{MAX_FUNCTION_LINES} (or // tidy: long because ...)')


def check_vocabulary(path, source):
    for match in _WORD.finditer(source.code):
        banned = _BANNED.search(match.group(0))
        if banned:
            yield (source.line_of(match.start()),
                   f'{match.group(0)}: {banned.group(1)} is not our word')


def check_locks(path, source):
    is_test = path.endswith('_test.cc') or path.startswith(('tests/', 'bench/'))
    if not is_test:
        for match in _STD_LOCK.finditer(source.code):
            yield (source.line_of(match.start()),
                   f'{match.group(0)}: locks are absl::Mutex, so that the '
                   'compiler checks them')
    owners = {}
    for match in _MUTEX.finditer(source.code):
        scope = source.scope_at(match.start())
        if scope is None or scope.kind != 'class':
            continue
        line, name = source.line_of(match.start()), match.group(1)
        body = source.code[scope.begin:scope.end]
        if not re.search(r'ABSL_(PT_)?GUARDED_BY\(\s*' + name + r'\s*\)',
                         body):
            yield line, f'{scope.name}::{name} guards no field'
        owners.setdefault((scope.begin, scope.name), []).append(line)
    for (_, name), mutex_lines in owners.items():
        if len(mutex_lines) > 1:
            yield mutex_lines[1], f'{name} has more than one mutex'


RULES = [check_guard, check_using, check_functions, check_vocabulary,
         check_locks]


def check(path, source):
    for rule in RULES:
        yield from rule(path, source)
