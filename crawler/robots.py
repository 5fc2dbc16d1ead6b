"""The text of a robots.txt -> whether a path may be fetched (RFC 9309)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import quote

SIZE_LIMIT_BYTES: Final = 512 * 1024
"""What is read of a robots.txt; the RFC asks for at least 500 KiB."""

_SAFE: Final = "/%:@!$&'()*+,;=~-._?#[]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Robots:
    """The rules that hold for one user agent."""

    rules: tuple[tuple[bool, str], ...] = ()
    """(allowed, path pattern) in the order of the file."""

    @classmethod
    def parse(cls, text: str, product: str) -> Self:
        r"""Read a robots.txt.

        Args:
            text: The file; anything in it that is no rule is skipped.
            product: Product token of the user agent, like ``keyart``; compared without case.

        Example:
            >>> robots = Robots.parse("User-agent: *\nDisallow: /private\nAllow: /private/posters/", "keyart")
            >>> robots.allows("/private/a.jpg"), robots.allows("/private/posters/a.jpg")
            (False, True)
        """
        groups: dict[str, list[tuple[bool, str]]] = {}
        agents: list[str] = []
        ended = False
        for line in text.removeprefix("\ufeff").splitlines():
            key, colon, value = line.partition("#")[0].partition(":")
            key, value = key.strip().lower(), value.strip()
            if not colon:
                continue
            if key == "user-agent":
                if ended:
                    agents, ended = [], False
                agents.append(re.split(r"[/\s]", value.lower(), maxsplit=1)[0])
                groups.setdefault(agents[-1], [])
            elif key in ("allow", "disallow"):
                ended = True
                if value:
                    for agent in agents:
                        groups[agent].append((key == "allow", value))
        return cls(rules=tuple(groups.get(product.lower(), groups.get("*", []))))

    def allows(self, path: str) -> bool:
        """Say whether a path, with its query, may be fetched: the longest matching rule decides, allow on a tie."""
        if not self.rules:
            return True
        path = _normal(path)
        matching = [(len(pattern), allowed) for allowed, pattern in self.rules if _matches(_normal(pattern), path)]
        return path == "/robots.txt" or max(matching, default=(0, True))[1]


def _normal(path: str) -> str:
    quoted = quote(path, safe=_SAFE)
    return re.sub(r"%[0-9a-fA-F]{2}", _unquoted, quoted)


def _unquoted(escape: re.Match[str]) -> str:
    """Unreserved characters stand for themselves; the others keep an escape in one spelling."""
    character = chr(int(escape[0][1:], 16))
    return character if re.fullmatch(r"[A-Za-z0-9\-._~]", character) else escape[0].upper()


def _matches(pattern: str, path: str) -> bool:
    """Match with ``*`` for any text and a final ``$`` for the end, in time that no pattern can blow up."""
    anchored = pattern.endswith("$")
    first, *others = pattern.removesuffix("$").split("*")
    if not path.startswith(first):
        return False
    if not others:
        return not anchored or path == first
    at = len(first)
    for part in others[:-1]:
        found = path.find(part, at)
        if found < 0:
            return False
        at = found + len(part)
    last = others[-1]
    return path.endswith(last) and len(path) - len(last) >= at if anchored else path.find(last, at) >= 0
