"""Numbers in prose must come from a lab (glue) or from the ledger; this finds those that were typed."""

import re

FENCE = re.compile(r"^\s*(`{3,}|:{3,}|~{3,})\s*(?:\{([\w:-]+)\})?(.*)$")
CODE_DIRECTIVES = {"literalinclude", "math", "raw", "bibliography", "eval-rst", "figure", "image"}
INLINE = [  # what is no prose inside a line: math, roles, code, targets of links, options of directives
    r"\$[^$]+\$",
    r"\{[\w:+-]+\}`+[^`]*`+",
    r"`[^`]*`",
    r"\]\([^)]*\)",
    r"^\s*:[\w-]+:.*$",
]
# What a measurement looks like: a decimal number or a percentage. A setting of an experiment says what it sets
# ("10% live", "95% confidence"), and a version says of what.
SETTING = r"(?!\s?%?[\s-]*(?:live|sparse|sparsity|deleted|confidence|intervals?|of\b))"
MEASURED = re.compile(
    r"(?<![\w.\-–])(?<!Python )(?<!, )(?<!or )[+−-]?(?:\d*\.\d+|\d+(?=\s?%))" + SETTING + r"(?![\w.]*\d)"
)


def prose(markdown: str) -> list[str]:
    """The page's lines with everything that is no prose blanked out; directives other than code are prose."""
    lines, opened, in_math = [], [], False
    for line in markdown.splitlines():
        fence = FENCE.match(line)
        if line.strip() == "$$" and not any(code for _, code in opened):
            in_math = not in_math
            lines.append("")
        elif fence and opened and fence[1] == opened[-1][0] and not fence[2] and not fence[3].strip():
            opened.pop()
            lines.append("")
        elif fence and not (opened and opened[-1][1]):
            opened.append((fence[1], fence[2] is None or fence[2] in CODE_DIRECTIVES))
            lines.append("")
        else:
            code = in_math or bool(opened and opened[-1][1])
            lines.append("" if code else _blanked(line))
    return lines


def _blanked(line: str) -> str:
    for pattern in INLINE:
        line = re.sub(pattern, lambda m: " " * len(m.group()), line)
    return line


def typed_numbers(markdown: str) -> list[str]:
    """Every measured-looking number in prose, as "line: the words around it"."""
    return [
        f"{number}: ...{line[max(0, match.start() - 30) : match.end() + 30].strip()}..."
        for number, line in enumerate(prose(markdown), start=1)
        for match in MEASURED.finditer(line)
    ]
