"""Templates in scapy's words: what is understood is what scapy makes of it, the rest is refused."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scapy.all import *  # noqa: F403  what the expressions below mean to scapy itself
from scapy.layers.l2 import Ether

from ixy.errors import IxyError
from ixy.traffic.expression import MODULES, build

MAC = bytes.fromhex("020000000001")
HEAD = 'Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")'

GOOD = [
    'IP(src="10.0.0.9", dst="10.0.0.1")/UDP()',
    'IP(src="10.0.0.9", dst="10.0.0.1", ttl=0x1F, id=-0, flags="DF")/TCP(sport=80, flags="SA")',
    'Dot1Q(vlan=5)/IP(src="1.2.3.4", dst="10.0.0.1")/UDP(sport=53)/"text"',
    'Dot1AD(vlan=5)/Dot1Q(vlan=7)/IPv6(src="::1", dst="::2")/TCP()/b"\\x00\\xff"',
    'IP(src="1.2.3.4", dst="10.0.0.1")/TCP(options=[("MSS", 1460), ("NOP", None), ("WScale", 7)])',
    'IPv6(src="::1", dst="fd00::2", fl=5)/ICMPv6EchoRequest(data=b"abc")',
    'ARP(op=2, hwsrc="02:00:00:00:00:01", psrc="10.0.0.1", pdst="10.0.0.2")',
    'IP(src="1.2.3.4", dst="10.0.0.1")/UDP(dport=53)/DNS(rd=1, qd=DNSQR(qname="example.com"))',
    'IP(src="1.2.3.4", dst="10.0.0.1")/UDP()/VXLAN(vni=7)/Ether(src="02:00:00:00:00:01",'
    ' dst="02:00:00:00:00:02")/IP(src="1.1.1.1", dst="2.2.2.2")/ICMP()',
    'IP(src="1.2.3.4", dst="2.2.2.2", chksum=7)/UDP(chksum=0, len=99)/Raw(load="x")',
    'IP(src="1.2.3.4", dst="2.2.2.2", proto=99)/Raw("x")/Raw(b"y")',
    'IP(src="1.2.3.4", dst="2.2.2.2", options=[])/GRE()/IP(src="1.1.1.1", dst="2.2.2.2")/UDP()',
]


@pytest.mark.parametrize("text", GOOD)
def test_it_is_what_scapy_makes_of_it(text: str) -> None:
    assert build(f"{HEAD}/{text}", MAC) == bytes(eval(f"{HEAD}/{text}"))


def test_what_is_left_open_is_not_asked_of_this_machine() -> None:
    frame = build("Ether()/IP()/UDP()", MAC)
    assert frame[:12] == b"\xff" * 6 + MAC
    assert frame[26:30] == bytes([10, 0, 0, 1])
    assert build("Ether()/ARP()", MAC)[22:32] == MAC + bytes([10, 0, 0, 1])
    assert build("Ether()/IPv6()/UDP()", MAC)[22:38] == bytes.fromhex(f"fd{1:030x}")


def test_none_leaves_a_field_open() -> None:
    text = "Ether(dst=None, src=None)/IP(src=None, dst='10.0.0.2', len=None)/UDP(chksum=None)"
    assert build(text, MAC) == build("Ether()/IP(dst='10.0.0.2')/UDP()", MAC)


BAD = [
    "", "x", "1", "'text'", "Ether", "Ether(", "Ether()/", "Ether()/1", "Ether()/None",
    "Ether()/IP", "IP()/UDP()", "UDP()", "Raw('x')", "Ether()*2", "Ether()//IP()", "Ether()+IP()",
    "'a'/IP()", "Ether()/('a'*3)", "Ether()/f'{1}'", "Ether()/'a' 'b' if 1 else 2",
    "Ether(dst='nobody')", "Ether(dst=['02:00:00:00:00:01'])", "Ether(nope=1)", "Ether(b'x')",
    "Ether(*[1])", "Ether(**{'type': 1})", "Ether(type=lambda: 1)", "Ether(type=x)",
    "Ether(type=99999)", "Ether(type=-1)", "Ether(type='x'.y)", "Ether()/IP(dst='example.com')",
    "Ether()/IP(dst='10.0.0.0/24')", "Ether()/IP(dst=['1.1.1.1', '2.2.2.2'])", 
    "Ether()/IP(ttl=256)",
    "Ether()/IP(ttl=(1, 5))", "Ether()/IP(src=RandIP())", "Ether()/IPv6(dst='example.com')",
    "Ether()/ARP(pdst='host')", "Ether()/ARP(hwsrc='x')", "Ether()/IP(ttl=[x for x in [1]])",
    "Ether()/TCP(options=[('MSS', -1)])", "Ether()/TCP(options=5)", "Ether()/DNSRR()",
    "Ether()/__import__('os')", "__import__('os').system('true')", "().__class__", "exec('1')",
    "Ether().__class__()", "Ether()/IP(dst=open('/etc/passwd').read())", "(lambda: Ether())()",
    "Ether()/fuzz(IP())", "Ether()/scapy.all.IP()", "Ether(type:=1)", "Ether()\nIP()", "a=Ether()",
    "Ether();IP()", "Ether()/'€'", "Ether()/Ether", "(" * 3000, "-" * 4000 + "1", "Ether()" * 1000,
    "Ether()" + "/IP()" * 2000, "Ether()/True", "Ether()/...", "Ether()/1.5", "Ether()/[Raw('x')]",
]  # fmt: skip


@pytest.mark.parametrize("text", BAD, ids=lambda text: text[:40])
def test_what_is_not_understood_is_refused(text: str) -> None:
    with pytest.raises(IxyError) as error:
        build(text, MAC)
    assert str(error.value).startswith("--template")


@given(st.text("Ether()/IPUD='\"1.0,[]{}*-:_ \\x", max_size=60))
@settings(deadline=None, max_examples=300)
def test_any_text_is_a_frame_or_an_error(text: str) -> None:
    try:
        frame = build(f"Ether()/{text}", MAC)
    except IxyError:
        return
    assert isinstance(frame, bytes)
    assert len(frame) >= 14
    assert Ether(frame)


def test_all_layers_are_scapy_s() -> None:
    for name in MODULES:
        assert globals()[name].__module__ == f"scapy.{MODULES[name]}"


def test_without_scapy_the_line_says_how_to_get_it() -> None:
    code = (
        "import sys; sys.modules['scapy'] = None\n"
        "from ixy.traffic.templates import load_template\n"
        "assert len(load_template('udp4', bytes(6))) == 60\n"
        "try: load_template('Ether()/IP()', bytes(6))\n"
        "except Exception as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.count("\n") == 1
    assert "pip install scapy" in done.stdout


def test_scapy_is_only_imported_for_an_expression() -> None:
    code = (
        "import sys\n"
        "import ixy.apps.generate\n"
        "from ixy.traffic.templates import BUILT_IN, load_template\n"
        "for name in (*BUILT_IN, '00' * 60): load_template(name, bytes(6))\n"
        "print([name for name in sys.modules if name.startswith('scapy')])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
