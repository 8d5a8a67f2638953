"""Vexact against an approximate index: FAISS IndexHNSWFlat, at several sizes and depths of search."""

import numpy as np

import data as data_sets
from answers import Answers
from contenders import FaissHnsw, Vexact, clocked
from turns import K, progress, quantile, rounds, take_turn

RECALL = 0.99
# Recall is the mean over so many queries.
QUERIES = 500
# The sizes: these fractions of the rows.
SHARES = (8, 4, 2, 1)
EF_SEARCH = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
# From here on, a deeper search has nothing to find.
ENOUGH_RECALL = 0.999


def compare(data, engine, threads, turns):
    """Prints recall against latency at every size, and the size from which the graph is faster. Returns the same
    for programs, and what went wrong."""
    print(f"\nFAISS IndexHNSWFlat, M = 32, on {data.name}: recall@{K} against latency; {threads} threads build, one "
          "answers a query")
    curves, failures = [], []
    for share in SHARES:
        curve, wrong = measure(data_sets.part(data, len(data.rows) // share), engine, threads, turns)
        print_curve(curve)
        curves.append(curve)
        if wrong:
            failures.append(f"hnsw: vexact gave {wrong} wrong answers over {curve['rows']} rows")
    rows, how = crossover(curves)
    print(f"\nCROSSOVER rows {'none' if rows is None else f'{rows:.0f}'} at recall {RECALL} ({how})", flush=True)
    return {"data": data.name, "recall": RECALL, "curves": curves, "crossover": {"rows": rows, "how": how}}, failures


def measure(data, engine, threads, turns):
    """One size: what it took, and how many of vexact's answers were wrong."""
    n = len(data.rows)
    progress(f"hnsw: loading {n:,} rows")
    vexact = Vexact(data, engine)
    answers = Answers(data, engine, QUERIES)
    wrong = answers.check_exactly(engine)
    progress(f"hnsw: building the graph of {n:,} rows")
    build_seconds, graph = clocked(lambda: FaissHnsw(data, threads))
    queries = data.queries[:answers.known]
    points = []
    for ef in EF_SEARCH:
        graph.index.hnsw.efSearch = ef
        points.append({"ef": ef, "recall": answers.recall(graph.search(queries, K)[1])})
        if points[-1]["recall"] > ENOUGH_RECALL:
            break
    mine, theirs = [], [[] for _ in points]
    for turn in rounds(turns, f"hnsw, {n:,} rows"):
        mine += [seconds for _, seconds, _ in take_turn(vexact.search, queries, turn)[1]]
        for point, seconds in zip(points, theirs):
            graph.index.hnsw.efSearch = point["ef"]
            seconds += [seconds for _, seconds, _ in take_turn(graph.search, queries, turn)[1]]
    for point, seconds in zip(points, theirs):
        point["median"] = quantile(seconds, 0.5)
    return {"rows": n, "build_seconds": build_seconds, "vexact_median": quantile(mine, 0.5), "points": points,
            "median_at_recall": at_recall(points)}, wrong


def print_curve(curve):
    at = curve["median_at_recall"]
    reached = f"{at * 1e3:.3f} ms" if at else "not reached"
    print(f"\n  {curve['rows']:,} rows: built in {curve['build_seconds']:.1f} s; vexact "
          f"{curve['vexact_median'] * 1e3:.3f} ms at recall 1; hnsw at recall {RECALL}: {reached}")
    print("  efSearch " + "".join(f"{point['ef']:>9}" for point in curve["points"]))
    print("  recall   " + "".join(f"{point['recall']:>9.4f}" for point in curve["points"]))
    print("  ms       " + "".join(f"{point['median'] * 1e3:>9.3f}" for point in curve["points"]), flush=True)


def at_recall(points):
    """The time at RECALL, by log-linear interpolation between the two points around it; None when it is not reached.
    Where the fastest point is already beyond it, that point's time."""
    for before, after in zip([None, *points], points):
        if after["recall"] >= RECALL:
            if before is None:
                return after["median"]
            share = (RECALL - before["recall"]) / (after["recall"] - before["recall"])
            return float(before["median"] ** (1 - share) * after["median"] ** share)
    return None


def crossover(curves):
    """The number of rows where both take the same time at RECALL, and how it was found."""
    curves = [curve for curve in curves if curve["median_at_recall"]]
    if len(curves) < 2:
        return None, f"recall {RECALL} was reached at fewer than two sizes"
    rows = np.log([curve["rows"] for curve in curves])
    lead = np.log([curve["median_at_recall"] / curve["vexact_median"] for curve in curves])
    for i in range(len(curves) - 1):
        if lead[i] >= 0 > lead[i + 1]:
            at = rows[i] + (rows[i + 1] - rows[i]) * lead[i] / (lead[i] - lead[i + 1])
            return float(np.exp(at)), (f"interpolated log-log between {curves[i]['rows']:,} and "
                                       f"{curves[i + 1]['rows']:,} rows; vexact is faster below")
    slope, level = np.polyfit(rows, lead, 1)
    sizes = f"{curves[0]['rows']:,} to {curves[-1]['rows']:,} rows"
    if slope >= 0:
        return None, f"over {sizes} the graph does not gain on vexact"
    where = "vexact is faster at all of them" if lead[-1] >= 0 else "the graph is faster at all of them"
    return float(np.exp(-level / slope)), f"extrapolated log-log from {sizes}; {where}"
