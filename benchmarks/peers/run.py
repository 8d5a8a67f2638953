"""Measures Vexact beside other engines: scripts/bench, which has the usage, runs this in its virtual environment."""

import argparse
import contextlib
import datetime
import gc
import importlib.metadata
import json
import os
import platform
import sys
import time

import numpy as np

import data as data_sets
import plot
from contenders import FaissFlat, FaissHnsw, FaissPanorama, Fp32Scan, QdrantExact, USearchExact, Vexact, clocked
from engine import METRICS, Engine, EngineError

K = 10
BATCHES = (64, 1_000)
# Of every turn, the first query meets caches and threads as the contender before left them, and is told apart.
QUERIES_PER_TURN = 5
# A batch takes longer than the caches matter for; fewer rounds do.
ROUNDS_PER_BATCH_ROUND = 10
# OpenMP's threads spin for some 10 ms after a call: the next contender waits until they sleep.
PAUSE_SECONDS = 0.02
# Where no answers are known, so many queries are answered by the reference engine first.
REFERENCE_QUERIES = 100
# Of |q| |x| (or |q|^2 + |x|^2 under l2): what float32 sums may confuse.
NEAR_TIE = 1e-5
PEERS = (FaissFlat, FaissPanorama, QdrantExact, USearchExact)
RECALL = 0.99
EF_SEARCH = (10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
PLOT = "docs/performance.png"


def progress(text):
    print(text, file=sys.stderr, flush=True)


def counted(rounds, label):
    """range(rounds), with a counter on a terminal."""
    for done in range(rounds):
        if sys.stderr.isatty():
            print(f"\r\x1b[K{label}: round {done + 1} of {rounds}", end="", file=sys.stderr, flush=True)
        yield done
    if sys.stderr.isatty():
        print("\r\x1b[K", end="", file=sys.stderr, flush=True)


def quantile(values, q):
    return float(np.quantile(values, q, method="nearest"))


def threads(options):
    return f"{options.threads} thread{'s' if options.threads > 1 else ''}"


class Answers:
    """The right answers to the first queries of a set, and what became of those that were given."""

    def __init__(self, data, engine):
        self.data = data
        if data.golden is not None:
            self.ids, self.scores = data.golden
            self.source = "golden files"
        else:
            progress(f"{data.name}: asking the reference engine")
            queries = data.queries[:REFERENCE_QUERIES]
            _, self.ids, self.scores = engine.search(queries, K, "reference")
            self.source = "reference engine"
        self.known = len(self.ids)

    def check_exactly(self, engine):
        """Vexact's ids and score bits for every known answer, at its whole depth, one by one and as a batch."""
        depth = self.ids.shape[1]
        queries = self.data.queries[:self.known]
        given = [engine.search(queries[at:at + 1], depth) for at in range(self.known)]
        given = [(np.concatenate([ids for _, ids, _ in given]), np.concatenate([scores for _, _, scores in given])),
                 engine.search(queries, depth)[1:]]
        return sum(int((~self._same(ids, scores)).sum()) for ids, scores in given)

    def _same(self, ids, scores):
        return ((ids == self.ids).all(axis=1) &
                (scores.view("u8") == self.scores.view("u8")).all(axis=1))

    def judge(self, given):
        """Counts the answers [(first query, ids)] that are the same, that differ in near-ties of float32, and that are
        wrong."""
        counts = {"same": 0, "near_ties": 0, "wrong": 0}
        for first, ids in given:
            for query, found in enumerate(ids, first):
                if query < self.known:
                    counts[self._verdict(query, found)] += 1
        return counts

    def _verdict(self, query, found):
        right = self.ids[query, :K]
        if np.array_equal(found, right):
            return "same"
        if len(set(found.tolist())) != len(right) or max(found) >= len(self.data.rows):
            return "wrong"
        off = np.abs(self._scores(query, found) - self._scores(query, right))
        return "near_ties" if (off <= NEAR_TIE * self._scale(query, right)).all() else "wrong"

    def _scores(self, query, ids):
        q, x = self.data.queries[query].astype(np.float64), self.data.rows[ids.astype(np.int64)].astype(np.float64)
        if self.data.metric == "l2":
            return ((q - x) ** 2).sum(axis=1)
        dots = x @ q
        return dots if self.data.metric == "inner_product" else dots / (
            np.linalg.norm(q) * np.linalg.norm(x, axis=1))

    def _scale(self, query, ids):
        q = np.linalg.norm(self.data.queries[query].astype(np.float64))
        x = np.linalg.norm(self.data.rows[ids.astype(np.int64)].astype(np.float64), axis=1).max()
        return {"inner_product": q * x, "cosine": 1.0, "l2": q * q + x * x}[self.data.metric]


class Bench:
    def __init__(self, options, engine):
        self.options = options
        self.engine = engine
        self.results = {"settings": {"k": K, "threads": options.threads, "rounds": options.rounds,
                                     "queries_per_turn": QUERIES_PER_TURN, "pause_seconds": PAUSE_SECONDS},
                        "machine": machine(), "versions": versions(), "overhead_seconds": {}, "cases": [],
                        "ratios": {}}
        self.failures = []
        self.ran = False

    def wants(self, name):
        wanted = self.options.only in name
        self.ran |= wanted
        return wanted

    def ratio(self, name, value):
        self.results["ratios"][name] = value
        print(f"RATIO {name} {value:.2f}", flush=True)

    # The cases.

    def run(self):
        if self.options.data:
            self.measure_set(data_sets.from_file(self.options.data, self.options.queries, self.options.metric))
            return
        folder, generated = self.options.data_dir, self.options.work_dir
        if self.wants("overhead"):
            self.overhead()
        if self.wants("sentences"):
            self.measure_set(data_sets.sentences(folder))
        for metric in METRICS:
            if self.wants(f"tokens_{metric}"):
                tokens = data_sets.tokens(folder, metric)
                if tokens is None:
                    progress(f"tokens_{metric}: left out, {folder} holds no tokens.f32.npy")
                else:
                    self.measure_set(tokens, batches=())
        if self.wants("isotropic"):
            progress("isotropic: generating or reading the vectors")
            self.measure_set(data_sets.isotropic(generated))
        if self.wants("hnsw"):
            self.hnsw(data_sets.sentences(folder))
        if not self.ran:
            raise data_sets.DataError(f'no case has "{self.options.only}" in its name; see scripts/bench --help')

    def measure_set(self, data, batches=BATCHES):
        """One set: one query at a time against every contender, then batches against FAISS."""
        n, d = data.rows.shape
        if n < K:
            raise data_sets.DataError(f"{data.name}: {n} rows; at least {K} are needed")
        print(f"\n{data.name}: {n:,} x {d}, {data.metric}, k = {K}, {threads(self.options)}", flush=True)
        if data.note:
            print(f"  {data.note}")
        with contextlib.ExitStack() as stack:
            contenders = self.load(data, stack)
            answers = Answers(data, self.engine)
            wrong = answers.check_exactly(self.engine)
            print(f"  vexact: ids and score bits of {answers.known} queries, one by one and as a batch, against the "
                  f"{answers.source}: {'all equal' if wrong == 0 else f'{wrong} DIFFER'}")
            if wrong:
                self.failures.append(f"{data.name}: {wrong} of vexact's answers are not those of the {answers.source}")
            prefix = "" if data.name == "sentences" else f"{data.name}_"
            case = self.measure(data, contenders, answers, 1)
            self.report(case, f"{prefix}single")
            for batch in batches:
                both = [contender for contender in contenders if contender.name in ("vexact", "faiss_flat")]
                self.report(self.measure(data, both, answers, batch), f"{prefix}batch{batch}")

    def load(self, data, stack):
        """The contenders of a set, each with its rows; `stack` closes them."""
        contenders = []
        for kind in (Vexact, Fp32Scan, *PEERS):
            if kind is FaissPanorama and len(data.rows) < data.rows.shape[1]:
                progress(f"{data.name}: {kind.name} is left out; its PCA takes as many rows as dimensions")
                continue
            progress(f"{data.name}: loading {kind.name}")
            means = self.options.threads if kind in PEERS else self.engine
            seconds, contender = clocked(lambda kind=kind, means=means: kind(data, means))
            contender.load_seconds = seconds
            if hasattr(contender, "close"):
                stack.callback(contender.close)
            contenders.append(contender)
        return contenders

    def measure(self, data, contenders, answers, batch):
        """Runs the contenders in turns, and returns what they took and what became of their answers."""
        per_turn = QUERIES_PER_TURN if batch == 1 else 1
        rounds = self.options.rounds if batch == 1 else max(3, self.options.rounds // ROUNDS_PER_BATCH_ROUND)
        # Single queries are those whose answers are known; batches begin with them.
        queries = (data.queries[:answers.known] if batch == 1 else
                   np.resize(data.queries, (batch, data.queries.shape[1])))
        first, counted_seconds, given = ({c.name: [] for c in contenders} for _ in range(3))
        for contender in contenders:  # a warm-up that nobody counts
            contender.search(queries[:batch], K)
        gc.disable()
        for turn in counted(rounds, f"{data.name}, batch {batch}" if batch > 1 else data.name):
            for contender in contenders:
                time.sleep(PAUSE_SECONDS)
                for i in range(per_turn):
                    at = (turn * per_turn + i) % len(queries) if batch == 1 else 0
                    seconds, ids = contender.search(queries[at:at + batch], K)
                    (first if batch == 1 and i == 0 else counted_seconds)[contender.name].append(seconds)
                    given[contender.name].append((at, ids))
        gc.enable()
        return {"data": data.name, "metric": data.metric, "rows": len(data.rows), "dimension": data.rows.shape[1],
                "batch": batch, "note": data.note,
                "contenders": [self.figures(c, first[c.name], counted_seconds[c.name], given[c.name], answers)
                               for c in contenders]}

    def figures(self, contender, first, seconds, given, answers):
        checked = contender.name != "fp32_scan" or answers.data.metric == "inner_product"
        verdicts = answers.judge(given) if checked else None
        if checked and verdicts["wrong"]:
            self.failures.append(f"{answers.data.name}: {contender.name} gave {verdicts['wrong']} wrong answers")
        return {"name": contender.name, "note": contender.note, "load_seconds": contender.load_seconds,
                "median": quantile(seconds, 0.5), "min": min(seconds), "p99": quantile(seconds, 0.99),
                "first_median": quantile(first, 0.5) if first else None, "n": len(seconds), "answers": verdicts}

    def report(self, case, label):
        self.results["cases"].append(case)
        batch = case["batch"]
        print(f"\n  {'one query at a time' if batch == 1 else f'batches of {batch:,}':<20}"
              f"{'median':>11}{'min':>11}{'p99':>11}{'first':>11}{'n':>6}{'vexact is':>12}{'loaded in':>12}   answers")
        vexact = next(figures for figures in case["contenders"] if figures["name"] == "vexact")
        for figures in case["contenders"]:
            times = [figures[name] for name in ("median", "min", "p99", "first_median")]
            cells = "".join(f"{'-' if t is None else f'{t * 1e3:.3f} ms':>11}" for t in times)
            faster = "" if figures is vexact else f"{figures['median'] / vexact['median']:.2f} x"
            load = f"{figures['load_seconds']:.1f} s"
            print(f"  {figures['name']:<20}{cells}{figures['n']:>6}{faster:>12}{load:>12}   "
                  f"{described(figures['answers'])}")
        if batch == 1:
            for figures in case["contenders"]:
                if figures["note"]:
                    print(f"    {figures['name']}: {figures['note']}")
        for figures in case["contenders"]:
            if figures is not vexact:
                name = "faiss" if batch > 1 else figures["name"]
                self.ratio(f"{label}_vs_{name}", figures["median"] / vexact["median"])
        self.ratio(f"{label}_p99_vs_median", vexact["p99"] / vexact["median"])

    # What a call costs before anything is searched.

    def overhead(self):
        progress("overhead: calls over 10 rows")
        def few(n):
            rows = np.random.default_rng(0).standard_normal((n, 384), np.float32)
            return data_sets.DataSet("overhead", "inner_product", rows, rows)

        def median(call):
            return quantile([call() for _ in range(300)], 0.5)

        vexact = Vexact(few(10), self.engine)
        query = few(1).rows

        def outside():
            total, (inside, _) = clocked(lambda: vexact.search(query, K))
            return total - inside

        figures = {"pipe, empty call": median(lambda: clocked(self.engine.ping)[0]),
                   "pipe, what a search takes outside the engine": median(outside)}
        for kind in PEERS:
            data = few(400 if kind is FaissPanorama else 10)  # a PCA takes more rows than dimensions
            contender = kind(data, self.options.threads)
            figures[f"{kind.name}, {len(data.rows)} rows"] = median(lambda: contender.search(query, K)[0])
            if hasattr(contender, "close"):
                contender.close()
        self.results["overhead_seconds"] = figures
        print("\nCall overhead, medians; no figure has it subtracted. vexact and fp32_scan are timed inside their "
              "process,\nthe others in this one around the call of their Python package.")
        for name, seconds in figures.items():
            print(f"  {name:<44}{seconds * 1e6:>8.1f} us")

    # Against an approximate index.

    def hnsw(self, data):
        """Recall against latency at several sizes, and the size from which the graph is faster."""
        print(f"\nFAISS IndexHNSWFlat, M = 32, on {data.name}: recall@{K} against latency, "
              f"{threads(self.options)} to build,\none for a query")
        curves = [self.hnsw_curve(data_sets.part(data, len(data.rows) // share)) for share in (8, 4, 2, 1)]
        self.results["hnsw"] = {"data": data.name, "recall": RECALL, "curves": curves}
        rows, how = crossover(curves)
        self.results["hnsw"]["crossover"] = {"rows": rows, "how": how}
        print(f"\nCROSSOVER rows {'none' if rows is None else f'{rows:.0f}'} at recall {RECALL} ({how})", flush=True)

    def hnsw_curve(self, data):
        n = len(data.rows)
        progress(f"hnsw: loading {n:,} rows")
        vexact = Vexact(data, self.engine)
        progress(f"hnsw: building the graph of {n:,} rows")
        build_seconds, graph = clocked(lambda: FaissHnsw(data, self.options.threads))
        queries = data.queries[:500]
        _, right, scores = self.engine.search(queries, K, "reference")
        given = vexact.search(queries, K)[1]
        if not (np.array_equal(given, right) and np.array_equal(vexact.scores.view("u8"), scores.view("u8"))):
            self.failures.append(f"hnsw: vexact gave wrong answers over {n} rows")
        points = []
        for ef in EF_SEARCH:
            graph.index.hnsw.efSearch = ef
            recall = recall_at_k(data, queries, graph.search(queries, K)[1], scores)
            points.append({"ef": ef, "recall": recall, "seconds": []})
            if recall > 0.999:
                break
        vexact_seconds = self.time_curve(graph, vexact, queries, points, f"hnsw, {n:,} rows")
        for point in points:
            point["median"] = quantile(point.pop("seconds"), 0.5)
        curve = {"rows": n, "build_seconds": build_seconds, "vexact_median": quantile(vexact_seconds, 0.5),
                 "points": points}
        curve["median_at_recall"] = at_recall(points)
        self.print_curve(curve)
        return curve

    def time_curve(self, graph, vexact, queries, points, label):
        vexact_seconds = []
        for turn in counted(max(5, self.options.rounds // 4), label):
            for point in [None, *points]:
                time.sleep(PAUSE_SECONDS)
                if point is not None:
                    graph.index.hnsw.efSearch = point["ef"]
                for i in range(QUERIES_PER_TURN):
                    at = (turn * QUERIES_PER_TURN + i) % len(queries)
                    seconds, _ = (graph if point else vexact).search(queries[at:at + 1], K)
                    if i > 0:
                        (point["seconds"] if point else vexact_seconds).append(seconds)
        return vexact_seconds

    @staticmethod
    def print_curve(curve):
        at = curve["median_at_recall"]
        reached = f"{at * 1e3:.3f} ms" if at else "not reached"
        print(f"\n  {curve['rows']:,} rows: built in {curve['build_seconds']:.1f} s; vexact "
              f"{curve['vexact_median'] * 1e3:.3f} ms at recall 1; hnsw at recall {RECALL}: {reached}")
        print("  efSearch " + "".join(f"{point['ef']:>9}" for point in curve["points"]))
        print("  recall   " + "".join(f"{point['recall']:>9.4f}" for point in curve["points"]))
        print("  ms       " + "".join(f"{point['median'] * 1e3:>9.3f}" for point in curve["points"]), flush=True)


def described(verdicts):
    if verdicts is None:
        return "not checked"
    parts = [f"{verdicts['same']} right"]
    if verdicts["near_ties"]:
        parts.append(f"{verdicts['near_ties']} off by near-ties of float32")
    if verdicts["wrong"]:
        parts.append(f"{verdicts['wrong']} WRONG")
    return ", ".join(parts)


def recall_at_k(data, queries, found, right_scores):
    """The share of the found rows that are among the k nearest, every row at the k-th's score counting as one."""
    scores = np.einsum("qkd,qd->qk", data.rows[found].astype(np.float64), queries.astype(np.float64))
    return float(((found >= 0) & (scores >= right_scores[:, -1:] - 1e-9)).mean())


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


def machine():
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return {"cpu": models[0] if models else platform.machine(), "cores": os.cpu_count(),
            "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
            "kernel": platform.release(), "date": datetime.date.today().isoformat(),
            "load_before": os.getloadavg()[0]}


def versions():
    return {name: importlib.metadata.version(name) for name in ("faiss-cpu", "qdrant-edge-py", "usearch", "numpy")}


class Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(2, f"error: {message}; see scripts/bench --help\n")


def parsed_arguments():
    parser = Parser(add_help=False)
    parser.add_argument("--engine", required=True)
    parser.add_argument("--data-dir", required=True)
    parser.add_argument("--work-dir", required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("--rounds", type=int, default=100)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--data")
    parser.add_argument("--queries")
    parser.add_argument("--metric", choices=METRICS, default="inner_product")
    parser.add_argument("--json")
    parser.add_argument("--plot")
    options = parser.parse_args()
    for name in ("rounds", "threads"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} is {getattr(options, name)}; it is at least 1")
    if options.queries and not options.data:
        parser.error("--queries goes with --data")
    if options.only and options.data:
        parser.error("--only chooses among the cases; --data is measured instead of them")
    return options


def finish(bench, options):
    """Writes and draws what was asked for; the exit status."""
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(bench.results, file, indent=1)
            file.write("\n")
        progress(f"wrote {options.json}")
    whole = plot.can_draw(bench.results)
    if whole and (options.plot or bench.results["hnsw"]["data"] == "sentences"):
        path = options.plot or PLOT
        plot.draw(bench.results, path)
        progress(f"drew {path}")
    elif options.plot:
        progress(f"{options.plot} was not drawn: it takes the cases sentences and hnsw in one run")
    for failure in bench.failures:
        print(f"error: {failure}", file=sys.stderr)
    return 1 if bench.failures else 0


def main():
    options = parsed_arguments()
    try:
        with Engine(options.engine, options.threads) as engine:
            bench = Bench(options, engine)
            about = bench.results["machine"]
            print(f"{about['date']}, {about['cpu']}, {about['cores']} cores, {about['memory_gib']} GiB, load "
                  f"{about['load_before']:.1f}; "
                  + ", ".join(f"{name} {version}" for name, version in bench.results["versions"].items()))
            bench.run()
            return finish(bench, options)
    except (data_sets.DataError, EngineError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main())
