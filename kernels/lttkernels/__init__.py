"""The fast loops of the book, in numpy and Numba: CPU and CUDA. One file per operation."""
