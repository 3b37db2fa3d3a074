"""Numba kernels of the compiler; they see arrays only."""
