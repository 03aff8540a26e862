"""Shares of a batch for job arrays, and their results joined."""

import json
from pathlib import Path

import pytest

from eve_cli.editing.batch_rows import Row
from eve_cli.editing.shards import Shard, merge
from eve_cli.errors import UsageError


def lines(folder: Path, shard: Shard, *numbers: int, status: str = "done") -> None:
    text = "".join(json.dumps({"row": number, "id": "x", "status": status}) + "\n" for number in numbers)
    (folder / shard.results).write_text(text)


@pytest.mark.parametrize("count", [1, 2, 3, 7])
def test_every_row_is_in_one_shard(count: int) -> None:
    rows = [Row(number, str(number)) for number in range(1, 12)]
    shares = [[row.number for row in Shard(index, count).of(rows)] for index in range(1, count + 1)]
    assert sorted(number for share in shares for number in share) == list(range(1, 12))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1


@pytest.mark.parametrize(
    ("environment", "shard"),
    [
        ({"SLURM_ARRAY_TASK_ID": "4", "SLURM_ARRAY_TASK_COUNT": "5"}, Shard(5, 5)),
        ({"SLURM_ARRAY_TASK_ID": "4", "SLURM_ARRAY_TASK_COUNT": "5", "SLURM_ARRAY_TASK_MIN": "1"}, Shard(4, 5)),
        (
            {
                "SLURM_ARRAY_TASK_ID": "6",
                "SLURM_ARRAY_TASK_COUNT": "3",
                "SLURM_ARRAY_TASK_MIN": "2",
                "SLURM_ARRAY_TASK_STEP": "2",
            },
            Shard(3, 3),
        ),
        ({"AWS_BATCH_JOB_ARRAY_INDEX": "0", "AWS_BATCH_JOB_ARRAY_SIZE": "8"}, Shard(1, 8)),
        ({"JOB_COMPLETION_INDEX": "7", "JOB_COMPLETION_COUNT": "8"}, Shard(8, 8)),
    ],
)
def test_a_job_array_says_which_shard(environment: dict[str, str], shard: Shard) -> None:
    assert Shard.parse("auto", environment) == shard


@pytest.mark.parametrize("text", ["", "3", "0/4", "5/4", "-1/4", "a/b", "1/0", "1/2/3"])
def test_a_shard_that_is_none_is_one_sentence(text: str) -> None:
    with pytest.raises(UsageError, match=r"--shard .*[^\n]+\.$"):
        Shard.parse(text)


def test_outside_of_a_job_array_auto_is_refused() -> None:
    with pytest.raises(UsageError, match="no task of a job array"):
        Shard.parse("auto", {"JOB_COMPLETION_INDEX": "7"})


def test_results_are_joined_in_the_order_of_rows_and_missing_shards_are_named(tmp_path: Path) -> None:
    lines(tmp_path, Shard(3, 3), 3, 6)
    lines(tmp_path, Shard(1, 3), 1, 4, 1)
    merged, missing = merge(tmp_path)
    assert [line["row"] for line in merged] == [1, 3, 4, 6] and missing == [Shard(2, 3).results]
    assert [json.loads(line)["row"] for line in (tmp_path / "results.jsonl").read_text().splitlines()] == [1, 3, 4, 6]
    lines(tmp_path, Shard(2, 3), 2, status="failed")
    assert [line["row"] for line in merge(tmp_path)[0]] == [1, 2, 3, 4, 6] and merge(tmp_path)[1] == []


def test_a_folder_without_shards_or_with_several_divisions_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"has no results\.\*\.jsonl"):
        merge(tmp_path)
    lines(tmp_path, Shard(1, 2), 1)
    lines(tmp_path, Shard(1, 3), 1)
    with pytest.raises(UsageError, match="of 2 and of 3 shards"):
        merge(tmp_path)
