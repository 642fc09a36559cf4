#!/usr/bin/env python3
"""`headwise select score` against a plain scorer, over 200 documents.

    select_test.py floats    the model's weights as fp32: each loss within 1e-3
    select_test.py model     the model as it is, whose activations are int8

selection_losses.jsonl is of torch in fp32 (make_selection_golden.py). Both
rank documents as it does: Spearman's correlation of the scores >= 0.999.

Environment: HEADWISE (the program), HEADWISE_MODEL (a GGUF file).
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

import float_gguf
from make_selection_golden import HEADS

HERE = pathlib.Path(__file__).resolve().parent


def masked_plan(model, path):
    """Every unit full; HEADS see everything alike."""
    subprocess.run([os.environ['HEADWISE'], 'plan', 'new', '--model', model,
                    '--policy', 'full', '-o', path], check=True)
    plan = json.loads(path.read_text())
    plan['query_heads'] = [
        {'layers': layer, 'heads': head, 'mask': 'uniform'}
        for layer, head in (name.split('.') for name in HEADS.split(','))]
    path.write_text(json.dumps(plan))


def rows_of(model, folder):
    plan = folder / 'masked.json'
    masked_plan(model, plan)
    run = subprocess.run(
        [os.environ['HEADWISE'], 'select', 'score', '--model', model,
         '--plan', plan, HERE / 'selection_documents.jsonl'],
        check=True, capture_output=True, text=True)
    return [json.loads(line) for line in run.stdout.splitlines()]


def ranks(values):
    order = sorted(range(len(values)), key=lambda i: values[i])
    ranks = [0] * len(values)
    for rank, i in enumerate(order):
        ranks[i] = rank
    return ranks


def spearman(a, b):
    count = len(a)
    squares = sum((x - y) ** 2 for x, y in zip(ranks(a), ranks(b)))
    return 1 - 6 * squares / (count * (count * count - 1))


def score(row):
    return row['nll_masked'] / row['nll_base'] - 1


def check(rows, limit):
    lines = (HERE / 'selection_losses.jsonl').read_text().splitlines()
    expected = [json.loads(line) for line in lines]
    if [row['doc_id'] for row in rows] != [row['id'] for row in expected]:
        sys.exit('rows are not in the order of the documents')
    if [row['n_tokens'] for row in rows] != [
            row['n_tokens'] for row in expected]:
        sys.exit('other tokens count')
    errors = [abs(row[name] / wanted[name] - 1)
              for row, wanted in zip(rows, expected)
              for name in ('nll_base', 'nll_masked')]
    correlation = spearman(list(map(score, rows)), list(map(score, expected)))
    print(f'{len(rows)} documents: relative error of a loss at most '
          f'{max(errors):.2e}, mean {sum(errors) / len(errors):.2e}; '
          f'Spearman {correlation:.5f}')
    if max(errors) > limit or correlation < 0.999:
        sys.exit(f'limits: {limit} and 0.999')


def main():
    model = pathlib.Path(os.environ['HEADWISE_MODEL'])
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        if sys.argv[1] == 'model':
            return check(rows_of(model, folder), 2e-2)
        floats = folder / 'floats.gguf'
        float_gguf.write_float_copy(model, floats)
        return check(rows_of(floats, folder), 1e-3)


if __name__ == '__main__':
    main()
