"""The binding of libpcap: programs it compiles, and its errors in one line."""

import pytest

from ixy.errors import IxyError
from ixy.traffic import libpcap
from ixy.traffic.libpcap import compile_expression


def test_a_program_as_tcpdump_d_shows_it() -> None:
    assert [tuple(each) for each in compile_expression("arp")] == [
        (0x28, 0, 0, 12),  # ldh [12]
        (0x15, 0, 1, 0x0806),  # jeq #0x806 jt 2 jf 3
        (0x06, 0, 0, 262144),  # ret #262144
        (0x06, 0, 0, 0),  # ret #0
    ]
    assert [tuple(each) for each in compile_expression("")] == [(0x06, 0, 0, 262144)]


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("port", "syntax error"),
        ("foo bar", "syntax error"),
        ("host 1.2.3.4.5", "unknown host"),
        ("tcp and and", "syntax error"),
        ("ip broadcast", "netmask not known"),
        ("gateway 10.0.0.1", "requires a name"),
        ("ip and arp", "expression rejects all packets"),
        ("vlan 5000", "greater than maximum"),
        ("\xff", "syntax error"),
        ("\udcff", "syntax error"),  # a byte that is no text
    ],
)
def test_a_wrong_expression_gets_libpcap_s_words(expression: str, reason: str) -> None:
    with pytest.raises(IxyError, match=reason) as refused:
        compile_expression(expression)
    assert repr(expression) in str(refused.value)
    assert "\n" not in str(refused.value)


def test_without_the_library_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libpcap, "NAMES", ("libnothing.so",))
    libpcap.library.cache_clear()
    with pytest.raises(IxyError, match=r"apt install libpcap0\.8"):
        compile_expression("ip")
    libpcap.library.cache_clear()
