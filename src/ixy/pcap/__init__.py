"""pcap and pcapng files: read at the speed of memory, written in nanoseconds.

Read `reader.py` and `writer.py` first: they are the two doors. Behind the first are the scanners of
the two formats, `classic.py` and `pcapng.py`, and what these share, `scan.py`; behind the second is
the one encoder, `encode.py`, and `blocks.py` for what else a pcapng file holds; `file_set.py` makes
several files of one capture. Sections are those of the IETF drafts draft-ietf-opsawg-pcap-08 and
draft-ietf-opsawg-pcapng.

Only Ethernet is read. Not supported: compressed files, the FCS length that a pcapng block may
carry for itself (epb_flags; an interface's if_fcslen is honoured), and files shortened by somebody
else while they are read (the kernel kills a process that touches mapped memory behind their end).
"""

from ixy.pcap.blocks import Counts, Interface
from ixy.pcap.encode import MAX_OVERHEAD, PCAP, PCAPNG, encode
from ixy.pcap.file_set import FileSet
from ixy.pcap.reader import Reader
from ixy.pcap.scan import MAXIMUM_SNAPLEN, Frame, PcapError
from ixy.pcap.writer import ReaderGone, Writer

__all__ = [
    "MAXIMUM_SNAPLEN",
    "MAX_OVERHEAD",
    "PCAP",
    "PCAPNG",
    "Counts",
    "FileSet",
    "Frame",
    "Interface",
    "PcapError",
    "Reader",
    "ReaderGone",
    "Writer",
    "encode",
]
