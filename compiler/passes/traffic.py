"""What travels per decoded token: messages of every net, and the bits they put on a link.

Spikes are an expectation: a site's channels times the mean spikes per channel of its coding
(compiler.statistics), and so is what travels only for tokens that choose an expert
(compiler.conditions). All else is fixed by the program. A message occupies whole flits, so that
is what counts: a 30-bit spike on a link of 32-bit flits is 32 bits.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from compiler.conditions import shares
from compiler.graph import Condition, Graph
from compiler.passes.encode import SiteCode
from compiler.passes.tile import partial_bits
from compiler.statistics import SiteStats
from compiler.tasks import Dataflow, Net, Task
from hw_models.chip import Chip


@dataclass(frozen=True, slots=True)
class Messages:
    """Formats and rates of one program: what a net's messages weigh.

    spikes[site]: (bits of a spike, expected spikes per channel); sums[linear]: bits of one partial
    sum; share[condition]: of all tokens.
    """

    chip: Chip
    spikes: Mapping[str, tuple[int, float]]
    sums: Mapping[str, int]
    share: Mapping[Condition | None, float]

    def of(self, net: Net, source: Task) -> list[tuple[float, int]]:
        """(number, bits) of the messages that a net carries per token."""
        formats, share = self.chip.formats, self.share[net.condition or source.condition]
        if net.message == "spike":
            bits, rate = self.spikes[str(source.site)]
            marker = formats["marker"]
            whole = marker.header_bits + marker.payload_bits
            return [(share * net.n * rate, bits), (share, whole)]
        form = formats[net.message]
        if net.message == "partial":
            value = self.sums[source.tile.linear if source.tile else source.op]
        else:
            value = form.payload_bits
        full, rest = divmod(net.n, form.values_per_message)
        share *= 1 / net.period if net.residue >= 0 else 1.0
        found = [(share * full, form.header_bits + form.values_per_message * value)] if full else []
        return found + ([(share, form.header_bits + rest * value)] if rest else [])

    def _in_flits(self, bits: int, kind: str) -> int:
        width = self.chip.links[kind].flit_bits
        return -(-bits // width) * width

    def channel_bits(self, site: str, kind: str) -> float:
        """Expected bits of one channel's spikes on a link, markers left out."""
        bits, rate = self.spikes[site]
        return rate * self._in_flits(bits, kind)

    def sum_bits(self, linear: str, kind: str) -> float:
        """Bits of one partial sum on a link, in a full message: the fewest there can be."""
        form = self.chip.formats["partial"]
        full = form.header_bits + form.values_per_message * self.sums[linear]
        return self._in_flits(full, kind) / form.values_per_message

    def value_bits(self, kind: str) -> float:
        """Bits of one value on a link, in a full message."""
        form = self.chip.formats["value"]
        full = form.header_bits + form.values_per_message * form.payload_bits
        return self._in_flits(full, kind) / form.values_per_message

    def link_bits(self, net: Net, source: Task, kind: str) -> float:
        """Bits per token on one link of this kind, in whole flits."""
        return sum(number * self._in_flits(bits, kind) for number, bits in self.of(net, source))


def messages(
    graph: Graph, codes: tuple[SiteCode, ...], chip: Chip, statistics: SiteStats
) -> Messages:
    """Weights of everything a mapping of this graph sends."""
    by_site = {code.site: code for code in codes}
    header = chip.formats["spike"].header_bits
    spikes = {
        site: (header + code.payload_bits, statistics.rate(code.coding, code.dense))
        for site, code in by_site.items()
    }
    sums = {lin.name: partial_bits(by_site[lin.site].bound) for lin in graph.linears}
    return Messages(chip, spikes, sums, shares(graph))


def net_bits(flow: Dataflow, weigh: Messages, kind: str) -> list[float]:
    """Bits per token that every net puts on each link of a kind it crosses."""
    return [weigh.link_bits(net, flow.tasks[net.source], kind) for net in flow.nets]
