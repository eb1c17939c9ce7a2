"""The timed runs do what their names say; no time is asserted, the record has the times."""

import torch
from toys import half_masks, net

from lttlib.experiments.step_cost import cells, in_turn, masked_in_forward, run, step_calls, steps_of
from lttlib.masks import prunable


def test_mask_in_the_forward_multiplies_weight_and_mask():
    plain, masks = net(0), half_masks(1)
    x = torch.randn(5, 6, dtype=torch.float64)
    with torch.no_grad():
        for name, weight in prunable(plain).items():
            weight *= masks[name]
    assert masked_in_forward(net(0), masks)(x).equal(plain(x))


def test_every_way_trains_and_updates_twice():
    calls = step_calls((6, 5, 4, 10), 4, interval=3)
    assert list(calls) == ["dense", "static", "set", "rigl", "mask in the forward"]
    assert calls["rigl"]().history.updates == calls["set"]().history.updates == [3, 6]
    assert calls["static"]().history.updates == []
    assert steps_of(3) == 7


def test_rounds_are_timed_in_turn_after_a_warm_up():
    order = []
    found = in_turn({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, rounds=2)
    assert order == ["a", "b"] * 3
    assert all(len(taken) == 2 and (taken >= 0).all() for taken in found.values())


def test_rows_compare_each_round_with_its_dense_run(monkeypatch):
    from lttlib.experiments import step_cost

    monkeypatch.setattr(step_cost, "NETWORKS", {"digits": (((6, 5, 10), 4),)})
    assert [cell["threads"] for cell in cells("digits", 2)] == [1, 2, 1, 2]
    threads = torch.get_num_threads()
    try:
        rows = {row["way"]: row for row in run("digits", 0, 1, 0, interval=2, rounds=3)}
    finally:
        torch.set_num_threads(threads)
    assert rows["dense"]["over_dense"] == [1, 1, 1]
    assert all(row["q25_s"] <= row["median_s"] <= row["q75_s"] for row in rows.values())
    assert rows["rigl"]["sizes"] == [6, 5, 10]
