"""Embeddings that somebody else computed, from a file: .npy, .npz, .csv or .parquet, one row an entry.

    for row in embeddings.rows("people.parquet", Ready).enrolments: ...

- `.npy`: an array (n, D) of floats, and the labels in a text file beside it, one a line, UTF-8;
- `.npz`: the same as arrays, by default `embedding` and `label`; nothing in it is unpickled;
- `.csv`: a header; the columns of label and name, and every other column a number, in order;
- `.parquet`: a column of lists of floats and a column of labels (needs pyarrow: the extra `parquet`).

Files are read piece by piece. A row has a label and, if there is a column for it, a name of the caller's own, under
which it is enrolled once; without one, the numbers and the label are its name.
"""

from __future__ import annotations

import csv
import dataclasses
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pura.errors import BadConfig, BadEmbedding
from pura_client.enrolling import Enrolment
from pura_client.templates import Raw, Ready

PIECE = 1024
"""Rows that are read at a time."""
Kind = Callable[[Any], Raw | Ready]


@dataclasses.dataclass(frozen=True)
class Columns:
    """How columns, or arrays of an .npz, are called. name: None where rows have no name of their own."""

    label: str = "label"
    embedding: str = "embedding"
    name: str | None = None


@dataclasses.dataclass(frozen=True)
class Rows:
    """The rows of a file, in order, and how many there are, where the file says so. Reading on raises `BadEmbedding`
    for a file that is damaged."""

    enrolments: Iterator[Enrolment]
    total: int | None


def rows(path: Path, kind: Kind, columns: Columns | None = None, labels: Path | None = None) -> Rows:
    """The rows of a file. `kind`: what the numbers are, `Raw` or `Ready`; `labels`: the text file of an .npy.

    Raises `BadEmbedding` for a file that cannot be read or lacks a column, `BadConfig` when pyarrow is missing.
    """
    named = columns or Columns()
    readers = {".npy": _npy, ".npz": _npz, ".csv": _csv, ".parquet": _parquet}
    if path.suffix.lower() not in readers:
        raise BadEmbedding("name a file that ends with .npy, .npz, .csv or .parquet")
    if (labels is not None) != (path.suffix.lower() == ".npy"):
        raise BadEmbedding("an .npy file, and no other, needs a file of labels")
    try:
        pieces, total = readers[path.suffix.lower()](path, named, labels)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise _unreadable(path, error) from error
    return Rows(_enrolments(path, pieces, kind), total)


Piece = tuple[Sequence[Any], Sequence[Any], Sequence[Any] | None]
"""Embeddings, labels and names of some rows."""


def _enrolments(path: Path, pieces: Iterator[Piece], kind: Kind) -> Iterator[Enrolment]:
    try:
        for embeddings, labels, names in pieces:
            for i, (embedding, label) in enumerate(zip(embeddings, labels, strict=True)):
                name = None if names is None else _text(names[i])
                yield Enrolment(kind(embedding), _text(label), name)
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error


def _text(value: Any) -> str:
    """A number is a text, too; what is missing is an empty one, which is refused."""
    return "" if value is None else str(value)


def _unreadable(path: Path, error: Exception) -> BadEmbedding:
    why = error.strerror if isinstance(error, OSError) and error.strerror else "it is not such a file, or damaged"
    if isinstance(error, KeyError):
        why = f"it has no {error.args[0]!r}"
    return BadEmbedding(f"{path} cannot be read: {str(why).lower()}", detail=repr(error))


def _cut(array: Any, labels: Any, names: Any) -> Iterator[Piece]:
    for at in range(0, len(array), PIECE):
        part = slice(at, at + PIECE)
        yield array[part], labels[part], None if names is None else names[part]


def _checked(path: Path, array: Any, labels: Any) -> None:
    if array.ndim != 2:
        raise BadEmbedding(f"{path}: embeddings are an array of shape (n, D), not {array.shape}")
    if len(labels) != len(array):
        raise BadEmbedding(f"{path}: {len(array)} embeddings, but {len(labels)} labels")


def _npy(path: Path, columns: Columns, labels: Path | None) -> tuple[Iterator[Piece], int]:
    assert labels is not None
    array = np.load(path, mmap_mode="r", allow_pickle=False)
    lines = labels.read_text("utf-8-sig").splitlines()
    _checked(path, array, lines)
    return _cut(array, lines, None), len(array)


def _npz(path: Path, columns: Columns, labels: Path | None) -> tuple[Iterator[Piece], int]:
    with np.load(path, allow_pickle=False) as file:
        array, texts = file[columns.embedding], file[columns.label]
        names = None if columns.name is None else file[columns.name].tolist()
    _checked(path, array, texts)
    return _cut(array, texts.tolist(), names), len(array)


def _csv(path: Path, columns: Columns, labels: Path | None) -> tuple[Iterator[Piece], None]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        header = next(csv.reader(file), [])
    for wanted in filter(None, (columns.label, columns.name)):
        if wanted not in header:
            raise KeyError(wanted)

    def pieces() -> Iterator[Piece]:
        with path.open(encoding="utf-8-sig", newline="") as file:
            table = csv.DictReader(file, strict=True, restkey="")
            try:
                for row in table:
                    label = row.pop(columns.label)
                    names = None if columns.name is None else [row.pop(columns.name)]
                    yield [_numbers(list(row.values()))], [label], names
            except csv.Error as error:
                raise ValueError(str(error)) from error

    return pieces(), None


def _numbers(texts: Sequence[Any]) -> Any:
    """A row's numbers; what is none is left for the row itself to be refused."""
    try:
        return np.array(texts, np.float64)
    except (TypeError, ValueError):
        return texts


def _parquet(path: Path, columns: Columns, labels: Path | None) -> tuple[Iterator[Piece], int]:
    try:
        import pyarrow
        import pyarrow.parquet
    except ModuleNotFoundError as error:
        raise BadConfig("a Parquet file needs pyarrow: pip install 'pura-match[parquet]'") from error
    try:
        file = pyarrow.parquet.ParquetFile(path)
    except pyarrow.ArrowException as error:
        raise ValueError(str(error)) from error
    wanted = [one for one in (columns.label, columns.embedding, columns.name) if one is not None]
    for one in wanted:
        if one not in file.schema_arrow.names:
            raise KeyError(one)

    def pieces() -> Iterator[Piece]:
        try:
            for batch in file.iter_batches(batch_size=PIECE, columns=wanted):
                names = None if columns.name is None else batch[columns.name].to_pylist()
                yield batch[columns.embedding].to_pylist(), batch[columns.label].to_pylist(), names
        except pyarrow.ArrowException as error:
            raise ValueError(str(error)) from error

    return pieces(), file.metadata.num_rows
