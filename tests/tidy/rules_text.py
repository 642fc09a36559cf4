"""What every text of ours obeys in any language, and how files are named."""

import ast
import re

MAX_COLUMNS = 80
FILE_LINES = 400       # above: needs a line in allowlist.txt
MAX_FILE_LINES = 600   # above: no excuse
MAX_FUNCTION_LINES = 70

CODE = ('.h', '.cc', '.cu', '.proto', '.py', '.sh', '.cmake', 'CMakeLists.txt')
_WIDTH_CHECKED = ('.h', '.cc', '.cu', '.proto', '.py', '.sh')
_ALSO_TEXT = ('.md', '.txt', '.yaml', '.yml', '.toml')
# Data: its bytes are what a test is about.
_DATA = re.compile(r'(^|/)(corpus|testdata|golden|results)(/|_)')
# Paths that a library's own #include lines prescribe.
_PRESCRIBED = re.compile(r'^worker/collectives/gloo_headers/')
_BANNED_STEM = re.compile(r'(^|_)(utils?|commons?|helpers?|misc)(_|$)')
_TODO = re.compile(r'\b(TODO|FIXME)\b(?!\(#\d+\))')


def is_code(path):
    return path.endswith(CODE) or path in ('run.sh', 'test.sh', '.ci/run')


def is_text(path):
    return is_code(path) or (path.endswith(_ALSO_TEXT)
                             and not _DATA.search(path))


def check_lines(path, text, raw_lines=frozenset()):
    wide = path.endswith(_WIDTH_CHECKED)
    for number, line in enumerate(text.split('\n'), 1):
        if '\t' in line and number not in raw_lines:
            yield number, 'tab'
        if line != line.rstrip() and number not in raw_lines:
            yield number, 'space at the end of the line'
        # An include or an address can't be broken.
        if (wide and len(line) > MAX_COLUMNS and number not in raw_lines
                and not line.startswith('#include') and '://' not in line):
            yield number, f'{len(line)} columns, limit {MAX_COLUMNS}'
        todo = _TODO.search(line)
        if todo and is_code(path) and not path.startswith('tests/tidy/'):
            yield number, f'{todo.group(1)} without an issue: write TODO(#n)'


def check_end(path, text):
    if text and (not text.endswith('\n') or text.endswith('\n\n')):
        yield text.count('\n') + 1, 'must end with exactly one newline'


def check_length(path, text, allowlist):
    count = text.count('\n')
    if not is_code(path) or count <= FILE_LINES:
        return
    if count > MAX_FILE_LINES:
        yield 1, f'{count} lines, hard limit {MAX_FILE_LINES}'
    elif path not in allowlist:
        yield 1, (f'{count} lines, limit {FILE_LINES}: split it, or give a '
                  'reason in tests/tidy/allowlist.txt')


def check_name(path):
    if _PRESCRIBED.search(path):
        return
    for part in path.split('/'):
        stem = part.split('.')[0]
        if _BANNED_STEM.search(stem):
            yield 1, f'{part}: a name that says nothing'
    base = path.split('/')[-1]
    if base.endswith(('.h', '.cc', '.cu', '.proto', '.py')) and (
            base != base.lower() or '-' in base):
        yield 1, f'{base}: files are named in snake_case'


def check_python(path, text):
    """Long functions of a Python file."""
    if not path.endswith('.py'):
        return
    try:
        tree = ast.parse(text)
    except SyntaxError as error:
        yield error.lineno or 1, f'does not parse: {error.msg}'
        return
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            count = node.end_lineno - node.lineno + 1
            if count > MAX_FUNCTION_LINES:
                yield node.lineno, (f'function of {count} lines, limit '
                                    f'{MAX_FUNCTION_LINES}')


def check(path, text, raw_lines, allowlist):
    yield from check_name(path)
    if is_text(path):
        yield from check_lines(path, text, raw_lines)
        yield from check_end(path, text)
        yield from check_length(path, text, allowlist)
        yield from check_python(path, text)
