"""What secrets look like: one table, which the masking, its tests and the documentation are made from."""

from __future__ import annotations

import re
from typing import NamedTuple

# Names whose value is a secret, whatever it is, also as a part of a longer word: PGPASSWORD, dbPassword.
_SURE = (
    r"(?i:(?:api|access|private|account|signing|encryption)[ _.-]?keys?|secret|passw(?:or)?d|passphrase"
    r"|webhook[_.-]?ur[li]|connection[_.-]?string)(?i:[_.-]?(?:id|key|value|\d{1,2}))?"
)
# Names whose value may as well be a number or a path: token=512, key: 3, PWD=/home/ada.
_MAYBE = (
    r"(?i:token|credentials?|(?<![^\W_])(?:key|pwd)|(?<=[_-])(?:pass|pat|auth))(?i:[_.-]?(?:id|key|value|\d{1,2}))?"
)
_END = r"(?=[\s\"',;&)\]}<]|\Z)"
_NONE = rf"(?i:none|null|nil|true|false|\[redacted\]){_END}"
_HARMLESS = rf"{_NONE}|-?\d{{1,7}}(?:\.\d*)?{_END}|~?/|\.{{1,2}}/|[A-Za-z]:[\\/]"
# From behind an opening quote to the closing one, which may be written \" within another text; else one word.
_VALUE = (
    r"(?:(?<=\\\")(?:[^\"\n\\]|\\(?!\"))+|(?<=\\')(?:[^'\n\\]|\\(?!'))+"
    r"|(?<=\")(?:[^\"\n\\]|\\.)+|(?<=')(?:[^'\n\\]|\\.)+|[^\s\"',;&<]+)"
)
_QUOTE = r"(?:[bBrRuUfF]{0,2}\\?[\"'](?=[^\"']))?"
_EQUALS = r"\\?[\"']?\]?[ \t]*(?:=>|={1,3}(?![=>])|:=?(?!=)|%3[dD])[ \t]*"
_BLANK = r"[ \t]+"
_OPTION = r"-(?<![\w.-]-)-?[\w.-]*"
# One word of 16 characters or more with a digit: no path, no name of a layer, no sentence.
_LONG = r"(?=[A-Za-z_+=-]{0,80}\d)[\w+=-]{16,}(?![\w/.:+=-])"

_SURE_HINTS = ("key", "secret", "passw", "passphrase", "webhook", "connection")
_MAYBE_HINTS = ("token", "credential", "key", "pwd", "_pass", "-pass", "_pat", "-pat", "_auth", "-auth")
_HEX, _MIXED = "0123456789abcdef", "aB3dE5gH7jK9mN1pQ3sT5vX7"


class Shape(NamedTuple):
    """One kind of secret. What its pattern matches is masked, except for a group, which says what it is."""

    name: str
    form: str
    """What it looks like, for the documentation."""
    hints: tuple[str, ...]
    """One of these is in every text that has such a secret, in lower case: other texts are not searched."""
    pattern: str
    secret: str
    """An example. It is put together from parts, so that nobody takes it for a real one."""
    context: str = "failed with {} here"
    """A text that it may stand in."""


