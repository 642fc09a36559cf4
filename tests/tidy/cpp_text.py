"""Reads C++ as far as the house rules need it: no parser, only a scanner.

Comments, literals and preprocessor lines are blanked with spaces, so offsets
and line numbers stay those of the file; then braces are matched, and what
stands before a brace says what it opens.
"""

import bisect
import dataclasses
import re

_TOKEN = re.compile(
    r'(?P<line_comment>//[^\n]*)'
    r'|(?P<block_comment>/\*.*?\*/)'
    r'|(?P<raw>R"(?P<delimiter>[^\s()\\]{0,16})\(.*?\)(?P=delimiter)")'
    r'|(?P<string>"(?:\\.|[^"\\\n])*")'
    # A quote between digits, as in 1'000, starts no character.
    r"|(?P<char>(?<![0-9a-fA-F])'(?:\\.|[^'\\\n])+')",
    re.DOTALL)
_PREPROCESSOR = re.compile(r'^[ \t]*#(?:[^\n]*\\\n)*[^\n]*', re.MULTILINE)
_NOT_NEWLINE = re.compile(r'[^\n]')

_NAMESPACE = re.compile(r'\b(namespace|extern)\b')
_ENUM = re.compile(r'\benum\b')
_CLASS = re.compile(r'\b(class|struct|union)\b')
_ATTRIBUTE = re.compile(r'\[\[.*?\]\]|alignas\s*\([^)]*\)|ABSL_\w+(\([^)]*\))?',
                        re.DOTALL)
_ACCESS = re.compile(r'.*\b(?:public|private|protected)\s*:(?!:)', re.DOTALL)
_CLASS_NAME = re.compile(r'\b(?:class|struct|union)\s+([\w:]+)')


@dataclasses.dataclass
class Scope:
    """What one pair of braces encloses."""
    kind: str  # namespace, class, enum, function, block
    name: str
    head: int   # offset of the first character of what names the scope
    begin: int  # offset of {
    end: int    # offset of }
    parent: 'Scope'


def blank(text):
    return _NOT_NEWLINE.sub(' ', text)


def _keep_quotes(match):
    text = match.group(0)
    if match.lastgroup in ('line_comment', 'block_comment'):
        return blank(text)
    return text[0] + blank(text[1:-1]) + text[-1]


class Source:
    """One C++ file."""

    def __init__(self, text):
        self.text = text
        self.raw_lines = set()  # touched by a raw string literal
        self._starts = [0]
        for match in re.finditer('\n', text):
            self._starts.append(match.end())
        for match in _TOKEN.finditer(text):
            if match.group('raw') is not None:
                self.raw_lines.update(range(self.line_of(match.start()),
                                            self.line_of(match.end()) + 1))
        # Comments and literals gone; preprocessor lines still there.
        self.directives = _TOKEN.sub(_keep_quotes, text)
        self.code = _PREPROCESSOR.sub(lambda m: blank(m.group(0)),
                                      self.directives)
        self.scopes = _find_scopes(self.code)

    def line_of(self, offset):
        return bisect.bisect_right(self._starts, offset)

    def scope_at(self, offset):
        """The innermost scope around an offset, or None."""
        found = None
        for scope in self.scopes:
            if scope.begin < offset < scope.end and (
                    found is None or scope.begin > found.begin):
                found = scope
        return found


def _is_initializer(code, brace, head):
    """True for `x{1}` of a member list and for `= {`, `return {`, `({`."""
    before = code[brace - 1] if brace else ' '
    if before.isalnum() or before in '_>':
        return bool(head.strip()) and not _CLASS.search(head)
    stripped = head.rstrip()
    return stripped.endswith(('=', '(', ',', 'return', '{', '?', ':', '&&',
                              '||')) and not _NAMESPACE.search(head)


def _kind_of(code, brace, head, parent):
    inside_code = parent is not None and parent.kind in ('function', 'block')
    if _is_initializer(code, brace, head):
        return 'block'
    plain = _ATTRIBUTE.sub(' ', head)
    if _ENUM.search(plain):
        return 'enum'
    # `struct X f() {` and `template <class T> void f() {` are functions.
    if _CLASS.search(plain) and ')' not in plain:
        return 'class'
    if not inside_code:
        if ')' in plain or '[' in plain:
            return 'function'
        if _NAMESPACE.search(plain) or not plain.strip():
            return 'namespace'
    return 'block'


def _find_scopes(code):
    scopes, stack = [], []
    head_begin = 0  # where the text that may name the next scope begins
    for match in re.finditer(r'[{};]', code):
        char, at = match.group(0), match.start()
        if char == ';':
            head_begin = at + 1
        elif char == '{':
            access = _ACCESS.match(code, head_begin, at)
            if access:
                head_begin = access.end()
            head = code[head_begin:at]
            parent = stack[-1][0] if stack else None
            name = _CLASS_NAME.search(head)
            first = head_begin + len(head) - len(head.lstrip())
            scope = Scope(_kind_of(code, at, head, parent),
                          name.group(1) if name else '', first, at, len(code),
                          parent)
            # An initializer does not end the head: `a_{1}, b_{2} {`.
            resumed = head_begin if _is_initializer(code, at, head) else None
            stack.append((scope, resumed))
            head_begin = at + 1
        elif stack:
            scope, resumed = stack.pop()
            scope.end = at
            scopes.append(scope)
            head_begin = at + 1 if resumed is None else resumed
    return scopes
