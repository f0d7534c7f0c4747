"""For the whole suite: what must not be skipped, and what must not be warned of."""

import os
from collections.abc import Iterator

import pytest

from ixy import address

REQUIRE_ALL = os.environ.get("IXY_REQUIRE_ALL", "") not in ("", "0")


def pytest_configure(config: pytest.Config) -> None:
    # NumPy's scalars overflow with a warning where machine code wraps: a bug of the second pass
    config.addinivalue_line("filterwarnings", "error::RuntimeWarning")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Iterator[None]:
    """With IXY_REQUIRE_ALL=1 a test that is skipped has failed."""
    outcome = yield
    report = outcome.get_result()
    if REQUIRE_ALL and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.longrepr = f"IXY_REQUIRE_ALL=1, yet {item.nodeid} was skipped: {reason}"


@pytest.fixture
def no_shared_pools(monkeypatch: pytest.MonkeyPatch) -> Iterator[list]:
    """Opens by address start without the pools of earlier tests."""
    pools: list = []
    monkeypatch.setattr(address, "_shared", pools)
    yield pools
    for pool in pools:
        assert pool.available == pool.count, "a buffer was not given back"
        pool.close()
