"""Reference executors: canonical (exact, one token) and fast (batched)."""
