"""Measures Vexact beside other engines: scripts/bench, which has the usage, runs this in its virtual environment."""

import argparse
import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import sys
import time

import numpy as np

import data as data_sets
import graph
import plot
from answers import Answers
from contenders import FaissFlat, FaissPanorama, Fp32Scan, QdrantExact, USearchExact, Vexact, clocked
from engine import METRICS, Engine, EngineError
from turns import K, PAUSE_SECONDS, QUERIES_PER_TURN, WARM_UP_SECONDS, progress, quantile, rounds, take_turn

BATCHES = (64, 1_000)
# A batch takes longer than the caches matter for; fewer rounds do.
ROUNDS_PER_BATCH_ROUND = 10
# The graph has many depths of search to measure.
ROUNDS_PER_GRAPH_ROUND = 4
PEERS = (FaissFlat, FaissPanorama, QdrantExact, USearchExact)
PLOT = "docs/performance.png"


class Bench:
    def __init__(self, options, engine):
        self.options = options
        self.engine = engine
        self.results = {"settings": {"k": K, "threads": options.threads, "rounds": options.rounds,
                                     "queries_per_turn": QUERIES_PER_TURN, "warm_up_seconds": WARM_UP_SECONDS,
                                     "pause_seconds": PAUSE_SECONDS},
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
            self.measure_set(data_sets.from_file(self.options.data, self.options.queries,
                                                self.options.metric or "inner_product"))
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
            self.results["hnsw"], failures = graph.compare(
                data_sets.sentences(folder), self.engine, self.options.threads,
                max(5, self.options.rounds // ROUNDS_PER_GRAPH_ROUND))
            self.failures += failures
        if not self.ran:
            raise data_sets.DataError(f'no case has "{self.options.only}" in its name; see scripts/bench --help')

    def measure_set(self, data, batches=BATCHES):
        """One set: one query at a time against every contender, then batches against FAISS."""
        n, d = data.rows.shape
        if n < K:
            raise data_sets.DataError(f"{data.name}: {n} rows; at least {K} are needed")
        print(f"\n{data.name}: {n:,} x {d}, {data.metric}, k = {K}, threads = {self.options.threads}", flush=True)
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
            self.report(self.measure_single(contenders, answers), f"{prefix}single")
            for batch in batches:
                both = [contender for contender in contenders if contender.name in ("vexact", "faiss_flat")]
                self.report(self.measure_batch(both, answers, batch), f"{prefix}batch{batch}")

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

    def measure_single(self, contenders, answers):
        queries = answers.data.queries[:answers.known]
        warm_up, counted = ({c.name: [] for c in contenders} for _ in range(2))
        for turn in rounds(self.options.rounds, answers.data.name):
            for contender in contenders:
                before, after = take_turn(contender.search, queries, turn)
                warm_up[contender.name].append(before)
                counted[contender.name] += after
        return measured(answers, 1, [
            figures(c, answers, counted[c.name], [before[0] for before in warm_up[c.name]]) for c in contenders])

    def measure_batch(self, contenders, answers, batch):
        """The same queries in every batch, those whose answers are known first."""
        data = answers.data
        queries = np.resize(data.queries, (batch, data.queries.shape[1]))
        counted = {c.name: [] for c in contenders}
        for contender in contenders:
            contender.search(queries, K)  # a warm-up that nobody counts
        for _ in rounds(max(3, self.options.rounds // ROUNDS_PER_BATCH_ROUND), f"{data.name}, batches of {batch:,}"):
            for contender in contenders:
                time.sleep(PAUSE_SECONDS)
                counted[contender.name].append((0, *contender.search(queries, K)))
        return measured(answers, batch, [figures(c, answers, counted[c.name]) for c in contenders])

    def report(self, case, label):
        self.results["cases"].append(case)
        self.failures += [f"{case['data']}: {figures['name']} gave {figures['answers']['wrong']} wrong answers"
                          for figures in case["contenders"] if figures["answers"] and figures["answers"]["wrong"]]
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


def measured(answers, batch, contenders):
    data = answers.data
    return {"data": data.name, "note": data.note, "metric": data.metric, "rows": len(data.rows),
            "dimension": data.rows.shape[1], "batch": batch, "contenders": contenders}


def figures(contender, answers, counted, first=()):
    """What is reported of one contender's answers [(query, seconds, ids)]; `first` are the first ones of its turns."""
    seconds = [seconds for _, seconds, _ in counted]
    yardstick = contender.name == "fp32_scan" and answers.data.metric != "inner_product"
    return {"name": contender.name, "note": contender.note, "load_seconds": contender.load_seconds,
            "median": quantile(seconds, 0.5), "min": min(seconds), "p99": quantile(seconds, 0.99), "n": len(seconds),
            "first_median": quantile([seconds for _, seconds, _ in first], 0.5) if first else None,
            "answers": None if yardstick else answers.judge([*first, *counted], exactly=contender.name == "vexact")}


def described(verdicts):
    if verdicts is None:
        return "not checked"
    parts = [f"{verdicts['same']} right"]
    if verdicts["near_ties"]:
        parts.append(f"{verdicts['near_ties']} off by near-ties of float32")
    if verdicts["wrong"]:
        parts.append(f"{verdicts['wrong']} WRONG")
    return ", ".join(parts)


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
    parser.add_argument("--metric", choices=METRICS)
    parser.add_argument("--json")
    parser.add_argument("--plot")
    options = parser.parse_args()
    for name in ("rounds", "threads"):
        if getattr(options, name) < 1:
            parser.error(f"--{name} is {getattr(options, name)}; it is at least 1")
    for name in ("queries", "metric"):
        if getattr(options, name) and not options.data:
            parser.error(f"--{name} goes with --data")
    for name in ("json", "plot"):
        folder = os.path.dirname(getattr(options, name) or "./")
        if not os.path.isdir(folder):
            parser.error(f"--{name}: there is no folder {folder}")
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
            print(f"A turn: {PAUSE_SECONDS * 1e3:.0f} ms of rest, {WARM_UP_SECONDS * 1e3:.0f} ms of queries that do "
                  f"not count (the median of the very first is under \"first\"), {QUERIES_PER_TURN} that do.")
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
