"""Whether operations make a graph: what feeds what, how wide it is, and under which condition."""

from compiler.graph import (
    Graph,
    Linear,
    Residual,
    Router,
    Swiglu,
    feeds,
    inputs,
    outputs,
    reads,
)
from hw_models.errors import Bug


def verify(graph: Graph) -> None:
    """Sites, linears and stages alternate, their widths and conditions agree; raises Bug."""
    sites = {s.name: s for s in graph.sites}
    linears = {lin.name: lin for lin in graph.linears}
    for nodes in (graph.stages, graph.sites, graph.linears):
        if len({node.name for node in nodes}) != len(nodes):
            raise Bug("two stages, sites or linears share a name", where=graph.model)
    fed: set[str] = set()
    read: set[str] = set()
    for stage in graph.stages:
        for name in reads(stage):
            if name not in linears or linears[name].site not in fed:
                raise Bug(f"{name} is read before it is driven", where=stage.name)
            if name in read or linears[name].n_post != inputs(stage):
                raise Bug(f"{name} is read twice, or of another width", where=stage.name)
            read.add(name)
        for name in feeds(stage):
            if outputs(stage) != sites[name].n:
                raise Bug(f"{outputs(stage)} outputs into {name}", where=stage.name)
            fed.add(name)
    for lin in graph.linears:
        if lin.n_pre != sites[lin.site].n:
            raise Bug(f"{lin.n_pre} inputs from a site of {sites[lin.site].n}", where=lin.name)
    if fed != set(sites) or read != set(linears):
        raise Bug("a site or a linear is left unused", where=graph.model)
    if len({(lin.site, lin.condition) for lin in graph.linears}) != len(linears):
        raise Bug("one site drives two linears", where=graph.model)
    _verify_conditions(graph)


def _verify_conditions(graph: Graph) -> None:
    """What a router lets run comes after it, stays in its expert and ends in a residual stage."""
    linears = {lin.name: lin for lin in graph.linears}
    driven: dict[str, list[Linear]] = {}
    for lin in graph.linears:
        driven.setdefault(lin.site, []).append(lin)
    routers: dict[str, Router] = {}
    for stage in graph.stages:
        own = None if stage.linear is None else linears[stage.linear].condition
        if own is not None:
            if not isinstance(stage, Swiglu) or own[0] not in routers:
                raise Bug(f"runs only under {own}", where=stage.name)
            if any(lin.condition != own for lin in driven[stage.site]):
                raise Bug(f"{stage.site} drives more than {own}", where=stage.name)
        if isinstance(stage, Router):
            if graph.site(linears[stage.linear].site).threshold != "absmax16":
                raise Bug("a router's linear is dense, behind absmax16", where=stage.name)
            routers[stage.name] = stage
        if isinstance(stage, Residual) and stage.router is not None:
            n = routers[stage.router].n if stage.router in routers else 0
            wanted = [(stage.router, i) for i in range(n)]
            if not n or [linears[name].condition for name in stage.experts] != wanted:
                raise Bug(f"not the experts of {stage.router}", where=stage.name)
    shapes: dict[str, list[list[tuple[int, int]]]] = {
        name: [[] for _ in range(router.n)] for name, router in routers.items()
    }
    for lin in graph.linears:
        if lin.condition is not None:
            shapes[lin.condition[0]][lin.condition[1]].append((lin.n_pre, lin.n_post))
    for name, experts in shapes.items():
        if not experts[0] or any(other != experts[0] for other in experts):
            raise Bug("its experts are missing, or differ in size", where=name)
