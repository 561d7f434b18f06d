import os
import signal
import subprocess
import sys
import threading

import pytest

from kib.errors import InputError
from kib.store.paid_answers import PaidAnswers
from kib_openai import request_pool
from kib_openai.request_pool import RequestPool


def test_order_at_any_concurrency(writer, server, passages, write):
    """Generated texts are in the order of the passages, even if the answer for the first passage arrives last."""
    gate = threading.Event()
    server.faults = [gate.wait, None, None, None, None, None, gate.set]
    texts = write(writer(concurrency=2), passages(7))
    assert [text.passage for text in texts] == [f"d{n}#0" for n in range(7)]
    assert server.most_active == 2
    assert texts == write(writer(concurrency=1), passages(7))


def test_nothing_is_paid_for_twice(writer, server, passages, write, tmp_path):
    """A stored answer is never requested again, even by a different process or by a writer with a different URL."""
    with PaidAnswers.open(tmp_path / "kept.sqlite") as paid_answers:
        first = write(writer(concurrency=8), passages(10), paid_answers=paid_answers)
    with PaidAnswers.open(tmp_path / "kept.sqlite") as paid_answers:
        elsewhere = writer(base_url="http://127.0.0.1:1/v1", retries=0)
        assert write(elsewhere, passages(10), paid_answers=paid_answers) == first
    assert len(server.bodies) == 10


def test_a_larger_count_requests_only_additional_texts(writer, server, passages, write):
    """If the number of texts per passage is increased, only the additional texts are requested and paid for."""
    paid_answers, two_per_call = {}, writer(per_call=2)
    few = write(two_per_call, passages(3), 2, paid_answers)
    many = write(two_per_call, passages(3), 4, paid_answers)
    assert len(server.bodies) == 6
    assert [text for text in many if text in few] == few


def test_equal_passages_share_a_request(writer, server, passages, write):
    """Passages with the same title and text share one request, even while that request is in flight."""
    one = passages(1)[0]
    equal = [one, *(type(one)(f"t{n}#0", f"t{n}", one.title, one.text, 0, one.end) for n in range(5))]
    texts = write(writer(concurrency=4), equal)
    assert len(server.bodies) == 1
    assert [text.passage for text in texts] == [passage.id for passage in equal]


def test_paid_answers_hold_no_secret(writer, server, passages, write):
    """Stored answers contain neither the API key nor the URL of the server."""
    paid_answers = {}
    write(writer(), passages(2), paid_answers=paid_answers)
    assert server.key not in str(paid_answers)
    assert "127.0.0.1" not in str(paid_answers)


def test_invalid_answers_are_requested_again(writer, server, passages, write):
    """An invalid answer triggers one more request with a different seed, and the next run repeats neither request."""
    server.faults = ["Sure! Here you are.", '{"paraphrases": []}']
    paid_answers = {}
    texts = write(writer(), passages(1), paid_answers=paid_answers)
    assert [body["seed"] for body in server.bodies] == [0, 1, 2]
    assert texts[0].text.startswith("Pump 0\nVersion 1 (seed 2)")
    assert write(writer(), passages(1), paid_answers=paid_answers) == texts
    assert len(server.bodies) == 3


def test_only_invalid_answers(writer, server, passages, write):
    """The error after the last attempt states the passage and the reason, and a later run reuses all stored answers."""
    server.faults = ["no", "no"]
    paid_answers = {}
    reason = r'all 2 answers are invalid; the last answer \("no"\) is invalid for this reason: the answer is not valid'
    for _ in range(2):
        with pytest.raises(InputError, match=f"passage d0#0: {reason} JSON; all answers are stored; raise `attempts`"):
            write(writer(attempts=2), passages(1), paid_answers=paid_answers)
    assert len(server.bodies) == 2
    assert len(write(writer(attempts=3), passages(1), paid_answers=paid_answers)) == 1
    assert len(server.bodies) == 3


def test_unpaired_surrogates_are_stored(writer, server, passages, write, tmp_path):
    """An invalid answer with an unpaired surrogate is stored, although UTF-8 cannot encode the surrogate."""
    server.faults = ["\ud800", '{"paraphrases": ["\\ud800"]}']
    with PaidAnswers.open(tmp_path / "kept.sqlite") as paid_answers:
        assert len(write(writer(), passages(1), paid_answers=paid_answers)) == 1
        assert len(paid_answers) == 3


def test_some_passages_may_lack_a_text(writer, server, passages, write):
    """A run succeeds if at most `may_miss` passages have no valid text, and returns the texts of all other passages."""
    server.faults = ["no"]
    texts = write(writer(attempts=1, may_miss=1, concurrency=1), passages(3))
    assert [text.passage for text in texts] == ["d1#0", "d2#0"]


def test_budget(writer, server, passages, write):
    """A run stops when its token budget is exhausted, and can be resumed with a larger budget."""
    paid_answers = {}
    budget = {"concurrency": 1, "token_budget": 400}
    for _ in range(2):
        with pytest.raises(InputError, match="budget of 400 is exhausted: the 3 stored answers used 450 tokens; raise"):
            write(writer(**budget), passages(5), paid_answers=paid_answers)
    assert len(server.bodies) == len(paid_answers) == 3
    assert len(write(writer(**budget | {"token_budget": 9999}), passages(5), paid_answers=paid_answers)) == 5
    assert len(server.bodies) == 5


