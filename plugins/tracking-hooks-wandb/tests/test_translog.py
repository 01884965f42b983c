import random

import pytest
import wandb

from tests.support.wandb_files import records
from tracking_hooks_wandb import translog

SIZES = [0, 1, 7, 100, 32747, 32748, 32754, 32755, 32756, 32761, 32768, 70000]


def write(path, contents):
    data = bytearray(translog.HEAD)
    for content in contents:
        data += translog.framed(content, len(data))
    path.write_bytes(data)
    return len(data)


@pytest.mark.parametrize("seed", range(20))
def test_what_was_written_is_read(tmp_path, seed):
    chance = random.Random(seed)
    contents = [chance.randbytes(chance.choice(SIZES)) for _ in range(12)]
    path = tmp_path / "log"
    size = write(path, contents)
    found = list(translog.read(path))
    assert [content for _, content in found] == contents
    assert found[-1][0] == size
    for index, (end, _) in enumerate(found):
        assert [content for _, content in translog.read(path, end)] == contents[index + 1 :]


def test_a_torn_record_is_none(tmp_path):
    contents = [b"a" * 100, b"b" * 40000, b"c" * 10]
    path = tmp_path / "log"
    size = write(path, contents)
    data = path.read_bytes()
    ends = [end for end, _ in translog.read(path)]
    for cut in [*range(0, size, 997), *ends]:
        path.write_bytes(data[:cut])
        assert [end for end, _ in translog.read(path)] == [end for end in ends if end <= cut]
    path.write_bytes(data[: ends[0]] + b"\xff" + data[ends[0] + 1 :])
    assert [end for end, _ in translog.read(path)] == ends[:1]


def test_a_file_of_the_client_is_read_and_written_the_same(tmp_path):
    run = wandb.init(mode="offline", project="p", dir=str(tmp_path), settings={"silent": True})
    path = run.settings.sync_file
    for step in range(300):
        run.log({f"metric{i}": step + i for i in range(30)})
    run.finish()
    wandb.teardown()
    (path,) = tmp_path.rglob("run-*.wandb")
    contents = [content for _, content in translog.read(path)]
    assert len(path.read_bytes()) > 2 * 32768
    assert [type(record).FromString(content) for record, content in zip(records(path), contents)] == list(records(path))
    copy = tmp_path / "copy"
    write(copy, contents)
    assert copy.read_bytes() == path.read_bytes()
