"""Set-up of the 82576 and the I350: reset, link, receive and transmit units, by the datasheet's
chapter 4.5.

Rings and descriptors are the 82599's. It has been run on QEMU's model only.
"""

import time

from ixy.datasheets import intel82576
from ixy.datasheets.registers import Registers
from ixy.drivers.intel.device import IntelDevice
from ixy.errors import IxyError

BMCR, NEGOTIATE = 0, 0x1200  # the PHY's control register: negotiation enabled, restarted


class IgbDevice(IntelDevice):
    """An 82576 or I350; see `IntelDevice`. It has no interrupts here: `itr` is refused.

    Octets received between the reading of a counter's low and its high half are not counted.
    """

    sheet = intel82576
    DROPS = IntelDevice.DROPS | {"rx_missed": "MPC", "rx_no_descriptor": "RQDPC"}

    def _bring_up(self) -> None:
        """The datasheet's order, 4.5.3."""
        self.regs = Registers(intel82576.INTEL82576, self.function.bar(0), self.address)
        self._reset()
        self._map_memory()
        self._start_link()
        self.statistics()  # the counters clear when they are read
        self._totals = dict.fromkeys(self._totals, 0)
        self.mac = self._read_mac()
        self._init_rx()
        self.regs.TCTL.update(EN=1, PSP=1)
        self._start_queues()
        for queue in self.rx:
            queue.record[0]["twice"] = 1  # QEMU's does; a real one is not harmed by the care
        self.set_promiscuous(True)  # before it receives: nothing that arrives first is filtered
        self.regs.RCTL.update(RXEN=1)

    def _refuse_what_the_device_lacks(self) -> None:
        if self.itr is not None:
            raise IxyError(f"{self.address}: this driver has no interrupts: poll instead")
        super()._refuse_what_the_device_lacks()

    def _reset(self) -> None:
        """Interrupts off, reset, wait until it has read its EEPROM: sections 4.5.4, 4.5.5."""
        self._mask_interrupts()
        self.regs.CTRL.update(RST=1)
        time.sleep(0.01)  # no access for the first millisecond
        self.regs.CTRL.wait(1.0, RST=0)
        self.regs.RAH[0].wait(1.0, AV=1)  # comes from the EEPROM
        self._mask_interrupts()  # the reset has enabled them again

    def _start_link(self) -> None:
        """Lets the PHY negotiate anew, section 4.5.7; see `wait_for_link`."""
        self.regs.CTRL.update(FD=1, SLU=1)
        self.regs.MDIC.write(OP=1, PHY=1, REGISTER=BMCR, DATA=NEGOTIATE)
        self.regs.MDIC.wait(1.0, READY=1)

    def _mask_interrupts(self) -> None:
        self.regs.IMC.write(0xFFFFFFFF)
        self.regs.EIMC.write(0xFFFFFFFF)
        self.regs.EICR.read()

    def _init_rx(self) -> None:
        """Receive set-up, section 4.5.9."""
        # The rings take the 82599's word for an error, which here is one of TCP's or UDP's
        # checksum: it is not looked at. PCSD is what RSS wants.
        self.regs.RXCSUM.update(IPOFLD=0, TUOFLD=0, PCSD=1)
        self.regs.RCTL.write(BAM=1, SECRC=1)
        self._init_rss(mode=2)

    def set_promiscuous(self, on: bool) -> None:
        """Accepts all frames, or only those to the device and to all."""
        self.regs.RCTL.update(UPE=int(on), MPE=int(on))

    def link_speed(self) -> int:
        """Mbit/s; 0 without a link."""
        up, speed = self.regs.STATUS.field("LU"), self.regs.STATUS.field("SPEED")
        return (10, 100, 1000, 1000)[speed] if up else 0

    def _quiesce(self) -> None:
        """Receiver and queues off, then the master disable: no DMA is under way afterwards."""
        regs = self.regs
        regs.RCTL.update(RXEN=0)
        for queue in range(len(self.pools)):
            for register in (regs.RXDCTL[queue], regs.TXDCTL[queue]):
                register.update(ENABLE=0)
                register.wait(0.1, ENABLE=0)
        regs.TCTL.update(EN=0)
        regs.CTRL.update(GIO_DIS=1)
        regs.STATUS.wait(0.1, GIO=0)
