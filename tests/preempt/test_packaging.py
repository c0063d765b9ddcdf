"""Our top-level names are plain words: nobody else may claim them."""

from importlib.metadata import files, packages_distributions

OURS = ("orders", "features", "models", "training", "serving", "streams", "preempt")


def test_no_dependency_claims_one_of_our_names() -> None:
    claimed = packages_distributions()
    for name in (*OURS, "notebooks", "tests"):
        assert set(claimed.get(name, [])) <= {"preempt"}, name


def test_the_installed_distribution_is_ours() -> None:
    assert files("preempt") is not None
