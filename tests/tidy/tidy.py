"""The house rules as a test.

    tidy.py [SOURCE_DIR] [--only FOLDER]

Prints one line per finding, path:line: what, and fails if there is any. Files
are those that git tracks or would track; without git, all but build outputs.
"""

import argparse
import pathlib
import subprocess
import sys

import cpp_text
import rules_cpp
import rules_layers
import rules_text
import rules_tree

_SKIPPED = {'.git', 'build', 'models', '.venv', '__pycache__'}
_CPP = ('.h', '.cc', '.cu')


def list_files(root):
    command = ['git', '-c', f'safe.directory={root}', '-C', str(root),
               'ls-files', '-z', '--cached', '--others', '--exclude-standard']
    try:
        output = subprocess.run(command, capture_output=True, check=True)
        names = output.stdout.decode().split('\0')
    except (OSError, subprocess.CalledProcessError):
        names = [str(p.relative_to(root)) for p in root.rglob('*')
                 if not _SKIPPED & set(p.relative_to(root).parts)]
    return sorted({n for n in names if n and (root / n).is_file()})


def read_allowlist(root):
    """Lines `path  reason`; # begins a comment."""
    allowlist = {}
    path = root / 'tests/tidy/allowlist.txt'
    lines = path.read_text().splitlines() if path.is_file() else []
    for line in lines:
        words = line.split('#')[0].split(None, 1)
        if words:
            allowlist[words[0]] = words[1].strip() if len(words) > 1 else ''
    return allowlist


def check_file(path, text, allowlist):
    """Findings (line, what) of one file, and its excused long functions."""
    findings, excused, raw_lines = [], [], frozenset()
    if path.endswith(_CPP):
        source = cpp_text.Source(text)
        raw_lines = source.raw_lines
        findings += rules_layers.check(path, source)
        findings += rules_cpp.check(path, source)
        excused = [(line, count)
                   for line, count, ok in rules_cpp.long_functions(source)
                   if ok]
    elif path.endswith('.proto'):
        # The scanner's comments and words are those of protobuf too.
        findings += rules_cpp.check_vocabulary(path, cpp_text.Source(text))
    findings += rules_text.check(path, text, raw_lines, allowlist)
    return findings, excused


def check_tree(root):
    """Findings (path, line, what), and excused functions of the same form."""
    paths = list_files(root)
    allowlist = read_allowlist(root)
    texts, findings, excused = {}, [], []
    for path in paths:
        if not rules_text.is_text(path):
            findings += [(path, l, w) for l, w in rules_text.check_name(path)]
            continue
        try:
            texts[path] = (root / path).read_text(encoding='utf-8')
        except UnicodeDecodeError as error:
            findings.append((path, 1, f'not UTF-8: {error.reason}'))
            continue
        found, long = check_file(path, texts[path], allowlist)
        findings += [(path, line, what) for line, what in found]
        excused += [(path, line, f'function of {count} lines, excused')
                    for line, count in long]
    findings += rules_tree.check(paths, texts, allowlist,
                                 rules_text.FILE_LINES)
    return sorted(findings), sorted(excused), len(paths)


def main():
    parser = argparse.ArgumentParser(description='Checks the house rules.')
    here = pathlib.Path(__file__).resolve().parent.parent.parent
    parser.add_argument('source_dir', nargs='?', type=pathlib.Path,
                        default=here)
    parser.add_argument('--only', default='', help='findings of this folder')
    arguments = parser.parse_args()
    findings, excused, num_files = check_tree(arguments.source_dir.resolve())
    for path, line, what in excused:
        print(f'note: {path}:{line}: {what}')
    shown = [f for f in findings if f[0].startswith(arguments.only)]
    for path, line, what in shown:
        print(f'{path}:{line}: {what}')
    print(f'{num_files} files, {len(shown)} findings')
    return 1 if shown else 0


if __name__ == '__main__':
    sys.exit(main())
