"""Makes a mixed corpus of real and made-up text, as JSON lines.

    corpus.py --out corpus.jsonl [--documents 2000] [--bytes 900] [--seed 1]

Real text is what Debian packages carry (fetched and unpacked into build/corpus,
nothing is installed): the Debian policy, FAQ and references, manual pages,
licences and changelogs, fortunes, word lists; and Python's own library as code.
An id is domain/kind/number; a kind is `steps` (text whose later parts need its
earlier ones) or `list` (lists and boilerplate):

    manual     paragraphs of manuals          licences, changelogs
    code       functions                      tables of constants
    language   fortunes                       word lists
    reasoning  chains of sums, each step      the same sentences, each from
               taking the last one's result   another chain
    retrieval  a table and questions on it    a table and questions on another
"""

import argparse
import ast
import gzip
import html
import json
import pathlib
import random
import re
import subprocess
import sysconfig

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / 'build' / 'corpus'
PACKAGES = ['fortunes', 'wamerican', 'manpages', 'debian-policy',
            'developers-reference', 'maint-guide', 'debian-faq', 'bash-doc']
NAMES = ['Ada', 'Ben', 'Cleo', 'Dan', 'Eva', 'Finn', 'Gus', 'Hana']
THINGS = ['apples', 'coins', 'stamps', 'shells', 'pencils', 'marbles']


def unpack():
    if (FOLDER / 'ready').exists():
        return
    FOLDER.mkdir(parents=True, exist_ok=True)
    subprocess.run(['apt-get', 'download', '-q', *PACKAGES], cwd=FOLDER,
                   check=True)
    for package in sorted(FOLDER.glob('*.deb')):
        subprocess.run(['dpkg', '-x', package, FOLDER / 'root'], check=True)
    (FOLDER / 'ready').touch()


def read(path):
    data = path.read_bytes()
    if path.suffix == '.gz':
        data = gzip.decompress(data)
    return data.decode('utf-8', 'ignore')


def files(*patterns):
    found = set()
    for pattern in patterns:
        found.update(p for p in (FOLDER / 'root').glob(pattern)
                     if p.is_file() and not p.is_symlink())
    return sorted(found)


def plain(text):
    """Without markup: HTML tags, roff requests."""
    text = re.sub(r'(?s)<(script|style).*?</\1>|<[^>]+>', ' ', text)
    text = re.sub(r'(?m)^[.\'].*$', '', html.unescape(text))
    text = re.sub(r'\\f[BIRP]|\\&', '', text).replace('\\-', '-')
    return re.sub(r'[ \t]+', ' ', text)


def pieces(texts, size):
    """Runs of whole paragraphs of about `size` bytes."""
    for text in texts:
        piece = ''
        for paragraph in re.split(r'\n\s*\n', text):
            piece += paragraph.strip() + '\n\n'
            if len(piece.encode()) >= size:
                yield piece.strip()[:2 * size]
                piece = ''


def sentences(texts, size):
    """Prose alone: pieces most of whose lines are words."""
    for piece in pieces(texts, size):
        letters = sum(c.isalpha() or c == ' ' for c in piece)
        if letters > 0.85 * len(piece) and piece.count('. ') >= 2:
            yield piece


def functions(size):
    library = pathlib.Path(sysconfig.get_paths()['stdlib'])
    for path in sorted(library.glob('*.py')):
        source = path.read_text(encoding='utf-8')
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.FunctionDef):
                text = ast.get_source_segment(source, node)
                if size * 0.7 <= len(text) <= 2 * size:
                    yield text


def tables(size):
    library = pathlib.Path(sysconfig.get_paths()['stdlib'])
    names = sorted((library / 'encodings').glob('cp*.py'))
    names += [library / 'html' / 'entities.py', library / 'token.py',
              library / 'stringprep.py', library / 'mimetypes.py']
    for path in names:
        lines = [line for line in path.read_text(encoding='utf-8').split('\n')
                 if re.match(r'''\s*['"0-9].*,''', line)]
        while lines:
            piece = ''
            while lines and len(piece) < size:
                piece += lines.pop(0).strip() + '\n'
            if len(piece) >= size:
                yield piece


