"""Does the influence score rank text whose parts need each other above lists?

    quality.py --plan masked.json [--model M] [--documents 1000] [--json]
               [--rows rows.jsonl]    of an earlier run of the same corpus

Scores the corpus of corpus.py by `headwise select score` and prints, for each
domain, the area under the ROC curve (AUC: how often a document of kind `steps`
is ahead of one of kind `list`) by influence score and by three baselines: low
perplexity (loss_base), length and low repetition; by the score where documents
above --max-repetition come last, as `select run --max-repetition` leaves them
out; and by the score under as many random heads of the same layers, if --random
N asks for N such plans. Spearman's correlation of score and repetition stands
below. Documents that flags keep out of the ranking are left out, and counted.
"""

import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
HEADWISE = ROOT / 'build' / 'release' / 'bin' / 'headwise'
MODEL = ROOT / 'models' / 'SmolLM2-135M-Instruct.Q4_1.gguf'
NOT_RANKED = {'too_short', 'low_loss', 'duplicate_id', 'not_finite',
              'empty_text'}


def auc(steps, lists):
    """Ties count half."""
    wins = sum((a > b) + 0.5 * (a == b) for a in steps for b in lists)
    return wins / (len(steps) * len(lists))


def score(model, plan, corpus, out):
    with open(out, 'w', encoding='utf-8') as file:
        subprocess.run([HEADWISE, 'select', 'score', '--model', model,
                        '--plan', plan, corpus], check=True, stdout=file)


def indices(text):
    for part in text.split(','):
        first, _, last = part.partition('-')
        yield from range(int(first), int(last or first) + 1)


def random_plan(plan, draws):
    """As many heads of each layer, none of those that the plan masks."""
    masked = {}
    for entry in plan['query_heads']:
        for layer in indices(entry['layers']):
            masked.setdefault(layer, set()).update(indices(entry['heads']))
    mask = plan['query_heads'][0]['mask']
    heads = []
    for layer, taken in sorted(masked.items()):
        free = sorted(set(range(plan['heads'])) - taken)
        for head in draws.sample(free, len(taken)):
            heads.append({'layers': str(layer), 'heads': str(head),
                          'mask': mask})
    return {**plan, 'query_heads': heads, 'origin': 'random heads'}


def ranks(values):
    """Equals share their mean rank."""
    order = sorted(range(len(values)), key=values.__getitem__)
    result = [0.0] * len(values)
    begin = 0
    while begin < len(order):
        end = begin
        while end < len(order) and values[order[end]] == values[order[begin]]:
            end += 1
        for i in order[begin:end]:
            result[i] = (begin + end - 1) / 2
        begin = end
    return result


def spearman(a, b):
    x, y = ranks(a), ranks(b)
    middle = (len(x) - 1) / 2
    product = sum((i - middle) * (k - middle) for i, k in zip(x, y))
    squares = (sum((i - middle) ** 2 for i in x)
               * sum((k - middle) ** 2 for k in y))
    return product / squares ** 0.5 if squares > 0 else 0.0


def correlations(rows):
    """Of score and repetition, by domain."""
    domains = {}
    for row in rows:
        domains.setdefault(row['doc_id'].split('/')[0], []).append(row)
    return {domain: spearman([r['score'] for r in of],
                             [r['repetition'] for r in of])
            for domain, of in domains.items()}


def read_rows(path):
    rows = [json.loads(line) for line in open(path, encoding='utf-8')]
    ranked = [r for r in rows if not NOT_RANKED & set(r['flags'])]
    return ranked, len(rows) - len(ranked)


def guarded(row, max_repetition):
    """Those above it are last, and equal."""
    if row['repetition'] > max_repetition:
        return float('-inf')
    return row['score']


def figures(rows, key):
    """AUC by domain."""
    kinds = {}
    for row in rows:
        domain, kind, _ = row['doc_id'].split('/')
        kinds.setdefault(domain, {}).setdefault(kind, []).append(key(row))
    return {domain: auc(k['steps'], k['list']) for domain, k in kinds.items()
            if len(k) == 2}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('--plan', required=True)
    parser.add_argument('--model', default=MODEL)
    parser.add_argument('--documents', type=int, default=1000)
    parser.add_argument('--random', type=int, default=0)
    parser.add_argument('--max-repetition', type=float, default=0.15)
    parser.add_argument('--rows')
    parser.add_argument('--json', action='store_true')
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        corpus = folder / 'corpus.jsonl'
        subprocess.run([sys.executable, pathlib.Path(__file__).parent
                        / 'corpus.py', '--out', corpus, '--documents',
                        str(arguments.documents)], check=True,
                       stdout=sys.stderr)
        rows_file = arguments.rows or folder / 'rows.jsonl'
        if not arguments.rows:
            score(arguments.model, arguments.plan, corpus, rows_file)
        rows, left_out = read_rows(rows_file)
        result = {
            'influence': figures(rows, lambda r: r['score']),
            'low perplexity': figures(rows, lambda r: -r['loss_base']),
            'length': figures(rows, lambda r: r['n_tokens']),
            'low repetition': figures(rows, lambda r: -r['repetition']),
            f'guard {arguments.max_repetition:g}': figures(
                rows, lambda r: guarded(r, arguments.max_repetition))}
        draws = random.Random(1)
        plan = json.loads(pathlib.Path(arguments.plan).read_text())
        for i in range(arguments.random):
            other = folder / f'random{i}.json'
            other.write_text(json.dumps(random_plan(plan, draws)))
            out = folder / f'random{i}.jsonl'
            score(arguments.model, other, corpus, out)
            result[f'random heads {i}'] = figures(
                read_rows(out)[0], lambda r: r['score'])
    if arguments.json:
        print(json.dumps({'documents': len(rows), 'left_out': left_out,
                          'auc': result,
                          'correlation': correlations(rows)}))
        return
    domains = list(result['influence'])
    print(f'{len(rows)} documents, {left_out} left out')
    print(f'{"AUC":18}' + ''.join(f'{domain:>12}' for domain in domains))
    result['score ~ repetition'] = correlations(rows)
    for key, values in result.items():
        print(f'{key:18}' + ''.join(f'{values[d]:12.2f}' for d in domains))


if __name__ == '__main__':
    main()
