"""The step of SRigL once more, in plain Python on lists of lists, and with the mistakes of the published code if asked."""

import math


def by_loops(weight, grad, mask, fraction, sparsity, gamma, last_layer=False, mistakes=()):
    """The mask after the step, lists of bool. mistakes: "trim" trims by index, "keep" keeps places that hold nothing."""
    rows, columns = range(len(weight)), range(len(weight[0]))
    everywhere = [(r, c) for r in rows for c in columns]
    budget = len(everywhere) - math.floor(sparsity * len(everywhere) + 1e-9)
    live = [(r, c) for r, c in everywhere if mask[r][c]]
    size = {(r, c): abs(weight[r][c]) if mask[r][c] else 0.0 for r, c in everywhere}
    steep = {(r, c): abs(grad[r][c]) for r, c in everywhere}

    def largest(score, among, count):
        return sorted(among, key=lambda place: (-score[place], place))[:count]

    keep = len(live) - math.floor(fraction * len(live) + 1e-9)
    keep = min(keep, sum(size[place] > 0 for place in live))
    salient = set(largest(size, everywhere, keep)) | set(largest(steep, everywhere, len(live) - keep))
    counts = [sum(place[0] == r for place in salient) for r in rows]
    left = list(rows)
    if gamma > 0 and not last_layer:
        threshold = max(1, math.floor(gamma * (len(live) // len({r for r, _ in live})) + 1e-9))
        needed = math.ceil(budget / len(columns))
        left = [r for r in rows if counts[r] >= min(threshold, sorted(counts, reverse=True)[needed - 1])]
    fan_in = budget // len(left)
    if "keep" in mistakes:  # ablated rows are scored lowest, but as many are kept as before
        among = sorted(everywhere, key=lambda place: place[0] not in left)
        kept = sorted(among, key=lambda place: -size[place] if place[0] in left else 1)[:keep]
    else:
        kept = largest(size, [place for place in live if place[0] in left and size[place] > 0], keep)
    result = []
    for r in left:
        mine = sorted(place for place in kept if place[0] == r)
        mine = mine[:fan_in] if "trim" in mistakes else largest(size, mine, fan_in)
        free = [(r, c) for c in columns if (r, c) not in mine]
        result += mine + largest(steep, free, fan_in - len(mine))
    return [[(r, c) in result for c in columns] for r in rows]
