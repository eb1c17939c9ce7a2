"""The checks of pages, each shown a page that is wrong and one that is right."""

import pytest
from html_checks import (
    broken_links,
    explore_complaints,
    external_in_css,
    external_resources,
    images_without_alt,
    page_bytes,
    stray_dollars,
)


@pytest.mark.parametrize("html, count", [
    ("<p>the $x^2$ was not seen</p>", 1),
    ("<p>an unrecognized $$ block</p><li>and another $</li>", 2),
    ('<p><span class="math">\\(x\\)</span> <code>$HOME</code></p><pre>$ make</pre><script>$(1)</script>', 0),
    ("<p>in $LTT_DATA, but $W and $AB$</p>", 1),
    ("<p>looked for in $LTT_DATA/mnist</p>", 0),
])  # fmt: skip
def test_stray_dollars(html, count):
    assert len(stray_dollars(html)) == count


@pytest.mark.parametrize("html, count", [
    ('<img src="a.png">', 1),
    ('<img src="a.png" alt=" ">', 1),
    ('<img src="../_images/a.png" alt="../_images/a.png"><img src="b.png" alt="_images/b.png">', 2),
    ('<img src="a.png" alt="Two lines that cross">', 0),
])  # fmt: skip
def test_images_without_alt(html, count):
    assert len(images_without_alt(html)) == count


@pytest.mark.parametrize("alts, complaint", [
    (["one"], "fewer than two"),
    (["same", "same"], "does not change"),
    (["one", " "], "does not change"),
    (["one", "two"], None),
])  # fmt: skip
def test_explore_complaints(alts, complaint):
    frames = ", ".join(f'{{"alt": "{alt}"}}' for alt in alts)
    data = f'<script type="application/json">{{"frames": [{frames}]}}</script>'
    complaints = explore_complaints(f'<figure class="explore" id="explore-1">{data}</figure>')
    assert [complaint in found for found in complaints] == [True] if complaint else complaints == []


def test_explore_without_frames_is_a_complaint():
    assert explore_complaints('<figure class="explore" id="explore-1"></figure>')


@pytest.mark.parametrize("html", [
    '<script src="https://cdn.example/x.js"></script>',
    '<script src="//cdn.example/x.js"></script>',
    '<link rel="stylesheet" href="https://cdn.example/x.css">',
    '<link rel="preconnect" href="https://fonts.example">',
    '<img src="http://cdn.example/x.png" alt="x">',
    '<img src="x.png" srcset="x.png 1x, https://cdn.example/x.png 2x" alt="x">',
    '<iframe src="https://cdn.example"></iframe>',
    '<style>@import "https://cdn.example/x.css";</style>',
    '<p style="background: url(https://cdn.example/x.png)">x</p>',
])  # fmt: skip
def test_external_resources_are_found(html):
    assert len(external_resources(html)) == 1


def test_local_resources_and_links_are_fine():
    assert external_resources('<a href="https://arxiv.org">x</a><script src="a.js"></script><img src="data:,">') == []


def test_external_in_css():
    assert external_in_css('@import url("https://a.example/x.css"); b {src: url(//c.example/f.woff)}') == [
        "https://a.example/x.css",
        "//c.example/f.woff",
    ]
    assert external_in_css("a {background: url(../x.png)} b {src: url(data:font/woff;base64,AA)}") == []


def test_page_bytes_counts_each_picture_once(tmp_path):
    (tmp_path / "a b.png").write_bytes(bytes(1000))
    page = tmp_path / "page.html"
    page.write_text('<img src="a%20b.png"><img src="a%20b.png"><img src="data:image/png;base64,AAAA">')
    assert page_bytes(page) == 1000 + page.stat().st_size


def test_broken_links(tmp_path):
    (tmp_path / "other.html").write_text('<h2 id="here">x</h2>')
    page = tmp_path / "page.html"
    page.write_text(
        '<p id="top"></p><a href="#top"></a><a href="#"></a><a href="other.html#here"></a><a href="https://x.example"></a>'
        '<a href="#gone"></a><a href="other.html#gone"></a><a href="gone.html"></a><img src="gone.png">'
    )
    assert broken_links(page) == [
        "#gone: no such anchor",
        "other.html#gone: no such anchor",
        "gone.html: no such file",
        "gone.png: no such file",
    ]
