"""In a guest: tells a card to send what is at an address that was never mapped for it."""

import sys
import time

import ixy

with ixy.open(sys.argv[1]) as device:
    device.wait_for_link()
    for table in device._addresses.values():
        table[:] = 1 << 45
    device.tx[0].send([bytes(60)])
    time.sleep(0.5)
    try:
        device.statistics()
    except ixy.IxyError as error:
        print(error)
