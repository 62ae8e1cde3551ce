"""A summary that is not built as one is refused: no page is made of it, and nothing else fails."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from accounts import account_of
from downslope import Descent, Network, Recipe, descend, report
from downslope.account import Account
from downslope.errors import ModelFileError
from downslope.storage import to_json

WRONG: tuple[Any, ...] = (
    None,
    True,
    -1,
    7,
    0.5,
    10**400,
    float("inf"),
    "x",
    [],
    [[]],
    {},
    {"a": 1},
)
"""What takes the place of a part; most parts are none of these."""


def account_of_labels() -> Account:
    """Give the account of a run on two labels a row, made of the first of three inputs."""
    features = np.random.default_rng(0).normal(size=(90, 3))
    target = np.column_stack([features[:, 0] > 0, features[:, 0] > 1]).astype(int)
    recipe = Recipe(Network([4], task="multilabel"), Descent(epochs=3))
    return descend(recipe, features, target).account("labels")


ACCOUNTS: dict[str, Callable[[], Account]] = {
    "classes": lambda: account_of("iris", epochs=3),
    "numbers": lambda: account_of("diabetes", epochs=3),
    "labels": account_of_labels,
}


def mutated(plain: Any, rng: np.random.Generator) -> Any:
    """Give plain data with one part, at any depth, replaced or removed."""
    plain = copy.deepcopy(plain)
    place, part = plain, rng.choice(list(plain))
    while isinstance(place[part], (dict, list)) and place[part] and rng.random() < 0.8:
        place = place[part]
        part = rng.choice(list(place)) if isinstance(place, dict) else rng.integers(len(place))
    if rng.random() < 0.25:
        del place[part]
    else:
        place[part] = WRONG[rng.integers(len(WRONG))]
    return plain


def draw(account: Account) -> None:
    """Make all that a page and a page of several runs say of an account."""
    report.sections_of(account)
    report.sections_of_several([account, account])
    report.facts(account)
    report.lead(account)
    report.lead_of_several([account, account])


@pytest.mark.parametrize("kind", ACCOUNTS)
def test_a_summary_with_a_wrong_part_is_refused_or_drawn(kind: str, tmp_path: Path) -> None:
    account = ACCOUNTS[kind]()
    path, beside = account.model.save(tmp_path / "a.downslope"), tmp_path / "a.json"
    whole = json.loads(to_json(account.summary()))
    beside.write_text(json.dumps(whole))
    draw(Account.read(path))
    rng, messages = np.random.default_rng(0), []
    for _ in range(200):
        beside.write_text(json.dumps(mutated(whole, rng)))
        try:
            found = Account.read(path)
        except ModelFileError as error:
            messages.append(str(error))
        else:
            draw(found)
    assert all("move it away" in message for message in messages)
    assert 100 < len(messages) < 200
