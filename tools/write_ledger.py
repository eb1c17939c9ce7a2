"""Write book/ledger.md from book/claims.yml: every claim with source, measurement and verdict, by chapter."""

import sys
from pathlib import Path

from lttlib.claims import ledger

BOOK = Path(__file__).parents[1] / "book"
MARKS = {"reproduced": "✓ reproduced", "partly": "≈ partly", "not": "✗ not"}
HEAD = """# Ledger of claims

<!-- Written by tools/write_ledger.py from claims.yml. Change that file, not this one. -->

What papers claim, what we measured, and whether the two agree. A test measures every *live* claim anew and compares; *recorded* ones
are compared with the committed record of a longer run. Numbers are means over seeds with 95% intervals. A verdict follows from the interval:
*reproduced* if all of it satisfies the claim, *partly* if its mean does (or if data sets disagree), *not* otherwise. A claim
that fails stays here, with why.

**So far:** {summary}.

```{{raw}} html
<form class="ledger-filter" onsubmit="return false">
<label for="ledger-verdict">Show</label>
<select id="ledger-verdict"><option value="">all verdicts</option><option>reproduced</option><option>partly</option><option>not</option></select>
<label for="ledger-text">with the words</label> <input id="ledger-text" type="search">
<output id="ledger-count" aria-live="polite"></output>
</form>
<script>
document.addEventListener("DOMContentLoaded", () => {{
  const verdict = document.getElementById("ledger-verdict"), text = document.getElementById("ledger-text");
  const claims = [...document.querySelectorAll(".claim")];
  const show = () => {{
    const words = text.value.toLowerCase();
    claims.forEach(claim => {{
      const fits = !verdict.value || claim.classList.contains("claim-" + verdict.value);
      claim.style.display = fits && claim.textContent.toLowerCase().includes(words) ? "" : "none";
    }});
    const shown = claims.filter(claim => !claim.style.display).length;
    document.getElementById("ledger-count").textContent = shown + " of " + claims.length + " claims";
  }};
  verdict.addEventListener("input", show);
  text.addEventListener("input", show);
  show();
}});
</script>
```
"""


def source(claim: dict) -> str:
    """The citation, or the words "this book"."""
    return claim["source"] if claim["source"] == "this book" else f"{{cite:t}}`{claim['source']}`"


def measurement(one: dict) -> str:
    """One line: where, mean and interval, seeds, verdict."""
    numbers = f"{one['mean']:+.3g} [{one['low']:+.3g}, {one['high']:+.3g}]"
    return f"- {one['where']}, {one['kind']}: {numbers}, {one['seeds']} seeds. {MARKS[one['verdict']]}"


def card(claim: dict) -> str:
    """One claim: verdict, statement, source, test, measurements and, where it fails, why."""
    ((rule, bound),) = claim["expect"].items()
    paper = f" The source's figure: {claim['paper']}." if claim["paper"] else ""
    why = f"\n\n**Why:** {claim['why']}" if claim["why"] else ""
    return (
        f":::{{card}} {MARKS[claim['verdict']]}\n:class-card: claim claim-{claim['verdict']}\n\n"
        f"**{claim['statement']}** {source(claim)}.{paper}\n\n"
        f"{claim['how']} Expected: {rule} {bound}.\n\n"
        + "\n".join(map(measurement, claim["measured"]))
        + f"{why}\n:::\n"
    )


def page(claims: list[dict]) -> str:
    """The whole page."""
    counts = [f"{sum(c['verdict'] == verdict for c in claims)} {MARKS[verdict][2:]}" for verdict in ledger.VERDICTS]
    parts = [HEAD.format(summary=", ".join(counts))]
    for chapter in dict.fromkeys(claim["chapter"] for claim in claims):
        title = (BOOK / f"{chapter}.md").read_text(encoding="utf-8").split("# ", 1)[1].splitlines()[0]
        parts.append(f"## [{title}](/book/{chapter}.md)\n")  # without words of its own the entry in the margin is empty
        parts += [card(claim) for claim in claims if claim["chapter"] == chapter]
    return "\n".join(parts)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else BOOK / "ledger.md"
    target.write_text(page(ledger.read(BOOK / "claims.yml")), encoding="utf-8")
