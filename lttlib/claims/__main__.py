"""Measure every claim anew and write the numbers: python -m lttlib.claims [--chapter NAME]."""

import argparse
from pathlib import Path

from lttlib.claims import ledger

CLAIMS = Path(__file__).parents[2] / "book" / "claims.yml"


def main() -> None:
    """Measure, write book/claims.yml, print the verdicts."""
    parser = argparse.ArgumentParser(prog="python -m lttlib.claims", description=__doc__)
    parser.add_argument("--chapter", help="only the claims of this chapter")
    chapter = parser.parse_args().chapter
    claims = [ledger.remeasured(c) if chapter in (None, c["chapter"]) else c for c in ledger.read(CLAIMS)]
    ledger.write(CLAIMS, claims)
    for claim in claims:
        print(f"{claim['verdict']:11} {claim['id']}")


if __name__ == "__main__":
    main()
