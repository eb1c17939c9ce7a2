"""Every kernel over random layers whose arrays, and what is made of them, all stand beside forbidden memory.

Run as `python fuzz.py LAYERS`: a read or write out of bounds ends the process with a signal.
"""

import dataclasses
import sys

import numpy as np
from drawn_layers import constant_fan_in, n_of_m, uneven, whole_numbers
from guarded import guarded
from lttkernels import activations, blocks, condensed, csr, dots, grouped, lookup, nm, panels, tiles
from lttkernels.threads import set_threads

SIZES = {
    "outputs": [1, 2, 7, 15, 16, 17, 31, 33, 40, 127, 128, 129, 150],
    "inputs": [1, 3, 15, 16, 17, 31, 32, 33, 63, 65, 100, 224, 225, 255, 256, 257, 300, 520, 1100],
    "batch": [1, 2, 3, 4, 7, 8, 9, 15, 16, 17, 24, 31, 32, 33, 40, 63, 64, 65, 80, 97],
}


class Fuzz:
    """Random layers, their arrays guarded on one side."""

    def __init__(self):
        self.side = "end"
        for module in (tiles, panels, lookup, blocks):  # scratch too, and full of what must not be used
            module.scratch = lambda name, count, align=64: self.guard(np.full(count, np.nan, np.float32))
        lookup.aligned_empty = blocks.aligned_empty = lambda count: self.guard(np.empty(count, np.float32))

    def guard(self, value):
        """value with its arrays guarded: an array, a dataclass of them, or a TiledMatrix."""
        if isinstance(value, np.ndarray):
            return guarded(value, self.side)
        if isinstance(value, tiles.TiledMatrix):
            value.pattern.tiles = self.guarded_tiles(value.pattern.tiles)
            return value
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value) if field.init}
        return dataclasses.replace(
            value, **{name: self.guard(part) for name, part in fields.items() if isinstance(part, np.ndarray)}
        )

    def guarded_tiles(self, make):
        """TiledPattern.tiles, its answers guarded, too, and the same at the next call."""
        kept = {}
        return lambda panel: kept.setdefault(panel, self.guard(make(panel)))

    def layer(self, rng, pattern):
        """weight, mask, x, bias and transposed; x and bias are guarded."""
        outputs, inputs, batch = (int(rng.choice(SIZES[name])) for name in ("outputs", "inputs", "batch"))
        set_threads(int(rng.integers(1, 3)) if inputs > 256 else 1)
        transposed = bool(rng.integers(2))
        weight, mask = whole_numbers(rng, (outputs, inputs)), pattern(rng, outputs, inputs)
        x = self.guard(whole_numbers(rng, (inputs, batch) if transposed else (batch, inputs)))
        return weight, mask, x, self.guard(whole_numbers(rng, outputs)), transposed

    def check(self, linear, form, weight, mask, x, bias, transposed) -> None:
        """The layer's answer, written between guards, is that of the dense masked weight."""
        samples = x.T if transposed else x
        wanted = samples.astype(np.float64) @ np.where(mask, weight, 0).T + bias
        out = self.guard(np.full(wanted.shape[::-1] if transposed else wanted.shape, np.nan, np.float32))
        found = linear(x, form, bias, transposed=transposed, out=out)
        np.testing.assert_array_equal(found.T if transposed else found, wanted)
        if len(samples) <= 4 and samples.size:  # not finite: panels take over
            x[...] = np.inf
            linear(x, form, bias, transposed=transposed, out=out)

    def condensed(self, rng) -> None:
        """Forward and both gradients."""
        weight, mask, x, bias, transposed = self.layer(rng, constant_fan_in)
        form = self.guard(condensed.condense(weight, mask))
        for name in ("tiled", "transposed_tiled", "lookup", "few_lookup"):
            form.__dict__[name] = self.guard(getattr(form, name))
        batch = x.shape[1] if transposed else x.shape[0]
        grad = self.guard(whole_numbers(rng, (len(weight), batch) if transposed else (batch, len(weight))))
        by_row = (grad, x) if transposed else (grad.T, x.T)
        found = condensed.condensed_grad_values(x, grad, form, transposed=transposed)
        np.testing.assert_array_equal(found, (by_row[0] @ by_row[1].T)[form.rows[:, None], form.indices])
        found = condensed.condensed_grad_input(grad, form, transposed=transposed)
        np.testing.assert_array_equal(found if transposed else found.T, np.where(mask, weight, 0).T @ by_row[0])
        if found.size and form.values.size:
            out = self.guard(np.zeros(form.values.shape, np.float32))
            dots.dot_products(form.indices, form.rows, grad, x, out, by_row=transposed)
        self.check(condensed.condensed_linear, form, weight, mask, x, bias, transposed)

    def csr(self, rng) -> None:
        weight, mask, *rest = self.layer(rng, uneven)
        self.check(csr.csr_linear, self.guard(csr.csr(weight, mask)), weight, mask, *rest)

    def nm(self, rng) -> None:
        n, m = [(2, 4), (3, 32), (1, 7), (20, 255)][rng.integers(4)]
        weight, mask, *rest = self.layer(rng, n_of_m(n, m))
        form = self.guard(nm.compress(weight, mask, n, m))
        for name in ("tiled", "lookup", "rows"):
            form.__dict__[name] = self.guard(getattr(form, name))
        self.check(nm.nm_linear, form, weight, mask, *rest)

    def blocks(self, rng) -> None:
        height, width = [(16, 16), (5, 3), (33, 8), (1, 1)][rng.integers(4)]
        weight, mask, *rest = self.layer(rng, uneven)
        form = self.guard(blocks.block_sparse(weight, mask, height, width))
        form.__dict__["registers"] = self.guard(form.registers)
        self.check(blocks.blocks_linear, form, weight, mask, *rest)

    def grouped(self, rng) -> None:
        """A mixture of experts, some pairs dropped: there and back, and the activation between."""
        tokens, k, experts = int(rng.choice([0, 1, 2, 9, 33])), int(rng.integers(1, 4)), int(rng.choice([1, 2, 7]))
        width = int(rng.choice([1, 15, 16, 17, 33]))
        set_threads(int(rng.integers(1, 3)))
        chosen, gates = self.guard(rng.integers(-1, experts, (tokens, k))), self.guard(whole_numbers(rng, (tokens, k)))
        order, _, inverse = (self.guard(part) for part in grouped.sort_by_expert(chosen, experts))
        x, grad = self.guard(whole_numbers(rng, (tokens, width))), self.guard(whole_numbers(rng, (tokens, width)))
        y = self.guard(whole_numbers(rng, (len(order), width)))
        rows, row = self.guard(np.full(y.shape, np.nan, np.float32)), self.guard(whole_numbers(rng, (width,)))
        for given in (None, gates):
            grouped.permute(x, order, k, given, out=rows)
            np.testing.assert_array_equal(rows, grouped.reference_permute(x, order, k, given))
            found = grouped.unpermute(y, inverse, given, out=self.guard(np.full(x.shape, np.nan, np.float32)))
            np.testing.assert_array_equal(found, grouped.reference_unpermute(y, inverse, given))
        found = grouped.gate_gradients(grad, y, inverse, out=self.guard(np.full(gates.shape, np.nan, np.float32)))
        np.testing.assert_array_equal(found, grouped.reference_gate_gradients(grad, y, inverse))
        for name in activations.ACTIVATIONS:
            activations.activate_gradient(y, row, rows, name)
            activations.activate(y, row, name, out=rows)
            activations.activate(y, row, name)


def main(layers: int) -> None:
    fuzz = Fuzz()
    for seed in range(layers):
        fuzz.side = ("end", "start")[seed % 2]
        for run in (fuzz.condensed, fuzz.csr, fuzz.nm, fuzz.blocks, fuzz.grouped):
            run(np.random.default_rng(seed))
    print(f"{layers} layers of each format", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]))
