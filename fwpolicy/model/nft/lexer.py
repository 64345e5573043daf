"""The text of a ruleset as tokens, as nft's scanner.l cuts it (nft(8) "LEXICAL CONVENTIONS")."""

from __future__ import annotations

import re

from fwpolicy.model.fields import Where
from fwpolicy.model.program import NotModelledError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

# `elements = { ... }` is one token: a set of 100,000 addresses is split, not parsed.
_TOKEN = re.compile(
    r"""
      (?P<skip>[ \t\r]+|\\\n)
    | (?P<newline>\n)
    | (?P<comment>\#[^\n]*)
    | (?P<elements>elements\s*=\s*\{[^}"]*(?:"[^"]*"[^}"]*)*\})
    | (?P<string>"[^"\n]*")
    | (?P<address>(?:[0-9a-fA-F]*:){2,}[0-9a-fA-F:.]*(?:/\d+)?|\d+\.\d+\.\d+\.\d+(?:/\d+)?)
    | (?P<number>0x[0-9a-fA-F]+\b|\d+(?![\w.]))
    | (?P<word>\w[\w./-]*(?:\\?\*)?)
    | (?P<raw>@(?:ll|nh|th|ih),\d+,\d+)
    | (?P<set>@[\w./-]+)
    | (?P<sign>==|!=|<=|>=|<<|>>|[{}();,.:=!<>&|^/*+\[\]$-])
    | (?P<other>.)
    """,
    re.VERBOSE,
)
END = "end"


class Tokens:
    """A cursor over the tokens. `kind` and `text` are those of the token that is next."""

    def __init__(self, source: str, file: str, line: int = 1) -> None:
        self.source = source
        self.file = file
        self.kinds: list[str] = []
        self.texts: list[str] = []
        self.starts: list[int] = []
        self.lines: list[int] = []
        self.chain = ""
        self._cut(line)
        self.at = 0
        self.kind = self.kinds[0]
        self.text = self.texts[0]

    def _cut(self, line: int) -> None:
        kinds, texts, starts, lines = self.kinds, self.texts, self.starts, self.lines
        for match in _TOKEN.finditer(self.source):
            kind = match.lastgroup or ""
            text = match.group()
            if kind not in ("skip", "comment"):
                kinds.append(kind)
                texts.append(text)
                starts.append(match.start())
                lines.append(line)
            if kind in ("newline", "elements", "skip"):
                line += text.count("\n")
        kinds.append(END)
        texts.append("")
        starts.append(len(self.source))
        lines.append(line)

    @property
    def line(self) -> int:
        return self.lines[self.at]

    def advance(self) -> str:
        """The next token's text; the cursor moves on."""
        text = self.text
        self.at += 1
        self.kind = self.kinds[self.at]
        self.text = self.texts[self.at]
        return text

    def take(self, *texts: str) -> str | None:
        """The next token if it is one of `texts`; strings never are."""
        return self.advance() if self.text in texts and self.kind != "string" else None

    def expect(self, *texts: str) -> str:
        return self.take(*texts) or self.refuse(f"expected {' or '.join(texts)}")

    def word(self) -> str:
        """A name."""
        if self.kind == "string":
            return self.string()
        if self.kind not in ("word", "number"):
            self.refuse("expected a name")
        return self.advance()

    def string(self) -> str:
        if self.kind != "string":
            self.refuse("expected a quoted text")
        return self.advance()[1:-1]

    def number(self) -> int:
        if self.kind != "number":
            self.refuse("expected a number")
        return int(self.advance(), 0)

    def blank(self) -> None:
        """Over the ends of lines."""
        while self.kind == "newline":
            self.advance()

    def ends(self) -> bool:
        """Whether a statement ends here."""
        return self.kind in ("newline", END) or (self.kind == "sign" and self.text in (";", "}"))

    def since(self, start: int) -> str:
        """The source from token number `start` to the cursor."""
        return self.source[self.starts[start] : self.starts[self.at]].strip()

    def refuse(self, message: str) -> NoReturn:
        """What is no nft that this reader knows, with its place and line."""
        start = self.source.rfind("\n", 0, self.starts[self.at]) + 1
        end = self.source.find("\n", self.starts[self.at])
        text = self.source[start : end if end >= 0 else None].strip()
        found = self.text if self.text.strip() else "the end of the line"
        raise NotModelledError(f"{message}, found {found}", Where(self.file, self.line, self.chain, text))
