"""What is remembered on the host is lost or damaged: told, never believed, and a way out is named."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from fwpolicy.cli import main
from fwpolicy.deploy import apply as applying
from fwpolicy.deploy.plan import Options, make_plan
from fwpolicy.deploy.remove import remove
from fwpolicy.deploy.ruledrift import heal
from fwpolicy.deploy.state import State
from fwpolicy.deploy.status import look
from fwpolicy.errors import HostError
from fwpolicy.policy.load import load
from fwpolicy.record import replace
from tests.kernel.place import BEFORE, CONFIG, STATE, applied, place, planned

pytestmark = pytest.mark.kernel

__all__ = ["place"]  # a fixture: pytest finds it by its name here

POLICY = "version: 1\nname: p\ninput: {default: drop, allow: [ssh]}\n"
OPENED = "insert rule inet fwpolicy input tcp dport 8080 accept\n"


@pytest.fixture
def by_command(place, monkeypatch):
    monkeypatch.setattr("fwpolicy.commands.operands.machine_of", lambda options: place.machine)
    return main


def policy():
    return load((("p.yaml", POLICY.encode()),), lambda path: b"")


def apply(place, **options):
    applied(place, make_plan(policy(), place.machine, Options(**options)))


def kept(place, name):
    return place.folder / f"{STATE}/{name}"[1:]


def lose(path):
    path.unlink()


def empty(path):
    path.write_text("")


def folder(path):
    path.unlink()
    path.mkdir()


def fifo(path):
    path.unlink()
    os.mkfifo(path)


def garble(path):
    path.write_text('{"nftables": 5}')


LOSSES = pytest.mark.parametrize("loss", [lose, empty, folder, fifo, garble], ids=lambda each: each.__name__)


@LOSSES
@pytest.mark.parametrize("persist", [True, False], ids=["boots", "once"])
def test_without_its_listing_nothing_is_said_to_be_well(place, by_command, capsys, loss, persist):
    apply(place, persist=persist)
    loss(kept(place, "running/listing.json"))
    for change in ("", OPENED, "delete table inet fwpolicy\n"):
        place.nft(change)
        for options in ((), ("--heal",), ("--journal",), ("--prometheus",), ("--json",)):
            assert by_command(["status", *options]) == 1
            told = capsys.readouterr()
            assert "running/listing.json is damaged" in told.err and "apply the policy again" in told.err
            assert told.out == "" if options != ("--json",) else json.loads(told.out)["ok"] is False
    apply(place, persist=persist)
    assert look(place.machine).drifts == () and "dport 8080" not in place.rules()


def test_the_next_apply_writes_it_anew_even_where_nothing_else_changes(place):
    apply(place)
    lose(kept(place, "running/listing.json"))
    apply(place)
    assert look(place.machine).generation.number == 2 and look(place.machine).drifts == ()


@pytest.mark.parametrize(
    "text", [None, "", "flush ruleset\n", "table inet fwpolicy { chain input { accept } }\n"]
)
def test_nothing_is_loaded_from_a_text_that_is_not_what_was_written(place, text):
    apply(place, persist=False)
    place.nft("table ip others { chain c { drop; }; }\n")
    path = kept(place, "running/ruleset.nft")
    if text is None:
        path.unlink()
    else:
        path.write_text(text)
    (drift,) = look(place.machine).drifts
    assert "running/ruleset.nft was edited since the apply, or is gone" in drift.what
    assert dict(look(place.machine).kinds)["files"] == 1
    place.nft("delete table inet fwpolicy\n")
    with pytest.raises(HostError, match=r"running/ruleset\.nft is damaged.*apply the policy again"):
        heal(place.machine)
    assert "others" in place.rules() and "fwpolicy" not in place.rules()
    apply(place, persist=False)
    assert look(place.machine).drifts == ()


def test_what_somebody_changed_is_put_back_without_that_text(place):
    apply(place, persist=False)
    empty(kept(place, "running/ruleset.nft"))
    place.nft(OPENED)
    assert heal(place.machine) and "dport 8080" not in place.rules()


@pytest.mark.parametrize("name", ["listing.json", "ruleset.nft"])
def test_there_is_no_way_back_to_what_is_damaged(place, by_command, capsys, name):
    apply(place)
    applied(place, planned(place, "bastion", replace=True))
    empty(kept(place, f"generations/1/{name}"))
    rules = place.rules()
    assert by_command(["rollback", "1"]) == 1
    assert re.search(rf"generation 1 cannot come back: .*{name} is not what", capsys.readouterr().err)
    assert place.rules() == rules


def test_nothing_is_said_of_rules_that_are_damaged(place, by_command, capsys):
    apply(place)
    assert by_command(["explain", "generation:1", "input tcp/22 from 192.0.2.1"]) == 0
    empty(kept(place, "generations/1/ruleset.nft"))
    assert by_command(["explain", "generation:1", "input tcp/22 from 192.0.2.1"]) == 1
    assert "generations/1/ruleset.nft is damaged" in capsys.readouterr().err


def test_what_was_applied_to_an_image_must_be_there_once_it_runs(place):
    image = replace(place.machine, live=False)
    plan = make_plan(policy(), image, Options())
    applying.carry_out(plan, image, ("test",), "2026-01-01T00:00:00Z", lambda step: None)
    (drift,) = look(place.machine).drifts
    assert "nothing of ours" in drift.what
    place.nft(kept(place, "running/ruleset.nft").read_text())
    assert look(place.machine).drifts == ()


DEEP = "[" * 100_000


@pytest.mark.parametrize("text", ["", "\0" * 500, DEEP, "5", '{"format": 1}', '{"format": 1, "number": "x"}'])
def test_a_damaged_manifest_names_a_way_out_that_works(place, by_command, capsys, text):
    applied(place, planned(place))
    path = kept(place, "running/manifest.json")
    path.write_text(text)
    for verb in (["status"], ["remove"], ["rollback"], ["apply", "ntp-client"], ["counters"], ["open"]):
        assert by_command(verb) == 1
        said = capsys.readouterr().err
        assert "running/manifest.json is damaged" in said and "fwpolicy remove" in said
    by_command(["history"])
    (away,) = re.findall(r"mv (\S+) /root/", said)
    assert away == str(kept(place, "generations/1"))
    Path(away).rename(place.folder / "away")
    assert look(place.machine).drifts
    applied(place, planned(place))
    assert look(place.machine).drifts == ()
    assert remove(place.machine, lambda step: None)
    assert place.rules() == "" and (place.folder / CONFIG[1:]).read_text() == BEFORE


@pytest.mark.parametrize(
    "text", ["", DEEP, "[]", "{}", '{"snapshots": 5, "services": [], "directories": []}']
)
def test_damaged_originals_name_a_way_out_that_works(place, by_command, capsys, text):
    applied(place, planned(place))
    path = kept(place, "originals.json")
    path.write_text(text)
    for verb in (["remove"], ["apply", "ntp-client"]):
        assert by_command(verb) == 1
        said = capsys.readouterr().err
        assert "originals.json is damaged" in said and f"mv {STATE}/originals.json /root/" in said
    path.unlink()
    assert by_command(["remove"]) == 0 and place.rules() == ""


@pytest.mark.parametrize("text", ["", DEEP, "[]"])
def test_damaged_texts_are_noticed_before_anything_changes(place, by_command, capsys, monkeypatch, text):
    apply(place)
    kept(place, "running/files.json").write_text(text)

    def touched(*_):
        raise AssertionError("the rules were loaded")

    with monkeypatch.context() as patched:
        patched.setattr("fwpolicy.deploy.rules.load_rules", touched)
        for verb in (["remove"], ["apply", "--replace", "--no-confirm", "bastion"]):
            assert by_command(verb) == 1
            assert re.search(r"files\.json is damaged.* /root/", capsys.readouterr().err)
    kept(place, "running/files.json").unlink()
    assert by_command(["remove"]) == 0 and place.rules() == ""


@pytest.mark.parametrize("text", ["", DEEP, "5", "[]"])
def test_a_damaged_journal_names_a_way_out(place, by_command, capsys, text):
    kept(place, "journal").mkdir(parents=True)
    kept(place, "journal/manifest.json").write_text(text)
    assert by_command(["remove"]) == 1
    assert f"sh {STATE}/journal/undo.sh live" in capsys.readouterr().err


def test_a_folder_whose_name_is_a_digit_and_no_number(place):
    (kept(place, "generations") / "²").mkdir(parents=True)
    (kept(place, "generations") / "007").mkdir()
    apply(place)
    assert State(place.machine).numbers() == [1]
    assert remove(place.machine, lambda step: None) and place.rules() == ""


def test_a_manifest_of_an_earlier_version_says_less(place):
    apply(place, persist=False)
    path = kept(place, "running/manifest.json")
    stored = json.loads(path.read_text())
    del stored["texts"], stored["listing"], stored["moment"]
    path.write_text(json.dumps(stored | {"moment": ""}))
    assert look(place.machine).drifts == () and not look(place.machine).generation.damaged