def test_budget_without_token_counts(writer, server, passages, write):
    """A token budget is rejected after the first answer if the server does not report token counts."""
    server.usage = None
    with pytest.raises(InputError, match="does not report token counts, which `token_budget` requires; remove"):
        write(writer(token_budget=400, concurrency=1), passages(5))
    assert len(server.bodies) == 1
    assert len(write(writer(), passages(2))) == 2


def test_a_consumer_may_stop_early(writer, server, passages, write, tmp_path, monkeypatch):
    """If the consumer of the texts stops early, the answers to all requests in flight are still stored."""
    gate = threading.Event()
    server.hold = lambda message: gate.wait() if "Pump 0" not in message else None
    shut_down = RequestPool._shut_down
    monkeypatch.setattr(request_pool, "INTERRUPTED_WAIT", 60)
    monkeypatch.setattr(RequestPool, "_shut_down", lambda pool: (gate.set(), shut_down(pool)))
    with PaidAnswers.open(tmp_path / "kept.sqlite") as paid_answers:
        reading = writer(concurrency=4).write(passages(9), 1, 0, paid_answers)
        next(reading)
        reading.close()
        assert 1 < len(paid_answers) == len(server.bodies) < 9
        assert len(write(writer(), passages(9), paid_answers=paid_answers)) == 9
    assert len(server.bodies) == 9


@pytest.mark.parametrize("method", ["write", "questions"])
def test_an_interruption_between_two_results(writer, server, passages, monkeypatch, method):
    """After Ctrl-C while the caller processes a result, the run ends although the server never answers."""
    monkeypatch.setattr(request_pool, "INTERRUPTED_WAIT", 0.05)
    arrived, gate, waited_for = threading.Event(), threading.Event(), []

    def hang(message):
        if "Pump 0" not in message:
            arrived.set()
            gate.wait(30)
            waited_for.append(message)

    server.hold = hang

    def read():
        for _ in getattr(writer(concurrency=2), method)(passages(5), 1, 0, {}):
            assert arrived.wait(60)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        read()
    assert not waited_for
    gate.set()


def test_paid_answers_closed_first(writer, server, passages, tmp_path):
    """The store of paid answers may be closed before the writer's generator is closed."""
    gate = threading.Event()
    server.hold = lambda message: gate.wait() if "Pump 0" not in message else None
    with PaidAnswers.open(tmp_path / "kept.sqlite") as paid_answers:
        reading = writer(concurrency=2).write(passages(5), 1, 0, paid_answers)
        next(reading)
    gate.set()
    reading.close()


SCRIPT = """
import signal
import sys
from pathlib import Path
from kib.records import Passage
from kib.store.paid_answers import PaidAnswers
from kib.testing import make_plugin
from kib_openai import request_pool
from kib_openai.writer import OpenAIWriter

signal.signal(signal.SIGTERM, signal.default_int_handler)  # kib also treats SIGTERM as Ctrl-C
request_pool.INTERRUPTED_WAIT = 0.1
texts = [f"Pump {n} stands in hall {n * 7} beside door {n}." for n in range(8)]
passages = [Passage(f"d{n}#0", f"d{n}", f"Pump {n}", text, 0, len(text)) for n, text in enumerate(texts)]
with PaidAnswers.open(Path(sys.argv[2])) as paid_answers:
    writer = make_plugin(OpenAIWriter, {"model": "m", "base_url": sys.argv[1], "concurrency": 2})
    list(writer.write(passages, 1, 0, paid_answers))
"""


@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGKILL])
def test_a_killed_run_resumes(server, writer, passages, write, tmp_path, signal_number):
    """A signal ends a run although the server does not answer; a second run repeats only the requests in flight."""
    arrived, gate = threading.Semaphore(0), threading.Event()

    def hang():
        arrived.release()
        gate.wait()

    server.faults = [*[None] * 5, hang, hang]
    killed = subprocess.Popen([sys.executable, "-c", SCRIPT, server.url, str(tmp_path / "kept.sqlite")])
    for _ in range(2):  # with two requests in flight, the five answers before them are stored
        assert arrived.acquire(timeout=120)
    os.kill(killed.pid, signal_number)
    try:
        assert killed.wait(timeout=60) != 0
    finally:
        killed.kill()
        gate.set()
    with PaidAnswers.open(tmp_path / "kept.sqlite") as paid_answers:
        assert len(paid_answers) == 5
        assert len(write(writer(concurrency=2), passages(8), paid_answers=paid_answers)) == 8
    assert len(server.bodies) == 8 + 2


INTERRUPT = """
import threading

def interrupt(frame, event, argument):
    codes = frame.f_code, frame.f_back.f_code
    if codes == (threading.Condition.__enter__.__code__, threading.Event.wait.__code__) and event == "return":
        sys.settrace(None)
        raise KeyboardInterrupt
    return interrupt

start_jobs = request_pool.RequestPool._start_jobs
request_pool.RequestPool._start_jobs = lambda pool, *jobs: (sys.settrace(interrupt), start_jobs(pool, *jobs))
"""


def test_an_interruption_while_a_lock_is_taken(server, tmp_path):
    """A run ends after Ctrl-C even if the interruption leaves a lock taken that a thread for a request requires."""
    command = [sys.executable, "-c", SCRIPT.replace("with Paid", f"{INTERRUPT}\nwith Paid"), server.url]
    run = subprocess.Popen([*command, str(tmp_path / "kept.sqlite")], stderr=subprocess.PIPE, text=True)
    try:
        assert "KeyboardInterrupt" in run.communicate(timeout=60)[1]
    finally:
        run.kill()