# No pattern may take longer than linear time: one that repeats without a bound cannot start anew within what it has
# read, since a character that must not stand before it, or its own beginning, stops it.
SHAPES = (
    Shape(
        "private keys", "`-----BEGIN … PRIVATE KEY-----` and what follows", ("private key-----",),
        r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----(?:[\w+/=\s\\:,.]|-(?!----)){16,}"
        r"(?:-----END [A-Z ]{0,30}PRIVATE KEY-----)?",
        "-----BEGIN RSA PRIVATE " + "KEY-----\n" + _MIXED * 3 + "\n-----END RSA PRIVATE " + "KEY-----",
    ),
    Shape(
        "passwords in addresses", "`scheme://user:…@host`", ("://",),
        r"(://[^\s/@:\"']*:)(?!\d{1,5}[/?#])(?:(?!://)[^\s\"'<>])+(?=@)",
        "hunter2", "postgresql://ada:{}@db:5432/mlflow",
    ),
    Shape(
        "tokens in addresses", "`https://…@host`", ("://",),
        r"(\bhttps?://)(?!\[redacted\])[^\s/@:\"']+(?=@)",
        _MIXED, "origin https://{}@dev.example/x.git",
    ),
    Shape(
        "Azure account keys", "`AccountKey=…`, `SharedAccessKey=…`", ("accountkey=", "sharedaccess"),
        r"(?i)((?:account|sharedaccess)(?:key|signature)=)[^;\s\"']+",
        _MIXED * 3 + "+/==", "DefaultEndpointsProtocol=https;AccountName=ada;AccountKey={};EndpointSuffix=x",
    ),
    Shape(
        "Azure links with a signature (SAS)", "`sig=…`", ("sig=",),
        r"(?i)((?<![\w.-])sig=)[\w%+/=~.-]{20,}|([?&;]sig=)[^&\s\"'<>]+",
        _MIXED + "%2Bx%3D", "https://ada.blob.core.windows.net/x?sv=2022-11-02&sig={}&se=2030",
    ),
    Shape(
        "Azure client secrets", "`…8Q~…`", ("q~",),
        r"(?<![\w~.-])[\w~.-]{3}\dQ~[\w~.-]{31,34}",
        "abc8" + "Q~" + "aB3dE5gH7jK9mN1pQ3sT5vX7aB3dE5gH7j",
    ),
    Shape(
        "signed links of AWS", "`X-Amz-Signature=…`, `X-Amz-Credential=…`, `Signature=…`",
        ("x-amz-", "signature="),
        r"(?i)((?:(?<![\w-])x-amz-(?:signature|credential|security-token)|(?<=[?&])signature)=)[^&\s\"'<>]+",
        _HEX * 4, "https://bucket.s3.amazonaws.com/x?X-Amz-Expires=60&X-Amz-Signature={}",
    ),
    Shape(
        "signed links of Google", "`X-Goog-Signature=…`, `X-Goog-Credential=…`", ("x-goog-",),
        r"(?i)((?<![\w-])x-goog-(?:signature|credential)=)[^&\s\"'<>]+",
        _HEX * 4, "https://storage.googleapis.com/b/x?X-Goog-Expires=60&X-Goog-Signature={}",
    ),
    Shape(
        "Slack webhooks", "`https://hooks.slack.com/services/…`", ("hooks.slack",),
        r"(?i)(hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/)[\w/-]+",
        "T00000000/B00000000/" + _MIXED, "https://hooks.slack.com" + "/services/{}",
    ),
    Shape(
        "Discord webhooks", "`https://discord.com/api/webhooks/…`", ("/webhooks/",),
        r"(?i)(discord(?:app)?\.com/api/(?:v\d{1,2}/)?webhooks/\d{1,24}/)[\w-]+",
        _MIXED * 2, "https://discord.com/api" + "/webhooks/123456789012345678/{}",
    ),
    Shape(
        "Teams webhooks", "`https://….webhook.office.com/webhookb2/…`", ("office.com/webhook",),
        r"(?i)(office\.com/webhook(?:b2)?/)[\w@/-]+",
        _HEX + "@" + _HEX + "/IncomingWebhook/" + _HEX + "/x", "https://ada.webhook.office.com" + "/webhookb2/{}",
    ),
    Shape(
        "Telegram bots", "`bot…:AA…`", (":aa",),
        r"(?<!\d)\d{8,10}:AA[\w-]{33}",
        "1234567890:" + "AA" + "aB3dE5gH7jK9mN1pQ3sT5vX7aB3dE5gH7", "https://api.telegram.org/bot{}/sendMessage",
    ),
    Shape(
        "authorization headers", "`Authorization: Basic …`, `Authorization: Bearer …`", ("authorization",),
        r"(?i)(authorization\\?[\"']?\]?[ \t]*[:=][ \t]*b?\\?[\"']?"
        r"(?:(?:basic|bearer|token|digest|negotiate|apikey)[ \t]+(?=[^\s\"',;]{4})|(?=[\w.~+/=-]{16})))[^\s\"',;]+",
        "eyJhbGciOi.J9-x_yz", "Authorization: Bearer {}",
    ),
    Shape(
        "bearer tokens", "`Bearer …`", ("bearer",),
        r"(?i)(\bbearer[ \t]+)(?=[a-z_.~+/=-]{0,80}\d)[\w.~+/=-]{16,}",
        "eyJhbGciOi.J9-x_yz", "header 'Bearer {}' was sent",
    ),
    Shape(
        "basic authentication", "`Basic …`, followed by base64", ("basic",),
        r"(\b(?i:basic)[ \t]+)(?=[a-z0-9+/]{0,80}[A-Z])(?=[A-Za-z+/]{0,80}[\d=])(?:[A-Za-z0-9+/]{4}){3,}"
        r"(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=|[A-Za-z0-9+/]{4})(?![\w.-])",
        "YWRhOmh1bnRlcjI=", "header 'Basic {}' was sent",
    ),
    Shape(
        "AWS key ids", "`AKIA…`, `ASIA…`", ("akia", "asia", "abia", "acca"),
        r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b", "AKIA" + "IOSFODNN7EXAMPLE",
    ),
    Shape(
        "Google API keys", "`AIza…`", ("aiza",),
        r"(?<![\w-])AIza[\w-]{35}", "AIza" + _MIXED + "aB3dE5gH7jK",
    ),
    Shape(
        "Google sign-ins", "`ya29.…`, `GOCSPX-…`", ("ya29.", "gocspx-"),
        r"(?<![\w-])(?:ya29\.|GOCSPX-)[\w-]{20,}", "GOCSPX" + "-" + _MIXED + "aB3d",
    ),
    Shape(
        "Google service accounts", "`\"private_key\": \"…\"`", ("private_key",),
        r"(\bprivate_key(?:_id)?\\?[\"']\s*:\s*\\?\")(?:[^\"\\]|\\(?!\"))+",
        "-----BEGIN PRIVATE " + "KEY-----\\n" + _MIXED + "\\n-----END PRIVATE " + "KEY-----\\n",
        '{{"type": "service_account", "private_key": "{}", "client_email": "ada@example.org"}}',
    ),
    Shape(
        "JSON web tokens", "`eyJ….eyJ….…`", ("eyj",),
        r"(?<![\w-])eyJ[\w-]{8,}\.eyJ[\w-]{8,}(?:\.[\w-]*)?",
        "eyJ" + "hbGciOiJIUzI1NiJ9" + ".eyJ" + "zdWIiOiIxMjM0In0." + _MIXED,
    ),
    Shape(
        "Neptune", "`eyJhcGlf…`", ("eyjhcglf",),
        r"(?<![\w+/-])eyJhcGlf[\w+/=-]{20,}", "eyJ" + "hcGlfYWRkcmVzcyI6" + _MIXED * 2 + "==",
    ),
    Shape(
        "Weights & Biases", "`wandb_v1_…`", ("wandb_v",),
        r"\bwandb_v\d_\w{20,}", "wandb" + "_v1_" + _MIXED,
    ),
    Shape(
        "Weights & Biases, older keys", "40 hex digits behind `wandb login`, or behind `wandb` and `key`", ("wandb",),
        r"(?i)(\bwandb\b[^\n]{0,40}?\b(?:login|key|netrc)\b[^\n]{0,60}?)\b[0-9a-f]{40}\b",
        _HEX * 2 + "01234567", "wandb login --relogin {}",
    ),
    Shape(
        "Hugging Face", "`hf_…`, `api_org_…`", ("hf_", "api_org_"),
        r"(?<![\w-])(?:hf|api_org)_[A-Za-z0-9]{16,}", "hf" + "_" + _MIXED,
    ),
    Shape(
        "GitHub", "`ghp_…`, `gho_…`, `ghu_…`, `ghs_…`, `ghr_…`, `github_pat_…`",
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        r"(?<![\w-])(?:gh[pousr]_[A-Za-z0-9]{20,}|github_pat_\w{20,})", "ghp" + "_" + _MIXED,
    ),
    Shape(
        "GitLab", "`glpat-…`, `gldt-…`, `glptt-…` and others",
        tuple(f"{kind}-" for kind in ("glpat", "gldt", "glrt", "glcbt", "glptt", "glft", "glimt", "glsoat")),
        r"(?<![\w-])gl(?:pat|dt|rt|cbt|ptt|ft|imt|soat)-[\w-]{16,}", "glpat" + "-" + _MIXED,
    ),
    Shape(
        "OpenAI", "`sk-…`, `sk-proj-…`", ("sk-",),
        r"(?<![\w-])sk-(?:(?:proj|svcacct|admin|or)-[\w-]{16,}|[A-Za-z0-9]{20,})", "sk" + "-" + _MIXED,
    ),
    Shape(
        "Anthropic", "`sk-ant-…`", ("sk-ant-",),
        r"(?<![\w-])sk-ant-[\w-]{16,}", "sk" + "-ant-api03-" + _MIXED,
    ),
    Shape(
        "YOLO platform", "`ul_…`", ("ul_",),
        r"(?<![\w-])ul_[A-Za-z0-9]{40}(?!\w)", "ul" + "_" + _HEX * 2 + "01234567",
    ),
    Shape(
        "Slack", "`xoxb-…`, `xoxp-…`, `xapp-…` and others", ("xox", "xapp-"),
        r"(?<![\w-])(?:xox[a-z]-|xapp-\d-)[\w-]{10,}", "xo" + "xb-1234567890-" + _MIXED,
    ),
    Shape(
        "Databricks", "`dapi…`", ("dapi",),
        r"(?<![\w-])dapi[0-9a-f]{32}(?:-\d)?", "dapi" + _HEX * 2,
    ),
    Shape(
        "PyPI", "`pypi-Ag…`", ("pypi-ag",),
        r"(?<![\w-])pypi-Ag[\w-]{20,}", "pypi" + "-AgEIcHlwaS5vcmc" + _MIXED * 2,
    ),
    Shape(
        "npm", "`npm_…`", ("npm_",),
        r"(?<![\w-])npm_[A-Za-z0-9]{30,}", "npm" + "_" + _MIXED + "aB3dE5gH7jK9",
    ),
    Shape(
        "Docker, Vault, Terraform, Grafana, Sentry", "`dckr_pat_…`, `hvs.…`, `….atlasv1.…`, `glsa_…`, `sntrys_…`",
        ("dckr_pat_", "hvs.", ".atlasv1.", "glsa_", "sntrys_"),
        r"(?<![\w-])(?:dckr_pat_[\w-]{20,}|hvs\.[\w-]{20,}|\w{14}\.atlasv1\.[\w-]{60,}|glsa_\w{30,}"
        r"|sntrys_[\w+/=-]{30,})",
        "dckr" + "_pat_" + _MIXED,
    ),
    Shape(
        "Groq, Replicate, xAI, Stripe, SendGrid, DigitalOcean",
        "`gsk_…`, `r8_…`, `xai-…`, `sk_live_…`, `SG.…`, `dop_v1_…`",
        ("gsk_", "r8_", "xai-", "k_live_", "k_test_", "sg.", "dop_v1_"),
        r"(?<![\w-])(?:gsk_[A-Za-z0-9]{40,}|r8_[A-Za-z0-9]{30,}|xai-[A-Za-z0-9]{40,}"
        r"|[rs]k_(?:live|test)_[A-Za-z0-9]{16,}|SG\.[\w-]{16,32}\.[\w-]{32,}|dop_v1_[0-9a-f]{40,})",
        "gsk" + "_" + _MIXED * 2,
    ),
    Shape(
        "named like a password", "`password=…`, `\"db_passwd\": \"…\"`, `PGPASSWORD=…`, `secret: …`, `COMET_API_KEY=…`",
        _SURE_HINTS, rf"({_SURE}{_EQUALS}(?!{_QUOTE}{_NONE}){_QUOTE}){_VALUE}",
        "hunter2", "yolo train --password={} epochs=1",
    ),
    Shape(
        "named like a token", "`token=…`, `HF_TOKEN=…`, `key: …`, unless it is a short number or a path",
        _MAYBE_HINTS, rf"({_MAYBE}{_EQUALS}(?!{_QUOTE}(?:{_HARMLESS})){_QUOTE}){_VALUE}",
        "s3cr3t", "yolo train token={} epochs=1",
    ),
    Shape(
        "options named like a password", "`--db-password …`", _SURE_HINTS,
        rf"({_OPTION}{_SURE}{_BLANK}(?!-|{_QUOTE}{_NONE}){_QUOTE}){_VALUE}",
        "hunter2", "ran train.py --db-password {} --epochs 1",
    ),
    Shape(
        "options named like a token", "`--token …`, `--key …`, unless it is a short number or a path", _MAYBE_HINTS,
        rf"({_OPTION}{_MAYBE}{_BLANK}(?!-|{_QUOTE}(?:{_HARMLESS})){_QUOTE}){_VALUE}",
        "s3cr3t", "ran train.py --hub-token {} --epochs 1",
    ),
    Shape(
        "long words behind such a name", "`api key …`, `password …`: 16 characters or more, with a digit",
        tuple(f"{name}{end}" for name in ("key", "secret", "token", "password", "passwd", "pwd") for end in " '\"\t"),
        rf"((?:{_SURE}|{_MAYBE})\\?[\"']?{_BLANK}{_QUOTE}){_LONG}",
        _HEX * 2 + "01234567", "machine api.wandb.ai login user password {}",
    ),
)  # fmt: skip

SURE_NAME = re.compile(rf"{_SURE}\Z")
MAYBE_NAME = re.compile(rf"{_MAYBE}\Z")
HARMLESS = re.compile(_HARMLESS)
