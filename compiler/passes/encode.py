"""Choose a coding for every site, and with it the width of its spikes."""

from dataclasses import dataclass

from compiler.graph import Graph, Population, Site, SpikeInput
from hw_models.chip import Chip
from hw_models.errors import Bug, Unsupported
from kernels.coding import CODINGS

MAPPED = ("ternary", "bitwise", "graded")
"""Codings of counts that tiles and the simulator carry. Of the table's others, binary needs a
minimum per token and its zero point at the receiver (spikes, which are no counts, need neither),
bitwise-2c a width chosen from calibration."""


_DICTATED = {"absmax16": "graded", "spikes": "binary"}
"""Thresholds that leave no choice of a coding."""


@dataclass(frozen=True, slots=True)
class SiteCode:
    """How one site spikes; payload_bits is what a spike message carries besides its header."""

    site: str
    coding: str
    payload_bits: int
    bound: float  # largest possible sum of |n| over the site's channels
    dense: bool  # 16-bit values of practically every channel, not spikes of a few


def check_abilities(chip: Chip, graph: Graph) -> None:
    """Refuse a target that lacks what the graph needs; Unsupported names it."""
    lacks = {
        "8-bit weights": 8 not in chip.abilities.weight_bits,
        f"a coding that tiles carry ({' or '.join(MAPPED)})": not graph.takes_spikes
        and not any(coding in chip.abilities.codings for coding in MAPPED),
        "graded spikes (the dense head needs 16 bits)": _has_dense_sites(graph)
        and chip.abilities.graded_bits < 16,
        "multicast": not graph.takes_spikes and not chip.abilities.multicast,
        "vector work on cores (norm, attention, gates)": _has_vector_work(graph)
        and not chip.abilities.vector,
        "digital synapses (crossbars carry counts, not neurons' spikes)": graph.takes_spikes
        and chip.array is not None,
    }
    missing = [ability for ability, lacking in lacks.items() if lacking]
    if missing:
        raise Unsupported(
            f"{chip.name} lacks {', '.join(missing)}",
            where=chip.name,
            fix="--target loihi-like",
        )


def _has_dense_sites(graph: Graph) -> bool:
    return any(site.threshold == "absmax16" for site in graph.sites)


def _has_vector_work(graph: Graph) -> bool:
    """Whether anything but neurons works on a core."""
    return not all(isinstance(stage, SpikeInput | Population) for stage in graph.stages)


def encode(graph: Graph, chip: Chip, coding: str, k: float) -> tuple[SiteCode, ...]:
    """Block sites take `coding`, 16-bit dense sites are graded, spikes are binary; Unsupported if
    the chip cannot."""
    codes = []
    for site in graph.sites:
        name = _DICTATED.get(site.threshold, coding)
        able = name in chip.abilities.codings
        if not able or not (name in MAPPED or site.threshold in _DICTATED):
            raise Unsupported(
                f"the compiler cannot map {name} spikes"
                if able
                else f"{chip.name} cannot carry {name} spikes",
                where=site.name,
                fix=_other_coding(site, chip),
            )
        bits, dense = _payload_bits(site, name, chip), site.threshold == "absmax16"
        codes.append(SiteCode(site.name, name, bits, _bound(site, k), dense))
    return tuple(codes)


def _other_coding(site: Site, chip: Chip) -> str:
    if site.threshold in _DICTATED:
        return "--target loihi-like"
    return f"one of: {', '.join(c for c in MAPPED if c in chip.abilities.codings)}"


def _payload_bits(site: Site, coding: str, chip: Chip) -> int:
    if coding != "graded":
        return CODINGS[coding].payload_bits
    bits = 16 if site.threshold == "absmax16" else chip.abilities.graded_bits
    if bits > chip.abilities.graded_bits:
        raise Unsupported(
            f"{bits}-bit payloads; {chip.name} carries {chip.abilities.graded_bits}",
            where=site.name,
        )
    return bits


def _bound(site: Site, k: float) -> float:
    """Sum of |n|: rint adds at most 1/2 to each |x| / V_th, whose sum is n k (DESIGN 3.3)."""
    return site.n * {"absmax16": 32767.0, "spikes": 1.0}.get(site.threshold, k + 0.5)


def verify(codes: tuple[SiteCode, ...], graph: Graph, chip: Chip) -> None:
    """Every site has one code, and the target can carry it."""
    if [c.site for c in codes] != [s.name for s in graph.sites]:
        raise Bug("sites without a coding, or out of order", where=graph.model)
    for code in codes:
        if code.coding == "graded" and code.payload_bits > chip.abilities.graded_bits:
            raise Bug(f"payload of {code.payload_bits} bits", where=code.site)
