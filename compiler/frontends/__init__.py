"""Readers that turn a checkpoint into a Graph and its Weights."""
