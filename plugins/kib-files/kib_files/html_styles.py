"""Applies the styles of an HTML page: hidden elements, blocks, raised text and list marks become attributes.

turbohtml computes the styles of an element but ignores conditional rules such as `@media`, and some properties.
"""

import re
from typing import Any

from kib_files.html_layout import BLOCK, BLOCKS, SCRIPT

__all__ = ["HIDDEN", "LIST_STYLE", "apply_styles"]

HIDDEN, LIST_STYLE = "data-kib-hidden", "data-kib-list-style"
"""Attributes that `apply_styles` sets: a style hides the element; the value of the property `list-style-type`."""

ZERO = r"[0.]+(?![.\d])"

STYLED = re.compile(
    rf"display|visibility|list-style|vertical-align|font-variant|(?:opacity|font-size)\s*:\s*{ZERO}", re.IGNORECASE
)
"""The properties of a style sheet that change the text."""

SHORT_LIST_STYLE = re.compile(
    r"list-style\s*:[^;{}]*?\b(none|disc|decimal|(?:lower|upper)-(?:alpha|latin|roman))\b[^;{}]*", re.IGNORECASE
)
"""The short form of the property `list-style-type`, which turbohtml does not read."""

ALIASES = {"content-visibility": "clear", "font-variant-position": "font-variant"}
"""Properties that turbohtml does not read, with properties whose usual values cannot be confused with theirs."""

ALIASED = re.compile(rf"(?<![\w-])({'|'.join(ALIASES)})(?=\s*:)", re.IGNORECASE)

TRANSPARENT = re.compile(rf"(?<![\w-])opacity\s*:\s*{ZERO}", re.IGNORECASE)
DECLARATIONS = re.compile(r"[^{}]+")
MOVING = re.compile(r"animation|transition", re.IGNORECASE)
"""Declarations that show transparent text after a moment; the text is not hidden."""

BROWSER_STYLES = "<style>:where(ol) { list-style-type: decimal } :where(ul) { list-style-type: disc }</style>"
"""The browser's own styles, which turbohtml does not apply; the styles of a page take precedence."""

BLOCK_DISPLAYS = frozenset(("block", "flex", "flow-root", "grid", "list-item", "table", "table-row"))

NOT_INLINE = BLOCKS | {"td", "th"}
"""Elements in which the property `vertical-align` does not raise text."""

CSS_TOKEN = re.compile(
    r"""/\*.*?(?:\*/|\Z)|(["'])(?:[^"'\\\n]|\\.|(?!\1)["'])*+(?:\1|(?=\n)|\Z)"""
    r"""|@(?P<rule>media|supports|layer)\b(?P<condition>[^{};@]*)\{|[{}]""",
    re.DOTALL | re.IGNORECASE,
)
"""A comment, a string, the start of a conditional rule, or a brace."""

MEDIA_QUERY = re.compile(r"\s*(?:only\s+)?(not\s+)?([a-z]*)(.*)", re.DOTALL)
FEATURE = re.compile(r"\(([^()]*)\)")
SIZE = re.compile(r"(min|max)-(width|height):([\d.]+)(px|r?em)")

SCREEN = {"width": 1280.0, "height": 800.0}
"""The size, in pixels, of the screen for which conditional rules are applied."""

SCREEN_FEATURES = frozenset(
    (
        *("color", "hover", "hover:hover", "any-hover:hover", "pointer:fine", "any-pointer:fine"),
        *("orientation:landscape", "prefers-color-scheme:light", "prefers-reduced-motion:no-preference"),
    )
)
"""The other features of this screen."""

LENGTH = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(em|rem|ex|px|pt|%)")
UNITS = {"em": 1.0, "rem": 1.0, "ex": 0.5, "px": 1 / 16, "pt": 1 / 12, "%": 0.01}
"""The lengths of CSS units, in character sizes."""

SHIFTED = 0.2
"""The least distance, in character sizes, between a superscript or subscript and the line."""


def apply_styles(page: Any) -> None:
    """Set the attributes `HIDDEN`, `BLOCK`, `SCRIPT` and `LIST_STYLE` of elements as style sheets and `style` require.

    The text of an element with `visibility: hidden` or `font-size: 0` is wrapped in a hidden element, because children
    may be visible.
    """
    from turbohtml.cssom import computed_style

    for styled in page.select("[style]"):
        styled.attrs["style"] = _readable(styled.attr("style"))
    has_rules = False
    for sheet in page.select("style"):
        rules = _screen_rules(sheet.text) if _applies_to_screen(sheet.attr("media") or "") else ""
        has_rules = has_rules or bool(STYLED.search(rules))
        sheet.set_text(_readable(rules))
    page.select_one("head").insert_adjacent_html("afterbegin", BROWSER_STYLES)
    styled = page.select("body *" if has_rules else "body [style], body [style] *")
    invisible = [element for element in styled if not _note_style(element, computed_style(element))]
    for element in invisible:
        _hide_text(element)


