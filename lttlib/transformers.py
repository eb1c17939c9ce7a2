"""Small transformers whose feed-forward blocks can be anything: dense, truly sparse, a mixture of experts.

    x = x + attention(norm(x)),   x = x + feed_forward(norm(x))

Each of these blocks leaves (batch, tokens, width) as it is; a last norm follows. Vaswani et al. 2017, arXiv:1706.03762, with
the norms first as in Xiong et al. 2020, arXiv:2002.04745; for images as patches Dosovitskiy et al. 2020, arXiv:2010.11929.
Book: "Structured RigL" and "Mixture of experts".
"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lttlib.arguments import require
from lttlib.models import initialize_glorot, mlp

FeedForward = Callable[[int], nn.Module]  # number of the block, from 0, to what maps (batch, tokens, width) to the same
POSITION_SIZE = (
    0.3  # standard deviation at the start; the usual 0.02 drowns in what the blocks add, and SGD stays at chance
)


def dense_feed_forward(width: int, hidden: int, *, generator: torch.Generator) -> nn.Sequential:
    """Linear, ReLU, Linear: (..., width) to the same, with hidden units between. Initialized as models.mlp."""
    return mlp((width, hidden, width), generator=generator)


class Attention(nn.Module):
    """Self-attention with several heads: (batch, tokens, width) to the same.

    softmax(q k^T / sqrt(width / heads)) v in each head; with causal=True no token sees a later one.
    """

    def __init__(self, width: int, heads: int, *, causal: bool, generator: torch.Generator):
        super().__init__()
        require(heads >= 1 and width % heads == 0, "heads", heads, f"a divisor of width = {width}", "each takes a part")
        self.heads, self.causal = heads, causal
        self.queries_keys_values = _linear(width, 3 * width, generator)
        self.output = _linear(width, width, generator)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, width) to the same."""
        batch, tokens, width = x.shape
        parts = self.queries_keys_values(x).view(batch, tokens, 3, self.heads, -1)
        queries, keys, values = parts.permute(2, 0, 3, 1, 4)  # each (batch, heads, tokens, width / heads)
        answers = F.scaled_dot_product_attention(queries, keys, values, is_causal=self.causal)
        return self.output(answers.transpose(1, 2).reshape(batch, tokens, width))


class Block(nn.Module):
    """One attention and one feed-forward, each added to what it read: (batch, tokens, width) to the same."""

    def __init__(self, attention: nn.Module, feed_forward: nn.Module, width: int):
        super().__init__()
        self.attention_norm, self.attention = nn.LayerNorm(width), attention
        self.feed_forward_norm, self.feed_forward = nn.LayerNorm(width), feed_forward

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, width) to the same."""
        x = x + self.attention(self.attention_norm(x))
        added = self.feed_forward(self.feed_forward_norm(x))
        found = tuple(added.shape) if isinstance(added, Tensor) else type(added).__name__
        require(found == tuple(x.shape), "what feed_forward returns", found, f"{tuple(x.shape)}, the shape of its input",
                "return one tensor that can be added to it")  # fmt: skip
        return x + added


class Transformer(nn.Module):
    """`depth` blocks and a last norm: (batch, tokens, width) to the same.

    feed_forward: called with the number of each block, from 0; makes its feed-forward, and initializes it. All else is
    drawn from the generator: weights as in models.initialize_glorot, biases 0.
    """

    def __init__(
        self, *, width: int, heads: int, depth: int, feed_forward: FeedForward, causal: bool, generator: torch.Generator
    ):
        super().__init__()
        require(depth >= 1, "depth", depth, "1 or more", "it counts blocks")
        attentions = [Attention(width, heads, causal=causal, generator=generator) for _ in range(depth)]
        self.blocks = nn.Sequential(*(Block(attentions[i], feed_forward(i), width) for i in range(depth)))
        self.norm = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens, width) to the same."""
        return self.norm(self.blocks(x))


