"""The page is one offline file that says what the report says, safely and readably."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest

from hw_models.errors import BadInput
from simulator.build_report import build_report
from simulator.report_html import render_html
from simulator.tables import priced_rows

VOID = {"meta", "link", "img", "br", "input", "hr"}


class Page(HTMLParser):
    """Tags, attributes and text of a page; complains about tags that do not close in turn."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.text, self.ids, self.links = [], [], [], [], []
        self.feed(text)
        assert not self.open, self.open

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.tags.append((tag, found))
        if "id" in found:
            self.ids.append(found["id"])
        if found.get("href", "").startswith("#"):
            self.links.append(found["href"][1:])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)

    @property
    def words(self):
        return re.sub(r"\s+", " ", "".join(self.text).replace("\u00a0", " "))


def rendered(run, path, activity=None, **kwargs):
    report = build_report(run, ["fp16", "int8", "dense-int8-on-chip"])
    render_html(report, run, path, activity=activity, **kwargs)
    return path.read_text(encoding="utf-8")


@pytest.fixture
def text(run, activity, tmp_path):
    return rendered(run, tmp_path / "report.html", activity, provenance={"host": "desk & chair"})


def test_it_is_one_small_file_that_asks_for_nothing(text, tmp_path):
    assert [p.name for p in tmp_path.iterdir()] == ["report.html"]
    assert len(text.encode()) < 1_000_000
    for tag, attrs in Page(text).tags:
        assert tag not in ("script", "link", "iframe", "object", "base")
        assert not any(name.startswith("on") for name in attrs)
        for name in ("src", "href"):
            assert attrs.get(name, "#").startswith(("#", "data:image/png;base64,"))
    assert "url(" not in text and "@import" not in text


def test_every_tag_closes_and_every_link_lands(text):
    page = Page(text)
    assert len(page.ids) == len(set(page.ids))
    assert set(page.links) <= set(page.ids)


def test_images_have_words_and_tables_heads(text):
    page = Page(text)
    assert all(attrs.get("alt") for tag, attrs in page.tags if tag == "img")
    assert all(attrs.get("scope") for tag, attrs in page.tags if tag == "th" and attrs.get("scope"))
    assert ("html", {"lang": "en"}) in page.tags


def test_the_headline_is_the_reports(text, run):
    main = build_report(run).main
    joules = main.joules_per_token.nominal
    assert f"{joules * 1e6:.0f} µJ" in Page(text).words
    assert f"{main.pj_per_mac.nominal:.3g} pJ per MAC" in Page(text).words


def test_every_ledger_row_is_on_the_page(text, run):
    for phase in build_report(run).phases:
        for row in priced_rows(phase.ledger.priced):
            assert f"{row.count:,}" in text
            assert row.source.replace("'", "&#39;").replace("&", "&amp;", 0)[:40] in text


@pytest.mark.parametrize(
    "words",
    [
        "What the paper counts",
        "-97.7 %",
        "dense INT8 on loihi-like",
        "no numbers for network, static",
        "Rasters: spikes per channel and token",
        "256 of 768 channels, evenly sampled",
        "(b) spikes per channel",
        "Every event of this phase has a price",
        "desk & chair",
        "The robot <b> & sees",
        "assumed",
    ],
)
def test_the_page_tells(text, words):
    assert words in Page(text).words


def test_steps_are_told_where_there_were_some(run, text, tmp_path):
    phases = tuple(replace(phase, steps=90) for phase in run.phases)
    stepwise = rendered(replace(run, sync="barrier", phases=phases), tmp_path / "r.html")
    assert "barrier sync" in Page(stepwise).words
    assert "15.0 steps per token, 3.3 % of the time in barriers" in Page(stepwise).words
    assert "dataflow sync" in Page(text).words and "steps per token" not in Page(text).words


def test_what_has_no_price_is_listed(toy_run, tmp_path):
    words = Page(rendered(toy_run, tmp_path / "r.html")).words
    assert "Not priced" in words and "host_bit" in words


def test_text_of_a_model_cannot_become_a_tag(run, tmp_path):
    evil = "<script>alert(1)</script><img src=x onerror=y>"
    text = rendered(replace(run, text=evil, model=evil), tmp_path / "r.html")
    assert "<script" not in text and "onerror=y>" not in text
    assert "&lt;script&gt;" in text


def test_a_run_without_counts_says_so(run, tmp_path):
    assert "No counts were recorded" in Page(rendered(run, tmp_path / "r.html")).words


def test_bars_of_a_chart_add_up_to_their_whole(text):
    # one stacked bar: the widths of its parts are shares of it
    for body in re.findall(r'<span class="fill"[^>]*>(.*?)</span>', text, re.S):
        widths = [float(w) for w in re.findall(r"width:([\d.]+)%", body)]
        assert not widths or sum(widths) == pytest.approx(100, abs=0.01)


def test_no_bar_is_longer_than_the_page(text):
    left = [float(x) for x in re.findall(r"left:([\d.]+)%", text)]
    widths = [float(x) for x in re.findall(r"width:([\d.]+)%", text)]
    assert max(left + widths) <= 100


def test_the_same_run_gives_the_same_page(run, activity, tmp_path):
    pages = [rendered(run, tmp_path / name, activity) for name in ("a", "b")]
    assert pages[0] == pages[1]


def test_a_run_that_only_prefilled_has_a_page(silent_run, activity, tmp_path):
    words = Page(rendered(silent_run, tmp_path / "r.html", activity)).words
    assert "Prefill:" in words and "Decode:" not in words


def test_a_place_that_cannot_be_written_is_named(run, tmp_path):
    with pytest.raises(BadInput, match="nowhere"):
        rendered(run, tmp_path / "nowhere" / "r.html")


def test_a_silent_run_is_drawn(run, activity, tmp_path):
    for site in activity.counts:
        activity.counts[site] = [np.zeros_like(c) for c in activity.counts[site]]
    assert "0.00 spikes per channel" in Page(rendered(run, tmp_path / "r.html", activity)).words
