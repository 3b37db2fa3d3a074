"""Every benchmark runs at its smallest size and prints what it says it measures."""

from benchmarks import engine


def test_the_engine_benchmark_measures_both_targets_and_phases():
    rows = engine.measure(tokens=2)
    assert [(r["target"], r["phase"]) for r in rows] == [
        ("loihi-like", "prefill"),
        ("loihi-like", "decode"),
        ("toy", "prefill"),
        ("toy", "decode"),
    ]
    assert all(r[f"{column}/s"] > 0 for r in rows for column in engine.COLUMNS)