def word_lists(draws, size):
    words = read(FOLDER / 'root/usr/share/dict/american-english').split()
    while True:
        start = draws.randrange(len(words) - 300)
        piece = ''
        for word in words[start:start + 300]:
            piece += word + '\n'
            if len(piece) >= size:
                break
        yield piece


def chain(draws, length):
    name, thing = draws.choice(NAMES), draws.choice(THINGS)
    have = draws.randint(20, 90)
    steps = [f'{name} has {have} {thing}.']
    for _ in range(length):
        change = draws.randint(2, 19)
        if draws.random() < 0.5 and change < have:
            verb, whole, result = 'gives away', 'of', have - change
        else:
            verb, whole, result = 'adds', 'to', have + change
        steps.append(f'{name} {verb} {change} {whole} {have} {thing}, so now '
                     f'there are {result} {thing}.')
        have = result
    return steps


def reasoning(draws, size):
    while True:
        steps = chain(draws, max(2, size // 65))
        yield ' '.join(steps)


def mixed_steps(draws, size):
    while True:
        count = max(2, size // 65)
        yield ' '.join(chain(draws, count)[draws.randint(1, count)]
                       for _ in range(count))


def retrieval(draws, size, true_answers):
    while True:
        count = max(3, size // 80)
        keys = [''.join(draws.choices('abcdefghjkmnpqrstuvwxyz23456789', k=8))
                for _ in range(count)]
        values = [str(draws.randint(100000, 999999)) for _ in keys]
        answers = values if true_answers else [
            str(draws.randint(100000, 999999)) for _ in keys]
        lines = [f'{key} = {value}' for key, value in zip(keys, values)]
        for i in draws.sample(range(count), count):
            lines.append(f'What is {keys[i]}? It is {answers[i]}.')
        yield '\n'.join(lines)


def sources(draws, size):
    manuals = files('usr/share/doc/**/*.html', 'usr/share/doc/**/*.txt.gz',
                    'usr/share/man/man[57]/*.gz')
    boilerplate = files('usr/share/doc/*/copyright*',
                        'usr/share/doc/*/changelog*')
    boilerplate += sorted(pathlib.Path('/usr/share/common-licenses').glob('*'))
    boilerplate += sorted(pathlib.Path('/usr/share/doc').glob('*/copyright'))
    fortunes = [p for p in files('usr/share/games/fortunes/*')
                if p.suffix == '']
    quotes = (q.strip() for p in fortunes for q in read(p).split('\n%\n'))
    return {
        'manual/steps': sentences(map(plain, map(read, manuals)), size),
        'manual/list': pieces(map(read, boilerplate), size),
        'code/steps': functions(size),
        'code/list': tables(size),
        'language/steps': (q for q in quotes
                           if size * 0.5 <= len(q.encode()) <= 2 * size),
        'language/list': word_lists(draws, size),
        'reasoning/steps': reasoning(draws, size),
        'reasoning/list': mixed_steps(draws, size),
        'retrieval/steps': retrieval(draws, size, True),
        'retrieval/list': retrieval(draws, size, False),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--out', required=True)
    parser.add_argument('--documents', type=int, default=2000)
    parser.add_argument('--bytes', type=int, default=900, help='of a document')
    parser.add_argument('--seed', type=int, default=1)
    arguments = parser.parse_args()
    unpack()
    draws = random.Random(arguments.seed)
    kinds = sources(draws, arguments.bytes)
    seen, counts = set(), dict.fromkeys(kinds, 0)
    with open(arguments.out, 'w', encoding='utf-8') as file:
        total = 0
        while kinds and total < arguments.documents:
            for kind in list(kinds):
                text = next((t for t in kinds[kind] if t not in seen), None)
                if text is None:
                    del kinds[kind]
                    continue
                seen.add(text)
                file.write(json.dumps({
                    'id': f'{kind}/{counts[kind]}',
                    'domain': kind.split('/')[0], 'text': text}) + '\n')
                counts[kind] += 1
                total += 1
                if total == arguments.documents:
                    break
    print(json.dumps({'documents': total, **counts}))


if __name__ == '__main__':
    main()
