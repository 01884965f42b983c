"""Secrets stay out of what is recorded; what is none stays in."""

import logging

import pytest

from tracking_hooks import redact

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
]


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
