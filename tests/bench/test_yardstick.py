import ctypes

import numpy as np
import pytest

from ixy.bench import yardstick
from ixy.bench.nic import Job
from ixy.drivers.intel.rings import RxQueue
from ixy.errors import IxyError

needs_gcc = pytest.mark.skipif(yardstick.compiler() is None, reason="install gcc")


def test_the_header_has_each_record_with_its_fields_in_order():
    header = yardstick.records_header()
    for name, dtype in yardstick.RECORDS.items():
        body = header.split(f"struct {name} {{")[1].split("}")[0]
        found = [line.split()[1].rstrip(";").split("[")[0] for line in body.split("\n") if line]
        assert found == list(dtype.names)


def test_the_header_writes_arrays_and_sizes():
    header = yardstick.records_header()
    assert "uint8_t headroom[64];" in header
    assert f"sizeof(struct rx_queue) == {RxQueue.itemsize}" in header


@needs_gcc
def test_a_library_is_compiled_once():
    first = yardstick.library(yardstick.OUR_LAYOUT, "-O0")
    assert yardstick.library(yardstick.OUR_LAYOUT, "-O0") is first
    assert isinstance(first.forward, ctypes._CFuncPtr)


@needs_gcc
def test_only_the_entry_points_are_exported():
    code = yardstick.library(yardstick.HEADER_LAYOUT, "-O2")
    assert code.nic_create
    with pytest.raises(AttributeError):
        assert code.packet_alloc


@needs_gcc
def test_what_gcc_refuses_is_an_error(monkeypatch):
    monkeypatch.setitem(yardstick.RECORDS, "job", np.dtype([("rx", "u1"), ("tx", "u8")]))
    with pytest.raises(IxyError, match="gcc refuses"):
        yardstick.library(yardstick.OUR_LAYOUT, "-Og")


@needs_gcc
def test_the_job_is_the_same_for_both_yardsticks():
    text = (yardstick.SOURCES / "yardstick.h").read_text()
    body = text.split("struct job {")[1].split("};")[0]
    fields = [line.split(";")[0].split()[-1].strip("*") for line in body.split("\n") if ";" in line]
    assert fields == list(Job.names)


def test_without_gcc_there_is_no_version(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert yardstick.compiler_version() is None
