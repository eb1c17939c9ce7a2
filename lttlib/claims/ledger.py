"""Read, check and show book/claims.yml: every claim with its source, our measurement and a verdict that follows from it.

An entry of the file:

    id, chapter, source (a key of references.bib, or "this book"), statement, paper (the source's own figure, or null), how
    expect: {above: x} or {below: x} or {between: [x, y]}, what the 95% interval must satisfy
    tolerance: how far a recomputed mean may lie from the one written here
    measured: list of {where, kind: live | recorded, measure: "module:function", seeds, mean, low, high, verdict}
    verdict: reproduced | partly | not;  why: required unless reproduced
"""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import yaml

from lttlib.arguments import require, require_choice
from lttlib.intervals import Interval, mean_interval

FIELDS = {"id", "chapter", "source", "statement", "paper", "how", "expect", "tolerance", "measured", "verdict", "why"}
MEASURED = {"where", "kind", "measure", "seeds", "mean", "low", "high", "verdict"}
VERDICTS = ("reproduced", "partly", "not")
DIGITS = 6


def read(path: str | Path) -> list[dict]:
    """All claims of the file, validated: fields, choices, unique ids, a reason where a claim is not reproduced."""
    claims = yaml.safe_load(Path(path).read_text())
    seen = set()
    for claim in claims:
        name = claim.get("id")
        require(
            set(claim) == FIELDS,
            f"claim {name}",
            sorted(claim),
            f"the fields {sorted(FIELDS)}",
            "add or remove what differs",
        )
        require(name not in seen, "id", name, "an id used once", "rename one of the two")
        seen.add(name)
        require_choice(claim["verdict"], VERDICTS, f"verdict of {name}")
        require(
            claim["verdict"] == "reproduced" or bool(claim["why"]),
            f"why of {name}",
            claim["why"],
            "a reason",
            "say why it is not reproduced",
        )
        require(
            len(claim["measured"]) > 0,
            f"measured of {name}",
            "[]",
            "at least one measurement",
            "name a function that measures it",
        )
        for one in claim["measured"]:
            require(
                set(one) == MEASURED,
                f"measured of {name}",
                sorted(one),
                f"the fields {sorted(MEASURED)}",
                "run python -m lttlib.claims",
            )
            require_choice(one["kind"], ("live", "recorded"), f"kind of {name}")
    return claims


def measure(dotted: str) -> list[float]:
    """Values per seed, from "module:function" or "module:function:argument" below lttlib.claims."""
    module, function, *argument = dotted.split(":")
    return getattr(importlib.import_module(f"lttlib.claims.{module}"), function)(*argument)


def judged(interval: Interval, expect: Mapping) -> str:
    """Verdict of one measurement: reproduced if the whole interval satisfies the expectation, partly if its mean does."""
    ((rule, bound),) = expect.items()
    require_choice(rule, ("above", "below", "between"), "expect")
    holds = {
        "above": lambda x: x > bound,
        "below": lambda x: x < bound,
        "between": lambda x: bound[0] <= x <= bound[1],
    }[rule]
    if holds(interval.low) and holds(interval.high):
        return "reproduced"
    return "partly" if holds(interval.mean) else "not"


def overall(verdicts: Sequence[str]) -> str:
    """One verdict for all measurements of a claim: reproduced if all are, not if none even partly, else partly."""
    if all(v == "reproduced" for v in verdicts):
        return "reproduced"
    return "not" if all(v == "not" for v in verdicts) else "partly"


def remeasured(claim: Mapping) -> dict:
    """The claim with fresh numbers and the verdicts that follow from them."""
    measured = []
    for one in claim["measured"]:
        values = measure(one["measure"])
        interval = mean_interval(values)
        numbers = {name: round(value, DIGITS) for name, value in interval._asdict().items()}
        measured.append({**one, "seeds": len(values), **numbers, "verdict": judged(interval, claim["expect"])})
    return {**claim, "measured": measured, "verdict": overall([one["verdict"] for one in measured])}


def differences(claim: Mapping) -> list[str]:
    """What a fresh measurement changes: means beyond the tolerance (beyond rounding where recorded), other verdicts."""
    fresh, found = remeasured(claim), []
    for old, new in zip(claim["measured"], fresh["measured"], strict=True):
        allowed = claim["tolerance"] if old["kind"] == "live" else 10**-DIGITS
        for name in ("mean", "low", "high"):
            if not abs(new[name] - old[name]) <= allowed:
                found.append(
                    f"{claim['id']}, {old['where']}: {name} is {new[name]}, written is {old[name]}, tolerance {allowed}"
                )
        if new["seeds"] != old["seeds"] or new["verdict"] != old["verdict"]:
            found.append(
                f"{claim['id']}, {old['where']}: {new['seeds']} seeds, {new['verdict']}; written {old['seeds']}, {old['verdict']}"
            )
    if fresh["verdict"] != claim["verdict"]:
        found.append(f"{claim['id']}: {fresh['verdict']}, written is {claim['verdict']}")
    return found


def write(path: str | Path, claims: Sequence[Mapping]) -> None:
    """Write claims back, in the order of the file."""
    text = yaml.safe_dump([dict(c) for c in claims], sort_keys=False, allow_unicode=True, width=120)
    Path(path).write_text(text)
