"""Rows, queries and known answers to measure with."""

import os
from dataclasses import dataclass

import numpy as np

SEED = 20261121


class DataError(Exception):
    """Data that cannot be measured with; the message says why."""


@dataclass
class DataSet:
    name: str
    metric: str
    rows: np.ndarray  # n x d, float32
    queries: np.ndarray  # float32
    note: str = ""  # for people: what stands in for what
    # What the first queries find, to any depth up to these arrays' width: ids (uint64), scores (float64).
    # None where the reference engine has to say.
    golden: tuple | None = None


def sentences(folder):
    """Real sentence embeddings with real queries, or correlated vectors where there are none."""
    path = os.path.join(folder, "sentences.f16.npy")
    if not os.path.exists(path):
        return _correlated(100_000, 384)
    return DataSet("sentences", "inner_product", np.load(path).astype(np.float32),
                   np.load(os.path.join(folder, "queries.f32.npy")),
                   golden=_golden(folder, "sentences", "inner_product"))


def tokens(folder, metric):
    """A token embedding table, whose norms differ, with rows of its own as queries; None where there is none."""
    path = os.path.join(folder, "tokens.f32.npy")
    if not os.path.exists(path):
        return None
    rows = np.load(path)
    queries = rows[np.load(os.path.join(folder, "tokens.queries.rows.npy"))]
    return DataSet(f"tokens_{metric}", metric, rows, queries, golden=_golden(folder, "tokens", metric))


def isotropic(folder):
    """Vectors without any structure; generated once, then kept in `folder`."""
    path = os.path.join(folder, "isotropic.f32.npy")
    n, d, queries = 300_000, 768, 1_000
    if not os.path.exists(path):
        os.makedirs(folder, exist_ok=True)
        random = np.random.default_rng(SEED)
        unfinished = path + ".part.npy"
        np.save(unfinished, random.standard_normal((n + queries, d), np.float32))
        os.replace(unfinished, path)
    vectors = np.load(path)
    return DataSet("isotropic", "inner_product", vectors[:n], vectors[n:])


def from_file(rows_path, queries_path, metric):
    """What the user names; rows stand in for queries where none are given."""
    rows = _load(rows_path)
    if queries_path is None:
        chosen = np.random.default_rng(SEED).choice(len(rows), min(1_000, len(rows)), replace=False)
        return DataSet("file", metric, rows, rows[chosen], note=f"{len(chosen):,} of its rows serve as queries")
    queries = _load(queries_path)
    if queries.shape[1] != rows.shape[1]:
        raise DataError(f"{queries_path} has {queries.shape[1]} dimensions; {rows_path} has {rows.shape[1]}")
    return DataSet("file", metric, rows, queries)


def part(data, n):
    """n rows of the set, chosen at random, without known answers."""
    chosen = np.random.default_rng(SEED).choice(len(data.rows), n, replace=False)
    return DataSet(data.name, data.metric, data.rows[np.sort(chosen)], data.queries, data.note)


def _correlated(n, d):
    # Clusters, and a spectrum that falls off as those of text encoders do, turned at random so that no single
    # dimension carries it.
    random = np.random.default_rng(SEED)
    turn, _ = np.linalg.qr(random.standard_normal((d, d)))
    spectrum = (np.arange(d) + 5.0) ** -0.7
    centres = random.standard_normal((2_000, d))
    count = n + 1_000
    vectors = centres[random.integers(len(centres), size=count)] + random.standard_normal((count, d))
    vectors = (vectors * spectrum) @ turn
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    vectors = vectors.astype(np.float32)
    return DataSet("synthetic", "inner_product", vectors[:n], vectors[n:],
                   note="synthetic correlated vectors stand in for the sentence embeddings, which are not there")


def _golden(folder, name, metric):
    start = os.path.join(folder, f"{name}.top100.{metric}")
    if not os.path.exists(f"{start}.ids.npy"):
        return None
    return np.load(f"{start}.ids.npy"), np.load(f"{start}.scores.npy")


def _load(path):
    try:
        array = np.load(path)
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as .npy: {error}") from error
    if array.ndim != 2 or array.shape[0] == 0 or array.shape[1] == 0 or array.dtype.kind != "f":
        raise DataError(f"{path} holds {array.dtype} of shape {array.shape}; wanted are floats, rows x dimensions")
    array = np.ascontiguousarray(array, np.float32)
    finite = np.isfinite(array).all(axis=1)
    if not finite.all():
        raise DataError(f"{path}: row {np.argmin(finite)} holds a NaN or an infinity (in float32); "
                        "vectors must be finite")
    return array
