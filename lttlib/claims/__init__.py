"""The ledger of claims: what papers say, what we measure. `ledger` is the machinery; one file per chapter measures."""
