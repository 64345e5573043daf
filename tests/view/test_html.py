"""Text becomes markup in one place."""

from __future__ import annotations

import pytest

from fwpolicy.view.html import Markup, escaped, joined, name, tag

GONE = "\N{REPLACEMENT CHARACTER}"


@pytest.mark.parametrize(
    ("text", "html"),
    [
        ("<script>alert(1)</script>", "&lt;script&gt;alert(1)&lt;/script&gt;"),
        ('" onload="x', "&quot; onload=&quot;x"),
        ("' & \"", "&#39; &amp; &quot;"),
        ("a\x00b\x1b[31mc\x7f\n", f"a{GONE}b{GONE}[31mc{GONE}{GONE}"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}gnp.exe", f"{GONE}gnp.exe"),
        ("\N{ZERO WIDTH SPACE}\N{POP DIRECTIONAL ISOLATE}", GONE * 2),
        ("\ud800", GONE),
        ("מסד נתונים", "מסד נתונים"),
    ],
)
def test_escaped(text, html):
    assert escaped(text) == html
    assert tag("p", text, title=text) == f'<p title="{html}">{html}</p>'


def test_markup_is_not_escaped_again():
    inner = tag("b", "<")
    assert tag("p", "<", inner, ["a", (1, None)]) == "<p>&lt;<b>&lt;</b>a1</p>"
    # What is put together by other means is text again.
    assert joined(inner + "<i>") == "&lt;b&gt;&amp;lt;&lt;/b&gt;&lt;i&gt;"
    assert isinstance(joined([inner]), Markup)


def test_attributes():
    assert tag("input", type="search", hidden=True, id=None, disabled=False) == '<input type="search" hidden>'
    assert (
        tag("th", class_="a", aria_label="x", data_groups="")
        == '<th class="a" aria-label="x" data-groups=""></th>'
    )
    assert name("x") == "<bdi>x</bdi>"
