"""What stores must do around a fork, whoever calls it.

A lock that another thread holds at that moment stays held in the child for ever, and a connection that both processes
use mixes their answers.
"""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forkable(Protocol):
    """A store that forks are told of."""

    def before_fork(self) -> None:
        """In the parent, before; must not raise."""

    def after_fork_in_parent(self) -> None:
        """In the parent, after; must not raise."""

    def after_fork_in_child(self) -> None:
        """In the child, where only the forking thread lives on; must not raise."""


_told: set[weakref.ref[Forkable]] = set()


def tell(store: Forkable) -> None:
    """Tell `store` of each fork as long as it lives."""
    _told.add(weakref.ref(store, _told.discard))


def _each() -> list[Forkable]:
    # list(set) is one step, so that another thread's new store cannot disturb it.
    return [store for store in (ref() for ref in list(_told)) if store is not None]


def _before() -> None:
    for store in _each():
        store.before_fork()


def _in_parent() -> None:
    for store in _each():
        store.after_fork_in_parent()


def _in_child() -> None:
    for store in _each():
        store.after_fork_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before, after_in_parent=_in_parent, after_in_child=_in_child)
