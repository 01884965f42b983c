"""Masks secrets in everything that is recorded: params, command lines, URLs, tracebacks, log lines."""

from __future__ import annotations

import logging
import re
from typing import Any

MASK = "[redacted]"

_NAME = (
    r"(?:[\w.-]*[_.-])?"
    r"(?:api_?key|api-key|apikey|access_?key|secret|token|passw(?:or)?d|pwd|passphrase|credentials?|key)"
    r"(?:_id|_key)?"
)
_RULES = (
    (re.compile(r"(://[^\s/@:\"']*:)[^\s\"'<>]+(?=@)"), rf"\1{MASK}"),  # user:password@host
    (re.compile(r"(\bhttps?://)[^\s/@:\"']+(?=@)"), rf"\1{MASK}"),  # token@host
    (re.compile(r"(?i)([?&](?:sig|x-amz-signature|x-amz-credential)=)[^&\s\"']+"), rf"\1{MASK}"),  # signed links
    (re.compile(r"\b(?:glpat-|sk-)[\w-]{16,}"), MASK),  # GitLab, OpenAI
    (re.compile(r"(?i)\b((?:bearer|basic)\s+)[\w.~+/=-]{8,}"), rf"\1{MASK}"),  # authorization headers
    (
        re.compile(rf"(?i)(?<![\w.-])(-*{_NAME}[\"']?(?:\s*[=:]\s*|\s+(?=\S{{16,}}))[\"']?)[^\s\"',;&]+"),
        rf"\1{MASK}",
    ),
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), MASK),  # AWS
    (re.compile(r"\bhf_[A-Za-z0-9]{16,}\b"), MASK),  # Hugging Face
    (re.compile(r"\b(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,})\b"), MASK),  # GitHub
    (re.compile(r"\bwandb_v\d_\w{20,}\b|\b[0-9a-f]{40}\b"), MASK),  # Weights & Biases
)
_SECRET_NAME = re.compile(rf"(?i)-*{_NAME}")


def text(value: str) -> str:
    """Return a text with everything masked that looks like a secret."""
    for pattern, replacement in _RULES:
        value = pattern.sub(replacement, value)
    return value


def values(value: Any, name: str = "") -> Any:
    """Return plain data (dicts, lists, scalars) with secrets masked, including values whose name says so."""
    if name and value and not isinstance(value, bool) and _SECRET_NAME.fullmatch(name):
        return MASK
    if isinstance(value, dict):
        return {key: values(item, str(key)) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [values(item, name) for item in value]
    if isinstance(value, str):
        return text(value)
    return value


def argv(arguments: list[str]) -> list[str]:
    """Return a command line with secrets masked, even if name and value are two arguments."""
    masked = []
    secret_follows = False
    for argument in arguments:
        masked.append(MASK if secret_follows else text(argument))
        secret_follows = argument.startswith("-") and bool(_SECRET_NAME.fullmatch(argument))
    return masked


class RedactingFormatter(logging.Formatter):
    """Masks secrets in log lines and their tracebacks."""

    def format(self, record: logging.LogRecord) -> str:
        """Format a record as usual, then mask."""
        return text(super().format(record))
