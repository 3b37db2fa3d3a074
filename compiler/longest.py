"""The longest way of a token through the tasks of a program, in any unit of time."""

import numpy as np
from numpy.typing import NDArray

from compiler.audit.trees import ranges, tree_of_sink
from compiler.program import Program

F64 = NDArray[np.float64]


def longest_ways(program: Program, works: F64, served: F64, delay: F64) -> F64:
    """By task: when it has done its work for a token that starts at 0.

    works[task]; served[sink]: time to take in what a token brings; delay[sink]: from the sender's
    work done to its messages there. A task is ready when its last sender's messages are there, and
    not before its core has taken in everything since the first sender was done.
    """
    t = program.tables
    n_tasks, source = t.task_core.size, t.tree_task[tree_of_sink(t)]
    missing = np.bincount(t.sink_task, minlength=n_tasks)
    order = np.argsort(source, kind="stable")
    begin = np.concatenate([[0], np.cumsum(np.bincount(source, minlength=n_tasks))])
    first, last = np.full(n_tasks, np.inf), np.zeros(n_tasks)
    intake = np.bincount(t.sink_task, served, n_tasks)
    done = np.zeros(n_tasks)
    ready = np.flatnonzero(missing == 0)
    first[ready] = 0
    while ready.size:
        done[ready] = np.maximum(last[ready], first[ready] + intake[ready]) + works[ready]
        sinks = order[ranges(begin[ready], begin[ready + 1])]
        to, end = t.sink_task[sinks], done[source[sinks]]
        np.maximum.at(last, to, end + delay[sinks])
        np.minimum.at(first, to, end)
        np.subtract.at(missing, to, 1)
        ready = np.unique(to[missing[to] == 0])
    return done
