"""Numbers that the solvers, the engine and the estimators were given by hand.

    python tools/constants.py [--list] [FOLDER]

A number counts as named where a name in capitals is bound to it, each entry of a tuple or dict for
itself, and as another where it stands in the code or as a default. What is hardly tuned does not
count: 0, 1 and 2 without a name, places in brackets, stacklevel, and enumerations that begin at 0.
Of ``1 << 20`` the last number counts. The page docs/internals/constants.rst shows `table`.
"""

import argparse
import re
import tokenize
from pathlib import Path

__all__ = ["main", "numbers", "table"]

ROOMS = ("_solvers/*.py", "_engine/*.pxd", "_engine/*.pyx", "_estimators/*.py")
NAMED = re.compile(r"(?:cdef \w+ )?([A-Z][A-Z_0-9]+(?:\s*,\s*[A-Z_0-9]+)*)\s*(?::[^=]+)?=(?!=)")
PLAIN = (0, 1, 2)
SPACE = (tokenize.COMMENT, tokenize.NL, tokenize.INDENT, tokenize.DEDENT)


def main(argv=None):
    """Print how many there are in each file."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", type=Path, default=Path(__file__).parents[1] / "skce")
    parser.add_argument("--list", action="store_true", help="each of them")
    args = parser.parse_args(argv)
    total = [0, 0]
    for path in _files(args.folder):
        found = list(numbers(path))
        named = sum(bool(name) for name, *_ in found)
        total = [total[0] + named, total[1] + len(found) - named]
        if found:
            print(f"{path.relative_to(args.folder)}: {named} named, {len(found) - named} others")
        for name, value, line in found if args.list else ():
            print(f"    {line:4} {name or '-':24} {value}")
    print(f"{total[0]} named, {total[1]} others")


def numbers(path):
    """Yield the name, "" for none, text and line of each number of a file."""
    enum, codes = None, False  # the indent of an enumeration, and whether it begins at 0
    for tokens in _statements(path):
        text, indent = tokens[0].line.strip(), tokens[0].start[1]
        if enum is not None and indent <= enum:
            enum = None
        if re.match(r"c?p?def enum\b", text):
            enum, codes = indent, None
            continue
        if enum is not None:
            codes = tokens[-1].string == "0" if codes is None else codes
            if codes:
                continue
        match, depth = NAMED.match(text), 0
        for token, after in zip(tokens, [*tokens[1:], tokens[-1]], strict=True):
            depth += (token.string == "[") - (token.string == "]")
            if token.type != tokenize.NUMBER or depth or after.string == "<<":
                continue
            if re.search(rf"stacklevel={token.string}\b", token.line):
                continue
            if match or float(token.string) not in PLAIN:
                yield match[1] if match else "", token.string, token.start[0]


def table(folder, named):
    """Return rows of file, statement and why, for named numbers or for the others.

    Why is the comment in the line, or those right above it.
    """
    rows = []
    for path in _files(folder):
        lines = path.read_text(encoding="utf-8").splitlines()
        chosen = {line for name, _, line in numbers(path) if bool(name) == named}
        for line in sorted(chosen):
            code, _, why = lines[line - 1].partition("  #")
            above = line - 2
            while above >= 0 and lines[above].lstrip().startswith("#"):
                why, above = f"{lines[above].strip('# ')} {why.strip()}", above - 1
            rows.append((path.relative_to(folder).as_posix(), code.strip(), why.strip()))
    return rows


def _files(folder):
    return sorted(path for room in ROOMS for path in folder.glob(room))


def _statements(path):
    """Yield the tokens of each logical line."""
    line = []
    with tokenize.open(path) as file:
        for token in tokenize.generate_tokens(file.readline):
            if token.type in (tokenize.NEWLINE, tokenize.ENDMARKER):
                if line:
                    yield line
                line = []
            elif token.type not in SPACE:
                line.append(token)


if __name__ == "__main__":
    main()
