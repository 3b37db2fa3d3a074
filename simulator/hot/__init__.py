"""Numba kernels: arrays in, arrays out; no objects, files or exceptions."""
