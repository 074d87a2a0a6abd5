"""Formats are told from the first bytes; compressions are undone once each."""

from __future__ import annotations

import gzip
import lzma
import random

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from kvtui.importer.formats import Format, Unwrapping, format_of

BODY = bytes(range(256)) * 64


@pytest.mark.parametrize(
    ("header", "format_"),
    [
        (b"QFI\xfb", Format.QCOW2),
        (b"KDMV", Format.VMDK),
        (b"# Disk DescriptorFile\nversion=1", Format.VMDK),
        (bytes(64) + b"\x7f\x10\xda\xbe", Format.VDI),
        (b"conectix", Format.VHD),
        (b"vhdxfile", Format.VHDX),
        (b"\xeb\x63\x90", Format.RAW),
        (b"", Format.RAW),
    ],
)
def test_a_format_is_told_by_its_magic(header: bytes, format_: Format) -> None:
    assert format_of(header + bytes(512)) is format_


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, zstandard.ZstdCompressor().compress, lambda b: b])
def test_compressed_images_come_out_as_they_went_in(pack: object) -> None:
    assert callable(pack)
    stream = Unwrapping()
    data = pack(BODY)
    out = b"".join(stream.feed(data[i : i + 100]) for i in range(0, len(data), 100)) + stream.finish()
    assert out == BODY
    assert stream.format is Format.RAW


def test_gzip_of_xz_is_undone_and_gzip_of_gzip_only_once() -> None:
    stream = Unwrapping()
    assert stream.feed(gzip.compress(lzma.compress(BODY))) + stream.finish() == BODY
    twice = gzip.compress(gzip.compress(random.Random(1).randbytes(4096), mtime=0), mtime=0)
    stream = Unwrapping()
    assert (stream.feed(twice) + stream.finish())[:2] == b"\x1f\x8b"


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress, zstandard.ZstdCompressor().compress])
def test_a_stream_that_is_cut_is_an_error(pack: object) -> None:
    assert callable(pack)
    stream = Unwrapping()
    stream.feed(pack(BODY)[:-9])
    with pytest.raises(ValueError, match="EOF"):
        stream.finish()


def test_a_file_smaller_than_a_header_is_no_image() -> None:
    stream = Unwrapping()
    stream.feed(b"x" * 100)
    with pytest.raises(ValueError, match="could not process image header"):
        stream.finish()


@given(st.binary(max_size=3000), st.integers(1, 700))
def test_any_bytes_in_any_pieces_end_in_a_result_or_a_value_error(data: bytes, step: int) -> None:
    stream = Unwrapping()
    try:
        out = b"".join(stream.feed(data[i : i + step]) for i in range(0, len(data), step)) + stream.finish()
    except ValueError:
        return
    assert stream.format is not None
    assert len(out) >= 512
