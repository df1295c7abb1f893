"""Range, Content-Range and Content-Length: every form of the RFC, and what strangers send instead."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from registry.errors import RangeInvalid, SizeInvalid, UploadInvalid
from registry.http.ranges import parse_content_range, parse_length, parse_range, range_header

sizes = st.integers(0, 10**17)
positions = st.integers(0, 10**20)


@pytest.mark.parametrize(
    ("header", "selected"),
    [
        ("bytes=500-1499", (500, 1499)),
        ("bytes=500-", (500, 2047)),
        ("bytes=-500", (1548, 2047)),
        ("bytes=2000-5000", (2000, 2047)),
        ("bytes=0-0", (0, 0)),
        ("bytes=2047-", (2047, 2047)),
        ("bytes=-5000", (0, 2047)),
        ("Bytes= 0-1 ", (0, 1)),
        ("bytes=500-9223372036854775807", (500, 2047)),
        ("bytes=500-" + "9" * 4000, (500, 2047)),
        ("bytes=-" + "9" * 4000, (0, 2047)),
        ("bytes=" + "0" * 4000 + "5-7", (5, 7)),
    ],
)
def test_one_range_is_selected(header: str, selected: tuple[int, int]) -> None:
    assert parse_range(header, 2048) == selected


@pytest.mark.parametrize(
    "header",
    [
        "",
        "bytes",
        "bytes=",
        "bytes=-",
        "bytes=a-b",
        "bytes=1",
        "bytes=0-1,5-6",
        "bytes=0-1,",
        "bytes=-1-2",
        "bytes=+1-2",
        "bytes=1_0-20",
        "bytes=1 - 2",
        "bytes 0-1",
        "items=0-1",
        "bytes=0-1\n",
        "bytes=\N{ARABIC-INDIC DIGIT ONE}-2",
        "byte\N{LATIN SMALL LETTER LONG S}=0-1",
    ],
)
def test_what_is_not_one_range_of_bytes_selects_the_whole(header: str) -> None:
    assert parse_range(header, 2048) is None


@pytest.mark.parametrize(
    "header", ["bytes=2048-", "bytes=5000-10000", "bytes=500-0", "bytes=-0", "bytes=" + "9" * 4000 + "-", "bytes=-000"]
)
def test_a_range_without_a_byte_is_refused_with_the_size(header: str) -> None:
    with pytest.raises(RangeInvalid) as refused:
        parse_range(header, 2048)
    assert refused.value.size == 2048


def test_an_empty_blob_has_no_first_byte_but_a_suffix() -> None:
    assert parse_range("bytes=-500", 0) is None
    for header in ("bytes=0-", "bytes=0-0", "bytes=-0"):
        with pytest.raises(RangeInvalid):
            parse_range(header, 0)


@given(positions, positions, sizes)
def test_a_closed_range_selects_what_slicing_would(first: int, last: int, size: int) -> None:
    try:
        selected = parse_range(f"bytes={first}-{last}", size)
    except RangeInvalid:
        assert first >= size or last < first
    else:
        assert selected == (first, min(last, size - 1))
        assert 0 <= selected[0] <= selected[1] < size


@given(positions, sizes.filter(bool))
def test_a_suffix_selects_the_end(length: int, size: int) -> None:
    try:
        selected = parse_range(f"bytes=-{length}", size)
    except RangeInvalid:
        assert length == 0
    else:
        assert selected == (max(0, size - length), size - 1)


@given(st.one_of(st.text(max_size=40), st.text("bytes=-,0129 \t", max_size=30).map("bytes=".__add__)), sizes)
def test_any_range_header_has_an_answer_within_the_blob(header: str, size: int) -> None:
    try:
        selected = parse_range(header, size)
    except RangeInvalid as refused:
        assert refused.size == size
    else:
        assert selected is None or 0 <= selected[0] <= selected[1] < size


@pytest.mark.parametrize(
    "header", ["bytes=" + "1" * 60_000 + "x", "bytes=-" + " " * 60_000 + "x", "bytes=" + "0-" * 30_000]
)
@pytest.mark.timeout(60)  # quadratic time would take longer
def test_a_long_header_comes_to_an_end(header: str) -> None:
    for parse in (lambda: parse_range(header, 10), lambda: parse_content_range(header), lambda: parse_length(header)):
        try:
            parse()
        except (RangeInvalid, UploadInvalid, SizeInvalid):
            pass


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("0-0", (0, 0)),
        ("500-1499", (500, 1499)),
        (" 0-4 ", (0, 4)),
        ("bytes 0-4/5", (0, 4)),
        ("bytes 0-4/*", (0, 4)),
        ("BYTES  5-9/100", (5, 9)),
        ("0-" + "9" * 18, (0, 10**18 - 1)),
    ],
)
def test_both_forms_of_content_range_are_read(header: str, expected: tuple[int, int]) -> None:
    assert parse_content_range(header) == expected


@pytest.mark.parametrize(
    "header",
    [
        "",
        "-",
        "5",
        "5-",
        "-5",
        "5-4",
        "0-4/5",
        "0-4\n",
        "bytes=0-4",
        "bytes 0-4",
        "bytes 0-4/",
        "bytes */5",
        "bytes 0-5/5",
        "bytes 5-4/10",
        "0-" + "9" * 19,
        "a-b",
        "0-4, 5-9",
        "\N{ARABIC-INDIC DIGIT ONE}-2",
    ],
)
def test_other_content_ranges_are_refused(header: str) -> None:
    with pytest.raises(UploadInvalid, match="Content-Range"):
        parse_content_range(header)


@given(st.integers(0, 10**18 - 1), st.integers(0, 10**18 - 1))
def test_content_range_comes_back_as_it_was_sent(first: int, last: int) -> None:
    header = f"{first}-{last}"
    if last < first:
        with pytest.raises(UploadInvalid):
            parse_content_range(header)
    else:
        assert parse_content_range(header) == (first, last)
        assert parse_content_range(f"bytes {header}/{last + 1 if last + 1 < 10**18 else '*'}") == (first, last)


@given(st.text(max_size=30))
def test_any_content_range_is_read_or_refused(header: str) -> None:
    try:
        first, last = parse_content_range(header)
    except UploadInvalid:
        return
    assert 0 <= first <= last


def test_the_range_header_tells_the_last_byte_received() -> None:
    assert range_header(0) == "0-0"
    assert range_header(1) == "0-0"
    assert range_header(1500) == "0-1499"


@given(st.integers(1, 10**18))
def test_the_range_header_is_a_content_range_of_what_was_received(offset: int) -> None:
    assert parse_content_range(range_header(offset)) == (0, offset - 1)


@pytest.mark.parametrize(("header", "length"), [(None, None), ("0", 0), ("42", 42), ("007", 7), ("9" * 18, 10**18 - 1)])
def test_lengths_are_read(header: str | None, length: int | None) -> None:
    assert parse_length(header) == length


@pytest.mark.parametrize(
    "header",
    ["", " ", "-1", "+1", "1.0", "1e3", "0x10", "1_0", "5, 5", "5\n", "9" * 19, "\N{SUPERSCRIPT TWO}", "chunked"],
)
def test_what_is_no_length_is_refused(header: str) -> None:
    with pytest.raises(SizeInvalid, match="Content-Length"):
        parse_length(header)


@given(st.text(max_size=25))
def test_any_length_is_read_or_refused(header: str) -> None:
    try:
        length = parse_length(header)
    except SizeInvalid:
        return
    assert length == int(header)
    assert header.isascii()
