"""The home of mlflow: a study as runs, so that its front can be looked at, filtered and compared in the MLflow UI.

One experiment per space and data, one parent run a study, one child run a member of the front or finalist; all else is one table.
A study's folder has everything; MLflow gets a copy. `StudyMirror` sends what the folder holds and the store lacks: a search calls it from a
thread of its own (`Background`), `nas sync` calls it once. Both leave the same behind, and calling it again changes nothing.
"""

from nas.report.course import BEGIN, END, LOG
from nas.report.tracking.background import Background
from nas.report.tracking.connection import ENVIRONMENT, Connection, TrackingError, check_uri, local_store
from nas.report.tracking.fetched import write_fetched
from nas.report.tracking.mirror import Sent, StudyMirror, epoch_points
from nas.report.tracking.registry import Fetched, fetch, is_model_uri
from nas.report.tracking.study import LoggedRuns, Tracker, find_view, logged_runs
from nas.report.tracking.syncing import Synced, sync

__all__ = [
    "BEGIN",
    "END",
    "ENVIRONMENT",
    "LOG",
    "Background",
    "Connection",
    "Fetched",
    "LoggedRuns",
    "Sent",
    "StudyMirror",
    "Synced",
    "Tracker",
    "TrackingError",
    "check_uri",
    "epoch_points",
    "fetch",
    "find_view",
    "is_model_uri",
    "local_store",
    "logged_runs",
    "sync",
    "write_fetched",
]
