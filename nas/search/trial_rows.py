"""Trials in Optuna's tables (schema v3.0.0.a and later), by rows: Optuna's way makes an object of every value of every trial and parses its
distribution anew, 3.5 million of each for 100,000 trials of 35 genes.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from optuna.distributions import BaseDistribution, distribution_to_json, json_to_distribution
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import Column, ColumnElement, Connection, Engine, Table, func, insert, select

from nas.search.bulk import uncollected

__all__ = ["TrialRows", "write_asked", "write_trials"]

TRIALS: Table = models.TrialModel.__table__
PARAMS: Table = models.TrialParamModel.__table__
VALUES: Table = models.TrialValueModel.__table__
STEPS: Table = models.TrialIntermediateValueModel.__table__
USER_ATTRIBUTES: Table = models.TrialUserAttributeModel.__table__
SYSTEM_ATTRIBUTES: Table = models.TrialSystemAttributeModel.__table__
AT_ONCE = 500
"""Trials that a query names: old versions of SQLite take 999 variables (sqlite.org/limits.html). It also bounds the rows in memory."""
Row = Sequence[Any]


def write_asked(
    engine: Engine, trial_id: int, values: Mapping[str, Any], space: Mapping[str, BaseDistribution], user_attrs: Mapping[str, object]
) -> None:
    """Gives a trial the values of its parameters and attributes, all in one transaction; one that has them already is left alone."""
    with engine.begin() as connection:
        there = select(USER_ATTRIBUTES.c.key).where((USER_ATTRIBUTES.c.trial_id == trial_id) & USER_ATTRIBUTES.c.key.in_(list(user_attrs)))
        if connection.execute(there.limit(1)).first() is None:
            _insert(connection, PARAMS, _param_rows(trial_id, values, space))
            _insert(connection, USER_ATTRIBUTES, _attribute_rows(trial_id, user_attrs))


def write_trials(engine: Engine, study_id: int, trials: Sequence[FrozenTrial], first: int) -> None:
    """Adds trials without intermediate values to a study, all in one transaction: Optuna takes 40 ms for each.

    Only the one driver of a study may call it: trials are numbered from how many there are.

    Args:
        first: how many the study had before. Where it has more, an earlier call added these, though its answer was lost.
    """
    with engine.begin() as connection:
        of_study = TRIALS.c.study_id == study_id
        if int(connection.execute(select(func.count()).select_from(TRIALS).where(of_study)).scalar_one()) > first:
            return
        _insert(connection, TRIALS, [
            {"number": number, "study_id": study_id, "state": trial.state, "datetime_start": _stored(trial.datetime_start),
             "datetime_complete": _stored(trial.datetime_complete)}
            for number, trial in enumerate(trials, first)
        ])  # fmt: skip
        ids = connection.execute(select(TRIALS.c.trial_id).where(of_study & (TRIALS.c.number >= first)).order_by(TRIALS.c.number)).scalars()
        for trial_id, trial in zip(ids.all(), trials, strict=True):
            _insert(connection, PARAMS, _param_rows(trial_id, trial.params, trial.distributions))
            _insert(connection, VALUES, _value_rows(trial_id, trial.values or ()))
            _insert(connection, USER_ATTRIBUTES, _attribute_rows(trial_id, trial.user_attrs))
            _insert(connection, SYSTEM_ATTRIBUTES, _attribute_rows(trial_id, trial.system_attrs))


def _stored(moment: datetime | None) -> datetime | None:
    """A trial's time, which is local, as Optuna's tables have it: UTC. Neither says its zone."""
    return None if moment is None else moment.astimezone(UTC).replace(tzinfo=None)


def _local(moment: datetime | None) -> datetime | None:
    """The way back from `_stored`."""
    return None if moment is None else moment.replace(tzinfo=UTC).astimezone().replace(tzinfo=None)


def _insert(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        connection.execute(insert(table), rows)


def _param_rows(trial_id: int, values: Mapping[str, Any], space: Mapping[str, BaseDistribution]) -> list[dict[str, Any]]:
    return [
        {"trial_id": trial_id, "param_name": name, "param_value": each.to_internal_repr(values[name]),
         "distribution_json": distribution_to_json(each)}
        for name, each in space.items()
    ]  # fmt: skip


def _value_rows(trial_id: int, values: Sequence[float]) -> list[dict[str, Any]]:
    found = []
    for objective, value in enumerate(values):
        stored, kind = models.TrialValueModel.value_to_stored_repr(value)
        found.append({"trial_id": trial_id, "objective": objective, "value": stored, "value_type": kind})
    return found


def _attribute_rows(trial_id: int, attributes: Mapping[str, object]) -> list[dict[str, Any]]:
    return [{"trial_id": trial_id, "key": key, "value_json": json.dumps(value)} for key, value in attributes.items()]


class TrialRows:
    """Reads trials. Equal distributions are one object in all of them; finished trials with the same parameters share the table of them."""

    def __init__(self) -> None:
        self._distributions: dict[str, BaseDistribution] = {}
        self._tables: dict[tuple[tuple[str, str], ...], dict[str, BaseDistribution]] = {}

    def of_study(
        self, engine: Engine, study_id: int, states: Collection[TrialState] | None, named: Collection[int], greater_than: int
    ) -> list[FrozenTrial]:
        """Those whose id is among `named` or greater than a number, in the order of ids."""
        of_study = TRIALS.c.study_id == study_id
        if states is not None:
            of_study &= TRIALS.c.state.in_(states)
        parts: list[ColumnElement[bool]] = [TRIALS.c.trial_id.in_(some) for some in _chunks(sorted(named))]
        with uncollected(), engine.connect() as connection:
            heads = {
                head.trial_id: head for part in (*parts, TRIALS.c.trial_id > greater_than) for head in _heads(connection, of_study & part)
            }
            return [trial for some in _chunks(sorted(heads)) for trial in self._built(connection, {each: heads[each] for each in some})]

    def one(self, engine: Engine, trial_id: int) -> FrozenTrial:
        """One trial.

        Raises:
            KeyError: there is none with that id.
        """
        with engine.connect() as connection:
            heads = {head.trial_id: head for head in _heads(connection, TRIALS.c.trial_id == trial_id)}
            if not heads:
                raise KeyError(f"No trial with trial-id {trial_id} found.")
            return self._built(connection, heads)[0]

    def _built(self, connection: Connection, heads: Mapping[int, Any]) -> list[FrozenTrial]:
        ids = list(heads)
        params = _children(connection, ids, PARAMS, "param_id", "param_name", "param_value", "distribution_json")
        values = _children(connection, ids, VALUES, "objective", "value", "value_type")
        steps = _children(connection, ids, STEPS, "step", "step", "intermediate_value", "intermediate_value_type")
        user = _attributes(connection, ids, USER_ATTRIBUTES, "trial_user_attribute_id")
        system = _attributes(connection, ids, SYSTEM_ATTRIBUTES, "trial_system_attribute_id")
        found = []
        for trial_id, head in heads.items():
            table = self._table(params[trial_id])
            found.append(FrozenTrial(
                number=head.number, trial_id=trial_id, state=head.state, value=None,
                datetime_start=_local(head.datetime_start), datetime_complete=_local(head.datetime_complete),
                values=[models.TrialValueModel.stored_repr_to_value(*row) for row in values[trial_id]] or None,
                params={name: each.to_external_repr(row[1]) for (name, each), row in zip(table.items(), params[trial_id], strict=True)},
                distributions=table if head.state.is_finished() else dict(table),
                user_attrs=user[trial_id],
                system_attrs=system[trial_id],
                intermediate_values={
                    step: models.TrialIntermediateValueModel.stored_repr_to_intermediate_value(value, kind)
                    for step, value, kind in steps[trial_id]
                },
            ))  # fmt: skip
        return found

    def _table(self, params: Sequence[Row]) -> dict[str, BaseDistribution]:
        key = tuple((name, text) for name, _, text in params)
        if key not in self._tables:
            for _, text in key:
                if text not in self._distributions:
                    self._distributions[text] = json_to_distribution(text)
            self._tables[key] = {name: self._distributions[text] for name, text in key}
        return self._tables[key]


def _chunks(ids: Sequence[int]) -> list[Sequence[int]]:
    return [ids[start : start + AT_ONCE] for start in range(0, len(ids), AT_ONCE)]


def _heads(connection: Connection, where: ColumnElement[bool]) -> Sequence[Any]:
    columns: list[Column[Any]] = [TRIALS.c[name] for name in ("trial_id", "number", "state", "datetime_start", "datetime_complete")]
    return connection.execute(select(*columns).where(where)).all()


def _children(connection: Connection, ids: Sequence[int], table: Table, order: str, *columns: str) -> Mapping[int, list[Row]]:
    """Rows of a table by the trial that they belong to, in order."""
    found: dict[int, list[Row]] = defaultdict(list)
    query = select(table.c.trial_id, *(table.c[name] for name in columns)).where(table.c.trial_id.in_(ids)).order_by(table.c[order])
    for trial_id, *rest in connection.execute(query).all():
        found[trial_id].append(rest)
    return found


def _attributes(connection: Connection, ids: Sequence[int], table: Table, order: str) -> Mapping[int, dict[str, Any]]:
    """Attributes by the trial that they belong to. All are parsed as one document: in it each key of a JSON object is one string."""
    read = _children(connection, ids, table, order, "key", "value_json")
    rows = [(trial_id, key, text) for trial_id, found in read.items() for key, text in found]
    attributes: dict[int, dict[str, Any]] = defaultdict(dict)
    for (trial_id, key, _), value in zip(rows, json.loads(f"[{','.join(text for *_, text in rows)}]"), strict=True):
        attributes[trial_id][key] = value
    return attributes
