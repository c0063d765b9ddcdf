"""A store's arrays in one file.

Layout: 8 bytes of magic, 8 bytes of header length (little endian), a JSON header, then the raw
arrays one after the other in C order. The header names version, feature-set hash, horizon,
metadata, and of each array its dtype, shape and XXH3 checksum.
"""

import json
import math
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import xxhash

from features.feature_set import FeatureSetMismatchError
from features.growth import empty_rows

MAGIC = b"PREEMPTF"
VERSION = 2


class SnapshotError(ValueError):
    """A file that is no usable snapshot; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What a file held."""

    horizon_ms: int
    metadata: dict[str, Any]
    arrays: dict[str, np.ndarray]


def save(
    path: Path,
    *,
    feature_hash: str,
    horizon_ms: int,
    arrays: Mapping[str, np.ndarray],
    metadata: Mapping[str, Any],
) -> None:
    """Write a snapshot: after a crash there is the former file or this one, never a part."""
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    header = {
        "version": VERSION,
        "features": feature_hash,
        "horizon_ms": horizon_ms,
        "metadata": dict(metadata),
        "arrays": [
            {
                "name": name,
                "dtype": array.dtype.str,
                "shape": array.shape,
                "xxh3": xxhash.xxh3_64_hexdigest(array.data if array.size else b""),
            }
            for name, array in arrays.items()
        ],
    }
    encoded = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(MAGIC + len(encoded).to_bytes(8, "little") + encoded)
            for array in arrays.values():
                array.tofile(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def load(path: Path, feature_hash: str) -> Snapshot:
    """Read a snapshot that was made with the feature set of this hash.

    Raises:
        SnapshotError: Not a snapshot, of another version, cut short or damaged.
        FeatureSetMismatchError: Made with other declarations.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise SnapshotError(f"{path} cannot be read: {error.strerror}") from None
    with file:
        header = _header(file, path)
        if header["features"] != feature_hash:
            raise FeatureSetMismatchError(
                f"{path} was made with feature set {header['features']}, "
                f"this is {feature_hash}: build the state again"
            )
        arrays = {entry["name"]: _array(file, entry, path) for entry in header["arrays"]}
        if file.read(1):
            raise SnapshotError(f"{path} is damaged: it is longer than it says")
    return Snapshot(header["horizon_ms"], header["metadata"], arrays)


def fingerprint(path: Path) -> str:
    """16 hex digits of what a snapshot holds: of its header, which has a checksum of every array.

    Raises:
        SnapshotError: As `load`; the arrays themselves are not read.
    """
    try:
        with path.open("rb") as file:
            header = _header(file, path)
    except OSError as error:
        raise SnapshotError(f"{path} cannot be read: {error.strerror}") from None
    return xxhash.xxh3_64_hexdigest(json.dumps(header, sort_keys=True).encode())


def _header(file: BinaryIO, path: Path) -> dict[str, Any]:
    start = file.read(len(MAGIC) + 8)
    if start[: len(MAGIC)] != MAGIC:
        raise SnapshotError(f"{path} is no snapshot of a feature state")
    length = int.from_bytes(start[len(MAGIC) :], "little")
    encoded = file.read(min(length, 1 << 26))
    if len(start) < len(MAGIC) + 8 or len(encoded) < length:
        raise SnapshotError(f"{path} is cut short: build the state again")
    try:
        header = json.loads(encoded)
    except ValueError:
        raise SnapshotError(f"{path} is damaged: build the state again") from None
    if header.get("version") != VERSION:
        raise SnapshotError(
            f"{path} is a snapshot of version {header.get('version')}, "
            f"this program reads {VERSION}: build the state again"
        )
    return header


def _array(file: BufferedReader, entry: dict[str, Any], path: Path) -> np.ndarray:
    shape, dtype = tuple(entry["shape"]), np.dtype(entry["dtype"])
    left = os.fstat(file.fileno()).st_size - file.tell()
    if math.prod(shape) * dtype.itemsize > left:
        raise SnapshotError(f"{path} is cut short: build the state again")
    array = empty_rows(shape, dtype)
    if array.size:
        file.readinto(array.data)
    if xxhash.xxh3_64_hexdigest(array.data if array.size else b"") != entry["xxh3"]:
        raise SnapshotError(f"{path} is damaged: build the state again")
    return array
