"""The model registry: MLflow, on SQLite in the data folder or on a server.

A registered version points to an artefact folder (see `models.risk_model`) among the artefacts of
the run that made it. The alias `champion` says which version decides.
"""

import logging
import os
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from models.risk_model import SIGNATURE_FILE, RiskModel
from orders.errors import UserError

if TYPE_CHECKING:
    from mlflow import MlflowClient

CHAMPION = "champion"
ARTIFACT_PATH = "model"
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")  # the model, or its alias


def mlflow_client(tracking_uri: str) -> "MlflowClient":
    """A client of the tracking server and registry at `tracking_uri`.

    For `sqlite:///…` the folder and the database are made (about two seconds the first time).

    Raises:
        UserError: The address is wrong, or nobody answers there.
    """
    # Read while MLflow is imported: without it MLflow reports its use over the network.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # A server that is down is reported after seconds, not after MLflow's minutes of retries.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    database = sqlite_path(tracking_uri)
    try:
        if database:
            database.parent.mkdir(parents=True, exist_ok=True)
        with warnings.catch_warnings():
            # MLflow 3.17 declares its tables in a way that SQLAlchemy 2.1 calls deprecated.
            warnings.filterwarnings("ignore", message="The ``noload`` loader strategy")
            from mlflow import MlflowClient

            logging.getLogger("mlflow").setLevel(logging.WARNING)  # not each database migration
            logging.getLogger("alembic").setLevel(logging.WARNING)
            client = MlflowClient(tracking_uri=tracking_uri, registry_uri=tracking_uri)
            client.search_experiments(max_results=1)
    except ImportError:
        raise
    except Exception as error:  # whatever the store of this kind of address raises
        raise UserError(
            f"cannot reach MLflow at {tracking_uri}: {_brief(error)}; "
            "set --tracking-uri or PREEMPT_TRACKING_URI"
        ) from error
    return client


def sqlite_path(tracking_uri: str) -> Path | None:
    """The file of a `sqlite:///` address; None for any other.

    >>> sqlite_path("sqlite:////srv/mlflow.db"), sqlite_path("http://127.0.0.1:5000")
    (PosixPath('/srv/mlflow.db'), None)
    """
    scheme, found, path = tracking_uri.partition("sqlite:///")
    return Path(path) if found and not scheme and path else None


def register(
    folder_uri: str, *, tracking_uri: str, name: str, run_id: str, alias: str | None = CHAMPION
) -> str:
    """Register an artefact folder of a run as the next version of `name`, and give it the alias.

    Args:
        folder_uri: Where MLflow keeps the folder, `<artifact uri of the run>/model`.
        tracking_uri: Of MLflow.
        name: Of the model; made when it is not there.
        run_id: The run that made the artefact.
        alias: Moved to this version; None: none is moved.

    Returns:
        The version.
    """
    from mlflow.exceptions import MlflowException

    client = mlflow_client(tracking_uri)
    try:
        client.create_registered_model(name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise UserError(f"cannot register model {name!r}: {_brief(error)}") from error
    version = str(client.create_model_version(name, folder_uri, run_id).version)
    if alias is not None:
        client.set_registered_model_alias(name, alias, version)
    return version


def champion_version(name: str, tracking_uri: str) -> str | None:
    """The version of `name` that is champion, if there is one."""
    from mlflow.exceptions import MlflowException

    try:
        found = mlflow_client(tracking_uri).get_model_version_by_alias(name, CHAMPION)
    except MlflowException as error:
        if error.error_code in _ABSENT:
            return None
        raise UserError(f"cannot read the registry at {tracking_uri}: {_brief(error)}") from error
    return str(found.version)


def load_model(model: str, tracking_uri: str) -> RiskModel:
    """A model by folder, by URI (`models:/risk@champion`, `models:/risk/3`), or by name.

    A bare name is its champion. A path is taken for a folder when it holds a `model.json` or has
    a separator.

    Raises:
        UserError: There is no such model, or its artefact is missing or damaged.
    """
    if not model.startswith("models:/") and (
        "/" in model or os.sep in model or (Path(model) / SIGNATURE_FILE).is_file()
    ):
        return RiskModel.load(Path(model))
    name, version, alias = _parse(model)
    from mlflow.exceptions import MlflowException

    client = mlflow_client(tracking_uri)
    try:
        found = (
            client.get_model_version_by_alias(name, alias)
            if alias
            else client.get_model_version(name, version)
        )
    except MlflowException as error:
        if error.error_code not in _ABSENT:
            raise UserError(
                f"cannot read the registry at {tracking_uri}: {_brief(error)}"
            ) from error
        raise UserError(
            f"no model {model!r} in the registry at {tracking_uri}: "
            f"train it with `preempt train … --name {name}`, or name another with --model, as "
            "models:/NAME/VERSION where none is champion"
        ) from None
    from mlflow.artifacts import download_artifacts

    try:
        folder = download_artifacts(artifact_uri=found.source, tracking_uri=tracking_uri)
    except (MlflowException, OSError) as error:
        raise UserError(
            f"model {name!r} version {found.version} is registered, but its files cannot be "
            f"fetched from {found.source}: {_brief(error)}"
        ) from error
    return RiskModel.load(Path(folder), name=name, version=str(found.version))


def _parse(model: str) -> tuple[str, str, str]:
    """(name, version, alias) of a name or a `models:/` URI; version or alias is empty."""
    path = model.removeprefix("models:/")
    name, at, alias = path.partition("@")
    if at:
        parsed = (name, "", alias)
    else:
        name, slash, version = path.partition("/")
        parsed = (name, version, "") if slash else (name, "", CHAMPION)
    if not name or not (parsed[1] or parsed[2]) or "/" in parsed[2]:
        raise UserError(
            f"cannot read model {model!r}: expected a name, models:/NAME@ALIAS, models:/NAME/VERSION "
            "or a folder"
        )
    return parsed


def _brief(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
