import pytest

from conformance.challenge import parse_challenges


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (['Basic realm="a"'], [("basic", {"realm": "a"})]),
        (
            ['Bearer realm="https://t/token",service="s",scope="repository:a:pull,push repository:b:pull"'],
            [
                (
                    "bearer",
                    {"realm": "https://t/token", "service": "s", "scope": "repository:a:pull,push repository:b:pull"},
                )
            ],
        ),
        (['Basic realm="a", Bearer realm="b"'], [("bearer", {"realm": "b"}), ("basic", {"realm": "a"})]),
        (['Basic realm="a"', "bearer realm=b"], [("bearer", {"realm": "b"}), ("basic", {"realm": "a"})]),
        (['Bearer realm="a \\"quoted\\" one"'], [("bearer", {"realm": 'a "quoted" one'})]),
        (["Digest realm=x", ""], []),
    ],
)
def test_challenges(values: list[str], expected: list[tuple[str, dict[str, str]]]) -> None:
    assert [(one.scheme, dict(one.parameters)) for one in parse_challenges(values)] == expected
