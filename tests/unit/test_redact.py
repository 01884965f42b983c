"""Secrets stay out of what is recorded; what is none stays in."""

import base64
import json
import logging
import os
import re
import time
from urllib.parse import quote, quote_plus

import pytest

from tests.support.systems import posix
from tracking_hooks import redact
from tracking_hooks.recording.errors import describe_error
from tracking_hooks.secretshapes import SHAPES

HEX = "0123456789abcdef"

SECRETS = {
    "a token alone in a URL": ("origin https://{}@dev.example/x.git", "abcdefghijklmnopqrst"),
    "GitLab": ("{}", "glpat-abcdefghijklmnopqrst"),
    "OpenAI": ("failed with {}", "sk-proj-abcdefghijklmnopqrst"),
    "a signed link": ("https://store.example/x?sv=1&sig={}&se=2", "abc%2Bdef%3D"),
    "a slash in a password": ("mysql://ada:{}@db/x", "p/ss@w"),
    "bearer header": ("Authorization: Bearer {}", "eyJhbGciOi.J9-x_yz"),
    "basic header": ("authorization: basic {}", "dXNlcjpwYXNzd29yZA=="),
    "key=": ("api_key={}", "s3cr3t"),
    "key in capitals": ("WANDB_API_KEY={}", "s3cr3t"),
    "key in YAML": ("comet_api_key: {}", "s3cr3t"),
    "key in JSON": ('{{"apiKey": "{}", "lr0": 0.01}}', "s3cr3t"),
    "key in a query": ("https://host/path?api_key={}&x=1", "s3cr3t"),
    "token": ("HF_TOKEN={}", "s3cr3t"),
    "password": ("password={}", "hunter2"),
    "passwd": ("db_passwd={}", "hunter2"),
    "secret": ("client_secret={}", "hunter2"),
    "option with =": ("yolo train --token={} epochs=1", "s3cr3t"),
    "option with a blank": ("yolo train --api-key {} epochs=1", "0123456789-abcdefghij"),
    "password in a URL": ("postgresql://ada:{}@db:5432/mlflow", "hunter2"),
    "password in a URL without a user": ("redis://:{}@cache:6379", "hunter2"),
    "AWS key id": ("using {} for s3", "AKIAIOSFODNN7EXAMPLE"),
    "AWS secret": ("AWS_SECRET_ACCESS_KEY={}", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
    "W&B": ("wandb login {}", HEX * 2 + HEX[:8]),
    "Hugging Face": ("login with {}", "hf_" + "aB3dE5gH7jK9mN1pQ3"),
    "GitHub": ("git clone https://{}@github.com/a/b", "ghp_" + "aB3dE5gH7jK9mN1pQ3sT"),
    "GitHub, fine-grained": ("pat {}", "github_pat_" + "aB3dE5gH7jK9mN1pQ3sT_x"),
    "several words in quotes": ('password="{}" epochs=1', "correct horse battery"),
    "a byte string": ("login(token=b'{}', x=1)", "s3cr3t"),
    "quoted within a quoted text": (r'{{"line": "{{\"api_key\": \"{}\", \"lr0\": 0.01}}"}}', "s3cr3t"),
    "an item of the environment": ('os.environ["HF_TOKEN"] = "{}"', "s3cr3t"),
    "compared": ("assert password == '{}'", "hunter2"),
    "a name in camel case": ("clientSecret: {}", "hunter2"),
    "a name without a gap": ("PGPASSWORD={} psql", "hunter2"),
    "DB_PASS": ("DB_PASS={}", "hunter2"),
    "connection string": ("Server=db;Uid=sa;Pwd={};Encrypt=yes", "hunter2"),
    "option in a text": ("command: train.py --db-password {} --epochs 1", "hunter2"),
    "password of digits": ("password={}", "12345678"),
    "webhook": ("webhook_url: {}", "https://chat.example/hooks/a1b2c3"),
    "W&B's own words": ("wandb: appending the key for api.wandb.ai to your netrc: {}", HEX * 2 + HEX[:8]),
    "W&B's netrc": ("machine api.wandb.ai login user password {}", HEX * 2 + HEX[:8]),
    "W&B in capitals": ("WANDB_API_KEY={}", HEX * 2 + HEX[:8]),
    "a header in a dict": ("{{'Authorization': 'Basic {}', 'Accept': '*/*'}}", "YWRhOmh1bnRlcjI="),
    "a private key that was cut off": ("-----BEGIN PRIVATE KEY-----\n{}", "aB3dE5gH7jK9mN1pQ3sT" * 3),
}

HARMLESS = [
    "keypoints=17",
    "kpt_shape=[17, 3]",
    "tokenizer=bpe",
    "monkey=3",
    "lr0=0.01",
    "turkey: 4",
    "secretary=ada",
    "sha256:" + HEX * 4,
    HEX * 4,
    "digest=" + HEX * 4,
    "optimizer=auto",
    "http://127.0.0.1:5000",
    "s3://bucket/path@2x.png",
    "ada@example.org",
    "metrics/mAP50-95(B)",
    "passes: 3",
    "Epoch 1/3: box_loss 1.234",
    "/home/ada/keys/train.py",
    "20251009-085320-5eed5eed",
    f"commit={HEX * 2}{HEX[:8]}",
    HEX * 2 + HEX[:8],
    f"git+https://github.com/ada/shapes@{HEX * 2}{HEX[:8]}",
    f"/home/ada/.cache/huggingface/hub/models--ada--x/snapshots/{HEX * 2}{HEX[:8]}/best.pt",
    "Basic augmentations",
    "Basic Training of 3 epochs",
    "bearer authentication is off",
    "key: 3",
    "monkey=banana",
    "tokens=512",
    "max_token=512",
    "(token=3, key=0.5)",
    "token_type=word",
    "api_key=None",
    "password: null,",
    "PWD=/home/ada/shapes",
    "--key ./keys/train.yaml",
    "GOOGLE_APPLICATION_CREDENTIALS=/home/ada/account.json",
    "unexpected key model.22.cv3.0.weight",
    "missing key metrics/mAP50-95(B)",
    "http://localhost:5000/users/ada@example.org",
    "hf_transformers_backend",
    "sk-learn-pipeline-of-twenty",
    "task-force-0123456789abcdef0123",
    'if line.startswith("-----BEGIN PRIVATE KEY-----"):',
]

ADVERSARIAL = {
    "dashes": "-", "pairs": "a=", "words": "word ", "blanks": " ", "underscores": "_", "dots": ".", "quotes": "'",
    "backslashes": "\\", "digits": "1", "hex digits": "deadbeef", "keys": "key", "dashed keys": "-key",
    "keys with an end": "key=", "keys and blanks": "key ", "quoted keys": 'key="', "other quotes": "key='\"",
    "secrets": "secret_", "passwords": "password", "options": "--password", "addresses": "http://a:",
    "addresses without a host": "://a:b", "at signs": "http://@", "tokens": "token\t", "JWT": "eyJ",
    "JWTs": "eyJaaaaaaaa.", "PEM": "-----BEGIN PRIVATE KEY-----\n", "headers": "authorization: ", "basic": "basic AAAA",
    "bearer": "bearer ", "W&B": "wandb login ", "signatures": "&sig=", "numbers with a colon": "12345678:AA",
}  # fmt: skip


@pytest.mark.parametrize(("sentence", "secret"), SECRETS.values(), ids=SECRETS)
def test_secrets_are_masked_in_text(sentence, secret):
    masked = redact.text(sentence.format(secret))
    assert secret not in masked
    assert redact.MASK in masked


@pytest.mark.parametrize(("sentence", "secret"), SECRETS.values(), ids=SECRETS)
def test_secrets_are_masked_in_nested_params(sentence, secret):
    assert secret not in str(redact.values({"notes": ["first", {"remark": sentence.format(secret)}]}))


@pytest.mark.parametrize("text", HARMLESS)
def test_what_is_harmless_is_kept(text):
    assert redact.text(text) == text
    assert redact.values({"x": [text]}) == {"x": [text]}
    assert redact.argv(["yolo", text]) == ["yolo", text]


def test_what_stands_around_a_secret_is_kept():
    assert redact.text("postgresql://ada:hunter2@db:5432/mlflow") == f"postgresql://ada:{redact.MASK}@db:5432/mlflow"
    assert redact.text("--token=abc epochs=1") == f"--token={redact.MASK} epochs=1"


@pytest.mark.parametrize(
    "name", ["api_key", "apiKey", "WANDB_API_KEY", "token", "hf_token", "password", "aws_secret_access_key", "key"]
)
def test_params_are_masked_by_the_name_that_they_go_by(name):
    params = {"deep": [{name: "abc"}], name: "abc", "names": {0: "cat"}}
    assert redact.values(params) == {"deep": [{name: redact.MASK}], name: redact.MASK, "names": {0: "cat"}}


@pytest.mark.parametrize("name", ["keypoints", "tokenizer", "monkey", "lr0", "key_points", "passes", "keyframe"])
@pytest.mark.parametrize("value", ["abc", 17, 0.5, None, True, [1, 2]])
def test_params_of_harmless_names_are_kept(name, value):
    assert redact.values({name: value}) == {name: value}


def test_an_unset_secret_is_kept():
    assert redact.values({"api_key": None, "token": ""}) == {"api_key": None, "token": ""}


@pytest.mark.parametrize("option", ["--token", "--api-key", "--wandb-api-key", "--password", "-password"])
def test_option_and_value_as_two_arguments(option):
    masked = redact.argv(["train.py", option, "abc", "epochs=1"])
    assert masked == ["train.py", option, redact.MASK, "epochs=1"]


def test_a_log_line_and_its_traceback_are_masked():
    record = logging.makeLogRecord({"msg": "connecting to %s", "args": ("http://ada:hunter2@host",)})
    try:
        raise ValueError("api_key=hunter2")
    except ValueError:
        import sys

        record.exc_info = sys.exc_info()
    line = redact.RedactingFormatter("%(message)s").format(record)
    assert "hunter2" not in line
    assert "Traceback" in line


@pytest.mark.parametrize("shape", SHAPES, ids=[shape.name for shape in SHAPES])
def test_each_shape_of_the_table_is_masked_and_what_stands_around_it_is_kept(shape):
    sentence = shape.context.format(shape.secret)
    before, _, behind = shape.context.format("\0").partition("\0")
    assert re.search(shape.pattern, sentence), "found by its own pattern"
    masked = redact.text(f"epoch 1\n{sentence}\nepoch 2")
    assert masked == f"epoch 1\n{before}{redact.MASK}{behind}\nepoch 2"
    assert redact.text(masked) == masked


def timed(text: str) -> float:
    began = time.perf_counter()
    redact.text(text)
    return time.perf_counter() - began


@pytest.mark.parametrize("repeated", ADVERSARIAL.values(), ids=ADVERSARIAL)
def test_masking_takes_no_more_than_linear_time(repeated):
    few = "x " + repeated * (3_000 // len(repeated))
    limit = 10 * min(timed(few) for _ in range(3)) + 0.05
    assert any(timed(few * 4) < limit for _ in range(3)), "quadratic would be 16 times as long"


@pytest.mark.parametrize("line", ["-" * 20_000, "a=" * 20_000, "word " * 20_000, "-key" * 5_000], ids=lambda x: x[:6])
def test_a_long_line_of_the_console_does_not_hold_the_training_up(line):
    assert min(timed(line) for _ in range(3)) < 1, "it took half a minute when the time was quadratic"


@pytest.mark.parametrize("shape", SHAPES, ids=[shape.name for shape in SHAPES])
def test_no_shape_takes_more_than_linear_time(shape):
    beginning = shape.context.format(shape.secret)
    for repeated in (shape.hints[0], shape.secret, beginning, beginning[: -len(beginning) // 3], shape.secret[:6]):
        test_masking_takes_no_more_than_linear_time(repeated)


# -- by value ----------------------------------------------------------------------------------------------------


@pytest.fixture
def learn(monkeypatch):
    monkeypatch.setattr(redact, "_learnt", {})
    return lambda **environ: redact.learn(environ)


VALUE = "tr0ub4dor/&3 horse"


@pytest.mark.parametrize(
    "form",
    [VALUE, quote(VALUE), quote(VALUE, safe=""), quote_plus(VALUE), base64.b64encode(VALUE.encode()).decode()],
)
def test_the_value_of_a_secret_variable_is_masked_wherever_it_appears(learn, form):
    learn(MLFLOW_TRACKING_PASSWORD=VALUE)
    assert redact.text(f"the server says: {form}, no.") == f"the server says: {redact.MASK}, no."
    assert redact.values({"remark": [form]}) == {"remark": [redact.MASK]}
    assert redact.argv(["train.py", form]) == ["train.py", redact.MASK]
    assert form not in redact.text(json.dumps({"q": f"%3D{form}"}))


def test_an_old_key_of_weights_and_biases_is_masked_by_value_and_a_commit_is_not(learn):
    key, commit = HEX * 2 + "01234567", HEX[::-1] * 2 + "76543210"
    learn(WANDB_API_KEY=key)
    assert redact.text(f"{commit} was sent with {key}") == f"{commit} was sent with {redact.MASK}"


def test_a_value_is_masked_as_a_whole_word_only(learn):
    learn(HF_TOKEN="shapes-v1")
    for text in ("shapes-v1.pt", "shapes-v12", "my-shapes-v1", "/data/shapes-v1.yaml", "myshapes-v1"):
        assert redact.text(text) == text
    assert redact.text("'shapes-v1'") == f"'{redact.MASK}'"


def test_what_is_short_or_a_number_or_a_path_or_called_otherwise_is_not_learnt(learn, tmp_path):
    words = {"HF_TOKEN": "horse12", "DB_PASSWORD": "1234567890", "SIGNING_KEY": str(tmp_path), "PROJECT": "shapes-2025"}
    learn(**words)
    text = "; ".join(words.values())
    assert redact.text(text) == text


def test_what_was_learnt_at_the_start_is_still_masked_when_the_variable_is_gone(learn):
    learn(HF_TOKEN="hunter2222")
    learn(DB_PASSWORD="horse-battery")
    assert redact.text("hunter2222 horse-battery") == f"{redact.MASK} {redact.MASK}"


def test_an_error_is_described_without_a_secret_that_was_set_during_the_training(learn, monkeypatch):
    monkeypatch.setenv("SERVICE_PASSWORD", "hunter2222")
    described = describe_error(ValueError("refused: hunter2222"))
    assert described.message == f"refused: {redact.MASK}"
    assert "hunter2222" not in described.traceback


@posix("fork")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
def test_a_forked_process_knows_what_was_learnt(learn):
    learn(HF_TOKEN="hunter2222")
    if (pid := os.fork()) == 0:
        os._exit(0 if redact.text("hunter2222") == redact.MASK else 1)
    assert os.waitpid(pid, 0)[1] == 0
