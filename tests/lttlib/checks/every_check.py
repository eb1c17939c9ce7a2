"""The check of every exercise of the book."""

from lttlib.checks import optimal_brain_damage, why_sparsity
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
]
