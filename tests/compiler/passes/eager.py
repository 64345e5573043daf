"""Passes that work from the smallest case on, so that small examples meet them."""

from __future__ import annotations

from contextlib import contextmanager
from unittest import mock

from fwpolicy.compiler.passes import dispatch, prefixhash, verdictmap


@contextmanager
def eager():
    enough = dict.fromkeys(verdictmap._ENOUGH, 2)
    with (
        mock.patch.object(verdictmap, "_ENOUGH", enough),
        mock.patch.object(prefixhash, "LIMITS", ((0, 8),)),
        mock.patch.object(dispatch, "ENOUGH", 2),
    ):
        yield
