"""Draws the two panels of docs/performance.png from what scripts/bench --json writes.

Usage: plot.py RESULTS.json OUT.png
"""

import json
import sys

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

# Okabe and Ito's colours, which people who confuse red and green tell apart.
VEXACT, GRAPH, OTHER, INK, FAINT = "#0072B2", "#D55E00", "#9AA0A6", "#202124", "#DADCE0"
QUIET = "#5F6368"
LABELS = {"vexact": "Vexact", "fp32_scan": "float32 scan at memory speed", "faiss_flat": "FAISS IndexFlatIP",
          "faiss_panorama": "FAISS IndexFlatIPPanorama, PCA", "qdrant_exact": "Qdrant, exact=true",
          "usearch_exact": "USearch, exact"}


def single_case(results):
    cases = [case for case in results["cases"] if case["batch"] == 1 and case["data"] in ("sentences", "synthetic")]
    return cases[0] if cases else None


def can_draw(results):
    return "hnsw" in results and single_case(results) is not None


def milliseconds(seconds):
    return f"{seconds * 1e3:.2f} ms" if seconds < 0.009995 else f"{seconds * 1e3:.1f} ms"


def draw(results, path):
    plt.rcParams.update({"font.family": "sans-serif", "font.size": 12, "text.color": INK, "axes.edgecolor": FAINT,
                         "xtick.color": INK, "ytick.color": INK, "axes.labelcolor": INK})
    figure, (left, right) = plt.subplots(1, 2, figsize=(16, 7), dpi=100)
    draw_bars(left, single_case(results))
    draw_curve(right, results["hnsw"])
    about = results["machine"]
    peers = ", ".join(f"{name} {version}" for name, version in results["versions"].items() if name != "numpy")
    figure.text(0.012, 0.025, f"{about['cpu']}, {results['settings']['threads']} threads, {about['date']}; medians of "
                f"interleaved runs; {peers}", fontsize=10.5, color=QUIET)
    figure.subplots_adjust(left=0.19, right=0.98, top=0.86, bottom=0.14, wspace=0.2)
    figure.savefig(path, facecolor="white")
    plt.close(figure)


def title(axes, head, under):
    axes.set_title(head, loc="left", fontsize=16, fontweight="bold", pad=32)
    axes.text(0, 1.03, under, transform=axes.transAxes, color=QUIET)


def draw_bars(axes, case):
    shown = sorted(case["contenders"], key=lambda figures: figures["median"])
    mine = next(figures["median"] for figures in shown if figures["name"] == "vexact")
    longest = shown[-1]["median"]
    for at, figures in enumerate(shown):
        vexact = figures["name"] == "vexact"
        axes.barh(at, figures["median"], height=0.6, color=VEXACT if vexact else OTHER)
        times = "" if vexact else f"   {figures['median'] / mine:.1f} ×"
        axes.text(figures["median"] + longest * 0.012, at, milliseconds(figures["median"]) + times, va="center",
                  color=VEXACT if vexact else INK, fontweight="bold" if vexact else "normal")
    axes.set_yticks(range(len(shown)), [LABELS[figures["name"]] for figures in shown])
    axes.get_yticklabels()[[figures["name"] for figures in shown].index("vexact")].set(color=VEXACT, fontweight="bold")
    axes.invert_yaxis()
    axes.set_xlim(0, longest * 1.24)
    axes.xaxis.set_visible(False)
    axes.tick_params(length=0)
    axes.spines[:].set_visible(False)
    title(axes, "One exact query", f"median, k = 10, {case['rows']:,} sentence embeddings of {case['dimension']} "
          "dimensions")


def draw_curve(axes, hnsw):
    curve = hnsw["curves"][-1]
    points = curve["points"]
    times = [point["median"] * 1e3 for point in points]
    recalls = [point["recall"] for point in points]
    mine = curve["vexact_median"] * 1e3
    low, high, depth = min([mine, *times]) / 1.3, max([mine, *times]) * 1.6, 1 - min(recalls)
    axes.plot(times, recalls, "-o", color=GRAPH, markersize=6, linewidth=2)
    axes.plot([mine], [1], "o", color=VEXACT, markersize=13, zorder=3, clip_on=False)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.set_ylim(1 - depth * 1.1, 1 + depth * 0.1)
    late = mine > (low * high) ** 0.5
    axes.annotate(f"Vexact, {mine:.2f} ms at recall 1", (mine, 1), xytext=(10 if late else -8, 13),
                  textcoords="offset points", ha="right" if late else "left", color=VEXACT, fontweight="bold")
    for point in points[:: max(1, len(points) // 4)]:
        axes.annotate(f"efSearch {point['ef']}", (point["median"] * 1e3, point["recall"]), xytext=(9, -14),
                      textcoords="offset points", fontsize=10.5, color=QUIET)
    axes.text(0.98, 0.2, "FAISS IndexHNSWFlat, M = 32", transform=axes.transAxes, ha="right", color=GRAPH,
              fontweight="bold")
    rows = hnsw["crossover"]["rows"]
    meeting = "" if rows is None else (f"\nas fast as Vexact at recall {hnsw['recall']} from "
                                       f"{float(f'{rows:.2g}'):,.0f} rows")
    axes.text(0.98, 0.18, f"{curve['build_seconds']:.0f} s to build{meeting}", transform=axes.transAxes, ha="right",
              va="top", color=GRAPH, linespacing=1.5, backgroundcolor="white")
    ticks = [tick for tick in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50) if low <= tick <= high]
    axes.set_xticks(ticks, [f"{tick:g} ms" for tick in ticks])
    axes.minorticks_off()
    axes.yaxis.grid(True, color=FAINT, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)
    title(axes, "Against an approximate graph", f"recall@10 by median latency (logarithmic), {curve['rows']:,} rows")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    with open(sys.argv[1], encoding="utf-8") as results_file:
        draw(json.load(results_file), sys.argv[2])
