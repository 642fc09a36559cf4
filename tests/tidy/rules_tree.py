"""What the tree as a whole must look like."""

import re

# The 16 of the design's house, and cmake/.
MAX_TOP_LEVEL = 17
_DECISION = re.compile(r'^\d{4}-\d{2}-\d{2}(-[a-z0-9]+){2,}\.md$')
_FENCE = re.compile(r'^```\w*\n(.*?)^```', re.M | re.S)
_README_OPENING_LINES = 25
_COMMENT = re.compile(r'#[^\n]*')


def check_top_level(paths):
    entries = sorted({p.split('/')[0] for p in paths
                      if not p.startswith('.')})
    if len(entries) > MAX_TOP_LEVEL:
        yield '.', 1, (f'{len(entries)} visible entries at the top, limit '
                       f'{MAX_TOP_LEVEL}: {" ".join(entries)}')


def check_decisions(paths):
    for path in paths:
        if path.startswith('docs/decisions/') and not _DECISION.match(
                path[len('docs/decisions/'):]):
            yield path, 1, 'must be named YYYY-MM-DD-verb-phrase.md'


def check_readme(texts):
    text = texts.get('README.md')
    if text is None:
        yield 'README.md', 1, 'missing'
        return
    fence = _FENCE.search(text)
    commands = fence.group(1) if fence else ''
    opening = text.count('\n', 0, fence.start()) if fence else 0
    if ('./run.sh' not in commands or './test.sh' not in commands
            or opening > _README_OPENING_LINES):
        yield 'README.md', 1, ('must open with the two commands, ./run.sh and '
                               './test.sh, in its first block of code')


def check_dead_files(texts):
    """Each source is named by a CMakeLists.txt of its folder or above."""
    named = {}
    for path, text in texts.items():
        if path.split('/')[-1] == 'CMakeLists.txt':
            folder = path[:-len('CMakeLists.txt')]
            named[folder] = _COMMENT.sub('', text)
    for path in texts:
        if not path.endswith(('.cc', '.cu', '.proto')):
            continue
        parts = path.split('/')
        stem = re.escape(parts[-1].rsplit('.', 1)[0])
        word = re.compile(r'(?<![\w-])' + stem + r'(?![\w-])')
        folders = ['/'.join(parts[:n]) + '/' if n else ''
                   for n in range(len(parts))]
        if not any(word.search(named.get(f, '')) for f in folders):
            yield path, 1, 'in no CMakeLists.txt: dead, or not built'


def check_allowlist(allowlist, texts, limit):
    for path, reason in allowlist.items():
        if path not in texts:
            yield 'tests/tidy/allowlist.txt', 1, f'{path}: no such file'
        elif texts[path].count('\n') <= limit:
            yield ('tests/tidy/allowlist.txt', 1,
                   f'{path} is within the limit: take it off the list')
        if not reason:
            yield 'tests/tidy/allowlist.txt', 1, f'{path}: no reason given'


def check(paths, texts, allowlist, limit):
    yield from check_top_level(paths)
    yield from check_decisions(paths)
    yield from check_readme(texts)
    yield from check_dead_files(texts)
    yield from check_allowlist(allowlist, texts, limit)
