"""The Internet's checksum (RFC 1071) and SCTP's CRC (RFC 9260, appendix A), on memory.

A sum in ones' complement is a sum modulo 65535. In that arithmetic 65536 is 1: bytes may be added
in words of any even size, and to swap a word's bytes is to multiply it by 256. All words are taken
as this little-endian machine reads them, and stored in the same way.
"""

import numpy as np

from ixy.compiled import inner
from ixy.memory.ordered import array_at

ONES = np.uint64(65535)
HALF = np.uint64(32)
LOW = np.uint64(0xFFFFFFFF)


@inner
def word_sum(address, size):
    """The sum of `size` bytes, to be taken modulo 65535; behind an odd one comes a 0."""
    words = array_at(address, size >> 3, np.uint64)
    total = np.uint64(0)
    for i in range(np.uint64(size >> 3)):
        total += (words[i] & LOW) + (words[i] >> HALF)
    if size & 7:
        total += rest_sum(address + np.uint64(size & ~7), size & 7)
    return total


@inner
def rest_sum(address, size):
    """The sum of less than 8 bytes."""
    total = np.uint64(0)
    if size & 4:
        total = np.uint64(array_at(address, 1, np.uint32)[0])
        address += np.uint64(4)
    if size & 2:
        total += np.uint64(array_at(address, 1, np.uint16)[0])
        address += np.uint64(2)
    if size & 1:
        total += np.uint64(array_at(address, 1, np.uint8)[0])
    return total


@inner
def is_whole(total):
    """Whether a sum that includes its checksum is right."""
    return total % ONES == 0


@inner
def store_checksum(address, total, zero):
    """Writes the complement of a sum. Of its two forms of zero, `zero` is the one to use."""
    rest = total % ONES
    array_at(address, 1, np.uint16)[0] = ONES - rest if rest else zero


@inner
def crc32c(table, address, size):
    """The CRC of `size` bytes; `table` is the address of its table, u4[256]."""
    table = array_at(table, 256, np.uint32)
    data = array_at(address, size, np.uint8)
    crc = np.uint32(0xFFFFFFFF)
    for i in range(size):
        crc = table[(crc ^ data[i]) & 0xFF] ^ crc >> np.uint32(8)
    return np.uint32(crc ^ np.uint32(0xFFFFFFFF))


def crc_table(polynomial: int) -> np.ndarray[tuple[int], np.dtype[np.uint32]]:
    """The CRC of each byte, for a polynomial in reflected form. u4[256]."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ np.uint32(polynomial), table >> 1)
    return table


CRC32, CRC32C = 0xEDB88320, 0x82F63B78  # Ethernet's and SCTP's polynomial, reflected


@inner
def read16(data, at):
    """Two bytes of a header."""
    return np.int64(data[np.uint64(at)]) << 8 | np.int64(data[np.uint64(at + 1)])


@inner
def write16(data, at, value):
    """Writes two bytes of a header."""
    data[at] = (value >> 8) & 0xFF
    data[at + 1] = value & 0xFF
