"""Plots of result files, as PNG data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from pura_bench.report.tables import Row, seconds
from pura_bench.speed.fit import by_family, online, usual
from pura_bench.speed.network import NETWORKS

Picture = tuple[str, str, str]
"""Title, what it shows, image as data URI."""
INK, SOFT, GOOD, BAD, GREY, AMBER = "#1d2a33", "#5d6b75", "#1a7f4b", "#b3261e", "#8a949c", "#c98a12"
COLOURS = {"prepared": GOOD, "published": BAD, "plaintext": GREY}
_STYLE: Any = {
    "font.size": 9,
    "axes.edgecolor": SOFT,
    "axes.labelcolor": INK,
    "text.color": INK,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dfe5e9",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def draw(size: tuple[float, float], paint: Callable[[Any], None]) -> str:
    """One set of axes painted by `paint`."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=size, dpi=120, layout="constrained")
        paint(figure.subplots())
        return _uri(figure)


def draw_side_by_side(rows: Sequence[tuple[str, Iterable[Any]]], columns: int, label: float = 4.0) -> str:
    """A row of small pictures for each name, which stands to their left; `label`: its width, in pictures."""
    figure = Figure(figsize=(label + columns, len(rows)), dpi=100)
    figure.subplots_adjust(0, 0, 1, 1, 0.04, 0.04)
    grid = figure.subplots(len(rows), columns + 1, squeeze=False, width_ratios=[label, *[1] * columns])
    for (name, pictures), (left, *cells) in zip(rows, grid, strict=True):
        for axes in (left, *cells):
            axes.axis("off")
        left.text(0.97, 0.5, name, fontsize=8.5, ha="right", va="center")
        for axes, picture in zip(cells, pictures, strict=False):
            axes.imshow(picture)
    return _uri(figure)


