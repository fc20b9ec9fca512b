"""The benchmark: how it measures, what its loops do, what it says. Nothing here depends on how long anything takes."""

from __future__ import annotations

import json
import ssl
from typing import Any

import pytest

from helpers.command import TERMINAL, sslsession
from helpers.stores import redis_server
from sslsession import Session, SessionError, _borrow
from sslsession.bench import identity, loops, measure, report, run
from sslsession.bench.loops import LOOPS, Loop
from sslsession.bench.measure import Timing
from sslsession.stores import RedisStore

TINY = ("bench", "--rounds", "2", "--handshakes", "2", "--entries", "1000")
NAMES = ["full", "ssl", "ours", "by_hand", "attached", "attached_full", "c_full", "c"]


class Clock:
    """Seconds that pass only when somebody says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class TestMeasure:
    def test_variants_take_turns_and_pay_for_themselves_alone(self) -> None:
        clock, order = Clock(), []
        costs = {"a": 1.0, "b": 3.0, "c": 5.0}

        def batch(name: str) -> measure.Batch:
            def make(handshakes: int) -> int:
                order.append((name, handshakes))
                clock.now += handshakes * costs[name]
                return handshakes if name == "b" else 0

            return make

        def before_round() -> None:
            clock.now += 1000

        found = measure.interleave(
            {name: batch(name) for name in costs},
            rounds=3,
            handshakes=4,
            clock=clock,
            before_round=before_round,
        )
        assert found == {
            "a": Timing([1.0] * 3, 12, 0),
            "b": Timing([3.0] * 3, 12, 12),
            "c": Timing([5.0] * 3, 12, 0),
        }
        assert [name for name, handshakes in order if handshakes == 4] == list("abcbcacab")
        assert [handshakes for _, handshakes in order] == [1, 4] * 9

    def test_a_ratio_is_taken_within_rounds(self) -> None:
        assert measure.ratio([1, 10, 100], [2, 20, 200]) == 0.5
        assert measure.ratio([1, 10, 9], [1, 0, 3]) == 2
        assert measure.ratio([1, 1], [0, 0]) is None

    def test_an_undisturbed_ratio_is_of_the_fast_rounds(self) -> None:
        disturbed = [9.0] * 16
        assert measure.undisturbed([3.0, 2.0, *disturbed, 3.0, 3.0], [1.0, 2.0, *disturbed, 9.0, 2.0]) == 1.5
        assert measure.undisturbed([1.0], [0.0]) is None

    def test_medians_are_microseconds(self) -> None:
        assert measure.microseconds([1e-6, 2e-6, 9e-6]) == pytest.approx(2)
        assert measure.microseconds([]) is None


class TestLoops:
    @pytest.mark.binding
    @pytest.mark.parametrize("name", NAMES)
    def test_each_resumes_or_does_not_as_it_says(self, tls_version: str, name: str) -> None:
        loop = LOOPS[name](tls_version)
        resumed = [loop(1) for _ in range(4)]
        if loop.must_resume is not None:
            assert resumed == [0, *[int(loop.must_resume)] * 3]
        assert loop(3) == 3 * resumed[-1]

    @pytest.mark.binding
    def test_ours_takes_the_session_for_the_next_one_or_keeps_the_one(self, tls_version: str) -> None:
        loop = loops.Ours(tls_version)
        taken = []
        for _ in range(3):
            loop(1)
            assert isinstance(loop.session, Session)
            taken.append(loop.session)
        assert len(set(map(id, taken))) == (3 if tls_version == "1.3" else 1)

    @pytest.mark.binding
    def test_every_client_verifies_certificate_and_name(self, tls_version: str) -> None:
        for kind in LOOPS.values():
            loop = kind(tls_version)
            assert loop.client.verify_mode is ssl.CERT_REQUIRED
            assert loop.client.check_hostname

    @pytest.mark.binding
    @pytest.mark.parametrize("name", ["c_full", "c"])
    def test_the_loop_in_c_verifies_and_says_what_failed(self, tls_version: str, name: str) -> None:
        kind = LOOPS[name]
        assert issubclass(kind, loops.FullInC)
        loop = kind(tls_version)
        loop._name = b"another.invalid"
        with pytest.raises(SessionError, match="loop in C failed: certificate verify failed"):
            loop(1)
        other = identity.server_context("1.2" if tls_version == "1.3" else "1.3")
        loop._contexts[1] = _borrow.context_pointer(other)
        with pytest.raises(SessionError, match=r"loop in C failed: .*(version|protocol)"):
            loop(1)

    def test_a_handshake_that_never_ends_is_an_error(self) -> None:
        ends: list[Any] = [
            context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=side, server_hostname=name)
            for context, side, name in (
                (identity.client_context("1.3"), False, identity.HOST),
                (identity.server_context("1.3"), True, None),
            )
        ]
        with pytest.raises(SessionError, match="not done after"):
            loops.shake(*ends)

    def test_the_certificate_outlives_us(self) -> None:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        client = identity.client_context("1.3").wrap_bio(incoming, outgoing, server_hostname=identity.HOST)
        loops.shake(client, identity.server_context("1.3").wrap_bio(outgoing, incoming, server_side=True))
        found = client.getpeercert() or {}
        assert found["notAfter"] == "Jan  1 00:00:00 2126 GMT"
        assert found["subjectAltName"] == (("DNS", identity.HOST),)


class TestRun:
    def test_a_variant_that_did_not_resume_is_a_failure(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Forgetful(loops.Ours):
            def take(self, client: ssl.SSLObject) -> Any:
                return None

        kinds: dict[str, type[Loop]] = {**LOOPS, "ours": Forgetful}
        monkeypatch.setattr(run, "LOOPS", kinds)
        result = run.run(["1.3"], rounds=1, handshakes=2)
        assert result.versions["1.3"].failed == ["ours"]
        assert report.failures(result) == ["TLS 1.3, resumed, set_session(): 0 of 2 handshakes resumed"]

    def test_steps_are_told(self) -> None:
        told: list[str] = []
        result = run.run(["1.2", "1.3"], rounds=2, handshakes=1, step=told.append)
        assert told == ["1.2"] * 2 + ["1.3"] * 2
        for version in result.versions.values():
            assert not version.failed
            assert len(version.get_seconds) == len(version.set_seconds) == 2


class TestReport:
    @staticmethod
    def result(seconds: dict[str, float]) -> run.Result:
        timings = {name: Timing([seconds[name]] * 3, 3, 0) for name in NAMES}
        version = run.VersionResult(timings, [7e-6], [9e-6], [])
        return run.Result("OpenSSL", "CPython", "CPU", 3, 1, {"1.3": version})

    def test_it_says_what_is_saved(self) -> None:
        seconds = {"full": 1e-3, "ssl": 9e-4, "ours": 6e-4, "by_hand": 5e-4, "c_full": 9e-4, "c": 4e-4}
        result = self.result({**seconds, "attached": 5e-4, "attached_full": 1e-3})
        assert report.sentence(result) == (
            "Resuming with sslsession saves 50% (TLS 1.3) of a full handshake's CPU time; "
            "with ssl's own session= it is 10% (TLS 1.3)."
        )
        assert report.notes(result.versions["1.3"]) == [
            "sslsession: 1.25 x the loop in C, 0.56 x ssl's own session=, 1.00 x by hand,",
            "and 1.00 x ssl alone where the handshake is full",
            "set_session() 9.0 us, get_session() 7.0 us",
        ]
        assert report.ratios(result.versions["1.3"])["c/c_full"] == 0.444

    def test_a_clock_too_coarse_to_see_it_is_no_crash(self) -> None:
        result = self.result(dict.fromkeys(NAMES, 0.0))
        assert "an unknown part" in report.sentence(result)
        assert {row.of_full for row in report.rows(result.versions["1.3"])} == {"-"}
        assert json.loads(json.dumps(report.to_plain(result)))["tls"]["1.3"]["ratios"]["ours/c"] is None


class TestCommand:
    def test_json(self) -> None:
        found = json.loads(sslsession(*TINY, "--json").stdout)
        assert (found["openssl"], found["rounds"], found["handshakes"]) == (ssl.OPENSSL_VERSION, 2, 2)
        assert list(found["tls"]) == ["1.2", "1.3"]
        for version in found["tls"].values():
            assert list(version["variants"]) == NAMES
            assert version["failed"] == []
            for name in ("ours", "attached", "c"):
                assert version["variants"][name]["resumed"] == version["variants"][name]["handshakes"] == 4
            assert {"attached/by_hand", "attached/c", "attached/ssl", "attached_full/full"} <= set(
                version["ratios"]
            )
            assert set(version["undisturbed"]) == set(version["ratios"])
            assert set(version["calls"]) == {"get_session", "set_session"}
        assert {name: cost["unit"] for name, cost in found["costs"].items()} == {
            "attach": "us",
            "memory_add_take": "us",
            "memory_growth": "x",
            "memory_bytes": "bytes",
            "sqlite_take": "us",
            **{f"server_{kind}_{version}": "x" for version in ("1.2", "1.3") for kind in ("cache", "ring")},
        }

    def test_a_redis_is_measured_where_one_is_named(self) -> None:
        with redis_server() as server:
            url = f"redis://127.0.0.1:{server.port}"
            done = sslsession(*TINY, "--tls", "1.3", "--redis", url, "--json")
            costs = json.loads(done.stdout)["costs"]
            assert (costs["redis_take"]["unit"], costs["server_redis_1.3"]["unit"]) == ("x", "us")
            with RedisStore(url, insecure=True, prefix="") as store:
                assert list(store.entries()) == []

    def test_a_pipe_gets_plain_lines_of_at_most_80_columns(self) -> None:
        done = sslsession(*TINY, "--tls", "1.3")
        assert done.stderr == ""
        assert done.stdout.isascii()
        lines = done.stdout.splitlines()
        assert max(map(len, lines)) <= 80
        assert "\x1b" not in done.stdout
        assert "TLS 1.2" not in done.stdout
        assert any(line.startswith("resumed, sslsession") and line.endswith("4/4") for line in lines)
        assert ssl.OPENSSL_VERSION in done.stdout

    def test_a_terminal_gets_a_table_and_progress(self) -> None:
        from click.testing import CliRunner

        from sslsession.cli import cli

        done = CliRunner().invoke(cli, [*TINY, "--tls", "1.2"], env=TERMINAL)
        assert done.exit_code == 0
        assert "\x1b[" in done.output
        assert "resumed, sslsession" in done.output

    def test_what_did_not_resume_makes_the_status_nonzero(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from click.testing import CliRunner

        from sslsession.cli import cli

        class NeverResumed(loops.Full):
            must_resume = True

        monkeypatch.setattr(run, "LOOPS", {**LOOPS, "ours": NeverResumed})
        done = CliRunner().invoke(cli, [*TINY, "--tls", "1.3"], env=TERMINAL)
        assert done.exit_code == 1
        assert "0 of 4 handshakes resumed" in done.output

    @pytest.mark.parametrize("option", [("--rounds", "0"), ("--handshakes", "-1"), ("--tls", "1.1")])
    def test_a_wrong_option_is_told(self, option: tuple[str, str]) -> None:
        assert option[0] in sslsession("bench", *option, expect=2).stderr
