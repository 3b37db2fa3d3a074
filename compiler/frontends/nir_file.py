"""The nodes and edges of a .nir file (NIR, HDF5), which nir.write makes.

    version
    node/type       NIRGraph
    node/edges      pairs of names, [from, to]
    node/nodes/<name>/type, and one entry per parameter

Read with h5py rather than nir.read, which takes whatever memory the file claims, follows links
into other files, and refuses scalar parameters beside arrays.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from compiler.frontends import hdf5
from compiler.frontends.torch_zip import printable
from hw_models.errors import BadInput

VERSIONS: Final = re.compile(r"(0\.[1-9]\d*|1)\..*")
MOST_NODES: Final = 10_000


@dataclass(frozen=True, slots=True)
class Node:
    """One node: its type, and the shape of each parameter; values lie in the file until read."""

    name: str
    type: str
    shapes: Mapping[str, tuple[int, ...]]
    file: Path

    @property
    def place(self) -> str:
        """For messages."""
        return f"{self.file}, node {printable(self.name)} ({printable(self.type)})"

    def numbers(self, key: str, most: int) -> NDArray[np.float64]:
        """The values of a parameter, at most `most`; BadInput if it is missing or no numbers."""
        if key not in self.shapes:
            raise BadInput(f"no {key}", where=self.place)
        with hdf5.opened(self.file) as file:
            return hdf5.numbers(self._group(file), key, most)

    def word(self, key: str) -> str | None:
        """The value of a parameter that is text."""
        if key not in self.shapes:
            return None
        with hdf5.opened(self.file) as file:
            group = self._group(file)
            return hdf5.text(group, key) if hdf5.is_text(group, key) else None

    def _group(self, file: Any) -> Any:
        nodes = hdf5.subgroup(hdf5.subgroup(file, "node"), "nodes")
        return hdf5.subgroup(nodes, self.name)


def read_nodes(path: Path) -> tuple[dict[str, Node], list[tuple[str, str]]]:
    """Nodes by name, and edges between them. Raises BadInput for a file that is not NIR."""
    with hdf5.opened(path) as file:
        _check_version(file, path)
        graph = hdf5.subgroup(file, "node")
        kind = hdf5.text(graph, "type")
        if kind != "NIRGraph":
            raise BadInput(f"a {printable(kind)} instead of a NIRGraph", where=str(path))
        nodes = hdf5.subgroup(graph, "nodes")
        if len(nodes) > MOST_NODES:
            raise BadInput(f"{len(nodes)} nodes; {MOST_NODES} at most", where=str(path))
        found = {name: _node(nodes, name, path) for name in hdf5.names(nodes)}
        edges = hdf5.strings(graph, "edges")
    if edges.size and (edges.ndim != 2 or edges.shape[1] != 2):
        raise BadInput(f"edges of shape {list(edges.shape)}", where=str(path))
    pairs = [(str(a), str(b)) for a, b in edges] if edges.size else []
    for name in (name for pair in pairs for name in pair):
        if name not in found:
            raise BadInput(
                f"an edge of node {printable(name)}, which is not there", where=str(path)
            )
    return found, pairs


def _check_version(file: Any, path: Path) -> None:
    if "version" not in file or "node" not in file:
        raise BadInput(
            "an HDF5 file, but not a NIR graph", where=str(path), fix="nir.write(path, graph)"
        )
    version = hdf5.text(file, "version")
    if not VERSIONS.fullmatch(version):
        raise BadInput(
            f"NIR version {printable(version)}; this version reads 0.1 to 1.x",
            where=str(path),
            fix="write it again with nir 1.0",
        )


def _node(nodes: Any, name: str, path: Path) -> Node:
    group = hdf5.subgroup(nodes, name)
    keys = [key for key in hdf5.names(group) if key not in ("metadata", "nodes")]
    kind = hdf5.text(group, "type")
    shapes = {} if kind == "NIRGraph" else {key: hdf5.shape_of(group, key) for key in keys}
    return Node(name, kind, shapes, path)