def _uri(figure: Any) -> str:
    out = io.BytesIO()
    figure.savefig(out, format="png", metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(out.getvalue()).decode()


def speed_plots(content: Row) -> list[Picture]:
    """Of a speed result; plots without data are left out."""
    rows = content["rows"]
    base, staged = usual(rows), [row for row in rows if row.get("stages")]
    ours = [r for r in rows if r["engine"] == "prepared" and (r["D"], r["key_bits"]) == (128, 2048)]
    ours = [r for r in ours if not r["extrapolated"] and not r.get("lockout")]
    slowed = {(r["M"], r["workers"]) for r in ours if r["network"] != "loopback"}
    networks = [r for r in ours if (r["M"], r["workers"]) in slowed]
    plots = (
        (
            "CPU of one question",
            "Both servers together, D = 128, 2048 bits, fewest workers measured; hollow marks are extrapolated.",
            3.6, _growth, base,
        ),
        (
            "Where the time goes",
            "Share of the CPU of both servers by stage, one thread; the label says milliseconds for one entry.",
            0.9 + 0.45 * len(staged), _stages, staged,
        ),
        (
            "What the network costs",
            "Wall time of one question with engine prepared; lan 0.5 ms, wan 20 ms and 100 Mbit/s, by real delay.",
            0.9 + 0.4 * len(networks), _networks, networks,
        ),
    )  # fmt: skip
    return [(title, about, _plot(height, paint, shown)) for title, about, height, paint, shown in plots if shown]


def _plot(height: float, paint: Callable[[Any, list[Row]], None], rows: list[Row]) -> str:
    return draw((7, height), lambda axes: paint(axes, rows))


def _growth(axes: Any, rows: list[Row]) -> None:
    for engine, colour in COLOURS.items():
        families = {key: found for key, found in by_family(rows).items() if key[0] == engine}
        if not families:
            continue
        fewest = min(families, key=lambda key: (key[3] == 0, key[3]))
        found = families[fewest]
        axes.plot([r["M"] for r in found], [online(r) for r in found], "o-", color=colour, label=engine)
        guessed = [r for r in rows if r["extrapolated"] and (r["engine"], r["workers"]) == (engine, fewest[3])]
        guessed = [r for r in guessed if r["M"] > found[-1]["M"]]
        if guessed:
            xs, ys = [found[-1]["M"]], [online(found[-1])]
            xs += [r["M"] for r in guessed]
            ys += [online(r) for r in guessed]
            axes.plot(xs, ys, "--", color=colour, linewidth=1)
            axes.plot(xs[1:], ys[1:], "o", color=colour, markerfacecolor="white")
    axes.set(xscale="log", yscale="log", xlabel="entries in the gallery", ylabel="CPU seconds")
    axes.legend()


def _stages(axes: Any, rows: list[Row]) -> None:
    colours = mpl.colormaps["tab20"]
    labels = [f"{r['engine']}, M = {r['M']:,}, D = {r['D']}, {r['key_bits']} bits" for r in rows]
    spent = [{s["stage"]: online(s) for s in r["stages"]} for r in rows]
    totals = [sum(stages.values()) or 1.0 for stages in spent]
    left = np.zeros(len(rows))
    for i, name in enumerate(dict.fromkeys(name for stages in spent for name in stages)):
        widths = np.array([100 * s.get(name, 0.0) / total for s, total in zip(spent, totals, strict=True)])
        if widths.max() >= 0.5:
            axes.barh(labels, widths, left=left, color=colours(i % 20), label=name, height=0.6)
        left += widths
    for i, (r, total) in enumerate(zip(rows, totals, strict=True)):
        axes.text(101, i, f"{1e3 * total / r['M']:.3g} ms", va="center", fontsize=8)
    axes.invert_yaxis()
    axes.set(xlim=(0, 112), xlabel="% of CPU")
    axes.legend(loc="upper center", bbox_to_anchor=(0.45, -0.35 if len(rows) < 4 else -0.18), ncols=5, fontsize=8)


def _networks(axes: Any, rows: list[Row]) -> None:
    rows = sorted(rows, key=lambda r: (r["M"], list(NETWORKS).index(r["network"])))
    walls = [r["wall_s"] for r in rows]
    bars = axes.barh([f"M = {r['M']:,}, {r['network']}" for r in rows], walls, color=GOOD, height=0.6)
    axes.bar_label(bars, [f"{r['wall_s']:.2f} s, {r['rounds']} rounds" for r in rows], padding=4, fontsize=8)
    axes.invert_yaxis()
    axes.set(xlabel="seconds", xlim=(0, 1.3 * max(walls)))


def peer_plots(content: Row) -> list[Picture]:
    """The same for a result of peers, one plot for each size."""
    about = (
        "Wall time. Green: gallery, minimum and threshold stay secret and no dealer is trusted; amber: a trusted "
        "dealer; grey: somebody sees every score, or the gallery; hatched: quoted or scaled up."
    )
    out = []
    for size in sorted({r["entries"] for r in content["rows"]}):
        all_rows = [*content["rows"], *content.get("quoted", [])]
        rows = [r for r in all_rows if r["entries"] == size and "skipped" not in r]
        if rows:
            out.append((f"One question, M = {size:,}", about, _plot(0.9 + 0.36 * len(rows), _peers, rows)))
    return out


def protection(row: Row) -> str:
    """A colour: how much a way to match keeps to itself."""
    secret = all(row[name].startswith("yes") for name in ("query", "gallery", "minimum", "threshold"))
    if not secret or row["score_known_to"] != "nobody":
        return GREY
    return AMBER if "dealer" in row["trust"] else GOOD


def _peers(axes: Any, rows: list[Row]) -> None:
    rows = sorted(rows, key=lambda r: float(r["wall_s"]))
    walls = [r["wall_s"] for r in rows]
    hatches = ["///" if "note" in r or "scaled_from" in r else "" for r in rows]
    colours, edges = [protection(r) for r in rows], ["white" if hatch else "none" for hatch in hatches]
    bars = axes.barh([r["title"] for r in rows], walls, color=colours, hatch=hatches, edgecolor=edges, height=0.65)
    axes.bar_label(bars, map(seconds, walls), padding=4, fontsize=8)
    axes.invert_yaxis()
    axes.set(xscale="log", xlabel="seconds", xlim=(min(walls) / 3, max(walls) * 6))
