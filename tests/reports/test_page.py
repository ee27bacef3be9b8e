"""The page that reports share: nothing from outside, nothing that folders hold can become code, readable without its script."""

import base64
import hashlib
import json
import re
from html.parser import HTMLParser

import pytest

from transformer_zoo.reports.page import page, script_data, table

HOSTILE = "</script><script>alert(1)</script><!--\u2028&amp;'\""


class Reader(HTMLParser):
    """Collects elements with their attributes, and what scripts and styles hold."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.inside: dict[str, list[str]] = {}
        self.at = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.at = tag

    def handle_data(self, data: str) -> None:
        self.inside.setdefault(self.at, []).append(data)

    def handle_endtag(self, tag: str) -> None:
        self.at = ""


def read(text: str) -> Reader:
    reader = Reader()
    reader.feed(text)
    return reader


def test_only_the_page_s_own_script_may_run() -> None:
    text = page("t", "<section></section>")
    policy = next(attrs["content"] for tag, attrs in read(text).elements if attrs.get("http-equiv") == "Content-Security-Policy")
    script = re.findall(r"<script>(.*?)</script>", text, re.DOTALL)
    assert len(script) == 1
    digest = base64.b64encode(hashlib.sha256(script[0].encode()).digest()).decode()
    assert policy is not None
    assert policy.startswith("default-src 'none';")
    assert f"script-src 'sha256-{digest}'" in policy


def test_what_folders_hold_cannot_become_code() -> None:
    text = page(HOSTILE, table(["name", HOSTILE], [[HOSTILE, "1"]], names={(0, 1): "x' onclick='alert(1)"}), {"label": HOSTILE})
    reader = read(text)
    assert [tag for tag, _ in reader.elements].count("script") == 2
    assert not any("onclick" in attrs for _, attrs in reader.elements)
    told = json.loads("".join(reader.inside["script"][:1]))
    assert told == {"label": HOSTILE}


def test_data_of_the_script_is_json_without_signs_of_markup() -> None:
    text = script_data({"a": HOSTILE})
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == {"a": HOSTILE}
    with pytest.raises(ValueError, match="not JSON compliant"):
        script_data({"a": float("nan")})


def test_sections_are_listed_and_a_long_title_is_cut() -> None:
    text = page("x" * 500, '<section id="one"><h2>First</h2></section><section><h2>No way there</h2></section>')
    assert '<a href="#one">First</a>' in text
    assert "No way there</a>" not in text
    assert f"<h1>{'x' * 159}…</h1>" in text


def test_long_cells_are_wrapped_and_classes_come_together() -> None:
    text = table(["a", "b"], [["x", "y" * 41]], marked=[(0, 1)], shades={(0, 1): 0.5})
    assert f"<td class='best heat word long' style=\"--h:0.500\">{'y' * 41}</td>" in text
    assert "<td>x</td>" in text


def test_columns_of_words_and_of_numbers_stand_on_their_own_sides() -> None:
    text = table(["", "status", "loss"], [["a", "done", "2.3 ± 0.1"], ["b", "failed", "–"]])
    assert "<th scope='col' class=word>status</th><th scope='col'>loss</th>" in text
    assert "<td class='word'>failed</td><td>–</td>" in text
