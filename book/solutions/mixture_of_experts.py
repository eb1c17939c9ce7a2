"""Solutions of the exercises of the chapter "Mixture of experts"; the page shows them, the tests run them."""

import math

import numpy as np


def balance_loss(probabilities):
    tokens, experts = probabilities.shape
    f = np.bincount(probabilities.argmax(axis=1), minlength=experts) / tokens
    return experts * (f * probabilities.mean(axis=0)).sum()


def who_fits(chosen, capacity_factor, experts):
    tokens, k = chosen.shape
    capacity = math.ceil(capacity_factor * k * tokens / experts)
    kept, asked = np.zeros(chosen.shape, dtype=bool), np.zeros(experts, dtype=int)
    for slot in range(k):
        for token in range(tokens):
            expert = chosen[token, slot]
            kept[token, slot] = asked[expert] < capacity
            asked[expert] += 1
    return kept


def mixture(x, chosen, gates, kept, experts):
    y = np.zeros_like(x)
    for e, expert in enumerate(experts):
        token, slot = np.nonzero(kept & (chosen == e))
        y[token] += gates[token, slot, None] * expert(x[token])  # no token comes twice: it asks an expert once
    return y


def router_gradient(logits, slopes, k, softmax):
    chosen = np.argsort(-logits)[:k]
    among = chosen if softmax == "after" else np.arange(len(logits))
    gates, by_gate = np.zeros_like(logits), np.zeros_like(logits)
    gates[among] = np.exp(logits[among] - logits.max())  # no power is above 1
    gates /= gates.sum()
    by_gate[chosen] = slopes[chosen]
    return gates * (by_gate - gates @ by_gate)