def _note_style(element: Any, style: Any) -> bool:
    """Set the attributes of an element, and return whether its own text is visible."""
    display = (style.get("display") or "").lower()
    if display == "none" or style.get("clear") == "hidden" or _is_zero(style.get("opacity")):
        element.attrs[HIDDEN] = ""
    if display in BLOCK_DISPLAYS:
        element.attrs[BLOCK] = ""
    elif script := _script(element, style, display):
        element.attrs[SCRIPT] = script
    if element.tag in ("ol", "ul"):
        element.attrs[LIST_STYLE] = style.get("list-style-type")
    return bool(style.get("visibility") == "visible") and not _is_zero(style.get("font-size"))


def _is_zero(value: str | None) -> bool:
    return bool(re.match(ZERO, value or ""))


def _hide_text(element: Any) -> None:
    """Wrap the text of an element, but not of its children, in hidden elements."""
    from turbohtml import Element, Text

    if element.tag == "input":
        element.attrs[HIDDEN] = ""
    for child in [child for child in element.children if isinstance(child, Text)]:
        child.wrap(Element("span", {HIDDEN: ""}))


def _readable(css: str) -> str:
    """Return CSS in which properties that turbohtml does not read are written as properties that turbohtml reads."""
    css = SHORT_LIST_STYLE.sub(r"list-style-type:\1", css)
    css = DECLARATIONS.sub(_without_moving_opacity, css)
    return ALIASED.sub(lambda found: ALIASES[found.group().lower()], css)


def _without_moving_opacity(block: re.Match[str]) -> str:
    css = block.group()
    return TRANSPARENT.sub("", css) if MOVING.search(css) else css


def _screen_rules(sheet: str) -> str:
    """Return a style sheet in which each conditional rule is replaced by its content or, on other media, left out."""
    kept: list[str] = []
    conditions: list[bool | None] = []  # for each open brace: whether the condition is true, or None for other rules
    position = 0
    for token in CSS_TOKEN.finditer(sheet):
        before, position = sheet[position : token.start()], token.end()
        text, is_kept = token.group(), False not in conditions
        if token["rule"]:
            text = ""
            conditions.append(_is_true(token["rule"].lower(), token["condition"]))
        elif text == "{":
            conditions.append(None)
        elif text == "}" and conditions and conditions.pop() is not None:
            text = ""
        kept += [before, text if False not in conditions else ""] if is_kept else []
    return "".join(kept) + (sheet[position:] if False not in conditions else "")


def _is_true(rule: str, condition: str) -> bool:
    """Return whether the content of a conditional rule applies; current browsers support the features in question."""
    return _applies_to_screen(condition) if rule == "media" else not condition.strip().lower().startswith("not")


def _applies_to_screen(queries: str) -> bool:
    """Return whether one of the media queries, which are separated by commas, is true for a screen."""
    return not queries.strip() or any(map(_matches, queries.lower().split(",")))


def _matches(query: str) -> bool:
    negated, medium, features = MEDIA_QUERY.fullmatch(query).groups()  # type: ignore[union-attr] # matches any text
    is_true = medium in ("", "all", "screen") and all(map(_has, FEATURE.findall(features)))
    return is_true != bool(negated)


def _has(feature: str) -> bool:
    """Return whether the screen has a feature, such as `min-width: 600px`."""
    feature = "".join(feature.split())
    size = SIZE.fullmatch(feature)
    if not size:
        return feature in SCREEN_FEATURES
    bound, side, number, unit = size.groups()
    pixels = float(number) * (1 if unit == "px" else 16)
    return SCREEN[side] >= pixels if bound == "min" else SCREEN[side] <= pixels


def _script(element: Any, style: Any, display: str) -> str:
    """Return `sup` or `sub` if a style raises or lowers inline text, or "" for other elements."""
    align = (style.get("vertical-align") or "").lower()
    variant = (style.get("font-variant") or "").lower().split()
    length = LENGTH.fullmatch(align)
    shift = float(length[1]) * UNITS[length[2]] if length else 0.0
    raised = align == "super" or "super" in variant or shift >= SHIFTED
    lowered = align == "sub" or "sub" in variant or shift <= -SHIFTED
    if not (raised or lowered) or element.tag in NOT_INLINE or display == "table-cell":
        return ""
    return "" if element.closest(f"sup, sub, [{SCRIPT}]") else "sup" if raised else "sub"
