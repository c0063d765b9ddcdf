"""Mistakes planted in the feature engine, one at a time: its tests must fail for each.

Each takes the time to compile the engine anew: `make test ARGS="-m mutation"`.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
# The quickest first: the first failure ends the run.
TESTS = [
    f"tests/features/test_{name}.py"
    for name in ("windows", "hot_aggregates", "hot_keys", "oracle", "laws")
]

pytestmark = [pytest.mark.mutation, pytest.mark.slow]


@dataclass(frozen=True)
class Mutation:
    mistake: str
    old: str  # in the file exactly once, with enough around it to say where
    new: str
    file: str = "features/kernels.py"


MUTATIONS = [
    Mutation("the window edge is left out", "while then < edge:", "while then <= edge:"),
    Mutation(
        "the window edge is left out of a hot value",
        "if tables.block_times[block, middle & EXACT - 1] < edge:",
        "if tables.block_times[block, middle & EXACT - 1] <= edge:",
    ),
    Mutation(
        "a tile that ends at the window edge is left out",
        "if tiles[start + middle, T_LATEST] < edges[k]:",
        "if tiles[start + middle, T_LATEST] <= edges[k]:",
    ),
    Mutation(
        "orders of the same instant are not counted",
        "if then > time or _is_own(current, own_key, tables):",
        "if then >= time or _is_own(current, own_key, tables):",
    ),
    Mutation(
        "of one instant the order applied earlier is the latest",
        "while below >= 0 and rows64[below, 0] > time:",
        "while below >= 0 and rows64[below, 0] >= time:",
    ),
    Mutation(
        "of one instant the order of a hot value applied earlier is the latest",
        "if tables.block_times[block, place] <= time:",
        "if tables.block_times[block, place] < time:",
    ),
    Mutation("different values are left over from the walk before", "    n_seen[a] = 0\n", ""),
    Mutation(
        "different values are left over from the query before",
        "            counters[QUERY] += 1\n",
        "",
    ),
    Mutation(
        "a repeated order counts itself",
        "return own_key != 0 and tables.orders64[row, O_KEY] == own_key",
        "return False",
    ),
    Mutation(
        "an outcome counts before its event time",
        "if then > time or _is_own(owner, own_key, tables):",
        "if _is_own(owner, own_key, tables):",
    ),
    Mutation(
        "the circle of an account is the account alone",
        "for entity in program.circle[1:3]:",
        "for entity in program.circle[1:1]:",
    ),
    Mutation(
        "a sum takes the wrong measure",
        "return MEASURES.index(feature.of)",
        "return 0",
        "features/plan.py",
    ),
]


# The same examples every time; that one fails is enough, the smallest one need not be found.
CONFTEST = """from hypothesis import Phase, settings

settings.register_profile("once", derandomize=True, phases=[Phase.generate])
settings.load_profile("once")
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The engine and its tests, to be changed at will."""
    for package in ("features", "orders", "tests"):
        shutil.copytree(
            ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__")
        )
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "conftest.py").write_text(CONFTEST)
    return tmp_path


def run_tests(root: Path) -> subprocess.CompletedProcess[str]:
    arguments = ["-m", "pytest", *TESTS, "-k", "not redis", "-x", "-q", "-p", "no:cacheprovider"]
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=root,
        env=os.environ | {"NUMBA_CACHE_DIR": str(root / "compiled")},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )


def test_without_a_mistake_the_tests_pass(copy: Path) -> None:
    result = run_tests(copy)
    assert result.returncode == pytest.ExitCode.OK, result.stdout


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.mistake)
def test_a_mistake_makes_the_tests_fail(copy: Path, mutation: Mutation) -> None:
    path = copy / mutation.file
    text = path.read_text()
    assert text.count(mutation.old) == 1, "the engine has changed: plant this mistake anew"
    path.write_text(text.replace(mutation.old, mutation.new))
    result = run_tests(copy)
    assert result.returncode == pytest.ExitCode.TESTS_FAILED, result.stdout
    assert "FAILED" in result.stdout