class VisionTransformer(nn.Module):
    """A classifier of the book's flat images: (batch, h * w), row after row, to logits (batch, classes).

    image: (h, w), cut into squares of patch * patch pixels. Each becomes a token, by a linear map and a learned position;
    after the blocks the mean of the tokens is read out. The others: see Transformer.
    """

    def __init__(
        self,
        image: tuple[int, int],
        *,
        patch: int,
        width: int,
        heads: int,
        depth: int,
        classes: int,
        feed_forward: FeedForward,
        generator: torch.Generator,
    ):
        super().__init__()
        fits = patch >= 1 and not any(side % patch for side in image)
        require(fits, "patch", patch, f"a divisor of both sides of image = {image}", "change it or pad the images")
        self.image, self.patch = image, patch
        self.embedding = _linear(patch * patch, width, generator)
        tokens = (image[0] // patch) * (image[1] // patch)
        self.positions = nn.Parameter(torch.randn(tokens, width, generator=generator) * POSITION_SIZE)
        self.transformer = Transformer(
            width=width, heads=heads, depth=depth, feed_forward=feed_forward, causal=False, generator=generator
        )
        self.readout = _linear(width, classes, generator)  # last, so that it counts as the network's last layer

    def forward(self, x: Tensor) -> Tensor:
        """(batch, h * w) to logits (batch, classes)."""
        height, width = self.image
        require(x.ndim == 2 and x.shape[1] == height * width, "x.shape", tuple(x.shape), f"(batch, {height * width})",
                f"flat images of {height} x {width} pixels")  # fmt: skip
        tokens = self.transformer(self.embedding(self.patches(x)) + self.positions)
        return self.readout(tokens.mean(1))

    def patches(self, x: Tensor) -> Tensor:
        """Flat images (batch, h * w) cut up: (batch, tokens, patch * patch), tokens and pixels row after row."""
        (height, width), side = self.image, self.patch
        cut = x.view(-1, height // side, side, width // side, side).transpose(2, 3)
        return cut.reshape(len(x), -1, side * side)


class CharacterTransformer(nn.Module):
    """A language model of characters: numbers (batch, tokens), int64, to logits (batch, tokens, characters).

    The logits at a place are for the character that follows it, and depend on no later one. characters: how many there
    are; context: the most tokens it takes. A character is a learned vector, drawn from N(0, 1), and a place another, which
    is added. The others: see Transformer.
    """

    def __init__(
        self,
        characters: int,
        *,
        context: int,
        width: int,
        heads: int,
        depth: int,
        feed_forward: FeedForward,
        generator: torch.Generator,
    ):
        super().__init__()
        require(context >= 1, "context", context, "1 or more", "it is the most tokens that the model takes")
        self.embedding = nn.Parameter(torch.randn(characters, width, generator=generator))
        self.positions = nn.Parameter(torch.randn(context, width, generator=generator) * POSITION_SIZE)
        self.transformer = Transformer(
            width=width, heads=heads, depth=depth, feed_forward=feed_forward, causal=True, generator=generator
        )
        self.readout = _linear(width, characters, generator)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, tokens) to logits (batch, tokens, characters)."""
        context, characters = len(self.positions), len(self.embedding)
        require(x.dtype == torch.int64, "x.dtype", x.dtype, "torch.int64", "pass x.long()", TypeError)
        require(x.ndim == 2 and x.shape[1] <= context, "x.shape", tuple(x.shape), f"(batch, 1 to {context} tokens)",
                "cut the text into pieces as long as the context")  # fmt: skip
        try:
            known = F.embedding(x, self.embedding)
        except IndexError:
            raise IndexError(
                f"x = numbers from {x.min()} to {x.max()}: expected 0 to {characters - 1}; the model has {characters} characters"
            ) from None
        return self.readout(self.transformer(known + self.positions[: x.shape[1]]))


def feed_forwards(model: nn.Module) -> dict[str, nn.Module]:
    """The feed-forward of every block of a model, by its name in the model, from first to last."""
    blocks = {name: module for name, module in model.named_modules() if isinstance(module, Block)}
    return {f"{name}.feed_forward".removeprefix("."): block.feed_forward for name, block in blocks.items()}


def _linear(inputs: int, outputs: int, generator: torch.Generator) -> nn.Linear:
    with torch.random.fork_rng(devices=[]):  # nn.Linear draws from the global generator; leave that as it was
        layer = nn.Linear(inputs, outputs)
    return initialize_glorot(layer, generator)
