"""The asynchronous event engine, its counters, traces and reports."""
