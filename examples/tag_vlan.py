"""An 802.1Q sub-interface in user space, for kernels that were built without 8021q.

python3 tag_vlan.py LINK NAME VLAN

Makes a TAP interface NAME. What is sent into it leaves LINK with the tag of VLAN; what arrives at
LINK with that tag comes out of it, without. It lasts as long as this program runs.
"""

import fcntl
import os
import select
import socket
import struct
import sys

ETH_P_ALL = 0x0003
SOL_PACKET, PACKET_AUXDATA = 263, 8
TP_STATUS_VLAN_VALID = 0x10
TUNSETIFF, IFF_TAP, IFF_NO_PI = 0x400454CA, 0x0002, 0x1000
AUXDATA = struct.Struct("IIIHHHH")  # struct tpacket_auxdata of linux/if_packet.h


def open_tap(name: str) -> int:
    """A new TAP interface that carries bare Ethernet frames."""
    tap = os.open("/dev/net/tun", os.O_RDWR)
    fcntl.ioctl(tap, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TAP | IFF_NO_PI))
    return tap


def open_link(name: str) -> socket.socket:
    """A socket on an interface; it tells the tags, which Linux takes out of arriving frames."""
    link = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    link.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
    link.bind((name, ETH_P_ALL))
    return link


def receive_from_vlan(link: socket.socket, vlan: int) -> bytes | None:
    """The next frame without its tag; None if it belongs elsewhere."""
    frame, ancillary, _, source = link.recvmsg(65535, socket.CMSG_SPACE(AUXDATA.size))
    if source[2] == socket.PACKET_OUTGOING:
        return None
    for _, _, data in ancillary:
        status, _, _, _, _, tag, _ = AUXDATA.unpack(data[: AUXDATA.size])
        if status & TP_STATUS_VLAN_VALID and tag & 0xFFF == vlan:
            return frame
    return None


def main() -> None:
    """Carries frames both ways until it is killed."""
    link_name, tap_name, vlan = sys.argv[1], sys.argv[2], int(sys.argv[3])
    link, tap = open_link(link_name), open_tap(tap_name)
    tag = struct.pack("!HH", 0x8100, vlan)
    while True:
        ready, _, _ = select.select([link.fileno(), tap], [], [])
        if link.fileno() in ready and (frame := receive_from_vlan(link, vlan)):
            os.write(tap, frame)
        if tap in ready:
            frame = os.read(tap, 65535)
            link.send(frame[:12] + tag + frame[12:])


main()
