"""The documents name what exists, and all of it."""

import re
from pathlib import Path

from hw_models import errors
from hw_models.chip import known_chips, load_chip

FLAG = re.compile(r"(?<![\w-])--[a-z][a-z0-9-]*")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
FENCE = re.compile(r"^```.*?^```$", re.M | re.S)


def documents(root: Path) -> list[Path]:
    return [root / "README.md", *sorted((root / "docs").rglob("*.md"))]


def sections(text: str) -> dict[str, str]:
    """Text under each second-level heading, by the heading without its backquotes."""
    parts = re.split(r"^## (.+)$", text, flags=re.M)[1:]
    return {head.replace("`", ""): body for head, body in zip(parts[::2], parts[1::2], strict=True)}


def anchors(text: str) -> set[str]:
    """Addresses of the headings, formed as code hosts form them."""
    heads = re.findall(r"^#+ (.+)$", FENCE.sub("", text), re.M)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def flags_of(command) -> set[str]:
    return {
        flag
        for param in command.params
        for flag in (*param.opts, *param.secondary_opts)
        if flag.startswith("--")
    }


def test_quickstart_is_two_commands_that_make_knows(root):
    quickstart = sections((root / "README.md").read_text())["Quickstart"]
    blocks = re.findall(r"^```\w*\n(.*?)^```$", quickstart, re.M | re.S)
    assert blocks == ["make demo\nmake test\n"]
    rules = re.findall(r"^([\w-]+):", (root / "Makefile").read_text(), re.M)
    assert {"demo", "test"} <= set(rules)


def test_every_make_target_is_described(root):
    phony = re.search(r"^\.PHONY: (.+)$", (root / "Makefile").read_text(), re.M)
    text = (root / "docs" / "development.md").read_text()
    assert [t for t in phony[1].split() if f"`make {t}`" not in text] == []


def test_the_reference_has_one_section_per_command(root, commands):
    named = [h for h in sections((root / "docs/commands.md").read_text()) if h.startswith("sb")]
    assert sorted(named) == sorted(commands)


def test_each_section_names_the_flags_of_its_command_and_no_others(root, commands):
    found = sections((root / "docs/commands.md").read_text())
    for name, command in commands.items():
        assert set(FLAG.findall(found[name])) == flags_of(command), name


def test_each_argument_is_named(root, commands):
    found = sections((root / "docs/commands.md").read_text())
    for name, command in commands.items():
        for param in command.params:
            if param.param_type_name == "argument":
                shown = param.metavar or param.name.upper()
                assert f"`{shown}`" in found[name], f"{name}: {shown}"


def test_examples_in_the_documents_use_flags_that_exist(root, commands):
    for document in documents(root):
        for line in re.findall(r"^\s*((?:sbcompile|sbsim) .+)$", document.read_text(), re.M):
            typed = line.partition("#")[0]
            names = [n for n in commands if typed.startswith(n + " ")]
            assert names, f"{document.name}: {line}"
            known = flags_of(commands[max(names, key=len)]) | {"--help"}
            assert set(FLAG.findall(typed)) <= known, f"{document.name}: {line}"


def test_every_exit_code_is_in_the_table(root):
    table = sections((root / "docs/commands.md").read_text())["Exit codes"]
    shown = {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.M)}
    classes = [c for c in vars(errors).values() if isinstance(c, type)]
    assert shown == {c.exit_code for c in classes} | {0, 130}


def test_every_shipped_target_has_a_section_and_a_true_row_in_the_table(root):
    text = (root / "docs/hardware.md").read_text()
    heads = re.findall(r"^### `(.+)`$", text, re.M)
    rows = re.findall(r"^\| `([\w-]+)` \| ([\d,]+) \| .+? \| (\w+) \| (yes|no) \|", text, re.M)
    shown = {name: (int(cores.replace(",", "")), sync, lm) for name, cores, sync, lm in rows}
    true = {}
    for name in known_chips():
        chip = load_chip(name)
        (width, height), able = chip.layout.chips, chip.abilities
        runs = 8 in able.weight_bits and able.graded_bits >= 16 and able.multicast and able.vector
        true[name] = (
            width * height * chip.layout.usable_cores,
            chip.sync,
            "yes" if runs else "no",
        )
    assert shown == true
    assert [name for name in true if heads.count(name) != 1] == []


def test_every_target_and_device_is_in_the_documents(root):
    text = (root / "docs/hardware.md").read_text()
    shipped = (root / "hw_models").glob("*/*.toml")
    assert [p.name for p in shipped if f"`{p.stem}`" not in text] == []


def test_links_between_documents_resolve(root):
    for document in documents(root):
        for link in LINK.findall(FENCE.sub("", document.read_text())):
            if "://" in link or link.startswith("mailto:"):
                continue
            path, _, anchor = link.partition("#")
            target = (document.parent / path).resolve() if path else document
            assert target.exists(), f"{document.name} links to {link}"
            if anchor:
                assert anchor in anchors(target.read_text()), f"{document.name} links to {link}"


def test_documents_name_only_paths_that_exist(root):
    rooms = r"`((?:compiler|simulator|hw_models|kernels|examples|tests|benchmarks|docs)/[\w./-]+)`"
    for document in documents(root):
        for path in re.findall(rooms, document.read_text()):
            assert (root / path).exists(), f"{document.name} names {path}"
