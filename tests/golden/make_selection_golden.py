"""Makes selection_documents.jsonl and selection_losses.jsonl.

    make_selection_golden.py          needs a built `headwise` and the model

200 documents: paragraphs of this project's pages, pieces of its code, word
lists, and made-up tables with questions, whose answers a model can only copy.
Their losses, as the model is and with 14 query heads masked (the 5 % that score
best in `headwise plan calibrate --method retrieval`), are those of
bench/peers/two_pass_scorer.py: torch, float32, weights dequantized.
"""

import json
import pathlib
import random
import re
import subprocess
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
HERE = pathlib.Path(__file__).resolve().parent
MODEL = ROOT / 'models' / 'SmolLM2-135M-Instruct.Q4_1.gguf'
HEADWISE = ROOT / 'build' / 'release' / 'bin' / 'headwise'
HEADS = ('17.3,17.4,17.5,18.6,18.7,20.3,20.6,21.8,'
         '22.7,23.1,23.2,23.7,24.4,6.0')
PER_KIND = 50
MIN_BYTES, MAX_BYTES = 350, 900


def pages():
    for path in sorted((ROOT / 'docs').glob('*.md')):
        for paragraph in path.read_text().split('\n\n'):
            yield paragraph.strip()


def code():
    for path in sorted((ROOT / 'worker').rglob('*.cc')):
        for piece in re.split(r'\n\n(?=\S)', path.read_text()):
            yield piece.strip()


def words(draws):
    text = (HERE / 'text.txt').read_text()
    pool = sorted(set(re.findall(r'[a-z]{4,}', text)))
    while True:
        yield ', '.join(draws.sample(pool, draws.randint(50, 90)))


def tables(draws):
    while True:
        keys = [''.join(draws.choices('abcdefghjkmnpqrstuvwxyz23456789', k=8))
                for _ in range(12)]
        values = [str(draws.randint(1000, 9999)) for _ in keys]
        lines = [f'{k} = {v}' for k, v in zip(keys, values)]
        for i in draws.sample(range(12), 9):
            lines.append(f'What is {keys[i]}? It is {values[i]}.')
        yield '\n'.join(lines)


def documents():
    draws = random.Random(5)
    for domain, texts in (('pages', pages()), ('code', code()),
                          ('words', words(draws)), ('tables', tables(draws))):
        count = 0
        for text in texts:
            if not MIN_BYTES <= len(text.encode()) <= MAX_BYTES:
                continue
            yield {'id': f'{domain}-{count}', 'domain': domain, 'text': text}
            count += 1
            if count == PER_KIND:
                break


def token_ids(text):
    with tempfile.NamedTemporaryFile('w', encoding='utf-8') as file:
        file.write(text)
        file.flush()
        answer = subprocess.run(
            [HEADWISE, 'tokenize', '--model', MODEL, '--text-file', file.name,
             '--json', '--add-special', '--plain-special'],
            check=True, capture_output=True, text=True)
    return json.loads(answer.stdout)['ids']


def main():
    rows = list(documents())
    out = HERE / 'selection_documents.jsonl'
    with open(out, 'w', encoding='utf-8') as file:
        for row in rows:
            file.write(json.dumps(row, ensure_ascii=False) + '\n')
    with tempfile.TemporaryDirectory() as folder:
        ids = pathlib.Path(folder) / 'ids.jsonl'
        with open(ids, 'w', encoding='utf-8') as file:
            for row in rows:
                file.write(json.dumps({'id': row['id'],
                                       'ids': token_ids(row['text'])}) + '\n')
        subprocess.run(
            ['python3', ROOT / 'bench' / 'peers' / 'two_pass_scorer.py',
             '--model', MODEL, '--heads', HEADS, '--input', ids,
             '--out', HERE / 'selection_losses.jsonl'], check=True)


if __name__ == '__main__':
    main()
