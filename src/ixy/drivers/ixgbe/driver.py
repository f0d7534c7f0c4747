"""Set-up of the 82599: reset, link, receive and transmit units, by the datasheet's chapter 4.6.

Read `IxgbeDevice._bring_up` first: it is the order of the datasheet, a method per section.
"""

import time

from ixy.datasheets import intel82599
from ixy.datasheets.registers import Registers
from ixy.drivers.intel.device import IntelDevice


class IxgbeDevice(IntelDevice):
    """An 82599, X540 or X550; see `IntelDevice`."""

    sheet = intel82599
    # Packets are counted where they reached memory: GPRC would include what was dropped after it
    # had been counted (8.2.3.23.26, 8.2.3.23.74); of those octets the CRC was stripped before
    PACKETS, OCTETS, CRC = ("QPRC", "GPTC"), ("QBRC_", "GOTC"), (0, 4)
    # the device's own packet buffer was full; no descriptor, and DROP_EN
    DROPS = IntelDevice.DROPS | {"rx_missed": "RXMPC", "rx_no_descriptor": "QPRDC"}

    def _bring_up(self) -> None:
        """The datasheet's order, 4.6.3 to 4.6.8."""
        self.regs = Registers(intel82599.INTEL82599, self.function.bar(0), self.address)
        self._reset()  # 4.6.3
        self._map_memory()
        self.regs.AUTOC.update(LMS=3, AN_RESTART=1)  # 4.6.4: 10 Gbit/s; see `wait_for_link`
        self.statistics()  # 4.6.5: the counters clear when they are read
        self._totals = dict.fromkeys(self._totals, 0)
        self.mac = self._read_mac()
        self._init_rx()  # 4.6.7
        self._init_tx()  # 4.6.8
        self._start_queues()
        if self.itr is not None:
            self._init_interrupts(self.itr)  # 4.6.6
        self.set_promiscuous(True)  # before it receives: nothing that arrives first is filtered
        self.regs.RXCTRL.update(RXEN=1)  # last of all, 4.6.7

    def _reset(self) -> None:
        """Interrupts off, reset, wait until the device has read its EEPROM: section 4.6.3."""
        self.regs.EIMC.write(0xFFFFFFFF)
        self.regs.CTRL.write(LNK_RST=1, RST=1)
        self.regs.CTRL.wait(1.0, LNK_RST=0, RST=0)
        time.sleep(0.01)
        self.regs.EIMC.write(0xFFFFFFFF)  # the reset has enabled them again
        self.regs.EICR.read()
        self.regs.EEC.wait(1.0, ARD=1)
        self.regs.RDRXCTL.wait(1.0, DMAIDONE=1)

    def _init_rx(self) -> None:
        """Receive set-up, section 4.6.7. It looks long there; without DCB, virtualization and
        offloads it is short."""
        regs = self.regs
        regs.RXCTRL.update(RXEN=0)  # never reconfigure a running receiver
        for i, buffer in enumerate(regs.RXPBSIZE):
            buffer.write(SIZE=0 if i else 512)  # all for traffic class 0, 4.6.11.3.4
        regs.HLREG0.update(RXCRCSTRP=1, JUMBOEN=0)
        regs.RDRXCTL.update(CRCSTRIP=1, RSCFRSTSIZE=0, RSCACKC=1, FCOE_WRFIX=1)
        regs.MAXFRS.update(MFS=1518)  # with CRC; a VLAN tag may come on top
        regs.FCTRL.update(BAM=1)
        regs.CTRL_EXT.update(NS_DIS=1)
        for queue in range(len(self.pools)):
            regs.DCA_RXCTRL[queue].update(BIT12=0)
        self._init_rss(mode=1)  # 7.1.2.8

    def _init_tx(self) -> None:
        """Transmit set-up, section 4.6.8."""
        regs = self.regs
        regs.HLREG0.update(TXCRCEN=1, TXPADEN=1)
        for i, buffer in enumerate(regs.TXPBSIZE):
            buffer.write(SIZE=0 if i else 160)  # all for traffic class 0, 4.6.11.3.4
            regs.TXPBTHRESH[i].write(THRESH=0 if i else 160)
        regs.DTXMXSZRQ.write(0xFFF)  # without DCB: as many requests as there can be
        regs.RTTDCS.update(ARBDIS=0)
        regs.MTQC.write(0)  # 64 queues in one packet buffer
        regs.DMATXCTL.update(TE=1)

    def _init_interrupts(self, itr: float) -> None:
        """A vector per receive queue, which clears its own cause: sections 4.6.6 and 7.3.

        The vectors are never masked. A worker that polls pays for an interrupt per interval, but no
        register access stands between it and its sleep.
        """
        regs, causes = self.regs, (1 << len(self.pools)) - 1
        regs.GPIE.write(MULTIPLE_MSIX=1)
        for queue, event in enumerate(self.function.interrupts(len(self.pools))):
            side = f"RX{queue % 2}"
            regs.IVAR[queue // 2].update(**{side: queue, f"{side}_VALID": 1})
            regs.EITR[queue].write(INTERVAL=round(itr / 2.048), CNT_WDIS=1)
            self.rx[queue].event = event
        regs.EIAC.write(causes)
        regs.EIMS.write(causes)

    def set_promiscuous(self, on: bool) -> None:
        """Accepts all frames, or only those to the device and to all (8.2.3.7.1)."""
        self.regs.FCTRL.update(UPE=int(on), MPE=int(on))

    def link_speed(self) -> int:
        """Mbit/s; 0 without a link."""
        up, speed = self.regs.LINKS.field("UP"), self.regs.LINKS.field("SPEED")
        return (0, 100, 1000, 10000)[speed] if up else 0

    def _quiesce(self) -> None:
        """Queues off, then the master disable of 5.2.5.3.2: no DMA is under way afterwards."""
        regs = self.regs
        regs.RXCTRL.update(RXEN=0)
        for queue in range(len(self.pools)):
            for register in (regs.RXDCTL[queue], regs.TXDCTL[queue]):
                register.update(ENABLE=0)
                register.wait(0.1, ENABLE=0)
        regs.DMATXCTL.update(TE=0)
        regs.CTRL.update(GIO_DIS=1)
        regs.STATUS.wait(0.1, GIO=0)
