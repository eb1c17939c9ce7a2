"""Long experiments: `python -m lttlib.experiments NAME --out FILE`. One file per experiment, `runner` runs the grid."""
