"""Check of the exercise on the balance loss of a layer in which each token goes to one expert.

    E * sum over experts of f_e P_e;  f_e: share of tokens whose largest probability is e's;  P_e: mean probability of e

Fedus et al. 2022, arXiv:2101.03961.
"""

import numpy as np

from lttlib.checks.answers import Exercise, numbers, returns
from lttlib.checks.read_only import WRITTEN, read_only
from lttlib.checks.shares import share_equals


def _balance_cases(rng):
    """(probabilities,): one token, an idle expert below 1, the chapter's six tokens, one expert, balance, collapse.

    No token has two largest probabilities.
    """

    def drawn(tokens, experts, sharpness, favored=0.0):
        logits = sharpness * rng.normal(size=(tokens, experts)) + favored * (np.arange(experts) == experts - 1)
        return _softmax(logits)

    cases = [
        [[0.125, 0.625, 0.25]],
        [[0.51, 0, 0.49], [0, 0.51, 0.49]],
        [[0.7, 0.2, 0.1], [0.6, 0.3, 0.1], [0.5, 0.4, 0.1], [0.8, 0.1, 0.1], [0.2, 0.7, 0.1], [0.3, 0.3, 0.4]],
        [[1.0], [1.0], [1.0]],
        np.array([[10, 6, 3, 1], [1, 10, 6, 3], [3, 1, 10, 6], [6, 3, 1, 10]]) / 20,
        drawn(5, 4, 2.0),
        drawn(9, 2, 0.3, favored=1.0),
        drawn(40, 8, 1.0, favored=5.0),
        drawn(300, 16, 1.0),
    ]
    return [(read_only(np.array(case)),) for case in cases]


def _softmax(logits):
    powers = np.exp(logits)
    return powers / powers.sum(1, keepdims=True)


def _hard(p, best=np.argmax):
    """(T, E): 1 where a token goes."""
    return np.eye(p.shape[1])[best(p, axis=1)]


def _loss(count=lambda p: _hard(p).mean(0), mean=lambda p: p.mean(0), scale=lambda p: p.shape[1]):
    """The loss with a part replaced. count: f; mean: P; scale: what the sum is multiplied by."""
    return lambda p: float(scale(p) * (count(p) * mean(p)).sum())


_reference = _loss()


def _relation(case, value):
    (p,) = case
    shown = f" = {numbers(p)}" if p.size < 10 else f" of {p.shape[0]} tokens for {p.shape[1]} experts"
    asked = f"For probabilities{shown} you return {numbers(value)}. "
    if not 0 <= value <= p.shape[1] + 1e-9:
        return (
            f"{asked}Shares f and mean probabilities P each add up to 1 over the experts. Between which values can E"
            " · Σ f P lie then?"
        )
    return (
        f"{asked}Write down two numbers for each expert: the share of tokens that go to it, and the mean of its "
        "column. What do "
        "their products add up to, and what is that multiplied by?"
    )


_NUMBER = (
    "Numbers of tokens are left where shares belong: your value grows with the number of tokens. Which of f and P is"
    " not divided by it?"
)
_EXPERTS = (
    "The value at balance depends on the number of experts here. What is Σ f P if every expert has the same share, "
    "and which factor makes it 1?"
)

check_balance_loss = Exercise(
    "balance_loss",
    _balance_cases,
    share_equals(_reference, _relation),
    "one token to 300, one expert to sixteen, perfect balance, nearly all tokens to one expert, an idle one",
    (
        WRITTEN,
        returns(
            _loss(count=lambda p: p.mean(0)),
            "You take mean probabilities for f as well. How many tokens go to an expert whose probability is second "
            "everywhere?",
        ),
        returns(
            _loss(mean=lambda p: _hard(p).mean(0)),
            "You take hard shares for P as well. They are steps, with slope 0: through which factor would the loss "
            "move the router?",
        ),
        returns(_loss(scale=lambda p: 1), _EXPERTS),
        returns(_loss(scale=lambda p: 1 / p.shape[1]), _EXPERTS),
        returns(_loss(scale=lambda p: p.shape[1] ** 2), _EXPERTS),
        returns(_loss(scale=lambda p: p.size), _NUMBER),
        returns(_loss(scale=lambda p: p.size * len(p)), _NUMBER),
        returns(
            _loss(mean=lambda p: (_hard(p) * p).mean(0)),
            "Only the probabilities of chosen experts count in your P. Whose mean is P: does a probability count "
            "where another expert is chosen?",
        ),
        returns(
            lambda p: float(p.shape[1] * p.max(1).mean()),
            "A token counts only for the expert that it goes to, in P, too: this is E times the mean of the largest "
            "probabilities. Over which "
            "tokens is P a mean in the task?",
        ),
        returns(
            lambda p: 1.0,
            "You return 1 whatever the router does. Which of f and P is averaged over the experts before the two are"
            " multiplied?",
        ),
        returns(
            lambda p: 1 / p.shape[1],
            "You return 1 / E whatever the router does. Are f and P averaged over the experts, or multiplied expert "
            "by expert?",
        ),
        returns(
            _loss(count=lambda p: _hard(p, np.argmin).mean(0)),
            "Your tokens go to the expert with the smallest probability. Which one does a token choose?",
        ),
        returns(
            _loss(count=lambda p: (p > 1 / p.shape[1]).mean(0)),
            "A token counts for every expert above an even share here. To how many experts does a token go?",
        ),
        returns(
            _loss(mean=lambda p: _softmax(p).mean(0)),
            "You take a softmax of probabilities. What are they already?",
        ),
        returns(
            lambda p: _reference(p) - 1,
            "You subtract the value at balance. Does the task ask for that?",
        ),
        returns(
            lambda p: -_reference(p),
            "Your value is negative. The loss is to be made small: should a router whose tokens all go to one expert"
            " have the larger or the smaller one?",
        ),
        returns(
            lambda p: p.shape[1] * _hard(p).mean(0) * p.mean(0),
            "You return a number for each expert. The task asks for one: what is missing after the product?",
        ),
    ),
)
