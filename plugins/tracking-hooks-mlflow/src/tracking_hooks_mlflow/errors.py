"""What MLflow's exceptions mean to the relay."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import requests
from mlflow.exceptions import MlflowException

from tracking_hooks.events import Rejected, Unavailable
from tracking_hooks_mlflow import mistakes, uris

RETRY_AFTER = 3600.0
"""Seconds after which a file that was refused is tried again: a limit may have been raised, a right been given."""

_FOR_NOW = {408, 429, 499}  # time-out, too many requests, cancelled
_ONE_FILE = {
    403: "The server or a proxy before it forbids it",
    404: "There is no such place",
    413: "It is larger than the server or a proxy before it allows: raise that limit, such as nginx's"
    " client_max_body_size",
}
_CLOUDS = ("azure", "boto3", "botocore", "google")  # clients of artifact stores that have exceptions of their own

_IN_WORDS = re.compile(r"failed with error code (\d{3}) ")  # of an answer that is not MLflow's own
_ANSWERS = (  # the same, as requests to MLflow and transfers of files word it
    re.compile(r"API request to endpoint \S+ failed with (error code \d{3}) != \d+\. Response body: '(.*)'", re.DOTALL),
    re.compile(r"(\d{3} \w+ Error: .*?) for url: \S+?(?:\. Response text: (.*))?", re.DOTALL),
)
_NO_ANSWER = (
    "Connection refused", "Connection reset by peer", "Remote end closed connection without response", "Read timed out",
    "connect timeout", "Name or service not known", "Temporary failure in name resolution", "No route to host",
    "Network is unreachable", "certificate verify failed", "wrong version number", "record layer failure",
)  # fmt: skip
_TIMES = 4  # others may be faster at each split of a data set

_SQLALCHEMY = re.compile(r"sqlalche\.me/e/\w+/(\w+)")
_OF_THE_DATA = {"9h9h", "gkpj"}  # SQLAlchemy's codes of DataError and IntegrityError
_IS_THERE = re.compile(r"((?!\[SQL:).)*?(unique|duplicate).*sqlalche\.me/e/\w+/gkpj", re.IGNORECASE | re.DOTALL)
"""How an IntegrityError begins, in any database, where somebody else has made the same thing at the same moment."""


@contextmanager
def told_to_relay(uri: str, name: str = "") -> Iterator[None]:
    """Translate MLflow's exceptions to ``Unavailable`` or ``Rejected``.

    :param uri: the tracking URI, without credentials
    :param name: what is sent, if the run can do without it: no right to write it is then its own affair
    """
    try:
        yield
    except MlflowException as error:
        # `from None`: the original contains the address with its password.
        raise _meaning(_status(error, uri), reason(error), uri, name) from None
    except requests.HTTPError as error:  # raised by transfers of artifacts
        status = 500 if error.response is None else error.response.status_code
        raise _meaning(status, reason(error), uri, name) from None
    except requests.RequestException as error:
        raise _down(uri, reason(error)) from None


@contextmanager
def told_of_file(uri: str, name: str, path: Path | None = None) -> Iterator[None]:
    """Translate the exceptions of a transfer to the artifact store.

    :param name: of the artifact
    :param path: the file, if it is not ours
    """
    try:
        with told_to_relay(uri, name):
            yield
    except (OSError, ImportError) as error:  # the store is a folder here; its client is not installed
        if path is not None and not path.is_file():
            raise gone(path, uri, name) from None
        raise _out_of_reach(uri, name, error) from error
    except Exception as error:
        if not type(error).__module__.startswith(_CLOUDS):
            raise
        raise _out_of_reach(uri, name, error) from error


def despite_others(call: Callable[[], None]) -> None:
    """Make a call again if it fails because somebody else has made the same thing at the same moment."""
    for again in reversed(range(_TIMES)):
        try:
            call()
        except MlflowException as error:
            if not (again and _IS_THERE.match(str(error))):
                raise
        else:
            return


def gone(path: Path, uri: str, name: str) -> Rejected:
    """Return what to raise for a file that is not there any more."""
    return Rejected(f"{path} is gone, so {name} cannot be uploaded to MLflow at {uri}")


def reason(error: Exception) -> str:
    """Return the message of an exception as one line, without credentials."""
    text = str(error)
    for words in _NO_ANSWER:
        if words in text:
            return words.lower()  # otherwise urllib3 describes its pools and retries
    line = next(iter(_in_short(text).splitlines()), "") or type(error).__name__
    return re.sub(r"//[^/\s]*@", "//", line)[:500]


def _in_short(text: str) -> str:
    """Return what a server or a proxy answered, without the address, which is said anyway, and without pages."""
    for pattern in _ANSWERS:
        if found := pattern.fullmatch(text):
            status, body = found[1], (found[2] or "").strip()
            return f"{status}, {body}" if body and not body.startswith("<") else status
    return re.sub(r"^\[Errno \d+\] ", "", text)


def _status(error: MlflowException, uri: str) -> int:
    """Return the HTTP status that tells what an exception means."""
    status: int = error.get_http_status_code()
    if status == 500 and uris.is_in_process(uri):
        raise error  # a fault inside this process
    if error.error_code == "ENDPOINT_NOT_FOUND":
        return 503  # an address where MLflow does not answer, such as a proxy whose server is still starting
    if status == 500 and (found := _IN_WORDS.search(str(error))):
        return int(found[1])
    found = _SQLALCHEMY.search(str(error))
    if status == 400 and found and (found[1] not in _OF_THE_DATA or _IS_THERE.match(str(error))):
        return 503  # MLflow calls nearly all trouble of its database a bad request
    return status


def _meaning(status: int, why: str, uri: str, name: str) -> Exception:
    if status == 403 and "host header" in why.lower():
        return Unavailable(f"MLflow at {uri}: {why}. Start the server with --allowed-hosts for this name.")
    if status in _ONE_FILE and (name or status == 413):
        what = name or "this"
        return Rejected(f"MLflow at {uri} does not take {what}: {why}. {_ONE_FILE[status]}.", retry_after=RETRY_AFTER)
    if status in {401, 403}:
        return Unavailable(f"MLflow at {uri} refuses access: {why}. {mistakes.about_credentials(uri, status)}")
    if 400 <= status < 500 and status not in _FOR_NOW:
        return Rejected(f"MLflow at {uri} refuses this: {why}")
    return _down(uri, why)


def _down(uri: str, why: str) -> Unavailable:
    is_unknown = uris.is_databricks(uri) and "credential" in why.lower()
    hint = mistakes.about_credentials(uri) if is_unknown else mistakes.about_connection(uri, why)
    return Unavailable(f"MLflow at {uri} is not available: {why}{f'. {hint}' if hint else ''}")


def _out_of_reach(uri: str, name: str, error: Exception) -> Unavailable:
    needed = "install that module" if isinstance(error, ImportError) else "give this machine access to that place"
    hint = (
        f" Here, clients write there themselves: {needed}, or start the server with --serve-artifacts and use a new"
        " experiment."
        if uris.is_web(uri)
        else ""
    )
    why = f"the artifact store of MLflow at {uri} does not take {name}: {reason(error)}."
    return Unavailable(f"{why}{hint}", only_this_run=True)  # another experiment may have another store
