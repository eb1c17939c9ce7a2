"""The check of every exercise of the book."""

from lttlib.checks import (
    lottery_tickets,
    optimal_brain_damage,
    strong_lottery_tickets,
    tangent_kernel,
    what_makes_sparsity_fast,
    why_sparsity,
    why_tickets_win,
)
from lttlib.checks.hutchinson import check_hutchinson

CHECKS = [
    why_sparsity.check_csr_bytes,
    why_sparsity.check_global_mask,
    why_sparsity.check_break_even_density,
    optimal_brain_damage.check_saliency,
    optimal_brain_damage.check_damage,
    check_hutchinson,
    optimal_brain_damage.check_wanda,
    optimal_brain_damage.check_obs,
    what_makes_sparsity_fast.check_arithmetic_intensity,
    what_makes_sparsity_fast.check_roofline_time,
    what_makes_sparsity_fast.check_condensed_forward,
    what_makes_sparsity_fast.check_crossover_density,
    what_makes_sparsity_fast.check_slots_and_rest,
    lottery_tickets.check_imp_round,
    lottery_tickets.check_remaining_weights,
    lottery_tickets.check_early_stop,
    lottery_tickets.check_paired_interval,
    why_tickets_win.check_signed_constant,
    why_tickets_win.check_criterion_mask,
    why_tickets_win.check_straight_through,
    why_tickets_win.check_barrier,
    strong_lottery_tickets.check_best_subset,
    strong_lottery_tickets.check_meet_in_the_middle,
    strong_lottery_tickets.check_diamond_error,
    strong_lottery_tickets.check_worst_error,
    tangent_kernel.check_kernel_by_hand,
    tangent_kernel.check_pruned_kernel,
    tangent_kernel.check_layer_factors,
    tangent_kernel.check_relu_step,
]
