"""A mixture of experts once more, one token after the other, in plain Python on lists."""

import math


def probabilities(row):
    """Softmax of a list of logits."""
    powers = [math.exp(logit - max(row)) for logit in row]
    return [power / sum(powers) for power in powers]


def choices(logits, k, softmax="before"):
    """(chosen, gates): of each token its k experts, best first, and their gates."""
    chosen, gates = [], []
    for row in logits:
        best = sorted(range(len(row)), key=lambda e: (-row[e], e))[:k]
        p = probabilities(row)
        whole = 1 if softmax == "before" else sum(p[e] for e in best)
        chosen.append(best)
        gates.append([p[e] / whole for e in best])
    return chosen, gates


def places(chosen, experts, priority, scores=None):
    """Place of each choice in its expert's queue, (T, k) list: the queues are filled one choice after the other."""
    tokens, k = len(chosen), len(chosen[0])
    if priority == "token":
        turns = [(t, s) for t in range(tokens) for s in range(k)]
    else:
        first = list(range(tokens))
        if priority == "batch":
            first.sort(key=lambda t: -scores[t])
        turns = [(t, s) for s in range(k) for t in first]
    waiting = [0] * experts
    found = [[None] * k for _ in range(tokens)]
    for t, s in turns:
        found[t][s] = waiting[chosen[t][s]]
        waiting[chosen[t][s]] += 1
    return found


def perceptron(x, w1, b1, w2, b2):
    """One expert with ReLU on one token; all lists."""
    hidden = [max(0.0, b + sum(x[i] * w1[i][j] for i in range(len(x)))) for j, b in enumerate(b1)]
    return [b + sum(hidden[j] * w2[j][o] for j in range(len(hidden))) for o, b in enumerate(b2)]


def mixture(x, triples, experts, outputs):
    """Sum of gate * answer. triples: (token, expert, gate); experts: of each (w1, b1, w2, b2) as lists."""
    y = [[0.0] * outputs for _ in x]
    for t, e, gate in triples:
        for o, answer in enumerate(perceptron(x[t], *experts[e])):
            y[t][o] += gate * answer
    return y


def balance(logits, k, convention):
    """E * sum f P, counted token by token."""
    experts, tokens = len(logits[0]), len(logits)
    f, p = [0.0] * experts, [0.0] * experts
    for row in logits:
        best = sorted(range(experts), key=lambda e: (-row[e], e))[:k]
        for e in best[:1] if convention == "switch" else best:
            f[e] += {"switch": 1, "sum": 1, "mean": 1 / k, "square": 1 / k**2}[convention] / tokens
        for e, share in enumerate(probabilities(row)):
            p[e] += share / tokens
    return experts * sum(a * b for a, b in zip(f, p, strict=True))
