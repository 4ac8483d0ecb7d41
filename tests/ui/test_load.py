"""Several visitors at once: everybody gets the answers that a visitor alone gets, and nothing grows or stays behind."""

import ctypes
import gc

import psutil

from privlens.bench.load import CHECK, EFFECT, FIRST, Kind, Load, LoadSettings, Request, Watch, longest_step, summary
from privlens.lm.model import LanguageModel
from privlens.resources import SECRETS
from privlens.secret_lists import read_secrets
from tests.helpers import wait_until

MASK = Kind("localize, activations", True, "localize-start", typed=(("method", "activations"),))


def hooks() -> int:
    """Hooks on the parts of all models in memory."""
    models = [one.model for one in gc.get_objects() if type(one) is LanguageModel]  # isinstance asks proxies
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for model in models for part in model.modules())


def kept_mib() -> float:
    """MiB of memory that is in use: what was freed and only held back for later does not count."""
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return psutil.Process().memory_info().rss / 2**20


def test_visitors_at_once_get_the_answers_of_a_visitor_alone_and_nothing_stays_behind(address: str) -> None:
    secrets = [row.secret for row in read_secrets(SECRETS)][:2]
    load = Load(address, secrets, LoadSettings(visitors=4, minutes=0.25, is_random=True), heavy=(FIRST, MASK))
    requests = [*load.alone(), *load.together()]  # as many threads as there will be have been at work
    hooks_before, before = hooks(), kept_mib()
    for _ in range(2):
        requests += load.together()
    assert [request.error for request in requests if request.error] == []
    assert {request.kind.name for request in requests} >= {CHECK.name, EFFECT.name, FIRST.name, MASK.name}
    assert all(request.is_same for request in requests)
    assert hooks() == hooks_before
    wait_until(lambda: kept_mib() < before + 50)  # once the visits have ended


def test_an_answer_that_differs_from_that_of_a_visitor_alone_is_counted(address: str) -> None:
    secret = read_secrets(SECRETS)[0].secret
    load = Load(address, [secret], LoadSettings(visitors=1), heavy=(FIRST,))
    [check, *_] = [request for request in load.alone() if request.kind is CHECK]
    assert check.is_same
    load._alone = dict.fromkeys(load._alone, "another answer")
    assert not any(request.is_same for request in load.alone())


def test_rows_by_hand() -> None:
    alone = [Request(CHECK, (0.1, 0.2)), Request(FIRST, (0.5, 4.0, 4.5))]
    busy = [Request(CHECK, (0.1, 0.4)), Request(CHECK, (0.3, 0.8), is_same=False), Request(CHECK, error="no answer")]
    check, light = summary(alone, busy)
    assert (check["kind"], light["kind"]) == ("check", "all light")
    assert (check["requests"], check["errors"], check["mismatches"]) == (3, 1, 1)
    assert (check["alone_p50_s"], check["p50_s"], check["max_s"], check["first_sign_max_s"]) == (0.2, 0.6, 0.8, 0.3)
    assert longest_step(alone) == 3.5


def test_the_slope_of_memory_leaves_out_its_beginning() -> None:
    watch = Watch(psutil.Process())
    watch.seconds = [float(second) for second in range(1, 91)]
    watch.memory = [1000.0 - second if second <= 30 else 500.0 + second / 60 * 3 for second in watch.seconds]
    slope = watch.slope()
    assert slope is not None
    assert abs(slope - 3.0) < 1e-6
    watch.seconds, watch.memory = watch.seconds[:5], watch.memory[:5]
    assert watch.slope() is None
