"""A budget counts down from when it was made; without one there is always time."""

import math
import time

import pytest

from compiler.budget import Budget
from hw_models.errors import Usage


def test_without_a_limit_there_is_always_time():
    assert Budget().left == math.inf


def test_what_is_left_shrinks_and_never_is_negative():
    budget = Budget(10.0, began=time.perf_counter() - 4.0)
    assert 5.0 < budget.left <= 6.0
    assert Budget(1.0, began=time.perf_counter() - 4.0).left == 0.0


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.inf, math.nan])
def test_a_budget_is_a_number_of_seconds(seconds):
    with pytest.raises(Usage, match="a time budget"):
        Budget(seconds)
